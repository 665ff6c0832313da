"""Jobs that are over: as Slurm accounted for them, and what was launched for them."""

from __future__ import annotations

from typing import Protocol

from asbx.model.account import JobAccount
from asbx.model.job_instance import JobInstance
from asbx.ports.ledger import JobPlanRecord


class Accounting(Protocol):
    """Slurm's accounting."""

    def account(self, job: str) -> JobAccount | None:
        """Return a job by number or label (`3_2`, `4+1`); None where accounting does not know it.

        Raises SlurmError: `slurm-no-accounting` where the cluster keeps none, others when it does not answer.
        """

    def comment(self, job: str, text: str) -> None:
        """Put a text in the place of the AdminComment of a job that is over. Raises SlurmError."""


class Launches(JobPlanRecord, Protocol):
    """The part of the ledger that knows whom an instance was for, and by which plan it was launched."""

    def job_launches(self, job_id: int) -> tuple[JobInstance, ...]:
        """Return every instance that was launched for a job, first launched first. Raises LedgerError."""

    def live_jobs(self) -> frozenset[int]:
        """Return the jobs whose instances still cost money. Raises LedgerError."""
