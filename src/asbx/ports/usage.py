"""Who used nodes when, and what volumes instances have: where it is asked, and where it is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from asbx.model.record import InstanceRow
from asbx.model.usage import JobRun, JobSighting, Volume, Watch
from asbx.ports.charges import ChargeBook
from asbx.ports.prices import PriceBook


class JobTable(Protocol):
    """Slurm's jobs. Raises SlurmError when it cannot be asked."""

    def keeps(self) -> timedelta:
        """Return how long slurmctld shows a job that is over (MinJobAge)."""

    def sightings(self) -> tuple[JobSighting, ...]:
        """Return every job slurmctld knows, those too that ended not long ago (MinJobAge)."""

    def history(self, begin: datetime, end: datetime) -> tuple[JobSighting, ...] | None:
        """Return the runs of a time as the accounting has them, earlier ones of requeued jobs included.

        None where there is no accounting. Runs that go on have no end.
        """


class VolumeList(Protocol):
    """EC2's volumes. Raises CloudError."""

    def volumes(self, instance_ids: Sequence[str]) -> tuple[Volume, ...]:
        """Return the volumes attached to these instances."""


class RunBook(Protocol):
    """What the ledger keeps of the use of instances. Every method raises LedgerError when the database cannot serve.

    Nothing of it is forgotten: it is money, as the instances themselves.
    """

    def record_runs(self, runs: Iterable[JobRun], watch: Watch | None = None) -> None:
        """Keep runs. One that overlaps a kept one of its job and node is the same (see decide/usage.py).

        watch: of which time all runs are known by now; joined with the kept one it touches. All in one transaction.
        """

    def runs(
        self, since: datetime | None = None, until: datetime | None = None, *, nodes: Collection[str] | None = None
    ) -> tuple[JobRun, ...]:
        """Return runs that have a moment in common with a time (on these nodes), by start, job and node."""

    def hosts(self, job_id: int) -> tuple[InstanceRow, ...]:
        """Return the instances a job ran on, whomever they were launched for, first launched first."""

    def open_runs(self) -> tuple[JobRun, ...]:
        """Return the runs without an end."""

    def watches(self) -> tuple[Watch, ...]:
        """Return the times of which all runs are known, oldest first."""

    def add_volumes(self, volumes: Iterable[Volume]) -> None:
        """Keep volumes; one kept already is replaced."""

    def volumes(self, instance_ids: Collection[str] | None = None) -> tuple[Volume, ...]:
        """Return the volumes of these instances, or all, by instance and volume."""

    def registrations(self, instance_ids: Collection[str] | None = None) -> dict[str, datetime]:
        """Return when the nodes of these instances, or of all, registered; those that have not are left out."""

    def add_reclaimed(self, instance_ids: Collection[str]) -> None:
        """Keep that EC2 took these Spot instances back."""

    def reclaimed(self) -> frozenset[str]:
        """Return which instances EC2 took back."""


class CostBook(RunBook, PriceBook, ChargeBook, Protocol):
    """All that the ledger keeps to say what instances cost."""
