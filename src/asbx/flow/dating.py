"""Put EC2's own times into the ledger: when instances began, and when those that are over ended.

That is what EC2 charges for. Our rows say when we noticed, which for an instance that died by itself may be minutes
later, and for a call whose answer was lost some seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asbx.config.limits import DATED_AGAIN, ENDED_SHOWN
from asbx.decide.interrupt import RECLAIM
from asbx.flow.doors import Doors


@dataclass
class Dating:
    """One pass after the other. Remembers until when everything that was closed has been asked for."""

    doors: Doors
    _done_until: datetime | None = None

    def run(self) -> None:
        """Ask EC2 for what was closed since the last pass, or as far back as it shows it.

        Where EC2 names no time, ours stays. Raises CloudError or LedgerError; the next pass asks again then.
        """
        now = self.doors.clock.now()
        closed = self.doors.ledger.instances(ended_since=self._done_until or now - ENDED_SHOWN)
        if closed:
            seen = self.doors.cloud.describe([row.instance_id for row in closed])
            over = [instance for instance in seen if instance.state.is_ended]
            self.doors.ledger.date_instances(over)
            if self.doors.usage is not None:
                taken = [one.instance_id for one in over if one.state_reason == RECLAIM]
                self.doors.usage.book.add_reclaimed(taken)
        self._done_until = now - DATED_AGAIN
