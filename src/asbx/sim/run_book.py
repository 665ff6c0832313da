"""A record of runs and volumes in memory, with the promises of the real one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from asbx.decide.usage import joined, merged
from asbx.model.record import Binding, InstanceRow
from asbx.model.usage import JobRun, Volume, Watch
from asbx.sim.moments import aware

_Key = tuple[int, str]


@dataclass
class MemoryRunBook:
    """The door `RunBook`."""

    _runs: dict[_Key, list[JobRun]] = field(default_factory=dict)
    _watches: tuple[Watch, ...] = ()
    _volumes: dict[str, Volume] = field(default_factory=dict)
    _instances: dict[str, InstanceRow] = field(default_factory=dict)
    _bound: dict[str, Binding] = field(default_factory=dict)
    _past: dict[str, list[Binding]] = field(default_factory=dict)
    _reclaimed: dict[str, None] = field(default_factory=dict)

    def record_runs(self, runs: Iterable[JobRun], watch: Watch | None = None) -> None:
        """Keep runs, and of which time they are all."""
        for told in [_aware(run) for run in runs]:
            mine = self._runs.setdefault((told.job_id, told.node), [])
            old, new = merged(mine, told)
            mine[:] = [one for one in mine if one != old] + [new]
        if watch is not None:
            self._watches = joined(self._watches, Watch(aware(watch.begin), aware(watch.end)))

    def runs(
        self, since: datetime | None = None, until: datetime | None = None, *, nodes: Collection[str] | None = None
    ) -> tuple[JobRun, ...]:
        """Return runs of a time, by start, job and node."""
        found = [
            run
            for runs in self._runs.values()
            for run in runs
            if (nodes is None or run.node in nodes)
            and (since is None or run.ended_at is None or run.ended_at >= since)
            and (until is None or run.started_at <= until)
        ]
        return tuple(sorted(found, key=lambda run: (run.started_at, run.job_id, run.node)))

    def hosts(self, job_id: int) -> tuple[InstanceRow, ...]:
        """Return the instances a job ran on."""
        mine = [run for run in self.runs() if run.job_id == job_id]
        found = [
            row
            for row in self._instances.values()
            if any(
                run.node == row.node
                and row.launched_at <= run.started_at
                and (row.ended_at is None or run.started_at < row.ended_at)
                for run in mine
            )
        ]
        return tuple(sorted(found, key=lambda row: (row.launched_at, row.instance_id)))

    def open_runs(self) -> tuple[JobRun, ...]:
        """Return the runs without an end."""
        return tuple(run for run in self.runs() if run.ended_at is None)

    def watches(self) -> tuple[Watch, ...]:
        """Return the times of which all runs are known, oldest first."""
        return self._watches

    def add_volumes(self, volumes: Iterable[Volume]) -> None:
        """Keep volumes; one kept already is replaced."""
        self._volumes.update({volume.volume_id: volume for volume in volumes})

    def volumes(self, instance_ids: Collection[str] | None = None) -> tuple[Volume, ...]:
        """Return the volumes of these instances, or all, by instance and volume."""
        found = [one for one in self._volumes.values() if instance_ids is None or one.instance_id in instance_ids]
        return tuple(sorted(found, key=lambda volume: (volume.instance_id, volume.volume_id)))

    def registrations(self, instance_ids: Collection[str] | None = None) -> dict[str, datetime]:
        """Return when the nodes of these instances registered."""
        bindings = [*(one for past in self._past.values() for one in past), *self._bound.values()]
        return {
            one.instance_id: one.registered_at
            for one in bindings
            if one.registered_at is not None and (instance_ids is None or one.instance_id in instance_ids)
        }

    def add_reclaimed(self, instance_ids: Collection[str]) -> None:
        """Keep that EC2 took these Spot instances back."""
        self._reclaimed.update(dict.fromkeys(instance_ids))

    def reclaimed(self) -> frozenset[str]:
        """Return which instances EC2 took back."""
        return frozenset(self._reclaimed)


def _aware(run: JobRun) -> JobRun:
    return replace(
        run, started_at=aware(run.started_at), ended_at=None if run.ended_at is None else aware(run.ended_at)
    )
