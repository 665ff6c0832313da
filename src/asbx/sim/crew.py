"""One program in virtual time: its clock, its workers, and its death.

A program that is killed stops where it is, as under SIGKILL: none of its flows reaches a door again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from greenlet import greenlet

from asbx.daemon.clock import StoppingError
from asbx.sim.hub import Hub


class KilledError(BaseException):
    """The program is gone: nothing in it may catch this."""


class Program:
    """A process: the clock its flows see, and the flows themselves. Also the port Workers."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.is_dead = False
        self.is_stopping = False
        self._flows: set[greenlet] = set()
        self._sleepers: set[greenlet] = set()

    # -- its life

    def spawn(self, work: Callable[[], Any]) -> greenlet:
        """Start a flow of this program."""

        def run() -> None:
            try:
                if not self.is_dead:
                    work()
            except KilledError:
                pass
            finally:
                self._flows.discard(flow)

        flow = self.hub.spawn(run)
        self._flows.add(flow)
        return flow

    def kill(self) -> None:
        """End it at once. Whoever calls from a flow of it must raise KilledError then."""
        if not self.is_dead:
            self.is_dead = True
            self.hub.at(self.hub.now_us, self._bury)

    def _bury(self) -> None:
        for flow in list(self._flows):
            if flow and not flow.dead:
                flow.throw(KilledError)
        self._flows.clear()

    def stop(self) -> None:
        """Ask it to end, as SIGTERM does: every pause of a flow ends in StoppingError."""
        self.is_stopping = True
        for flow in self._sleepers:
            self.hub.wake(flow)
        self._sleepers.clear()

    @property
    def is_idle(self) -> bool:
        """Whether no flow of it is under way."""
        return not self._flows

    def wait(self) -> None:
        """Pause the calling flow until it is woken. Raises KilledError when the program died meanwhile."""
        self.alive()
        self.hub.pause()
        self.alive()

    def alive(self) -> None:
        """Raise KilledError in a program that is dead."""
        if self.is_dead:
            raise KilledError

    def busy(self, seconds: float) -> None:
        """Let a call take its time; unlike a pause it is not cut short by a stop."""
        self.alive()
        self.hub.sleep(round(seconds * 1_000_000))
        self.alive()

    # -- the Clock port

    def now(self) -> datetime:
        """Return the virtual time."""
        return self.hub.now()

    def elapsed(self) -> timedelta:
        """Return the virtual time that has passed: nobody sets this clock."""
        return timedelta(microseconds=self.hub.now_us)

    def sleep(self, duration: timedelta) -> None:
        """Pause; zero and negative durations only look whether the program is to stop."""
        self.alive()
        length = duration // timedelta(microseconds=1)
        if length > 0 and not self.is_stopping:
            me = greenlet.getcurrent()
            self._sleepers.add(me)
            self.hub.at(self.hub.now_us + length, lambda: self._rested(me))
            self.wait()
        if self.is_stopping:
            raise StoppingError

    def _rested(self, flow: greenlet) -> None:
        if flow in self._sleepers:
            self._sleepers.discard(flow)
            self.hub.wake(flow)

    # -- the Workers port

    def pool(self, most: int, name: str) -> Executor:
        """Return an executor of at most so many flows."""
        del name
        return Pool(self, most)

    def line(self) -> Line:
        """Return an empty line."""
        return Line(self)


class Line:
    """Things handed from one flow to another."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._things: deque[Any] = deque()
        self._waiting: deque[greenlet] = deque()

    def put(self, item: Any) -> None:
        """Add one, and wake who waits for it."""
        self._things.append(item)
        if self._waiting:
            self._program.hub.wake(self._waiting.popleft())

    def get(self) -> Any:
        """Take the first, or wait until there is one."""
        while not self._things:
            self._waiting.append(greenlet.getcurrent())
            self._program.wait()
        return self._things.popleft()

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._things


class Task(Future[Any]):
    """The future of one piece of work; who asks for the result waits in virtual time."""

    def __init__(self, program: Program, work: Callable[[], Any]) -> None:  # its base waits on locks: not here
        self._program, self._work = program, work
        self._value: Any = None
        self._error: BaseException | None = None
        self._ended = False
        self._askers: list[greenlet] = []

    def run(self) -> None:
        """Do the work and wake who waits for it."""
        try:
            self._value = self._work()
        except KilledError:
            raise
        except BaseException as error:  # noqa: BLE001  it is kept for whoever asks for the result, as a thread does
            self._error = error
        self._ended = True
        for flow in self._askers:
            self._program.hub.wake(flow)
        self._askers.clear()

    def cancel(self) -> bool:
        """Never start it; whoever asks gets nothing."""
        self._ended = True
        return True

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end; return what came of it or raise it."""
        del timeout
        while not self._ended:
            self._askers.append(greenlet.getcurrent())
            self._program.wait()
        if self._error is not None:
            raise self._error
        return self._value


class Pool(Executor):
    """An executor of flows: at most so many at once, the others in their order."""

    def __init__(self, program: Program, most: int) -> None:
        self._program, self._most = program, most
        self._busy = 0
        self._queue: deque[Task] = deque()
        self._tasks: list[Task] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task:
        """Take work."""
        self._program.alive()
        task = Task(self._program, lambda: fn(*args, **kwargs))
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)
        self._queue.append(task)
        if self._busy < self._most:
            self._busy += 1
            self._program.spawn(self._work)
        return task

    def _work(self) -> None:
        try:
            while self._queue:
                self._queue.popleft().run()
        finally:
            self._busy -= 1

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """Do all of it; return the results in order."""
        del timeout, chunksize
        tasks = [self.submit(fn, *some) for some in zip(*iterables, strict=False)]
        return (task.result() for task in tasks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Start nothing more where that is wished, and wait for what is under way."""
        if cancel_futures:
            for task in self._queue:
                task.cancel()
            self._queue.clear()
        if wait and not self._program.is_dead:
            for task in list(self._tasks):
                _until_done(task)


def _until_done(task: Task) -> None:
    with suppress(Exception):  # whoever holds the task is told
        task.result()
