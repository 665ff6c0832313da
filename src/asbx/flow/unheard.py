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
    """Return the nodes of ours that come without instance and request, and have no address yet."""
    bound = {binding.node for binding in look.bindings}
    return tuple(
        view.name
        for view in look.nodes
        if view.address == view.name
        and view.name not in bound
        and view.name not in look.busy_nodes
        and condition(view) is Condition.COMING
        and land.group_of(view.name) is not None
    )


def park(doors: Doors, nodes: Sequence[str], apart: Apart, spare: Callable[[Sequence[str]], None]) -> None:
    """Park these nodes, unless a request has come for them since. Raises LedgerError and SlurmError.

    apart: keeps requests off nodes in the meantime, or their fresh addresses would be overwritten; yields those free.
    spare: lets no job be lost with nodes.
    """
    if not nodes:
        return
    with apart(nodes) as free:
        if free:
            doors.scheduler.park(free)
            spare(free)
            text = f"Slurm waits for {fold(free)}, and no request has come for them yet: parked"
            doors.say(Event(EventKind.REQUEST_ODD, text, level="warning", data={"nodes": fold(free)}))
