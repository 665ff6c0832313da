"""Time that passes only when somebody sleeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class FakeClock:
    """The door `Clock`. slept: every duration asked for, in order."""

    moment: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    slept: list[timedelta] = field(default_factory=list)

    def now(self) -> datetime:
        """Return virtual now."""
        return self.moment

    def sleep(self, duration: timedelta) -> None:
        """Let the time pass at once."""
        self.slept.append(duration)
        self.moment += max(duration, timedelta(0))

    def advance(self, **parts: float) -> datetime:
        """Let time pass outside the program; parts as timedelta takes them."""
        self.moment += timedelta(**parts)
        return self.moment
