"""The history of prices: one row for each change of an offering, kept as long as an instance has lived under it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, func, or_, select

from asbx.decide.price_history import merged, offering, unused
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, lock_key, put
from asbx.model.market import Market

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, RowMapping

    from asbx.decide.price_history import Offering, Span
    from asbx.model.price import PriceChange

_p, _i = t.prices.c, t.instances.c


class PriceHistory(Database):
    """The part of the ledger behind the door `PriceBook`."""

    def add_price_changes(self, changes: Iterable[PriceChange]) -> int:
        """Merge changes into what is kept of their offerings, all in one transaction; return how many are new."""
        told = sorted(changes, key=offering)
        if not told:
            return 0
        with self.transaction(WRITE) as connection:
            lock_key(connection, "prices")
            return sum(_merge(connection, key, list(mine)) for key, mine in groupby(told, key=offering))

    def price_changes(
        self,
        since: datetime,
        until: datetime,
        *,
        instance_types: Iterable[str] | None = None,
        zones: Iterable[str] | None = None,
        markets: Iterable[Market] | None = None,
    ) -> tuple[PriceChange, ...]:
        """Return the changes of a time and those in force at its beginning; see the door."""
        later = t.prices.alias("later")
        outlived = exists().where(_same(later.c), later.c.since > _p.since, later.c.since <= since)
        query = select(t.prices).where(_p.since <= until, or_(_p.since > since, ~outlived))
        if zones is not None:
            query = query.where(_p.zone.in_(["", *zones]))
        if markets is not None:
            query = query.where(_p.market.in_([market.value for market in markets]))
        with self.transaction(READ) as connection:
            if instance_types is None:
                found = list(connection.execute(query).mappings())
            else:
                found = [
                    row
                    for batch in batches(dict.fromkeys(instance_types))
                    for row in connection.execute(query.where(_p.instance_type.in_(batch))).mappings()
                ]
        changes = (form.price_change_of(row) for row in found)
        return tuple(sorted(changes, key=lambda one: (one.instance_type, one.zone, one.market, one.since)))

    def forget_prices(self, before: datetime, after: datetime | None = None) -> int:
        """Forget what was no longer in force at `before` and no instance lived under; see the door."""
        later = t.prices.alias("later")
        end = select(func.min(later.c.since)).where(_same(later.c), later.c.since > _p.since).scalar_subquery()
        with_end = select(t.prices, end.label("until")).subquery()
        over = select(with_end).where(with_end.c.until <= before)
        if after is not None:
            over = over.where(with_end.c.until > after)
        with self.transaction(READ) as connection:
            spans = [_span(row) for row in connection.execute(over).mappings()]
            old = unused(spans, _lives(connection, spans)) if spans else []
        for batch in batches(old):
            with self.transaction(WRITE) as connection:
                for (kind, zone, market), since in batch:
                    mine = and_(_p.instance_type == kind, _p.zone == zone, _p.market == market.value)
                    connection.execute(delete(t.prices).where(mine, _p.since == since))
        return len(old)


def _span(row: RowMapping) -> Span:
    return (row["instance_type"], row["zone"], Market(row["market"])), row["since"], row["until"]


def _lives(connection: Connection, spans: list[Span]) -> Iterator[tuple[Offering, datetime, datetime | None]]:
    """Yield the lives that overlap the time of these prices, whatever their offering: one scan, by their end."""
    first, last = min(since for _, since, _ in spans), max(until for _, _, until in spans)
    query = select(_i.instance_type, _i.zone, _i.market, _i.launched_at, _i.ended_at)
    for ended in (_i.ended_at.is_(None), _i.ended_at > first):
        for row in connection.execute(query.where(ended, _i.launched_at < last)):
            yield (row.instance_type, row.zone, Market(row.market)), row.launched_at, row.ended_at


def _same(other: object) -> ColumnElement[bool]:
    return and_(*(getattr(other, name) == _p[name] for name in ("instance_type", "zone", "market")))


def _merge(connection: Connection, key: Offering, told: list[PriceChange]) -> int:
    """Bring the rows of one offering to what its history is now. Only those are read that the new ones may touch."""
    kind, zone, market = key
    mine = and_(_p.instance_type == kind, _p.zone == zone, _p.market == market.value)
    first = min(change.since for change in told)
    before = select(func.max(_p.since)).where(mine, _p.since < first).scalar_subquery()
    query = select(t.prices).where(mine, or_(_p.since >= first, _p.since == before))
    kept = tuple(form.price_change_of(row) for row in connection.execute(query).mappings())
    now = merged(kept, told)
    for gone in {change.since for change in kept} - {change.since for change in now}:
        connection.execute(delete(t.prices).where(mine, _p.since == gone))
    for change in set(now) - set(kept):
        put(connection, t.prices, form.price_change_row(change))
    return len({change.since for change in now} - {change.since for change in kept})
