"""What a job is expected to cost, and what it has cost so far: the estimate, what earlier runs say, and the bill."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.decide.cost import Bill, bill, total
from asbx.decide.estimate import Course, Estimate
from asbx.decide.explain_job import Known
from asbx.decide.history import Expectation
from asbx.model.record import InstanceRow

_NO_VOLUMES = Decimal(0)
_NOTHING = timedelta()


@dataclass(frozen=True)
class Money:
    """In USD. most: the estimate over the whole time limit. likely: (least, most) by earlier runs, None without them.

    so_far: borne by the job; wasted: by launches for it that came to nothing. unpriced: instances not in either.
    """

    most: Estimate
    likely: tuple[Estimate, Estimate] | None
    so_far: Decimal
    wasted: Decimal
    unpriced: tuple[str, ...]
    is_running: bool


def money(known: Known, course: Course, past: Expectation | None, found: Bill) -> Money:
    """Return what a job costs. course: of its nodes, up to its time limit. found: what it has cost so far."""
    nodes, price = node_count(known), price_of(known)
    likely = None
    if past is not None and past.shortest is not None and past.longest is not None:
        spans = (past.shortest, past.longest)
        boot, idle = (_NOTHING, _NOTHING) if past.of_nodes else (course.boot, course.idle)
        least, most = (Estimate(nodes, price, _NO_VOLUMES, Course(boot, span, idle)) for span in spans)
        likely = (least, most)
    return Money(
        Estimate(nodes, price, _NO_VOLUMES, course),
        likely,
        total(job.usd for job in found.jobs if job.job_id == known.job_id),
        found.waste_usd,
        found.unpriced,
        any(one.is_running for one in found.instances),
    )


def node_count(known: Known) -> int:
    """Return how many nodes the job has: Slurm's word before the one that was kept."""
    if known.view is not None and known.view.node_count:
        return known.view.node_count
    return known.newest.nodes if known.newest is not None else 0


def price_of(known: Known) -> Decimal | None:
    """Return the price of its dearest node, USD an hour: of those it has or had, else of those it may get."""
    paid = [row.price for row in known.instances if row.price is not None]
    price = max(paid) if paid else next((one.price for one in known.decisions if one.price is not None), None)
    return None if price is None else price.normalize()  # AWS writes it with ten digits


def limit_of(known: Known) -> timedelta | None:
    """Return its time limit, as far as it is known and there is one."""
    if known.view is not None and known.view.time_limit is not None:
        return known.view.time_limit
    return next((one.time_limit for one in known.decisions if one.time_limit is not None), None)


def costs_of(rows: Sequence[InstanceRow], jobs: Collection[int], until: datetime, minimum_s: int) -> dict[int, Decimal]:
    """Return what these jobs have cost, those of unknown price left out."""
    wanted = set(jobs)
    mine = [row for row in rows if not wanted.isdisjoint(row.jobs)]
    unpriced = {job for row in mine if row.price is None for job in row.jobs}
    found = bill(mine, until, minimum_s=minimum_s).jobs
    return {one.job_id: one.usd for one in found if one.job_id in wanted - unpriced}
