"""The real clock, and sleep that a stop can cut short."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class StoppingError(Exception):
    """The process is stopping. Flows may end at any pause: they are run again from the ledger."""


class RealClock:
    """The Clock port. After stop(), every sleep raises StoppingError."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def now(self) -> datetime:
        """Return the time, aware and UTC."""
        return datetime.now(UTC)

    def elapsed(self) -> timedelta:
        """Return the time since some moment, whatever is done to the clock."""
        return timedelta(seconds=time.monotonic())

    def sleep(self, duration: timedelta) -> None:
        """Pause; zero and negative durations do not."""
        if self._stop.wait(max(duration.total_seconds(), 0)):
            raise StoppingError

    def stop(self) -> None:
        """End all pauses, now and later."""
        self._stop.set()
