"""Charges added up: the rows of reports, and what is kept of an instance that is over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from asbx.decide.meter.charges import Charge, Metered
from asbx.decide.meter.spans import Borne, Kind


class Dimension(StrEnum):
    """What charges can be added up by; each is a field of Charge."""

    JOB = "job"
    USER = "user"
    ACCOUNT = "account"
    PARTITION = "partition"
    GROUP = "group"
    TYPE = "type"
    ZONE = "zone"
    MARKET = "market"
    DAY = "day"
    INSTANCE = "instance"


FIELDS = {
    Dimension.JOB: "job_id",
    Dimension.USER: "user",
    Dimension.ACCOUNT: "account",
    Dimension.PARTITION: "partition",
    Dimension.GROUP: "node_group",
    Dimension.TYPE: "instance_type",
    Dimension.ZONE: "zone",
    Dimension.MARKET: "market",
    Dimension.DAY: "day",
    Dimension.INSTANCE: "instance_id",
}


@dataclass(frozen=True, order=True)
class Sum(Borne):
    """What was spent on one kind under one key. key: a value for each dimension asked for, as text, "" for none.

    compute, volumes: billionths of a USD. seconds: billed ones.
    """

    kind: Kind
    key: tuple[str, ...]
    seconds: int
    compute: int
    volumes: int


@dataclass(frozen=True)
class Slice:
    """Which charges: of days, both ends included. first: None: from the beginning.

    only: the values of a dimension that are wanted, as text. without: instances left out.
    """

    first: date | None
    last: date
    only: Mapping[Dimension, Collection[str]] = field(default_factory=dict)
    without: Collection[str] = ()

    def holds(self, charge: Charge) -> bool:
        """Whether a charge is in it."""
        return (
            (self.first is None or charge.day >= self.first)
            and charge.day <= self.last
            and charge.instance_id not in self.without
            and all(_text(getattr(charge, FIELDS[name])) in values for name, values in self.only.items())
        )


@dataclass(frozen=True)
class Settlement:
    """An instance that is over, with all its charges. ended_at: the end they were worked out for."""

    instance_id: str
    ended_at: datetime
    seconds: int
    nanos: int
    has_price: bool
    charges: tuple[Charge, ...]


def settlement(metered: Metered) -> Settlement:
    """Return what is kept of an instance. It must be over, and metered up to its end or later."""
    row = metered.life.row
    assert row.ended_at is not None, "only what is over is settled"
    return Settlement(row.instance_id, row.ended_at, metered.seconds, metered.nanos, metered.has_price, metered.charges)


def sums(charges: Iterable[Charge], by: Sequence[Dimension]) -> tuple[Sum, ...]:
    """Add up charges by kind and dimensions."""
    fields = [FIELDS[one] for one in by]
    found: dict[tuple[Kind, tuple[str, ...]], list[int]] = defaultdict(lambda: [0, 0, 0])
    for charge in charges:
        key = tuple(_text(getattr(charge, name)) for name in fields)
        row = found[charge.kind, key]
        row[0] += charge.seconds
        row[1] += charge.compute
        row[2] += charge.volumes
    return tuple(Sum(kind, key, *row) for (kind, key), row in found.items())


def sums_of(found: Iterable[Sum]) -> tuple[Sum, ...]:
    """Add up sums by kind alone."""
    return joined(replace(one, key=()) for one in found)


def less(one: Sum, other: Sum | None) -> Sum:
    """Take one sum out of another."""
    if other is None:
        return one
    return Sum(one.kind, one.key, one.seconds - other.seconds, one.compute - other.compute, one.volumes - other.volumes)


def joined(*parts: Iterable[Sum]) -> tuple[Sum, ...]:
    """Add up sums that were made apart, by the same dimensions."""
    found: dict[tuple[Kind, tuple[str, ...]], Sum] = {}
    for one in (one for part in parts for one in part):
        old = found.get((one.kind, one.key))
        found[one.kind, one.key] = one if old is None else _added(old, one)
    return tuple(found.values())


def _added(old: Sum, one: Sum) -> Sum:
    return Sum(one.kind, one.key, old.seconds + one.seconds, old.compute + one.compute, old.volumes + one.volumes)


def _text(value: object) -> str:
    return "" if value is None else str(value)
