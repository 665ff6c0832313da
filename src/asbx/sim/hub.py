"""Virtual time: greenlets that wait, and what happens when nobody can go on before the next moment.

Everything runs in one thread. A flow that pauses hands over to the hub, which lets the others run and, when all of them
wait, moves the time to the earliest thing that is to happen. The same seed gives the same order every time.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from greenlet import greenlet

SECOND = 1_000_000  # moments are whole microseconds since the start, as fine as datetime


class Hub:
    """The clockwork. now_us: microseconds since the start. shuffle: takes flows that are ready in random order."""

    def __init__(self, start: datetime, shuffle: random.Random | None = None) -> None:
        self.start = start
        self.now_us = 0
        self.switches = 0
        self._moment = start
        self._shuffle = shuffle
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._ready: deque[greenlet] = deque()
        self._number = 0
        self._self = greenlet.getcurrent()
        self._broken: BaseException | None = None

    # -- time

    def now(self) -> datetime:
        """Return the virtual time, aware and UTC."""
        return self._moment

    def moment(self, at_us: int) -> datetime:
        """Return a moment as a time."""
        return self.start + timedelta(microseconds=at_us)

    def at(self, at_us: int, act: Callable[[], None]) -> None:
        """Let something happen at a moment, or at once where that is past. It must not wait."""
        self._number += 1
        heapq.heappush(self._heap, (max(at_us, self.now_us), self._number, act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen later."""
        self.at(self.now_us + round(seconds * SECOND), act)

    # -- flows

    def spawn(self, work: Callable[[], Any]) -> greenlet:
        """Start a flow; it runs when whoever runs now waits."""
        flow = greenlet(self._guarded(work), self._self)
        self._ready.append(flow)
        return flow

    def _guarded(self, work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  a flow must not end in silence: run() raises it
                self._broken = error

        return run

    def pause(self) -> Any:
        """Hand over to the others until somebody wakes this flow."""
        self.switches += 1
        return self._self.switch()

    def wake(self, flow: greenlet) -> None:
        """Let a flow that waits go on, soon."""
        self._ready.append(flow)

    def sleep(self, microseconds: int) -> None:
        """Pause a flow for so long."""
        me = greenlet.getcurrent()
        self.at(self.now_us + microseconds, lambda: self._ready.append(me))
        self.pause()

    # -- the loop

    def run(self, until_us: int) -> None:
        """Let everything happen up to a moment. Raises what a flow did not catch."""
        while self._step(until_us):
            if self._broken is not None:
                broken, self._broken = self._broken, None
                raise broken
        self._set(max(self.now_us, until_us))

    def _step(self, until_us: int) -> bool:
        """Let one flow run until it waits, or one thing happen; return whether there was anything."""
        if self._ready:
            if self._shuffle is not None and len(self._ready) > 1:
                self._ready.rotate(self._shuffle.randrange(len(self._ready)))
            flow = self._ready.popleft()
            if not flow.dead:
                flow.switch()
            return True
        if not self._heap or self._heap[0][0] > until_us:
            return False
        at_us, _, act = heapq.heappop(self._heap)
        if at_us != self.now_us:
            self._set(at_us)
        act()
        return True

    def _set(self, at_us: int) -> None:
        self.now_us = at_us
        self._moment = self.start + timedelta(microseconds=at_us)
