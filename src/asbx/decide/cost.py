"""Charge every second of every instance to somebody: the jobs it was launched for, idle, or waste.

EC2 bills Linux instances by the second, at least 60 seconds for each start (AWS, "Amazon EC2 On-Demand Pricing":
"billed per second, with a minimum of 60 seconds"; spot instances likewise). We count from the launch to the end, or
to now. EC2 itself starts at `running`, some seconds later: our bill is never below Amazon's. EBS and data transfer are
not in it. One price holds for a whole lifetime: the one recorded at launch.

Who bears an instance, looked at in this order:
- never bound to a node: waste (a failed gang, a node that never came);
- launched for no job: idle (a manual power-up);
- otherwise the jobs it was launched for, in even parts.

USD are rounded once, per instance, to a billionth; parts of it are cut so that they sum to it exactly. So the sum over
jobs, idle and waste IS the sum over instances, digit for digit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING

from asbx.model.market import Market

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from asbx.model.record import InstanceRow

MINIMUM_S = 60
_HOUR_S = Decimal(3600)
_UNIT = Decimal("1E-9")
_ZERO = Decimal(0)
# Room for any sum of billionths: the default of 28 digits would round large ones.
_EXACT = Context(prec=80)


class Bearer(StrEnum):
    """Who an amount is charged to."""

    JOB = "job"
    IDLE = "idle"
    WASTE = "waste"


@dataclass(frozen=True)
class Share:
    """A part of an instance's cost. job_id: None unless a job bears it. usd: None while the price is unknown."""

    bearer: Bearer
    usd: Decimal | None
    job_id: int | None = None


@dataclass(frozen=True)
class InstanceCost:
    """What an instance cost within the period. seconds: as billed. price: USD an hour."""

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


@dataclass(frozen=True)
class JobCost:
    """What a job cost. seconds: sum over its instances, in full even where others share them."""

    job_id: int
    user: str
    account: str
    partition: str
    usd: Decimal
    instances: int
    seconds: int


@dataclass(frozen=True)
class Bill:
    """Where the money went. since: None = from the first launch on. unpriced: instances whose price is unknown."""

    since: datetime | None
    until: datetime
    jobs: tuple[JobCost, ...]
    idle_usd: Decimal
    waste_usd: Decimal
    instances: tuple[InstanceCost, ...]
    unpriced: tuple[str, ...]

    @property
    def total_usd(self) -> Decimal:
        """The sum over jobs, idle and waste, which is the sum over instances."""
        return total([*(job.usd for job in self.jobs), self.idle_usd, self.waste_usd])


def total(amounts: Iterable[Decimal | None]) -> Decimal:
    """Add amounts exactly; unknown ones count for nothing."""
    with localcontext(_EXACT):
        return sum((amount for amount in amounts if amount is not None), _ZERO)


def billed_seconds(launched_at: datetime, until: datetime, minimum_s: int = MINIMUM_S) -> int:
    """Return the seconds EC2 charges for an instance that ran until then; 0 if it had not been launched."""
    if until <= launched_at:
        return 0
    return max(minimum_s, math.ceil((until - launched_at).total_seconds()))


def bill(
    rows: Sequence[InstanceRow],
    until: datetime,
    since: datetime | None = None,
    job_id: int | None = None,
    *,
    minimum_s: int = MINIMUM_S,
) -> Bill:
    """Add up instances over a period; periods that follow one another add up to the whole.

    job_id: only what was launched for that job, other jobs' parts left out. minimum_s: charged for each start.
    """
    mine = [row for row in rows if job_id is None or job_id in row.jobs]
    costs = [(row, _cost(row, until, since, minimum_s)) for row in mine]
    billed = [(row, _only(cost, job_id)) for row, cost in costs if cost.seconds > 0]
    instances = tuple(cost for _, cost in billed)
    return Bill(
        since,
        until,
        _jobs(billed),
        _borne(instances, Bearer.IDLE),
        _borne(instances, Bearer.WASTE),
        instances,
        tuple(cost.instance_id for cost in instances if cost.usd is None),
    )


def _cost(row: InstanceRow, until: datetime, since: datetime | None, minimum_s: int) -> InstanceCost:
    end = min(until, row.ended_at or until)
    # The difference of two bills, so that the minimum is charged once, in the period of the launch.
    seconds = billed_seconds(row.launched_at, end, minimum_s)
    if since is not None:
        seconds -= billed_seconds(row.launched_at, min(since, end), minimum_s)
    usd = None if row.price is None else _amount(row.price, seconds)
    return InstanceCost(
        row.instance_id,
        row.instance_type,
        row.zone,
        row.market,
        row.node,
        row.jobs,
        seconds,
        row.price,
        usd,
        _shares(row, usd),
        is_running=row.ended_at is None or row.ended_at > until,
    )


def _amount(price: Decimal, seconds: int) -> Decimal:
    with localcontext(_EXACT):
        return (price * seconds / _HOUR_S).quantize(_UNIT, ROUND_HALF_EVEN)


def _shares(row: InstanceRow, usd: Decimal | None) -> tuple[Share, ...]:
    if row.bound_at is None:
        return (Share(Bearer.WASTE, usd),)
    jobs = tuple(dict.fromkeys(row.jobs))
    if not jobs:
        return (Share(Bearer.IDLE, usd),)
    return tuple(Share(Bearer.JOB, part, job) for job, part in zip(jobs, _even_parts(usd, len(jobs)), strict=True))


def _even_parts(usd: Decimal | None, count: int) -> list[Decimal | None]:
    if usd is None:
        return [None] * count
    with localcontext(_EXACT):
        part = (usd / count).quantize(_UNIT, ROUND_DOWN)
        # The billionths that cannot be parted go to the first job.
        return [usd - part * (count - 1), *[part] * (count - 1)]


def _only(cost: InstanceCost, job_id: int | None) -> InstanceCost:
    if job_id is None:
        return cost
    shares = tuple(share for share in cost.shares if share.job_id in (None, job_id))
    usd = None if cost.usd is None else total(share.usd for share in shares)
    return replace(cost, shares=shares, usd=usd)


def _borne(instances: Iterable[InstanceCost], bearer: Bearer) -> Decimal:
    return total(share.usd for cost in instances for share in cost.shares if share.bearer == bearer)


def _jobs(billed: Sequence[tuple[InstanceRow, InstanceCost]]) -> tuple[JobCost, ...]:
    borne: dict[int, list[tuple[InstanceRow, InstanceCost, Share]]] = defaultdict(list)
    for row, cost in billed:
        for share in cost.shares:
            if share.job_id is not None:
                borne[share.job_id].append((row, cost, share))
    return tuple(_job(job_id, borne[job_id]) for job_id in sorted(borne))


def _job(job_id: int, parts: Sequence[tuple[InstanceRow, InstanceCost, Share]]) -> JobCost:
    rows = [row for row, _, _ in parts]
    return JobCost(
        job_id,
        rows[0].user,
        rows[0].account,
        ",".join(sorted({row.group.partition for row in rows})),
        total(share.usd for _, _, share in parts),
        len(parts),
        sum(cost.seconds for _, cost, _ in parts),
    )
