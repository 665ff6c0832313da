"""What every record of charges promises, in memory or in a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.config.limits import SETTLE_AFTER
from asbx.decide.meter.charges import meter
from asbx.decide.meter.spans import Kind, Life
from asbx.decide.meter.sums import Dimension, Slice, Sum, joined, settlement, sums
from asbx.decide.meter.tariff import Rules
from asbx.flow.accounting import Accounting
from asbx.flow.cost_report import Days, Inquiry, report
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.record import InstanceRow

HOUR = timedelta(hours=1)
DAY = date(2026, 3, 1)
EVER = Slice(None, date(2026, 3, 9))
Book = FakeLedger | SqlLedger


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    """Open every ledger there is."""
    if request.param == "fake":
        yield FakeLedger()
        return
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database())
    yield opened
    opened.close()


def launch(book: Book, name: str, *, jobs: tuple[int, ...] = (7,), price: str = "3.60") -> InstanceRow:
    """Put an instance into the ledger that was bound at its launch."""
    row = samples.instance_row(name, jobs=jobs, launched_at=NOON, price=Decimal(price))
    book.add_request(samples.request())
    book.add_attempt(samples.attempt(), samples.intent())
    book.answer_attempt(samples.attempt(), [replace(row, bound_at=NOON)])
    return replace(row, bound_at=NOON)


def end(book: Book, row: InstanceRow, after: timedelta = HOUR) -> Life:
    """End an instance and return its life."""
    book.end_instances([row.instance_id], "done", NOON + after)
    return Life(replace(row, ended_at=NOON + after))


def settle(book: Book, *lives: Life) -> None:
    """Settle lives."""
    book.settle([settlement(meter(life, life.row.ended_at or NOON)) for life in lives])


def bare(rows: Sequence[InstanceRow]) -> list[Life]:
    """Return lives of which no more than the rows is known."""
    return [Life(row) for row in rows]


def names(rows: tuple[InstanceRow, ...]) -> list[str]:
    """Return instance ids."""
    return [row.instance_id for row in rows]


def test_what_is_over_is_settled_once(book: Book) -> None:
    """The living, and those that end within the settling time, wait; another end opens it again."""
    first, second = launch(book, "i-1"), launch(book, "i-2")
    life = end(book, first)
    assert names(book.unsettled(NOON + HOUR - timedelta(seconds=1), 9)) == []
    assert names(book.unsettled(NOON + HOUR, 9)) == ["i-1"]
    settle(book, life)
    assert book.unsettled(NOON + 9 * HOUR, 9) == ()
    assert names(book.unsettled_all(NOON)) == ["i-2"]
    settle(book, replace(life, row=replace(life.row, ended_at=NOON + 2 * HOUR)))
    assert names(book.unsettled(NOON + 9 * HOUR, 9)) == ["i-1"]
    end(book, second)
    assert names(book.unsettled(NOON + 9 * HOUR, 1)) == ["i-1"]


def test_what_was_settled_without_a_price_is_settled_anew_once_there_is_one(book: Book) -> None:
    """A price list may be away for longer than settling waits: what it cost is not nothing for ever."""
    row = samples.instance_row("i-1", jobs=(7,), launched_at=NOON, price=None)
    book.add_request(samples.request())
    book.add_attempt(samples.attempt(), samples.intent())
    book.answer_attempt(samples.attempt(), [replace(row, bound_at=NOON)])
    settle(book, end(book, replace(row, bound_at=NOON)))
    assert book.charges_unpriced(None, date(2026, 3, 9)) == ("i-1",)
    assert names(book.unsettled(NOON + 9 * HOUR, 9)) == []
    book.set_prices({"i-1": Decimal("3.60")})
    (priced,) = book.unsettled(NOON + 9 * HOUR, 9)
    assert names(book.unsettled_all(NOON)) == ["i-1"]
    settle(book, Life(priced))
    assert book.charges_unpriced(None, date(2026, 3, 9)) == ()
    assert names(book.unsettled(NOON + 9 * HOUR, 9)) == []
    assert book.charge_sums(EVER, (Dimension.JOB,)) == (Sum(Kind.ASSUMED, ("7",), 3600, 36 * 10**8, 0),)


def test_settling_again_replaces(book: Book) -> None:
    """Days and jobs that are not charged any more are gone."""
    row = launch(book, "i-1")
    settle(book, Life(replace(row, ended_at=NOON + 30 * HOUR, jobs=(7, 8))))
    assert len(book.charge_sums(EVER, (Dimension.DAY, Dimension.JOB))) == 4
    settle(book, end(book, row))
    assert book.charge_sums(EVER, (Dimension.DAY, Dimension.JOB)) == (
        Sum(Kind.ASSUMED, ("2026-03-01", "7"), 3600, 36 * 10**8, 0),
    )


def test_sums_are_those_of_the_charges(book: Book) -> None:
    """By any dimensions, over any days, digit for digit."""
    lives = []
    for number in range(5):
        row = launch(book, f"i-{number}", jobs=(number % 2 + 7, 9)[: 1 + number % 2], price=f"0.{number}8500001")
        lives.append(end(book, row, (number * 11 + 1) * HOUR))
    settle(book, *lives)
    every = [charge for life in lives for charge in meter(life, NOON + 99 * HOUR).charges]
    for by in ((), (Dimension.JOB,), tuple(Dimension)):
        for first, last in ((None, date(2026, 3, 9)), (DAY, DAY), (date(2026, 3, 2), date(2026, 3, 3))):
            mine = [one for one in every if (first is None or one.day >= first) and one.day <= last]
            assert sorted(book.charge_sums(Slice(first, last), by)) == sorted(sums(mine, by))
    assert sorted(
        joined(book.charge_sums(Slice(DAY, DAY), ()), book.charge_sums(Slice(date(2026, 3, 2), date(2026, 3, 9)), ()))
    ) == (sorted(book.charge_sums(EVER, ())))


def test_a_report_counts_each_instance_once(book: Book) -> None:
    """Settled, settled with a wrong end, over, or alive: as the meter has it, digit for digit."""
    rows = [launch(book, f"i-{number}") for number in range(4)]
    settle(book, end(book, rows[0]))
    settle(book, replace(Life(rows[1]), row=replace(rows[1], ended_at=NOON + 5 * HOUR)))
    end(book, rows[1], 2 * HOUR)
    end(book, rows[2], 3 * HOUR)
    now = NOON + 40 * HOUR
    asked = Inquiry(Days(None, date(2026, 3, 9)), ())
    found = report(book, bare, asked, now, Rules())
    assert found.nanos == (1 + 2 + 3 + 40) * 36 * 10**8
    assert found.open == 3
    day = Inquiry(Days(DAY, DAY), (Dimension.INSTANCE,))
    assert report(book, bare, day, now, Rules()).nanos == (1 + 2 + 3 + 12) * 36 * 10**8
    some = report(book, bare, replace(day, dearest=1), now, Rules())
    assert some.nanos == (1 + 2 + 3 + 12) * 36 * 10**8
    rest = {one.key[0] for one in some.sums}
    assert {"i-1", "i-2", "i-3"} <= rest  # the settled one has a rival in the others, which are few


def test_a_part_of_the_charges(book: Book) -> None:
    """Of some values only, without some instances, and what the most was spent on."""
    rows = [launch(book, f"i-{number}", jobs=(number,), price=f"{number}.00") for number in range(1, 5)]
    settle(book, *(end(book, row) for row in rows))
    some = replace(EVER, only={Dimension.JOB: ["1", "3", "x"], Dimension.USER: ["ada"]})
    assert {one.key for one in book.charge_sums(some, (Dimension.INSTANCE,))} == {("i-1",), ("i-3",)}
    assert book.charge_sums(replace(some, without=["i-1", "i-3"]), ()) == ()
    assert book.dearest(EVER, Dimension.JOB, 2) == ("4", "3")
    assert book.dearest(some, Dimension.JOB, 2) == ("3", "1")


def test_what_has_no_price_is_told(book: Book) -> None:
    """For the days it was charged on only."""
    row = launch(book, "i-1")
    settle(book, Life(replace(row, price=None, ended_at=NOON + HOUR)))
    assert book.charges_unpriced(None, DAY) == ("i-1",)
    assert book.charges_unpriced(date(2026, 3, 2), date(2026, 3, 3)) == ()


def test_the_pass_settles_what_has_been_over_for_a_while(book: Book) -> None:
    """And does it again after a crash, or when the end turns out to be another."""
    row = launch(book, "i-1")
    end(book, row)
    clock = FakeClock(NOON + HOUR)
    accounting = Accounting(book, bare, clock, Rules())
    assert accounting.run() == 0
    clock.advance(seconds=SETTLE_AFTER.total_seconds())
    assert [accounting.run(), accounting.run()] == [1, 0]
    (found,) = book.charge_sums(Slice(None, DAY), (Dimension.JOB,))
    assert (found.kind, found.key, found.nanos) == (Kind.ASSUMED, ("7",), 36 * 10**8)


def test_a_moment_of_another_zone(book: Book) -> None:
    """Days are those of UTC."""
    row = launch(book, "i-1")
    late = datetime.fromisoformat("2026-03-01T20:30:00-05:00")
    settle(book, Life(replace(row, launched_at=late, bound_at=late, ended_at=late + HOUR)))
    assert [one.key for one in book.charge_sums(EVER, (Dimension.DAY,))] == [("2026-03-02",)]
