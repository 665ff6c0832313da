"""Time, threads and where events go."""

from __future__ import annotations

from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from asbx.model.event import Event


class Clock(Protocol):
    """Time, from one place. now() is aware and UTC; people and NTP set it. What lasts is measured by elapsed()."""

    def now(self) -> datetime:
        """Return the time."""

    def elapsed(self) -> timedelta:
        """Return the time since some moment of the past; it goes on evenly whatever is done to now()."""

    def sleep(self, duration: timedelta) -> None:
        """Pause."""


_Thing = TypeVar("_Thing")


class Line(Protocol[_Thing]):
    """Things handed from one worker to another, first come first served."""

    def put(self, item: _Thing) -> None:
        """Add one."""

    def get(self) -> _Thing:
        """Take the first, or wait until there is one."""

    def empty(self) -> bool:
        """Whether nothing waits."""


class Workers(Protocol):
    """Whoever does work beside other work: threads, or in virtual time what takes their place."""

    def pool(self, most: int, name: str) -> Executor:
        """Return somebody to give work to, who does at most so much at once; `name` tells it in a stack dump."""

    def line(self) -> Line[Any]:
        """Return an empty line."""


class Recorder(Protocol):
    """Where events go. Never raises: a full disk must not stop a launch."""

    def record(self, event: Event) -> None:
        """Keep an event."""
