"""Keep the ledger from growing without bound."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asbx.config.limits import PRUNE_EVERY, PRUNE_MOST
from asbx.flow.doors import Doors


@dataclass
class Retention:
    """A part of the pass; remembers when it last did something."""

    doors: Doors
    _done: datetime | None = None

    def run(self) -> None:
        """Forget some of what is older than the site wants to keep. Raises LedgerError."""
        now = self.doors.clock.now()
        if self._done is not None and now - self._done < PRUNE_EVERY:
            return
        forgotten = self.doors.ledger.prune(now - self.doors.config.ledger.keep, PRUNE_MOST)
        # A ledger that is far behind catches up pass by pass.
        self._done = None if forgotten >= PRUNE_MOST else now
