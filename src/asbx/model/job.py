"""What Slurm asks: requests, the jobs in them, and what the queue says of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class RequestKind(StrEnum):
    """Which program of Slurm was called."""

    RESUME = "resume"
    SUSPEND = "suspend"
    RESUME_FAIL = "resume-fail"


@dataclass(frozen=True)
class JobAsk:
    """One job of a resume file.

    nodes_alloc: every node of the job. nodes_resume: those to be powered up now.
    The rest are null where that Slurm does not write them (22.05 writes none).
    """

    job_id: int
    nodes_alloc: tuple[str, ...]
    nodes_resume: tuple[str, ...]
    partition: str | None = None
    features: str | None = None
    extra: str | None = None
    reservation: str | None = None
    exclusive: str | None = None
    oversubscribe: str | None = None
    priority: int | None = None


@dataclass(frozen=True)
class Request:
    """One call of a Slurm program, as read from the spool.

    nodes: sorted, without repetition. notes: what was odd about it, one sentence each.
    plan_text: the execution plan handed over on the command line, unread. by_hand: a person called, not Slurm.
    """

    request_id: str
    kind: RequestKind
    nodes: tuple[str, ...]
    received_at: datetime
    jobs: tuple[JobAsk, ...] = ()
    notes: tuple[str, ...] = ()
    plan_text: str | None = None
    by_hand: bool = False


@dataclass(frozen=True)
class JobFacts:
    """What the queue says about a job; empty strings where Slurm said nothing.

    features: the job's constraint, as sbatch took it. leader: job id of the heterogeneous job it is a component of,
    0 for none. extra: of `--extra` (23.02), comment: of `--comment`; both are the user's own words.
    time_limit: None where it is not known, or there is none.
    label: of a task of an array (`12_3`) or a component (`12+1`), "" of other jobs.
    """

    job_id: int
    user: str = ""
    account: str = ""
    name: str = ""
    state: str = ""
    priority: int | None = None
    features: str = ""
    comment: str = ""
    extra: str = ""
    leader: int = 0
    time_limit: timedelta | None = None
    label: str = ""


@dataclass(frozen=True)
class Tenant:
    """A job that has nodes now. nodes: those it still has (of a job that is COMPLETING, those it has not left yet).

    can_requeue: it is a batch job, and may be requeued. restarts: how often it was. used: how long it has
    run since, None where that is not told.
    """

    job_id: int
    state: str
    nodes: tuple[str, ...]
    can_requeue: bool = True
    restarts: int = 0
    used: timedelta | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it ends or was requeued already, and only its processes are not gone yet."""
        return self.state == "COMPLETING"


@dataclass(frozen=True)
class JobView:
    """A job as Slurm tells somebody who asks for it; empty strings and None where it does not.

    label: what Slurm calls it (`12`, `12_3`, `12+1`). state: in capitals. reason: why it waits. nodes: a folded list.
    starts_at: when it started, or is expected to. elapsed: how long it has run. is_past: it is known from accounting
    only, which does not tell its name here.
    """

    job_id: int
    label: str
    user: str = ""
    account: str = ""
    partition: str = ""
    name: str = ""
    state: str = ""
    reason: str = ""
    nodes: str = ""
    node_count: int = 0
    time_limit: timedelta | None = None
    submitted_at: datetime | None = None
    starts_at: datetime | None = None
    ended_at: datetime | None = None
    elapsed: timedelta | None = None
    is_past: bool = False


@dataclass(frozen=True)
class PastRun:
    """A run of a job that is over. state: how it ended, in capitals. elapsed: without the time its nodes booted."""

    job_id: int
    state: str
    elapsed: timedelta
    nodes: int
