"""Signs of life of the daemon's work: whoever makes no call and no pause for too long is stuck.

A watchdog that only asked the main loop would feed a daemon whose passes hang. Each piece of work (a request, a
reconcile pass) gets doors of its own that beat before and after every call and pause, in whichever of its threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from asbx.config.limits import AWS_CONNECT_TIMEOUT, AWS_READ_TIMEOUT, RETRY_LONGEST_PAUSE, SCONTROL_TIMEOUT
from asbx.config.schema import Config
from asbx.flow.doors import Doors
from asbx.telemetry.measured import beating


def patience(config: Config) -> timedelta:
    """Return how long a piece of work may be silent: twice the longest call, as one may read several pages."""
    one_try = AWS_CONNECT_TIMEOUT + AWS_READ_TIMEOUT + RETRY_LONGEST_PAUSE
    return max(config.aws.retry_max_attempts * one_try, SCONTROL_TIMEOUT) * 2


class Pulse:
    """Who works, and when it was last heard of. now: seconds that only go forward."""

    def __init__(self, longest: timedelta, now: Callable[[], float] = time.monotonic) -> None:
        self._longest = longest.total_seconds()
        self._now = now
        self._heard: dict[str, float] = {}

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        """Expect signs of life while the block runs."""
        self._heard[name] = self._now()
        try:
            yield
        finally:
            self._heard.pop(name, None)

    def beat(self, name: str) -> None:
        """Take a sign of life; of work that is over it means nothing."""
        if name in self._heard:
            self._heard[name] = self._now()

    def doors(self, doors: Doors, name: str) -> Doors:
        """Return doors whose calls and pauses are signs of life."""

        def beat() -> None:
            self.beat(name)

        return replace(
            doors,
            cloud=beating(doors.cloud, beat),
            scheduler=beating(doors.scheduler, beat),
            ledger=beating(doors.ledger, beat),
            prices=beating(doors.prices, beat),
            price_sources=doors.price_sources
            and replace(
                doors.price_sources,
                told=beating(doors.price_sources.told, beat),
                book=beating(doors.price_sources.book, beat),
            ),
            usage=doors.usage
            and replace(
                doors.usage,
                book=beating(doors.usage.book, beat),
                jobs=beating(doors.usage.jobs, beat),
                volumes=beating(doors.usage.volumes, beat),
            ),
            catalogue=beating(doors.catalogue, beat),
            clock=beating(doors.clock, beat),
            budgets=doors.budgets and beating(doors.budgets, beat),
            service=doors.service and beating(doors.service, beat),
        )

    def stuck(self) -> tuple[str, ...]:
        """Return the work that has been silent for too long."""
        limit = self._now() - self._longest
        return tuple(sorted(name for name, heard in list(self._heard.items()) if heard < limit))
