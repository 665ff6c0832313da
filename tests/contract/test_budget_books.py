"""What every book of budgets promises, in memory or in a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.decide.cost import total
from asbx.ledger.budgets import BudgetBooks
from asbx.ledger.store import open_ledger
from asbx.model.budget import OPEN, Book, Entry, EntryState, Hold, HoldState, Short
from asbx.ports import Budgets
from asbx.sim.budgets import MemoryBudgets

PERIOD = "2026-03-01"
LATER = NOON + timedelta(hours=1)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Budgets]:
    """Open every kind there is."""
    if request.param == "memory":
        yield MemoryBudgets()
        return
    url = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database()
    with closing(open_ledger(url)) as ledger:
        yield BudgetBooks(ledger)


def hold(job: int, usd: str = "1.00", budget: str = "physics", key: str = "", period: str = PERIOD) -> Hold:
    """Return a hold of a job's first launch."""
    name = key or f"r-{job}/{job}"
    return Hold(name, budget, period, job, f"r-{job}", "ada", "phys", Decimal(usd), NOON, why="1 node")


def within(limit: str) -> Callable[[Hold, Mapping[tuple[str, str], Book]], Short | None]:
    """Return a judge of one limit for every budget."""

    def judge(one: Hold, found: Mapping[tuple[str, str], Book]) -> Short | None:
        book = found.get((one.budget, one.period)) or Book(one.budget, one.period)
        if Decimal(limit) - book.spent - book.held >= one.usd:
            return None
        return Short(one.budget, one.period, Decimal(limit), book.spent, book.held, one.usd)

    return judge


def take(books: Budgets, *holds: Hold, limit: str = "10") -> Short | None:
    """Take holds of one launch."""
    (taken,) = books.take([holds], {}, within(limit))
    return taken.short


def balanced(books: Budgets) -> bool:
    """Whether every book is the sum of its holds."""
    holds = books.holds()
    return all(
        book.held == total(one.usd for one in mine if one.state is HoldState.HELD)
        and book.spent == total(one.spent for one in mine)
        for book in books.books()
        for mine in [[one for one in holds if (one.budget, one.period) == (book.budget, book.period)]]
    )


def test_a_hold_comes_back_whole(books: Budgets) -> None:
    """Every digit of it."""
    one = hold(7, "1.230000001")
    assert take(books, one) is None
    assert books.holds() == (one,)
    assert books.books() == (Book("physics", PERIOD, held=Decimal("1.230000001")),)


def test_what_is_not_there_is_refused_with_the_arithmetic(books: Budgets) -> None:
    """And nothing is written."""
    assert take(books, hold(1, "7")) is None
    short = take(books, hold(2, "4"))
    assert short == Short("physics", PERIOD, Decimal(10), Decimal(0), Decimal(7), Decimal(4))
    assert short.left == 3
    assert [one.job_id for one in books.holds()] == [1]
    assert balanced(books)


def test_the_last_cent_can_be_held(books: Budgets) -> None:
    """A limit is what may be spent, not what must be left."""
    assert take(books, hold(1, "9.99")) is None
    assert take(books, hold(2, "0.01")) is None
    assert take(books, hold(3, "0.01")) is not None


def test_the_same_launch_holds_once(books: Budgets) -> None:
    """Asked again after a crash, even for another amount, it has what it has."""
    assert take(books, hold(1, "6")) is None
    assert take(books, hold(1, "6")) is None
    assert take(books, hold(1, "8")) is None
    assert [one.usd for one in books.holds()] == [6]
    assert balanced(books)


def test_another_launch_of_the_same_job_holds_for_itself(books: Budgets) -> None:
    """A requeued job costs twice."""
    assert take(books, hold(1, "6")) is None
    assert take(books, hold(1, "6", key="r-2/1")) is not None
    assert take(books, hold(1, "4", key="r-2/1")) is None
    assert len(books.holds(job_id=1)) == 2


def test_several_budgets_are_held_all_or_none(books: Budgets) -> None:
    """Where one has no room, none of the others is burdened."""
    assert take(books, hold(1, "8", "zoo")) is None
    assert take(books, hold(2, "3", "all"), hold(2, "3", "zoo")) is not None
    assert [one.budget for one in books.holds()] == ["zoo"]
    assert take(books, hold(2, "2", "all"), hold(2, "2", "zoo")) is None
    assert balanced(books)


def test_a_budget_that_came_later_is_held_too(books: Budgets) -> None:
    """Of a launch that is begun again only what is missing is taken."""
    take(books, hold(2, "3", "all"))
    assert take(books, hold(2, "3", "all"), hold(2, "3", "zoo")) is None
    assert [(one.budget, one.usd) for one in books.holds()] == [("all", Decimal(3)), ("zoo", Decimal(3))]
    assert balanced(books)


def test_released_money_is_there_for_others(books: Budgets) -> None:
    """Once, however often it is released, and the launch may take it again."""
    take(books, hold(1, "10"))
    assert take(books, hold(2, "1")) is not None
    (gone,) = books.release(["r-1/1", "nobody"], LATER, "the launch failed")
    assert (gone.state, gone.ended_at, gone.why) == (HoldState.RELEASED, LATER, "the launch failed")
    assert books.release(["r-1/1"], LATER, "again") == ()
    assert take(books, hold(2, "1")) is None
    assert take(books, hold(1, "9")) is None
    assert balanced(books)


def test_a_launch_is_charged_once(books: Budgets) -> None:
    """In every budget, in place of what was held; what comes later changes nothing."""
    take(books, hold(1, "6", "all"), hold(1, "6", "zoo"))
    settled = books.settle("r-1/1", Decimal("2.5"), LATER)
    assert [(one.budget, one.spent, one.state) for one in settled] == [
        ("all", Decimal("2.5"), HoldState.SETTLED),
        ("zoo", Decimal("2.5"), HoldState.SETTLED),
    ]
    assert books.settle("r-1/1", Decimal("2.5"), LATER) == ()
    assert books.release(["r-1/1"], LATER, "late") == ()
    assert take(books, hold(1, "6", "all")) is None
    assert books.books() == (
        Book("all", PERIOD, spent=Decimal("2.5")),
        Book("zoo", PERIOD, spent=Decimal("2.5")),
    )


def test_more_than_was_held_may_be_charged(books: Budgets) -> None:
    """Spent is spent: the book tells the truth, and the next one is refused."""
    take(books, hold(1, "6"))
    books.settle("r-1/1", Decimal(14), LATER)
    assert books.books()[0].spent == 14
    short = take(books, hold(2, "0.01"))
    assert short is not None
    assert short.left == 0


def test_launches_taken_together_are_judged_one_after_the_other(books: Budgets) -> None:
    """As if each had come by itself: what one could not have is there for the next."""
    pair = [hold(2, "2", "all"), hold(2, "9", "zoo")]
    take(books, hold(4, "1"))
    launches = [[hold(1, "6")], pair, [hold(3, "6")], [hold(4, "3")], [hold(5, "3")]]
    told = books.take(launches, {}, within("10"))
    assert [one.short is None for one in told] == [True, True, False, True, True]
    assert told[2].short is not None
    assert told[2].short.held == 7
    assert {(one.job_id, one.budget, one.usd) for one in books.holds()} == {
        (1, "physics", Decimal(6)),
        (2, "all", Decimal(2)),
        (2, "zoo", Decimal(9)),
        (4, "physics", Decimal(1)),
        (5, "physics", Decimal(3)),
    }
    assert balanced(books)
    assert books.take([], {}, within("10")) == ()


def test_nothing_is_settled_that_was_not_held(books: Budgets) -> None:
    """An unknown launch has no budget."""
    assert books.settle("nobody/1", Decimal(1), LATER) == ()
    assert books.books() == ()


def test_the_judge_sees_the_period_before(books: Budgets) -> None:
    """So that what it left can be carried over."""
    take(books, hold(1, "6", period="2026-02-01"))
    books.settle("r-1/1", Decimal(4), LATER)
    seen: list[Book | None] = []

    def judge(_: Hold, found: Mapping[tuple[str, str], Book]) -> None:
        seen.append(found.get(("physics", "2026-02-01")))

    books.take([[hold(2)]], {"physics": "2026-02-01"}, judge)
    assert [one.spent for one in seen if one] == [4]


def test_a_grant_adds_up(books: Budgets) -> None:
    """And what was told of the smaller limit may be told again."""
    take(books, hold(1))
    assert books.alert("physics", PERIOD, 80)
    assert books.grant("physics", PERIOD, Decimal("12.50")).granted == Decimal("12.50")
    assert books.grant("physics", PERIOD, Decimal("-2.50")).granted == 10
    assert books.alert("physics", PERIOD, 80)
    assert books.books()[0].held == 1


def test_a_level_is_told_once(books: Budgets) -> None:
    """Lower ones are not told after it."""
    take(books, hold(1))
    assert [books.alert("physics", PERIOD, one) for one in (50, 50, 80, 50, 80, 95)] == [1, 0, 1, 0, 0, 1]


def test_holds_are_found(books: Budgets) -> None:
    """By state and job, oldest first; of many the youngest."""
    for job in (3, 1, 2):
        take(books, replace(hold(job), taken_at=NOON + timedelta(minutes=job)))
    books.release(["r-2/2"], LATER, "")
    assert [one.job_id for one in books.holds()] == [1, 2, 3]
    assert [one.job_id for one in books.holds(state=HoldState.HELD)] == [1, 3]
    assert [one.job_id for one in books.holds(limit=2)] == [2, 3]
    assert [one.job_id for one in books.holds(job_id=1)] == [1]


# -- the budget service

ENTRY = Entry("r-1/1", 1, "1", "r-1", "phys", EntryState.CHECKING, NOON, said="é ☃")


def test_an_entry_comes_back_whole(books: Budgets) -> None:
    """With every field it may have."""
    full = replace(
        ENTRY, state=EntryState.OWED, transaction="txn_1", hold=Decimal("23.04"), cost=Decimal("10.5"), next_at=LATER
    )
    assert books.change_entry("r-1/1", lambda _: ENTRY) == ENTRY
    assert books.change_entry("r-1/1", lambda old: full if old == ENTRY else None) == full
    assert books.entry("r-1/1") == full
    assert books.entry("r-2/1") is None
    assert books.entries(OPEN) == (full,)
    assert books.entries([EntryState.HELD]) == ()
    assert books.entries(OPEN, job_id=2) == ()
    assert books.taken("phys", ["txn_1", "txn_2", ""]) == {"txn_1"}
    assert books.taken("phys", []) == set()
    assert books.taken("bio", ["txn_1"]) == set()


def test_a_change_that_changes_nothing_leaves_it(books: Budgets) -> None:
    """So that whoever finds it in another state than it thought can step back."""
    assert books.change_entry("r-1/1", lambda _: None) is None
    books.change_entry("r-1/1", lambda _: ENTRY)
    assert books.change_entry("r-1/1", lambda _: None) == ENTRY


def test_entries_are_oldest_first(books: Budgets) -> None:
    """The longest waiting is told first."""
    for number in (2, 1):
        one = replace(ENTRY, key=f"k{number}", asked_at=NOON + timedelta(minutes=number))
        books.change_entry(one.key, partial(lambda _, one: one, one=one))
    assert [one.key for one in books.entries(OPEN)] == ["k1", "k2"]
