"""The daemon in virtual time: the product's engine, woken by knocks and sweeping as often as it is told to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from greenlet import greenlet

from asbx.config.limits import SPOOL_POLL
from asbx.daemon.engine import Engine
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.hooks import spool
from asbx.model.event import Event, EventKind
from asbx.sim.crew import Program
from asbx.sim.hub import SECOND

_POLL_US = SPOOL_POLL // timedelta(microseconds=1)


class SimDaemon:
    """One life of the daemon. doors: as this program sees them, mortal."""

    def __init__(self, program: Program, doors: Doors) -> None:
        self._program, self._doors = program, doors
        self._engine = Engine(doors, self.knock)
        self._waiter: greenlet | None = None
        self._rung = False
        self._naps = 0
        self._folder = str(doors.config.paths.requests)
        self._swept = doors.clock.now()

    def start(self) -> None:
        """Begin to serve."""
        self._program.spawn(self._serve)

    def knock(self) -> None:
        """Wake it."""
        self._rung = True
        if self._waiter is not None and not self._program.is_dead:
            self._program.hub.wake(self._waiter)
            self._waiter = None

    def stop(self) -> None:
        """End it in order, as SIGTERM does."""
        self._program.stop()
        self.knock()

    def _serve(self) -> None:
        self._doors.say(Event(EventKind.DAEMON_STARTED, "the simulator's daemon"))
        while not self._program.is_stopping:
            self._isolated(self._engine.intake)
            self._isolated(self._engine.dispatch)
            now = self._doors.clock.now()
            if now - self._swept >= self._interval:
                self._swept = now
                self._isolated(self._engine.sweep_soon)
            self._doze()
        self._engine.close()

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self._doors.config.reconcile.interval_seconds)

    def _isolated(self, part: Callable[[], object]) -> None:
        """Do a part of a turn as the real loop does: what fails is said, and tried again."""
        try:
            part()
        except AsbxError as error:
            self._doors.say(Event(EventKind.PASS_FAILED, str(error), level="error"))

    def _doze(self) -> None:
        """Wait for a knock, the next sweep, or the next look at the spool; looks that find nothing are left out."""
        hub = self._program.hub
        if not self._rung:
            left_us = (self._swept + self._interval - hub.now()) // timedelta(microseconds=1)
            if self._has_work():
                left_us = min(left_us, _POLL_US)
            self._waiter = greenlet.getcurrent()
            self._naps = nap = self._naps + 1
            hub.at(hub.now_us + max(left_us, SECOND // 100), lambda: self._time_is_up(nap))
            self._program.wait()
        self._rung = False

    def _time_is_up(self, nap: int) -> None:
        if self._naps == nap and self._waiter is not None:
            self.knock()

    def _has_work(self) -> bool:
        return bool(spool.waiting(self._folder)) or bool(self._doors.ledger.open_requests())
