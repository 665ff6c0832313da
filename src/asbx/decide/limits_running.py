"""What is due about jobs that run and have reached a limit: say it, warn, stop, take the nodes; one step at a time.

A step is due only after the one before it was kept, in a pass of its own: so nothing is stopped on one look, and a
restart of the program repeats nothing and begins no grace anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.config.limits_section import Exceeded
from asbx.decide.limits import Ceiling, Owner, hours_of
from asbx.decide.limits_room import Load, Reach
from asbx.model.limit import LimitMark, Measure, Step

Key = tuple[int, int, str, Measure]
# Which limits hold while a job runs.
WHILE_RUNNING = (Measure.TOTAL, Measure.HOURS, Measure.ALERT, Measure.AUTO_TERMINATE)


@dataclass(frozen=True)
class Running:
    """A job that has nodes now. run: how often it was requeued. used: how long it has run. spent: so far, USD.

    usd_per_hour: of the nodes it has for itself. shares: those that others have, too. limit: its time limit.
    is_leaving: it has ended, and is not off its nodes yet.
    """

    job_id: int
    run: int
    nodes: tuple[str, ...]
    owners: tuple[Owner, ...]
    used: timedelta
    spent: Decimal
    usd_per_hour: Decimal = Decimal(0)
    shares: frozenset[str] = frozenset()
    can_requeue: bool = True
    limit: timedelta | None = None
    ceilings: tuple[Ceiling, ...] = ()
    is_leaving: bool = False


@dataclass(frozen=True)
class Due:
    """A step to be taken for a job, with the reason as it is told. action: what stopping it means."""

    job: Running
    ceiling: Ceiling
    step: Step
    why: str
    action: Exceeded
    due_at: datetime | None = None

    @property
    def key(self) -> Key:
        """Return what names it among the marks."""
        return self.job.job_id, self.job.run, self.ceiling.said_by, self.ceiling.measure


@dataclass(frozen=True)
class Steps:
    """What is due. said: limits of all that runs which are passed, to be said once. over: marks to be forgotten."""

    due: tuple[Due, ...] = ()
    said: tuple[Reach, ...] = ()
    over: tuple[Key, ...] = ()


@dataclass
class _Pass:
    marks: Mapping[Key, LimitMark]
    now: datetime
    reached: set[Key] = field(default_factory=set)


def steps(
    jobs: Sequence[Running],
    reached: Sequence[Reach],
    marks: Iterable[LimitMark],
    now: datetime,
    idle: Sequence[Load] = (),
) -> Steps:
    """Return what is due. reached: how far the limits of what runs at once are used. marks: what was done before.

    idle: instances without a job, which end by themselves: no job has to go for what they cost.
    """
    one = _Pass({mark.key: mark for mark in marks}, now)
    due = [step for job in jobs for step in _of_job(one, job)]
    said = []
    for reach in reached:
        if reach.used <= reach.ceiling.most:
            continue
        key = (0, 0, reach.ceiling.said_by, reach.ceiling.measure)
        one.reached.add(key)
        if key not in one.marks:
            said.append(reach)
        due += _of_all(one, jobs, reach, idle)
    here = {(job.job_id, job.run) for job in jobs}
    over = [key for key in one.marks if key not in one.reached and (key[0] == 0 or key[:2] in here)]
    return Steps(tuple(due), tuple(said), tuple(over))


def _of_job(one: _Pass, job: Running) -> Iterator[Due]:
    for ceiling in job.ceilings:
        why = _passed(job, ceiling)
        if why is not None:
            yield from _next(one, job, ceiling, why, "warn" if ceiling.measure is Measure.ALERT else ceiling.exceeded)


def _passed(job: Running, ceiling: Ceiling) -> str | None:
    """Return why a limit of the job is reached, None where it is not."""
    hours = hours_of(job.used) or Decimal(0)
    if ceiling.measure in (Measure.TOTAL, Measure.ALERT):
        return f"{ceiling}: it has cost {job.spent.normalize():f} USD" if job.spent >= ceiling.most else None
    if ceiling.measure is Measure.AUTO_TERMINATE or (ceiling.measure is Measure.HOURS and job.limit is None):
        return f"{ceiling}: it has run for {hours:.4g} h" if hours >= ceiling.most else None
    return None


def _next(one: _Pass, job: Running, ceiling: Ceiling, why: str, action: Exceeded) -> Iterator[Due]:
    key = (job.job_id, job.run, ceiling.said_by, ceiling.measure)
    one.reached.add(key)
    mark = one.marks.get(key)
    later = one.now + ceiling.grace
    if job.is_leaving and (mark is None or mark.step is not Step.STOPPED):
        return
    if mark is None:
        step = Step.SAID if action == "warn" else Step.WARNED
        yield Due(job, ceiling, step, why, action, None if step is Step.SAID else later)
        return
    if mark.due_at is None or one.now < mark.due_at or mark.at >= one.now:
        return
    if mark.step is Step.WARNED and action != "warn":
        how: Exceeded = "requeue" if action == "requeue" and job.can_requeue else "cancel"
        yield Due(job, ceiling, Step.STOPPED, why, how, later)
    elif mark.step is Step.STOPPED and not job.shares:
        yield Due(job, ceiling, Step.ENDED, why, action)


def _of_all(one: _Pass, jobs: Sequence[Running], reach: Reach, idle: Sequence[Load]) -> Iterator[Due]:
    """Yield the next step of the jobs that must go so that the rest is below the limit: the youngest first.

    Those that were warned already go before others, so that a pass does not choose anew.
    """
    ceiling = reach.ceiling
    if ceiling.exceeded == "warn" or ceiling.measure is not Measure.HOURLY_AT_ONCE:
        return
    mine = [job for job in jobs if any(ceiling.adds(owner) for owner in job.owners) and job.usd_per_hour > 0]
    marked = {key[0] for key in one.marks if key[2:] == (ceiling.said_by, ceiling.measure)}
    above = reach.used - ceiling.most - sum((load.usd for load in idle if ceiling.adds(load.owner)), Decimal(0))
    for job in sorted(mine, key=lambda job: (job.job_id not in marked, job.used, -job.job_id)):
        if above <= 0:
            return
        above -= job.usd_per_hour
        yield from _next(one, job, ceiling, f"{reach}, and this is among the youngest jobs", ceiling.exceeded)
