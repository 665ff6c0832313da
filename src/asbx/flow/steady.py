"""A clock that goes evenly from the moment it was made, whatever is done to the one behind it.

For one request: its pauses, graces and deadlines are reckoned from each other, and must not jump when somebody (or NTP,
at boot) sets the clock of the host. The next request begins with the host's time again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from asbx.ports import Clock


class Steady:
    """The Clock port over another clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began, self._at = clock.now(), clock.elapsed()

    def now(self) -> datetime:
        """Return the time as it was at the beginning, and what has passed since."""
        return self._began + (self.elapsed() - self._at)

    def elapsed(self) -> timedelta:
        """Return the time since some moment."""
        return self._clock.elapsed()

    def sleep(self, duration: timedelta) -> None:
        """Pause."""
        self._clock.sleep(duration)
