"""How long jobs waited for their nodes, beside what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from asbx.decide.meter.sums import Sum


@dataclass(frozen=True)
class Arrival:
    """An instance that became a node. jobs: those it was launched for. asked_at: when Slurm's request arrived."""

    launch: str
    jobs: tuple[int, ...]
    market: str
    asked_at: datetime
    registered_at: datetime


@dataclass(frozen=True)
class JobWait:
    """seconds: from Slurm's request to the last node of the job's first launch. nanos: what the job cost in the period.

    It is not the whole time in Slurm's queue: what a job waited before Slurm asked for nodes is in Slurm's accounting.
    """

    job_id: int
    market: str
    seconds: int
    nanos: int


def job_waits(arrivals: Iterable[Arrival], by_job: Sequence[Sum]) -> tuple[JobWait, ...]:
    """Return jobs whose wait and cost are both known, the dearest first. by_job: sums by job."""
    cost: dict[int, int] = defaultdict(int)
    for one in by_job:
        if one.key[0]:
            cost[int(one.key[0])] += one.nanos
    launches: dict[tuple[int, str], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        for job in arrival.jobs:
            if job in cost:
                launches[job, arrival.launch].append(arrival)
    first: dict[int, list[Arrival]] = {}
    for (job, _), found in launches.items():
        if job not in first or found[0].asked_at < first[job][0].asked_at:
            first[job] = found
    waits = [JobWait(job, _market(found), _seconds(found), cost[job]) for job, found in first.items()]
    return tuple(sorted(waits, key=lambda one: (-one.nanos, one.job_id)))


def _seconds(found: Sequence[Arrival]) -> int:
    last = max(one.registered_at for one in found)
    return max(0, round((last - found[0].asked_at).total_seconds()))


def _market(found: Sequence[Arrival]) -> str:
    markets = {one.market for one in found}
    return markets.pop() if len(markets) == 1 else "mixed"
