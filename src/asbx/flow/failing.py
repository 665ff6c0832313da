"""Tell Slurm and the jobs that nodes will not come: the jobs wait again, say why, and are tried later or held.

The order is slurm-gcp's (cluster-toolkit PR 5776), found right on 22.05.8: bare DOWN strands nodes, bare power_down
waits for ResumeTimeout, and a StartTime set before the job is PENDING is overwritten by the requeue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from asbx.decide.backoff import again, hold, no_later_than
from asbx.decide.markets import told
from asbx.errors import ExitCode, SlurmError
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure
from asbx.flow.put_off import Fate, PutOff
from asbx.flow.room import LIMIT_REACHED
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold, unique_sorted
from asbx.model.job import Request
from asbx.model.record import Setback

# Whoever may mend it is not the owner of the job, so the job is put off for long at once.
_ADMINISTRATORS = (ExitCode.AWS_ACCESS, ExitCode.CONFIG)


@dataclass(frozen=True)
class Lost:
    """Nodes that will not come. ours: those of them Slurm knows and that belong to us. jobs: who waits for them.

    gang_id, intent_id: of the launch they were for, "" where there was none.
    """

    nodes: Sequence[str]
    ours: Sequence[str]
    jobs: Sequence[int]
    failure: Failure
    gang_id: str = ""
    intent_id: str = ""

    @property
    def said(self) -> str:
        """Return it as node Reason and AdminComment say it."""
        return f"asbx:{self.failure.code} {self.failure.reason}"


def fail_nodes(
    doors: Doors, request: Request, nodes: Sequence[str], ours: Sequence[str], jobs: Sequence[int], failure: Failure
) -> None:
    """Fail the nodes of one gang, or some loose ones."""
    fail_many(doors, request, [Lost(nodes, ours, jobs, failure)])


def fail_many(doors: Doors, request: Request, failures: Sequence[Lost]) -> None:
    """Fail all these nodes and put their jobs off. Safe to run again.

    Nodes that are not ours, or that Slurm does not know, are only reported. Never raises for Slurm: what it does not
    hear now, ResumeTimeout tells it later. Raises LedgerError.
    """
    for lost in failures:
        _report(doors, request, lost)
    jobs = PutOff(doors, request, _fates(doors, request, failures))
    jobs.tell()
    jobs.fail(_by_reason(failures))
    for setback in jobs.settle():
        doors.ledger.set_setback(setback)


def _report(doors: Doors, request: Request, lost: Lost) -> None:
    code, reason = lost.failure.code, lost.failure.reason
    doors.say(
        Event(
            EventKind.NODE_FAILED,
            f"{fold(unique_sorted(lost.nodes))}: {code}: {reason}",
            request.request_id,
            lost.gang_id,
            level="error",
            data={"code": code, "nodes": fold(unique_sorted(lost.nodes))},
            intent_id=lost.intent_id,
            jobs=tuple(lost.jobs),
        )
    )


def _fates(doors: Doors, request: Request, failures: Sequence[Lost]) -> list[Fate]:
    """Decide what becomes of each job; of several failures of one job that counts which is worst for it."""
    ranked = sorted(failures, key=lambda lost: (not lost.ours, not lost.failure.hopeless))
    of_job: dict[int, Lost] = {}
    for lost in ranked:
        for job in lost.jobs:
            of_job.setdefault(job, lost)
    if not of_job:
        return []
    before = doors.ledger.setbacks(of_job)
    leaders = _leaders(doors, request, of_job)
    now, waits = doors.clock.now(), _spot_waits(doors, request, of_job)
    fates = [
        _fate(doors, request, job, lost, before.get(job), leaders.get(job, job), now) for job, lost in of_job.items()
    ]
    return [_waiting(fate, of_job[fate.job].failure, waits, now) for fate in fates]


def _spot_waits(doors: Doors, request: Request, of_job: Mapping[int, Lost]) -> Mapping[int, datetime]:
    """Return since when jobs wait for spot; those that begin to have done so since Slurm asked for their nodes."""
    jobs = [job for job, lost in of_job.items() if lost.failure.spot_wait is not None]
    if not jobs:
        return {}
    doors.ledger.begin_spot_waits(jobs, request.received_at)
    return doors.ledger.spot_waits(jobs)


def _waiting(fate: Fate, failure: Failure, waits: Mapping[int, datetime], now: datetime) -> Fate:
    """Return a fate that comes no later than the end of the wait for spot, and says until when that is."""
    if fate.job not in waits or failure.spot_wait is None or fate.next.held:
        return fate
    since = waits[fate.job]
    coming, text = no_later_than(fate.next, since + failure.spot_wait, now), told(since, failure.spot_wait)
    assert coming.delay is not None, "what is not held comes again"
    setback = replace(fate.setback, next_at=now + coming.delay, reason=f"{fate.setback.reason}; it {text}")
    return replace(fate, next=replace(coming, text=f"{coming.text}; {text}"), setback=setback)


def _leaders(doors: Doors, request: Request, jobs: Iterable[int]) -> dict[int, int]:
    """Return job -> leader of the heterogeneous job it is part of: its components are put off alike."""
    try:
        return {fact.job_id: fact.leader for fact in doors.scheduler.jobs(sorted(jobs)) if fact.leader}
    except SlurmError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", request.request_id, level="warning"))
        return {}


def _fate(
    doors: Doors, request: Request, job: int, lost: Lost, before: Setback | None, leader: int, now: datetime
) -> Fate:
    # A setback younger than the request was written by an earlier run of it, or for other nodes of the same job.
    is_new = before is None or before.at < request.received_at
    count = (before.count if before else 0) + is_new
    failure = lost.failure
    if failure.hopeless:
        fate = hold(leader)
    else:
        patient = failure.exit_code in _ADMINISTRATORS
        settings = doors.config.backoff
        if failure.code == LIMIT_REACHED:  # room comes when somebody's job ends, which no number of tries tells
            soon = doors.config.limits.retry_seconds
            settings = settings.model_copy(update={"first_seconds": soon, "longest_seconds": soon})
        fate = again(settings, leader, count, now, patient=patient, not_before=failure.not_before)
    next_at = None if fate.delay is None else now + fate.delay
    setback = Setback(job, count, failure.code, failure.reason, now, next_at)
    return Fate(job, lost.said, fate, setback, waits=bool(lost.ours))


def _by_reason(failures: Sequence[Lost]) -> list[tuple[tuple[str, ...], str]]:
    """Return our nodes and what is said of them, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for lost in failures:
        if lost.ours:
            by_reason.setdefault(lost.said, []).extend(lost.ours)
    return [(unique_sorted(nodes), said) for said, nodes in by_reason.items()]
