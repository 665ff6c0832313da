"""Time that passes only when somebody sleeps, and a clock that can be set."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class FakeClock:
    """The door `Clock`. slept: every duration asked for, in order."""

    moment: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    slept: list[timedelta] = field(default_factory=list)
    passed: timedelta = timedelta(days=1)

    def now(self) -> datetime:
        """Return virtual now."""
        return self.moment

    def elapsed(self) -> timedelta:
        """Return how much time has passed."""
        return self.passed

    def sleep(self, duration: timedelta) -> None:
        """Let the time pass at once."""
        self.slept.append(duration)
        self.advance(seconds=max(duration.total_seconds(), 0))

    def advance(self, **parts: float) -> datetime:
        """Let time pass outside the program; parts as timedelta takes them."""
        self.moment += timedelta(**parts)
        self.passed += timedelta(**parts)
        return self.moment

    def step(self, **parts: float) -> None:
        """Let somebody set the clock: no time passes."""
        self.moment += timedelta(**parts)
