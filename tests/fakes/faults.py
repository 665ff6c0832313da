"""Failures to come, kept by method: the fakes raise them where the outside would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from asbx.errors import AsbxError


@dataclass(frozen=True)
class Fault:
    """An error, and whether the work is done before it is raised (the answer was lost)."""

    error: AsbxError
    after: bool = False


@dataclass
class Faults:
    """What fails next."""

    _waiting: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))

    def add(self, action: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next `times` calls of an action fail."""
        self._waiting[action] += [Fault(error, after)] * times

    @contextmanager
    def call(self, action: str) -> Iterator[None]:
        """Surround the work of a call: raise what is due, before it or after it."""
        fault = self._waiting[action].pop(0) if self._waiting[action] else None
        if fault and not fault.after:
            raise fault.error
        yield
        if fault:
            raise fault.error
