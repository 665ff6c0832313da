"""Slurm's jobs and EC2's volumes, as the learning of their use asks for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.fakes.faults import Faults

from asbx.errors import AsbxError
from asbx.model.usage import JobSighting, Volume
from asbx.ports import Clock


@dataclass
class FakeJobs:
    """The door `JobTable`. jobs: what there is or was; those over for longer than `memory` are forgotten.

    accounting: whether there is one; it knows what is over for good. calls: processes of the real door.
    """

    clock: Clock
    jobs: list[JobSighting] = field(default_factory=list)
    memory: timedelta = timedelta(minutes=5)
    accounting: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    _faults: Faults = field(default_factory=Faults)

    def fail_next(self, method: str, error: AsbxError) -> None:
        """Let the next call fail."""
        self._faults.add(method, error, times=1, after=False)

    def keeps(self) -> timedelta:
        """Return MinJobAge."""
        return self.memory

    def sightings(self) -> tuple[JobSighting, ...]:
        """Show what slurmctld knows still."""
        self.calls["squeue"] += 1
        with self._faults.call("sightings"):
            now = self.clock.now()
            return tuple(j for j in self.jobs if not _is_over(j, now) or now - _end(j) <= self.memory)

    def history(self, begin: datetime, end: datetime) -> tuple[JobSighting, ...] | None:
        """Show what the accounting has of a time; it does not count restarts."""
        self.calls["sacct"] += 1
        if not self.accounting:
            return None
        return tuple(
            job
            for job in self.jobs
            if job.started_at is not None and job.started_at <= end and (job.ended_at is None or job.ended_at >= begin)
        )


def _is_over(job: JobSighting, now: datetime) -> bool:
    return job.ended_at is not None and job.ended_at <= now and job.state not in ("RUNNING", "COMPLETING")


def _end(job: JobSighting) -> datetime:
    assert job.ended_at is not None
    return job.ended_at


@dataclass
class FakeVolumes:
    """The door `VolumeList`: every instance has one, unless it is in `bare`."""

    bare: set[str] = field(default_factory=set)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    _faults: Faults = field(default_factory=Faults)

    def fail_next(self, error: AsbxError) -> None:
        """Let the next call fail."""
        self._faults.add("volumes", error, times=1, after=False)

    def volumes(self, instance_ids: Sequence[str]) -> tuple[Volume, ...]:
        """Return one for each."""
        self.asked.append(tuple(instance_ids))
        with self._faults.call("volumes"):
            return tuple(Volume(one, f"vol-{one}", "gp3", 20) for one in instance_ids if one not in self.bare)
