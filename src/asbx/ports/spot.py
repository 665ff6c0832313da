"""What the ledger keeps about spot."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from asbx.model.spot import Interruption


class SpotRecord(Protocol):
    """Interruptions of spot instances, and since when jobs wait for spot. Raises LedgerError."""

    def add_interruption(self, interruption: Interruption) -> None:
        """Keep it; the first word about an instance stands."""

    def interruptions(self, since: datetime) -> tuple[Interruption, ...]:
        """Return those of a time, oldest first."""

    def begin_spot_waits(self, job_ids: Iterable[int], since: datetime) -> None:
        """Note that these jobs wait for spot; one that waits already goes on from when it began."""

    def spot_waits(self, job_ids: Iterable[int]) -> dict[int, datetime]:
        """Return since when jobs wait, of those that do."""

    def end_spot_waits(self, job_ids: Iterable[int]) -> None:
        """Forget the waits of jobs whose nodes came."""
