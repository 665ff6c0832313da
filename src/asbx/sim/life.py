"""The doors of one program, and its death at a call: SIGKILL before or after the call has had its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from asbx.flow.doors import Doors
from asbx.sim.crew import KilledError, Program

_WATCHED = ("cloud", "scheduler", "ledger", "recorder", "budgets")


class Life:
    """Counts the calls of a program and kills it at one of them.

    on_death: called then, once. is_busy: whether there is work under way; calls outside it are not counted, so that
    deaths fall into bursts and not into the long quiet between them.
    """

    def __init__(self, program: Program, on_death: Callable[[str], None], is_busy: Callable[[], bool]) -> None:
        self.program, self._on_death, self._is_busy = program, on_death, is_busy
        self._left = 0
        self._after = False

    def doom(self, calls: int, *, after: bool) -> None:
        """Let it die at a call counted from now: before it, or once it has had its effect."""
        self._left, self._after = calls, after

    def through(self, name: str, work: Callable[..., Any], args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        """Make a call."""
        program = self.program
        if program.is_dead:
            raise KilledError
        if not self._left or not self._is_busy():
            return work(*args, **more)
        self._left -= 1
        if self._left:
            return work(*args, **more)
        try:
            if self._after:
                work(*args, **more)
        finally:
            self.die(f"{'after' if self._after else 'before'} {name}")
            raise KilledError

    def die(self, where: str) -> None:
        """End the program."""
        if not self.program.is_dead:
            self.program.kill()
            self._on_death(where)


class _Door:
    """A door as one program sees it."""

    def __init__(self, name: str, door: object, life: Life) -> None:
        self._name, self._door, self._life = name, door, life

    def __getattr__(self, method: str) -> Any:
        work, life, name = getattr(self._door, method), self._life, f"{self._name}.{method}"

        def call(*args: Any, **more: Any) -> Any:
            return life.through(name, work, args, more)

        self.__dict__[method] = call  # made once
        return call


def mortal(doors: Doors, life: Life) -> Doors:
    """Return the doors as a program sees them that may die at any call of them."""
    seen = {name: cast("Any", _Door(name, getattr(doors, name), life)) for name in _WATCHED}
    return replace(doors, clock=life.program, workers=life.program, **seen)
