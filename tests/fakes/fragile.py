"""Doors of a process that meets trouble at a given call of its life: errors, crashes, stops, a world that moves on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from tests.fakes.cloud import cloud_error

from asbx.daemon.clock import StoppingError
from asbx.errors import AsbxError, LedgerError, SlurmError
from asbx.flow.doors import Doors
from asbx.model.market import Verdict

VERDICTS = tuple(Verdict)
_SLURM = ("slurm-refused", "slurm-timeout", "slurm-conf")
_FREE = ("now", "elapsed")  # calls that cannot fail and are made all the time


class CrashError(BaseException):
    """The process is gone. No door is opened any more."""


class BrokenPromiseError(BaseException):
    """What a witness saw must never be; nothing in the program may catch it. Its cause is the assertion."""


@dataclass(frozen=True)
class Happening:
    """Something that happens at a call of a door. at: number of the call, from 1. what: see `Life`.

    after: when the call has done its work, and its answer is lost where it fails. which: of several; also seconds.
    """

    at: int
    what: str
    which: int = 0
    after: bool = False


class Witness(Protocol):
    """Whoever looks at every call."""

    def before(self, call: str, args: Sequence[Any]) -> None:
        """Look at a call (`door.method`) that is about to be made."""

    def after(self, call: str, args: Sequence[Any], answer: Any) -> None:
        """Look at a call that was made."""

    def happen(self, happening: Happening) -> None:
        """Let the world move on."""


def error_for(door: str, which: int) -> AsbxError | None:
    """Return an error that a door may raise."""
    if door == "cloud":
        verdict = VERDICTS[which % len(VERDICTS)]
        return cloud_error(f"Error.{verdict}", verdict, "so it is")
    if door == "scheduler":
        return SlurmError(_SLURM[which % len(_SLURM)], "slurmctld said no", "so it is")
    return LedgerError("ledger-busy", "the ledger cannot be written", "so it is") if door == "ledger" else None


@contextmanager
def _kept_promises() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise BrokenPromiseError(str(error)) from error


@dataclass
class Life:
    """One process. script: what happens at its calls from now on: error, crash, stop, or what the witness knows.

    troubled: whether anything of it has happened.
    """

    witness: Witness
    script: list[Happening] = field(default_factory=list)
    calls: int = 0
    is_over: bool = False
    is_stopping: bool = False
    troubled: bool = False

    def play(self, script: Sequence[Happening]) -> None:
        """Let these happen, counted from now."""
        self.script = [replace(one, at=self.calls + one.at) for one in script]

    def through(self, door: str, method: str, work: Callable[..., Any], args: tuple[Any, ...], more: Any) -> Any:
        """Make a call."""
        if self.is_over:
            raise CrashError
        if method in _FREE:
            return work(*args, **more)
        self.calls += 1
        due = [one for one in self.script if one.at == self.calls]
        self.script = [one for one in self.script if one.at != self.calls]
        for one in due:
            if not one.after:
                self._happen(one, door)
        if self.is_stopping and method == "sleep":
            raise StoppingError
        with _kept_promises():
            self.witness.before(f"{door}.{method}", (*args, *more.values()))
        answer = work(*args, **more)
        with _kept_promises():
            self.witness.after(f"{door}.{method}", (*args, *more.values()), answer)
        for one in due:
            if one.after:
                self._happen(one, door)
        return answer

    def _happen(self, one: Happening, door: str) -> None:
        self.troubled = True
        match one.what:
            case "error":
                error = error_for(door, one.which)
                if error is not None:
                    raise error
            case "crash":
                self.is_over = True
                raise CrashError
            case "stop":
                self.is_stopping = True
            case _:
                self.witness.happen(one)
                if self.is_over:
                    raise CrashError


class _Door:
    """A door as one process sees it."""

    def __init__(self, name: str, door: object, life: Life) -> None:
        self._name, self._door, self._life = name, door, life

    def __getattr__(self, method: str) -> Any:
        work = getattr(self._door, method)

        def call(*args: Any, **more: Any) -> Any:
            return self._life.through(self._name, method, work, args, more)

        return call


def fragile(doors: Doors, life: Life) -> Doors:
    """Return the doors as this process sees them."""

    def door(name: str) -> Any:
        return cast("Any", _Door(name, getattr(doors, name), life))

    return replace(doors, cloud=door("cloud"), scheduler=door("scheduler"), ledger=door("ledger"), clock=door("clock"))
