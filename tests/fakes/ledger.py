"""The simulator's ledger, with failures to come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.faults import Faults

from asbx.errors import AsbxError
from asbx.sim.ledger import MemoryLedger


@dataclass
class FakeLedger(MemoryLedger):
    """The door `Ledger`. Errors are injected with fail_next("bind", LedgerError(...))."""

    _faults: Faults = field(default_factory=Faults)

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; after: behind the commit, as in a crash."""
        self._faults.add(method, error, times=times, after=after)

    def lose_instance(self, instance_id: str) -> None:
        """Lose a row and its binding, as a crash between EC2's answer and the ledger would."""
        row = self._instances.pop(instance_id)
        self._instances_of[row.intent_id].remove(instance_id)
        self._alive.pop(instance_id, None)
        node = self._node_of.pop(instance_id, None)
        if node is not None:
            del self._bound[node]

    def forget_bindings(self) -> None:
        """Lose what a crash between EC2's answer and the ledger would not have written."""
        self._bound.clear()
        self._node_of.clear()
        self._once_bound.clear()
        self._past.clear()
        self._registered.clear()


def _faulty(method: str) -> Callable[..., Any]:
    work = getattr(MemoryLedger, method)

    def call(self: FakeLedger, *args: Any, **more: Any) -> Any:
        with self._faults.call(method):
            return work(self, *args, **more)

    call.__doc__ = work.__doc__
    return call


for _name in [name for name in dir(MemoryLedger) if not name.startswith("_") and callable(getattr(MemoryLedger, name))]:
    setattr(FakeLedger, _name, _faulty(_name))
