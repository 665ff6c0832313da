"""Executors without threads: the same work in the same order every time, so that an example can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Self, cast


class Task:
    """The future of one piece of work."""

    def __init__(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._work, self._args = work, args
        self._value: Any = None
        self._error: BaseException | None = None
        self._is_done = False

    def run(self) -> None:
        """Do the work, unless it is done."""
        if self._is_done:
            return
        self._is_done = True
        try:
            self._value = self._work(*self._args)
        except BaseException as error:  # noqa: BLE001  it is kept for whoever asks for the result, as a thread does
            self._error = error

    def result(self) -> Any:
        """Return what the work returned, or raise what it raised."""
        self.run()
        if self._error is not None:
            raise self._error
        return self._value

    def done(self) -> bool:
        """Whether the work is done."""
        return self._is_done


class Later:
    """An executor whose work is done when somebody asks for it, at the latest when the executor ends."""

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "") -> None:
        del max_workers, thread_name_prefix
        self._tasks: list[Task] = []

    def submit(self, work: Callable[..., Any], *args: Any) -> Task:
        """Take work."""
        self._tasks.append(Task(work, args))
        return self._tasks[-1]

    def map(self, work: Callable[..., Any], *args: Iterable[Any]) -> Iterator[Any]:
        """Do all of it, then return the results one after the other."""
        tasks = [self.submit(work, *some) for some in zip(*args, strict=False)]
        for task in tasks:
            task.run()
        return (task.result() for task in tasks)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Do what is left."""
        del wait
        for task in [] if cancel_futures else self._tasks:
            task.run()
        self._tasks = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.shutdown()


class AtOnce(Later):
    """An executor that does work as soon as it gets it."""

    def submit(self, work: Callable[..., Any], *args: Any) -> Task:
        """Do work."""
        task = super().submit(work, *args)
        task.run()
        return task


@dataclass(frozen=True)
class Serial:
    """The door `Workers` without threads. kind: what the flows get.

    The engine gets an executor that does nothing by itself. So does a resume, which has work that waits for more of it:
    that can only be done when all of it is there.
    """

    kind: type[Later]

    def pool(self, most: int, name: str) -> Executor:
        """Return an executor."""
        kind = self.kind if name in ("gang", "job", "tag", "pairs") else Later
        return cast(Executor, kind(most, name))

    def line(self) -> SimpleQueue[Any]:
        """Return an empty line."""
        return SimpleQueue()
