"""What closed instances have cost whom: written once, added up by the database, in whole billionths of a USD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, or_, select

from asbx.decide.meter.spans import Kind
from asbx.decide.meter.sums import FIELDS, Dimension, Slice, Sum
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, put

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime
    from typing import Any

    from sqlalchemy import ColumnElement

    from asbx.decide.meter.charges import Charge
    from asbx.decide.meter.sums import Settlement
    from asbx.model.record import InstanceRow

_c, _s, _i = t.charges.c, t.settlements.c, t.instances.c
# A job of nobody's: SQLite's and PostgreSQL's keys take no NULL.
_NOBODY = 0


class Charges(Database):
    """The part of the ledger behind the door `ChargeBook`."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Keep the charges of instances in the place of older ones; see the door."""
        if not settlements:
            return
        with self.transaction(WRITE) as connection:
            for batch in batches([one.instance_id for one in settlements]):
                connection.execute(delete(t.charges).where(_c.instance_id.in_(batch)))
            for one in settlements:
                put(connection, t.settlements, _settlement_row(one))
            rows = [_row(charge) for one in settlements for charge in one.charges]
            if rows:
                connection.execute(t.charges.insert(), rows)

    def unsettled(self, ended_before: datetime, most: int) -> tuple[InstanceRow, ...]:
        """Return what is over and not settled as it ended; see the door."""
        return self._unsettled(_i.ended_at <= ended_before, most)

    def unsettled_all(self, launched_before: datetime) -> tuple[InstanceRow, ...]:
        """Return what is not settled, live or over; see the door."""
        return self._unsettled(_i.launched_at <= launched_before, None)

    def _unsettled(self, wanted: ColumnElement[bool], most: int | None) -> tuple[InstanceRow, ...]:
        there = t.instances.outerjoin(t.settlements, _s.instance_id == _i.instance_id)
        is_priced_since = and_(_s.has_price.is_(False), _i.price.is_not(None))
        is_open = or_(_s.instance_id.is_(None), _i.ended_at.is_(None), _s.ended_at != _i.ended_at, is_priced_since)
        query = select(t.instances).select_from(there).where(wanted, is_open)
        query = query.order_by(_i.launched_at, _i.instance_id).limit(most)
        with self.transaction(READ) as connection:
            return tuple(form.instance_of(row) for row in connection.execute(query).mappings())

    def settled(self, instance_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these are settled; see the door."""
        with self.transaction(READ) as connection:
            return frozenset(
                name
                for batch in batches(instance_ids)
                for name in connection.execute(select(_s.instance_id).where(_s.instance_id.in_(batch))).scalars()
            )

    def charge_sums(self, slice_: Slice, by: Sequence[Dimension]) -> tuple[Sum, ...]:
        """Add up charges by kind and dimensions; see the door."""
        columns = [_c[FIELDS[one]] for one in by]
        amounts = [func.sum(_c[name]) for name in ("seconds", "compute", "volumes")]
        query = select(_c.kind, *columns, *amounts).where(*_within(slice_)).group_by(_c.kind, *columns)
        with self.transaction(READ) as connection:
            found = connection.execute(query).all()
        size = 1 + len(columns)
        kinds = {kind.value: kind for kind in Kind}
        return tuple(Sum(kinds[row[0]], _keys(by, row[1:size]), *map(int, row[size:])) for row in found)

    def dearest(self, slice_: Slice, by: Dimension, most: int) -> tuple[str, ...]:
        """Return what the most was spent under; see the door."""
        column = _c[FIELDS[by]]
        query = (
            select(column).where(*_within(slice_), column != (_NOBODY if by is Dimension.JOB else "")).group_by(column)
        )
        query = query.order_by(func.sum(_c.compute + _c.volumes).desc(), column).limit(most)
        with self.transaction(READ) as connection:
            return tuple(str(value) for value in connection.execute(query).scalars())

    def charges_unpriced(self, first: date | None, last: date) -> tuple[str, ...]:
        """Return settled instances of these days without a price; see the door."""
        query = select(_s.instance_id).where(_s.has_price.is_(False))
        mine = select(_c.instance_id).where(*_within(Slice(first, last)))
        with self.transaction(READ) as connection:
            return tuple(connection.execute(query.where(_s.instance_id.in_(mine)).order_by(_s.instance_id)).scalars())


def _within(slice_: Slice) -> list[ColumnElement[bool]]:
    found = [_c.day <= slice_.last.isoformat()]
    if slice_.first is not None:
        found.append(_c.day >= slice_.first.isoformat())
    for dimension, values in slice_.only.items():
        found.append(_c[FIELDS[dimension]].in_([_stored(dimension, value) for value in values]))
    return [*found, *(_c.instance_id.not_in(batch) for batch in batches(slice_.without))]


def _stored(dimension: Dimension, value: str) -> object:
    """Return a value as its column has it. What is no number is no job's."""
    if dimension is not Dimension.JOB:
        return value
    return int(value or _NOBODY) if value.isdecimal() or not value else -1


def _keys(by: Sequence[Dimension], values: Sequence[object]) -> tuple[str, ...]:
    return tuple(
        "" if dimension is Dimension.JOB and value == _NOBODY else str(value)
        for dimension, value in zip(by, values, strict=True)
    )


def _settlement_row(one: Settlement) -> dict[str, Any]:
    return {
        "instance_id": one.instance_id,
        "ended_at": one.ended_at,
        "seconds": one.seconds,
        "nanos": one.nanos,
        "has_price": one.has_price,
    }


def _row(charge: Charge) -> dict[str, Any]:
    return {
        "instance_id": charge.instance_id,
        "day": charge.day.isoformat(),
        "kind": charge.kind.value,
        "job_id": charge.job_id or _NOBODY,
        "user": charge.user,
        "account": charge.account,
        "partition": charge.partition,
        "node_group": charge.node_group,
        "instance_type": charge.instance_type,
        "zone": charge.zone,
        "market": charge.market.value,
        "seconds": charge.seconds,
        "compute": charge.compute,
        "volumes": charge.volumes,
    }
