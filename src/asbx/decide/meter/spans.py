"""Who used an instance when: its life cut into spans, each borne by jobs, by nobody, or lost.

- Until its node registered, and on until the first job on it if it was launched for that one: boot, borne by the jobs
  it was launched for.
- While jobs run on it: those jobs, each by its share of the node: the largest of its shares of processors, memory and
  GPUs (as Slurm's priority flag MAX_TRES weighs them; slurm.conf(5)). What no job has is borne by those that are there,
  in proportion: the node is up for them, and a job's cost must not hang on what it leaves free.
- Else: idle. So is the boot of what was launched for no job.
- Never bound to a node, or bound and never registered, and over: waste.
- Where runs of jobs are not recorded: the jobs it was launched for, in even parts, from launch to end (`assumed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from asbx.model.price import PriceChange
from asbx.model.record import InstanceRow
from asbx.model.usage import JobRun


class Bearer(StrEnum):
    """Who an amount is charged to."""

    JOB = "job"
    IDLE = "idle"
    WASTE = "waste"


class Kind(StrEnum):
    """What an amount was spent on."""

    RUN = "run"
    BOOT = "boot"
    ASSUMED = "assumed"
    IDLE = "idle"
    GIVEN_BACK = "given-back"
    NEVER_REGISTERED = "never-registered"


BEARERS = {
    Kind.RUN: Bearer.JOB,
    Kind.BOOT: Bearer.JOB,
    Kind.ASSUMED: Bearer.JOB,
    Kind.IDLE: Bearer.IDLE,
    Kind.GIVEN_BACK: Bearer.WASTE,
    Kind.NEVER_REGISTERED: Bearer.WASTE,
}


class Borne:
    """What amounts by kind have in common: their sum, and who bears it."""

    kind: Kind
    compute: int
    volumes: int

    @property
    def nanos(self) -> int:
        """Return the whole amount in billionths of a USD."""
        return self.compute + self.volumes

    @property
    def bearer(self) -> Bearer:
        """Return who bears it."""
        return BEARERS[self.kind]


@dataclass(frozen=True)
class Capacity:
    """What a node has to give; 0 where it has none of it, or that is not known."""

    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0


@dataclass(frozen=True)
class Life:
    """All that is known of an instance. runs: of jobs on its node while it was behind it, in any order.

    is_tracked: whether runs were recorded all its life. is_interrupted: whether EC2 took it back. volumes_month: USD a
    month of its volumes. capacity: None: jobs are weighed against each other alone.
    """

    row: InstanceRow
    registered_at: datetime | None = None
    runs: tuple[JobRun, ...] = ()
    changes: tuple[PriceChange, ...] = ()
    volumes_month: Decimal = Decimal(0)
    capacity: Capacity | None = None
    is_tracked: bool = False
    is_interrupted: bool = False


@dataclass(frozen=True)
class Span:
    """A part of a life within one UTC day. weights: (job, its weight) of those that bear it; none: nobody does."""

    begin: datetime
    end: datetime
    kind: Kind
    weights: tuple[tuple[int, int], ...] = ()


def spans(life: Life, begin: datetime, until: datetime) -> tuple[Span, ...]:
    """Cut a life into spans from `begin` to `until`, in order, without a gap; none where it lies outside."""
    row = life.row
    # EC2 tells ends in whole seconds: one that lived for less seems to end before it began. It was there, so it counts.
    over = max(row.ended_at, row.launched_at + timedelta.resolution) if row.ended_at else until
    first, last = max(begin, row.launched_at), min(until, over)
    if last <= first:
        return ()
    runs = _clipped(life.runs, row.launched_at, last)
    cuts = {first, last, *_midnights(first, last)}
    for _, start, end in runs:
        cuts |= {start, end}
    ready = _ready(life, runs)
    if ready is not None:
        cuts.add(ready)
    kept = sorted(cut for cut in cuts if first <= cut <= last)
    return tuple(_span(life, runs, ready, one, other) for one, other in pairwise(kept))


def _span(life: Life, runs: Sequence[_Clip], ready: datetime | None, begin: datetime, end: datetime) -> Span:
    mine = [run for run, start, stop in runs if start <= begin and end <= stop]
    if mine:
        return Span(begin, end, Kind.RUN, weights(mine, life.capacity))
    row, jobs = life.row, tuple(dict.fromkeys(life.row.jobs))
    even = tuple((job, 1) for job in jobs)
    is_over = row.ended_at is not None
    kind = Kind.IDLE
    if row.bound_at is None and (is_over or not jobs):
        kind = Kind.GIVEN_BACK
    elif jobs and is_over and life.is_tracked and not runs and life.registered_at is None:
        kind = Kind.NEVER_REGISTERED
    elif not life.is_tracked and not runs and row.bound_at is not None and jobs:
        kind = Kind.ASSUMED
    elif jobs and (ready is None or end <= ready):
        kind = Kind.BOOT
    return Span(begin, end, kind, even if BEARERS[kind] is Bearer.JOB else ())


_Clip = tuple[JobRun, datetime, datetime]


def _clipped(runs: Iterable[JobRun], begin: datetime, end: datetime) -> list[_Clip]:
    """Return runs with what of them lies within; one job counts once at a time, however often it was recorded."""
    found: dict[tuple[int, datetime], _Clip] = {}
    for run in runs:
        start, stop = max(run.started_at, begin), min(run.ended_at or end, end)
        if start < stop:
            found.setdefault((run.job_id, start), (run, start, stop))
    return sorted(found.values(), key=lambda clip: clip[1])


def _ready(life: Life, runs: Sequence[_Clip]) -> datetime | None:
    """Return when the instance stopped booting; None: it has not yet, or nobody saw it."""
    first = runs[0] if runs else None
    if first is not None and (life.registered_at is None or first[0].job_id in life.row.jobs):
        return first[1]
    if first is None or life.registered_at is None:
        return life.registered_at
    return min(life.registered_at, first[1])


def weights(runs: Sequence[JobRun], capacity: Capacity | None = None) -> tuple[tuple[int, int], ...]:
    """Return the weight of each job among those that are on a node at one time; even where nothing tells them apart."""
    jobs: dict[int, JobRun] = {}
    for run in runs:
        jobs.setdefault(run.job_id, run)
    if len(jobs) == 1:
        return ((runs[0].job_id, 1),)
    asked = {job: (run.cpus, run.memory_mib, run.gpus) for job, run in jobs.items()}
    there = (capacity.cpus, capacity.memory_mib, capacity.gpus) if capacity else (0, 0, 0)
    sums = [max(there[i], sum(one[i] for one in asked.values())) or 1 for i in range(3)]
    product = sums[0] * sums[1] * sums[2]
    found = {job: max(one[i] * (product // sums[i]) for i in range(3)) for job, one in asked.items()}
    if not any(found.values()):
        return tuple((job, 1) for job in sorted(found))
    return tuple((job, found[job]) for job in sorted(found))


def _midnights(begin: datetime, end: datetime) -> Iterable[datetime]:
    day = begin.astimezone(UTC).date() + timedelta(days=1)
    while (midnight := datetime.combine(day, time(), UTC)) < end:
        yield midnight
        day += timedelta(days=1)
