"""Add up what a span of days has cost: what is settled by the ledger, what is not by the meter, here and now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from asbx.decide.meter.charges import all_charges
from asbx.decide.meter.spans import Life
from asbx.decide.meter.sums import Dimension, Sum, joined, sums
from asbx.decide.meter.tariff import Rules
from asbx.model.record import InstanceRow
from asbx.ports.charges import ChargeBook

LivesOf = Callable[[Sequence[InstanceRow]], Sequence[Life]]


@dataclass(frozen=True)
class Days:
    """A span of UTC days, both ends included. first: None: from the beginning."""

    first: date | None
    last: date

    @property
    def begin(self) -> datetime | None:
        """Return its first moment."""
        return None if self.first is None else datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """Return the moment after its last."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)


@dataclass(frozen=True)
class Report:
    """Sums by kind and dimensions. unpriced: instances whose price is not known. open: how many are not settled yet."""

    days: Days
    by: tuple[Dimension, ...]
    sums: tuple[Sum, ...]
    unpriced: tuple[str, ...]
    open: int

    @property
    def nanos(self) -> int:
        """Return the whole amount in billionths of a USD."""
        return sum(one.nanos for one in self.sums)


def report(
    book: ChargeBook, lives: LivesOf, days: Days, by: Sequence[Dimension], now: datetime, rules: Rules
) -> Report:
    """Add up days. Raises LedgerError."""
    rows = [row for row in book.unsettled_all(days.end) if days.begin is None or (row.ended_at or now) > days.begin]
    fresh = all_charges(lives(rows), min(now, days.end), days.begin, rules)
    # Settled with another end than it turned out to have: the meter's word stands.
    stale = book.settled(row.instance_id for row in rows if row.ended_at is not None)
    kept = book.charge_sums(days.first, days.last, by, stale)
    unpriced = {one.life.row.instance_id for one in fresh if not one.has_price}
    return Report(
        days,
        tuple(by),
        joined(kept, sums((charge for one in fresh for charge in one.charges), by)),
        tuple(sorted(unpriced.union(book.charges_unpriced(days.first, days.last)))),
        len(fresh),
    )
