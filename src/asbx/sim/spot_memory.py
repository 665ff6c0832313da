"""Interruptions of spot instances and waits for spot, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from asbx.model.spot import Interruption
from asbx.sim.moments import aware


@dataclass
class MemorySpot:
    """The door `SpotRecord`."""

    _interruptions: dict[str, Interruption] = field(default_factory=dict)
    _spot_waits: dict[int, datetime] = field(default_factory=dict)

    def add_interruption(self, interruption: Interruption) -> None:
        """Keep it; the first word about an instance stands."""
        aware(interruption.at)
        self._interruptions.setdefault(interruption.instance_id, interruption)

    def interruptions(self, since: datetime) -> tuple[Interruption, ...]:
        """Return those of a time, oldest first."""
        found = [one for one in self._interruptions.values() if one.at >= aware(since)]
        return tuple(sorted(found, key=lambda one: (one.at, one.instance_id)))

    def begin_spot_waits(self, job_ids: Iterable[int], since: datetime) -> None:
        """Note that these jobs wait; one that waits already goes on from when it began."""
        for job_id in job_ids:
            self._spot_waits.setdefault(job_id, aware(since))

    def spot_waits(self, job_ids: Iterable[int]) -> dict[int, datetime]:
        """Return since when jobs wait, of those that do."""
        return {job_id: self._spot_waits[job_id] for job_id in job_ids if job_id in self._spot_waits}

    def end_spot_waits(self, job_ids: Iterable[int]) -> None:
        """Forget the waits of jobs whose nodes came."""
        for job_id in job_ids:
            self._spot_waits.pop(job_id, None)

    def _forget_spot(self, before: datetime) -> None:
        """Forget what is older."""
        self._interruptions = {name: one for name, one in self._interruptions.items() if one.at >= before}
        self._spot_waits = {job_id: since for job_id, since in self._spot_waits.items() if since >= before}
