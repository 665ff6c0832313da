"""Everything a flow may touch, handed to it by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from asbx.config.schema import Config
from asbx.model.event import Event
from asbx.ports import Catalogue, Clock, Cloud, Ledger, Notices, Plans, Prices, Recorder, Scheduler, Workers


@dataclass(frozen=True)
class Doors:
    """The site's configuration and the doors to its outside. notices: None where no queue is configured.

    plans: None where plans of jobs are not looked for.
    """

    config: Config
    cloud: Cloud
    scheduler: Scheduler
    ledger: Ledger
    prices: Prices
    clock: Clock
    recorder: Recorder
    catalogue: Catalogue
    workers: Workers
    notices: Notices | None = None
    plans: Plans | None = None

    def say(self, event: Event) -> None:
        """Record an event."""
        self.recorder.record(event)
