"""The real clock, and sleep that a stop can cut short."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class RealClock:
    """The Clock port. After wake(), every sleep returns at once."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def now(self) -> datetime:
        """Return the time, aware and UTC."""
        return datetime.now(UTC)

    def sleep(self, duration: timedelta) -> None:
        """Pause; zero and negative durations do not."""
        if duration > timedelta(0):
            self._stop.wait(duration.total_seconds())

    def wake(self) -> None:
        """End all pauses, now and later."""
        self._stop.set()
