"""Keep spot placement scores fresh: the passes ask, so that no launch waits for them."""

from __future__ import annotations

from dataclasses import dataclass

from asbx.flow.doors import Doors


@dataclass(frozen=True)
class Scores:
    """One pass after the other."""

    doors: Doors

    def run(self) -> None:
        """Ask for what launches wanted to know and what is old by now, where the site allows it."""
        if self.doors.config.aws.spot_placement_scores:
            self.doors.catalogue.ask_spot_scores()
