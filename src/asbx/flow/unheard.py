"""Nodes Slurm waits for and nobody works on, because the call of ResumeProgram was lost: made harmless at first sight.

The sweep fails them after its grace, or Slurm after ResumeTimeout. Either has messages for them, and slurmctld would
look their names up for ten seconds each, holding its locks (seen on 22.05.8: half a minute without an answer for six
nodes). And ResumeTimeout loses their jobs that forbid requeues. To park a node and to let a job be requeued destroys
nothing, so one sighting is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from asbx.decide.node_state import Condition, condition
from asbx.decide.reconcile import Snapshot
from asbx.decide.territory import Territory
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold

Apart = Callable[[Sequence[str]], AbstractContextManager[Sequence[str]]]


def unheard(look: Snapshot, land: Territory) -> tuple[str, ...]:
    """Return the nodes of ours that come without instance and request."""
    bound = {binding.node for binding in look.bindings}
    return tuple(
        view.name
        for view in look.nodes
        if view.name not in bound
        and view.name not in look.busy_nodes
        and condition(view) is Condition.COMING
        and land.group_of(view.name) is not None
    )


class Unheard:
    """One look after the other. Remembers what is harmless already.

    apart: keeps requests off nodes in the meantime, or their fresh addresses would be overwritten; yields those free.
    spare: lets no job be lost with nodes.
    """

    def __init__(self, doors: Doors, land: Territory, apart: Apart, spare: Callable[[Sequence[str]], None]) -> None:
        self._doors, self._land, self._apart, self._spare = doors, land, apart, spare
        self._done: frozenset[str] = frozenset()

    def see(self, look: Snapshot) -> None:
        """Park what is new, unless a request has come for it since. Raises LedgerError and SlurmError."""
        found = unheard(look, self._land)
        self._done = self._done.intersection(found)
        fresh = [node for node in found if node not in self._done]
        if not fresh:
            return
        with self._apart(fresh) as free:
            if not free:
                return
            self._doors.scheduler.park(free)
            self._spare(free)
            self._done = self._done.union(free)
            text = f"Slurm waits for {fold(free)}, and no request has come for them yet: parked"
            self._doors.say(Event(EventKind.REQUEST_ODD, text, level="warning", data={"nodes": fold(free)}))
