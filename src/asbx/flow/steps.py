"""Notice that somebody has set the clock: what was to happen at a moment still happens as far ahead as it was."""

from __future__ import annotations

from datetime import timedelta

from asbx.config.limits import CLOCK_STEP
from asbx.ports import Clock


class Steps:
    """Compares the clock with the time elapsed since it was last asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart = clock.now(), clock.elapsed()

    def step(self) -> timedelta:
        """Return by how much the clock was set since the last call, zero where it was not."""
        now, elapsed = self._clock.now(), self._clock.elapsed()
        set_by = (now - self._apart[0]) - (elapsed - self._apart[1])
        self._apart = now, elapsed
        return set_by if abs(set_by) > CLOCK_STEP else timedelta(0)
