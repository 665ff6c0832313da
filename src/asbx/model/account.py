"""A job that is over, as Slurm's accounting has it: what it was given, and what its steps used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# Base states that a job does not leave by itself (squeue(1), JOB STATE CODES).
OVER = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "OUT_OF_MEMORY"),
        *("DEADLINE", "REVOKED"),
    }
)


@dataclass(frozen=True)
class StepUse:
    """What a step used; None where Slurm's jobacct_gather did not say.

    name: `batch`, `extern`, or its number. cpu_tasks: CPU time of (average, busiest task). peak_memory: bytes, the sum
    over its tasks of what each had resident at most, as sampled. fabric: bytes in and out, of acct_gather_interconnect.
    """

    name: str
    elapsed: timedelta
    tasks: int | None = None
    cpu_time: timedelta | None = None
    cpu_tasks: tuple[timedelta, timedelta] | None = None
    peak_memory: int | None = None
    fabric: int | None = None


@dataclass(frozen=True)
class JobAccount:
    """A job's last run. label: as users write it (`3_2`, `4+1`), job_id: the number that is its own.

    state: the base state. exit_code, signal: of the batch script. elapsed: from when its nodes were ready. cpu_time: of
    all its processes, None where nothing was measured. memory: bytes it was given, all nodes together. comment:
    AdminComment. siblings: other jobs of the array that was asked for.
    """

    job_id: int
    label: str
    state: str
    user: str = ""
    account: str = ""
    partition: str = ""
    name: str = ""
    exit_code: int = 0
    signal: int = 0
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    elapsed: timedelta = timedelta()
    limit: timedelta | None = None
    nodes: int = 0
    node_list: str = ""
    cpus: int = 0
    gpus: int = 0
    memory: int | None = None
    cpu_time: timedelta | None = None
    comment: str = ""
    steps: tuple[StepUse, ...] = ()
    siblings: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER

    @property
    def is_success(self) -> bool:
        """Whether it ended as it should."""
        return self.state == "COMPLETED"
