"""From what Slurm shows of its jobs to who used which node when.

A look sees a job as it is. What it was before is in the record: so a job that is requeued ends the run that was open,
and one that Slurm no longer knows ends where it was last seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from asbx.model.usage import Allocation, JobRun, JobSighting, Watch

# Slurm's states of a job that is over (squeue(1), "JOB STATE CODES").
ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    }
)
_COMPLETING, _CONFIGURING = "COMPLETING", "CONFIGURING"
_HAVE_NODES = ENDED | {
    *("RUNNING", "SUSPENDED", _COMPLETING, _CONFIGURING, "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"),
    "SPECIAL_EXIT",
}
# What a run's state says that was never seen to end.
LOST = "UNKNOWN"


@dataclass(frozen=True)
class Look:
    """What is known when jobs are looked at.

    serving: nodes whose slurmd has registered -> since when: one of them that waits for the others of its job is used.
    """

    is_ours: Callable[[str], bool]
    serving: Mapping[str, datetime]
    at: datetime


def learned(open_runs: Iterable[JobRun], seen: Iterable[JobSighting], look: Look) -> tuple[JobRun, ...]:
    """Return the runs that are new or have changed; those of jobs that were not seen stay as they are."""
    kept: dict[int, list[JobRun]] = defaultdict(list)
    for run in open_runs:
        kept[run.job_id].append(run)
    return tuple(run for job in seen for run in _of_job(job, kept.get(job.job_id, ()), look))


def vanished(open_runs: Iterable[JobRun], seen: Iterable[JobSighting]) -> tuple[JobRun, ...]:
    """Return the open runs of jobs Slurm no longer knows."""
    known = {job.job_id for job in seen}
    return tuple(run for run in open_runs if run.job_id not in known)


def closed(runs: Iterable[JobRun], at: datetime) -> tuple[JobRun, ...]:
    """End runs of which nobody knows when they ended, where they were last seen."""
    return tuple(replace(run, ended_at=max(run.started_at, at), state=LOST) for run in runs)


def past(seen: Iterable[JobSighting], open_runs: Iterable[JobRun], look: Look) -> tuple[JobRun, ...]:
    """Return the runs the accounting tells of. What it says is under way is left to those who see it.

    It does not tell how a job was spread over its nodes, nor its name: where that was seen, it stands.
    """
    kept = {(run.job_id, run.node): run for run in open_runs}
    told = (
        _run(job, part)
        for job in seen
        if job.started_at is not None and job.ended_at is not None
        for part in job.allocations
        if look.is_ours(part.node)
    )
    return tuple(
        replace(old, ended_at=run.ended_at, state=run.state)
        if (old := kept.get((run.job_id, run.node))) is not None and _meets(old, run)
        else run
        for run in told
    )


def _of_job(job: JobSighting, kept: Sequence[JobRun], look: Look) -> Iterator[JobRun]:
    job = _as_of(job, look)
    runs = {run.node: run for run in _runs(job, look)}
    by_node = {run.node: run for run in kept if run.restarts == job.restarts}
    for run in kept:
        if run.restarts < job.restarts or job.state not in _HAVE_NODES or job.started_at is None:
            yield _ended(run, _requeued_at(job, look), "REQUEUED")
        elif run.restarts == job.restarts and run.node not in runs:
            # A job that is leaving shows only the nodes it has still; one that shrinks, those it keeps.
            yield _ended(run, job.ended_at or look.at, job.state)
    for run in runs.values():
        old = by_node.get(run.node)
        if old is None or merged([old], run)[1] != old:
            yield run


def _as_of(job: JobSighting, look: Look) -> JobSighting:
    """Leave out an end that is only the one a time limit will bring."""
    is_over = job.state in ENDED or (job.state == _COMPLETING and job.ended_at is not None and job.ended_at <= look.at)
    return job if is_over else replace(job, ended_at=None)


def _requeued_at(job: JobSighting, look: Look) -> datetime:
    """Return when a job left its nodes to wait again.

    While it leaves them, its start is that moment; once it waits, the time of its submission is (seen on 22.05.8).
    """
    said = job.started_at if job.state == _COMPLETING else job.submitted_at
    return look.at if said is None else min(said, look.at)


def _ended(run: JobRun, at: datetime, state: str) -> JobRun:
    return replace(run, ended_at=max(run.started_at, at), state=state)


def _runs(job: JobSighting, look: Look) -> Iterator[JobRun]:
    if job.started_at is None or job.state not in _HAVE_NODES:
        return
    if job.state == _COMPLETING and job.ended_at is None:
        return  # on its way back into the queue, which counts as a restart already
    for part in job.allocations:
        if look.is_ours(part.node) and _is_used(job, part, look):
            yield _run(job, part)


def _is_used(job: JobSighting, part: Allocation, look: Look) -> bool:
    """Return whether a job uses a node: not while it boots for it; one that served before waits for the others."""
    if job.state != _CONFIGURING:
        return True
    since = look.serving.get(part.node)
    return since is not None and job.started_at is not None and since <= job.started_at


def _run(job: JobSighting, part: Allocation) -> JobRun:
    assert job.started_at is not None, "only what has begun is a run"
    return JobRun(
        job.job_id,
        job.restarts,
        part.node,
        job.started_at,
        None if job.ended_at is None else max(job.ended_at, job.started_at),
        job.user,
        job.account,
        job.partition,
        job.name,
        job.array_job_id,
        job.array_task_id,
        job.leader,
        part.cpus,
        part.memory_mib,
        part.gpus,
        job.state,
    )


# -- the record


def merged(kept: Sequence[JobRun], new: JobRun) -> tuple[JobRun | None, JobRun]:
    """Return which kept run of the same job and node a new one is, and what is known of it now.

    Two are the same that have a moment in common: the earlier start counts, a known end is never lost, what is not
    told anew stays. Others are another run of it, or a later job that got the same number. The accounting does not
    count restarts: who sees only the later runs of a job counts too few, so the larger number stands.
    """
    for old in kept:
        if _meets(old, new):
            return old, replace(
                new,
                restarts=max(old.restarts, new.restarts),
                started_at=min(old.started_at, new.started_at),
                ended_at=new.ended_at or old.ended_at,
                state=old.state if new.ended_at is None and old.ended_at is not None else new.state,
                name=new.name or old.name,
                cpus=new.cpus or old.cpus,
                memory_mib=new.memory_mib or old.memory_mib,
                gpus=new.gpus or old.gpus,
            )
    return None, new


def _meets(one: JobRun, other: JobRun) -> bool:
    if one.started_at == other.started_at:
        return True
    return (one.ended_at is None or other.started_at < one.ended_at) and (
        other.ended_at is None or one.started_at < other.ended_at
    )


def joined(watches: Sequence[Watch], new: Watch) -> tuple[Watch, ...]:
    """Return all watches after one more: those that touch are one."""
    kept = [one for one in watches if one.end < new.begin or new.end < one.begin]
    touching = [one for one in watches if not (one.end < new.begin or new.end < one.begin)]
    whole = Watch(min([new.begin, *(one.begin for one in touching)]), max([new.end, *(one.end for one in touching)]))
    return tuple(sorted([*kept, whole], key=lambda one: one.begin))


# -- lives


def runs_of(runs: Sequence[JobRun], begin: datetime, end: datetime) -> tuple[JobRun, ...]:
    """Return which runs on a node were on the instance that was behind it for a time: those that began within."""
    return tuple(run for run in runs if begin <= run.started_at < end)


def is_tracked(watches: Iterable[Watch], begin: datetime, end: datetime | None, alive: datetime) -> bool:
    """Return whether runs were recorded from a launch to an end, or go on being recorded.

    alive: a watch that ends after this goes on: the next look has only not come yet.
    """
    return any(
        one.begin <= begin and (one.end >= alive if end is None else one.end >= min(end, max(alive, begin)))
        for one in watches
    )
