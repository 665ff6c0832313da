"""Add up what a span of days has cost: what is settled by the ledger, what is not by the meter, here and now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from asbx.config.limits import REPORT_FRESH_ROWS
from asbx.config.schema import Config
from asbx.decide.meter.charges import Charge, all_charges
from asbx.decide.meter.spans import Life
from asbx.decide.meter.sums import Dimension, Slice, Sum, joined, less, sums, sums_of
from asbx.decide.meter.tariff import Rules
from asbx.model.record import InstanceRow
from asbx.ports.charges import ChargeBook

# What there may be a million of.
_CROWDS = (Dimension.JOB, Dimension.INSTANCE)
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
    """Sums by kind and dimensions. unpriced: instances whose price is not known. open: how many are not settled yet.

    others: what is not in the sums because only the dearest were asked for, by kind alone.
    """

    days: Days
    by: tuple[Dimension, ...]
    sums: tuple[Sum, ...]
    unpriced: tuple[str, ...]
    open: int
    others: tuple[Sum, ...] = ()

    @property
    def nanos(self) -> int:
        """Return the whole amount in billionths of a USD."""
        return sum(one.nanos for one in (*self.sums, *self.others))


def rules_of(config: Config) -> Rules:
    """Return how the site says that EC2 bills."""
    cost = config.cost
    return Rules(cost.minimum_seconds, cost.spot_hour_seconds, cost.free_first_hour)


@dataclass(frozen=True)
class Inquiry:
    """What is asked: which days, whose, and by what it is added up. dearest: only so many jobs or instances, 0: all."""

    days: Days
    by: tuple[Dimension, ...]
    only: Mapping[Dimension, Collection[str]] = field(default_factory=dict)
    dearest: int = 0


def report(book: ChargeBook, lives: LivesOf, asked: Inquiry, now: datetime, rules: Rules) -> Report:
    """Add up days. Raises LedgerError."""
    days = asked.days
    rows = [row for row in book.unsettled_all(days.end) if days.begin is None or (row.ended_at or now) > days.begin]
    fresh = all_charges(lives(rows), min(now, days.end), days.begin, rules)
    # Settled with another end than it turned out to have: the meter's word stands.
    stale = book.settled(row.instance_id for row in rows if row.ended_at is not None)
    every = Slice(days.first, days.last, asked.only, stale)
    here = replace(every, without=())
    mine = [charge for one in fresh for charge in one.charges if here.holds(charge)]
    shown, others = _added(book, asked, every, mine)
    unpriced = {one.life.row.instance_id for one in fresh if not one.has_price}
    unpriced.update(book.charges_unpriced(days.first, days.last))
    return Report(days, asked.by, shown, tuple(sorted(unpriced)), len(fresh), others)


def _added(
    book: ChargeBook, asked: Inquiry, every: Slice, mine: Sequence[Charge]
) -> tuple[tuple[Sum, ...], tuple[Sum, ...]]:
    """Return the sums asked for, and by kind what they leave out."""
    by, crowd = asked.by, next((one for one in asked.by if one in _CROWDS), None)
    if crowd is None or not asked.dearest:
        return joined(book.charge_sums(every, by), sums(mine, by)), ()
    fresh = Counter[str]()
    for one in sums(mine, (crowd,)):
        fresh[one.key[0]] += one.nanos
    names = {
        "",
        *book.dearest(every, crowd, asked.dearest),
        *(name for name, _ in fresh.most_common(REPORT_FRESH_ROWS)),
    }
    some = replace(every, only={**every.only, crowd: names})
    here = replace(some, without=())
    shown = joined(book.charge_sums(some, by), sums(filter(here.holds, mine), by))
    whole = joined(book.charge_sums(every, ()), sums(mine, ()))
    told = {one.kind: one for one in sums_of(shown)}
    return shown, tuple(less(one, told.get(one.kind)) for one in whole)
