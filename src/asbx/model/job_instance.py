"""An instance launched for a job, with when it was asked for and when its node came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from asbx.model.record import InstanceRow


@dataclass(frozen=True)
class JobInstance:
    """asked_at: when Slurm's request arrived. registered_at: when its slurmd answered first, None: never.

    was_reclaimed: EC2 took it back (a spot interruption).
    """

    row: InstanceRow
    asked_at: datetime
    registered_at: datetime | None = None
    was_reclaimed: bool = False

    @property
    def took(self) -> timedelta | None:
        """Return the time from the request to the node's registration; None where it never registered."""
        return None if self.registered_at is None else max(self.registered_at - self.asked_at, timedelta())
