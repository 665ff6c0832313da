"""What the ledger keeps of how a job's launch was decided: by which plan, why, and where each value came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

NO_PLAN = "no plan: group defaults"


@dataclass(frozen=True)
class FilledValue:
    """A value of the launch in one node group, and who said so."""

    group: str
    field: str
    value: str
    source: str


@dataclass(frozen=True)
class PlannedRung:
    """One choice of the launch in one node group, in the order of asking. key: what attempts call it."""

    group: str
    key: str
    text: str


@dataclass(frozen=True)
class JobPlan:
    """The plan one job went by in one request; a job that waits and comes again is decided anew.

    origin: where the plan came from, NO_PLAN for none. plan: its text as it was read, "" where it has none (the
    analyzer's has none) or a very long one. why: what the analyzer found, "" where it did not look. refusal:
    `code: why` where the plan or a policy stopped the job, "" otherwise. nodes: how many the job has in all. price: of
    the dearest instance allowed, USD an hour, None where it is not known. time_limit: of the job, None where it is not
    known or there is none. label: what Slurm calls a task of an array (`12_3`) or a component of a heterogeneous job
    (`12+1`), "" for other jobs.
    """

    job_id: int
    request_id: str
    decided_at: datetime
    origin: str = NO_PLAN
    plan: str = ""
    why: str = ""
    refusal: str = ""
    filled: tuple[FilledValue, ...] = ()
    rungs: tuple[PlannedRung, ...] = ()
    label: str = ""
    name: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    nodes: int = 0
    price: Decimal | None = None
    time_limit: timedelta | None = None
