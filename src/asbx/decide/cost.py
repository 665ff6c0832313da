"""A bill: what jobs cost, what stood idle, what was wasted, and the instances behind it.

The sum over jobs, idle and waste IS the sum over instances, digit for digit (see decide/meter). Amounts are Decimal
with nine places; a billionth is the smallest there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal, localcontext

from asbx.decide.meter.charges import Charge, Metered, all_charges
from asbx.decide.meter.spans import BEARERS, Bearer, Kind, Life
from asbx.decide.meter.tariff import Rules
from asbx.model.market import Market
from asbx.model.record import InstanceRow

MINIMUM_S = 60
_ZERO = Decimal(0)
# Room for any sum of billionths: the default of 28 digits would round large ones.
_EXACT = Context(prec=80)


@dataclass(frozen=True)
class Share:
    """A part of an instance's cost. job_id: None unless a job bears it. usd: None while the price is unknown."""

    bearer: Bearer
    usd: Decimal | None
    job_id: int | None = None
    kind: Kind = Kind.RUN


@dataclass(frozen=True)
class InstanceCost:
    """What an instance cost within the period. seconds: as billed. price: USD an hour, at launch.

    volumes_usd: what of it its EBS volumes cost. usd: None while the price is unknown.
    """

    instance_id: str
    instance_type: str
    zone: str
    market: Market
    node: str
    jobs: tuple[int, ...]
    seconds: int
    price: Decimal | None
    usd: Decimal | None
    shares: tuple[Share, ...]
    is_running: bool
    volumes_usd: Decimal = _ZERO


@dataclass(frozen=True)
class JobCost:
    """What a job cost. seconds: sum over its instances, in full even where others share them. kinds: parts of usd."""

    job_id: int
    user: str
    account: str
    partition: str
    usd: Decimal
    instances: int
    seconds: int
    kinds: Mapping[Kind, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Bill:
    """Where the money went. since: None = from the first launch on. unpriced: instances whose price is unknown.

    kinds: USD by what it was spent on, all kinds there are.
    """

    since: datetime | None
    until: datetime
    jobs: tuple[JobCost, ...]
    idle_usd: Decimal
    waste_usd: Decimal
    instances: tuple[InstanceCost, ...]
    unpriced: tuple[str, ...]
    kinds: Mapping[Kind, Decimal] = field(default_factory=dict)
    volumes_usd: Decimal = _ZERO
    charges: tuple[Charge, ...] = ()

    @property
    def total_usd(self) -> Decimal:
        """The sum over jobs, idle and waste, which is the sum over instances."""
        return total([*(job.usd for job in self.jobs), self.idle_usd, self.waste_usd])


def total(amounts: Iterable[Decimal | None]) -> Decimal:
    """Add amounts exactly; unknown ones count for nothing."""
    with localcontext(_EXACT):
        return sum((amount for amount in amounts if amount is not None), _ZERO)


def usd_of(nanos: int) -> Decimal:
    """Return billionths of a USD as USD, exactly."""
    with localcontext(_EXACT):
        return Decimal(nanos).scaleb(-9)


def bill(
    rows: Sequence[InstanceRow],
    until: datetime,
    since: datetime | None = None,
    job_id: int | None = None,
    *,
    minimum_s: int = MINIMUM_S,
) -> Bill:
    """Add up instances of which no more is known than their rows: see bill_of."""
    return bill_of([Life(row) for row in rows], until, since, job_id, rules=Rules(minimum_s=minimum_s))


def bill_of(
    lives: Iterable[Life],
    until: datetime,
    since: datetime | None = None,
    job_id: int | None = None,
    *,
    rules: Rules | None = None,
) -> Bill:
    """Add up lives over a period; periods that follow one another add up to the whole.

    job_id: only what that job bears, and what was wasted or stood idle of instances launched for it alone.
    """
    metered = all_charges(lives, until, since, rules)
    mine = [(one, _of(one, job_id)) for one in metered]
    kept = [(one, charges) for one, charges in mine if charges]
    every = tuple(charge for _, charges in kept for charge in charges)
    instances = tuple(_instance(one, charges, until) for one, charges in kept)
    return Bill(
        since,
        until,
        _jobs(every),
        _sum(charge for charge in every if charge.bearer is Bearer.IDLE),
        _sum(charge for charge in every if charge.bearer is Bearer.WASTE),
        instances,
        tuple(one.instance_id for one in instances if one.usd is None),
        {kind: _sum(charge for charge in every if charge.kind is kind) for kind in Kind},
        usd_of(sum(charge.volumes for charge in every)),
        every,
    )


def _of(one: Metered, job_id: int | None) -> tuple[Charge, ...]:
    if job_id is None:
        return one.charges
    is_mine = job_id in one.life.row.jobs or any(charge.job_id == job_id for charge in one.charges)
    alone = set(one.life.row.jobs) == {job_id}
    wanted = {job_id, None} if alone else {job_id}
    return tuple(charge for charge in one.charges if is_mine and charge.job_id in wanted)


def _instance(one: Metered, charges: Sequence[Charge], until: datetime) -> InstanceCost:
    row = one.life.row
    return InstanceCost(
        row.instance_id,
        row.instance_type,
        row.zone,
        row.market,
        row.node,
        row.jobs,
        one.seconds,
        row.price,
        _sum(charges) if one.has_price else None,
        _shares(charges, has_price=one.has_price),
        is_running=row.ended_at is None or row.ended_at > until,
        volumes_usd=usd_of(sum(charge.volumes for charge in charges)),
    )


def _shares(charges: Iterable[Charge], *, has_price: bool) -> tuple[Share, ...]:
    """Add up days: one share for each bearer and kind."""
    sums: dict[tuple[Kind, int | None], int] = defaultdict(int)
    for charge in charges:
        sums[charge.kind, charge.job_id] += charge.nanos
    return tuple(
        Share(BEARERS[kind], usd_of(nanos) if has_price else None, job, kind) for (kind, job), nanos in sums.items()
    )


def _sum(charges: Iterable[Charge]) -> Decimal:
    return usd_of(sum(charge.nanos for charge in charges))


def _jobs(charges: Iterable[Charge]) -> tuple[JobCost, ...]:
    borne: dict[int, list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.job_id is not None:
            borne[charge.job_id].append(charge)
    return tuple(_job(job_id, borne[job_id]) for job_id in sorted(borne))


def _job(job_id: int, parts: Sequence[Charge]) -> JobCost:
    return JobCost(
        job_id,
        parts[0].user,
        parts[0].account,
        ",".join(sorted({charge.partition for charge in parts})),
        _sum(parts),
        len({charge.instance_id for charge in parts}),
        sum(charge.seconds for charge in parts),
        {kind: _sum(one for one in parts if one.kind is kind) for kind in Kind if any(p.kind is kind for p in parts)},
    )
