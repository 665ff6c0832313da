"""Many programs at one budget: what is allowed together is what there is, and no launch is charged twice.

ASBX_BUDGET_LAUNCHES sets another number of launches for a longer run; two in five of them can be paid.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.contract.test_budget_books import balanced, hold, take, within
from tests.contract.test_ledger_processes import PROCESSES, together
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.ledger.budgets import BudgetBooks
from asbx.ledger.store import open_ledger
from asbx.model.budget import HoldState

LAUNCHES = int(os.environ.get("ASBX_BUDGET_LAUNCHES", "200"))
PAID = LAUNCHES * 2 // 5


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a ledger that is there already."""
    found = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database()
    open_ledger(found).close()
    return found


def launch(url: str, number: int, out: Connection) -> None:
    """Hold a dollar for each of our share of the launches; say for how many it was to be had."""
    with closing(open_ledger(url)) as ledger:
        books = BudgetBooks(ledger)
        won = sum(take(books, hold(job), limit=str(PAID)) is None for job in range(number, LAUNCHES, PROCESSES))
    out.send(won)


def test_of_200_launches_at_once_exactly_80_can_be_paid(url: str) -> None:
    """Eight programs ask, none of them knows of the others."""
    won = together(launch, url)
    with closing(open_ledger(url)) as ledger:
        books = BudgetBooks(ledger)
        (book,) = books.books()
        assert sum(int(str(one)) for one in won) == len(books.holds(state=HoldState.HELD)) == PAID
        assert book.held == PAID
        assert balanced(books)


def quarrel(url: str, number: int, out: Connection) -> None:
    """Take, settle and release the same launches as everybody else, of two budgets in either order."""
    ended = Counter[int]()
    with closing(open_ledger(url)) as ledger:
        books = BudgetBooks(ledger)
        for job in range(12):
            pair = [hold(job, "2", "all"), hold(job, "2", "zoo")]
            books.take([pair if number % 2 else pair[::-1]], {}, within("9"))
            if (job + number) % 3 == 0:
                ended[job] += len(books.settle(f"r-{job}/{job}", Decimal("1.25"), NOON))
            elif (job + number) % 3 == 1:
                books.release([f"r-{job}/{job}"], NOON, "gone")
    out.send(dict(ended))


def test_no_launch_is_charged_twice_by_several_programs(url: str) -> None:
    """Whoever settles first has charged it, in both budgets; nobody waits for another for ever."""
    said = together(quarrel, url)
    charged = sum((Counter(one) for one in said if isinstance(one, dict)), Counter[int]())
    assert set(charged.values()) == {2}  # one row in each budget
    with closing(open_ledger(url)) as ledger:
        books = BudgetBooks(ledger)
        assert balanced(books)
        for book in books.books():
            assert book.spent == Decimal("1.25") * len(charged)
            assert book.held <= 9
