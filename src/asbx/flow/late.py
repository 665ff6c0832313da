"""Requests that lay in a spool while the other controller worked: only what Slurm still waits for is done.

A host that died comes back much later with its spool. What was asked there has been asked again, or is over: a suspend
would end the instance that serves by now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.job import Request, RequestKind
from asbx.model.node import NodeView

# What a node looks like while Slurm waits for an answer to each kind of call.
_WAITS: dict[RequestKind, Callable[[NodeView], bool]] = {
    RequestKind.RESUME: lambda view: "POWERING_UP" in view.flags,
    RequestKind.SUSPEND: lambda view: view.is_powered_down,
    RequestKind.RESUME_FAIL: lambda view: view.is_powered_down or view.state == "DOWN",
}


def still_wanted(doors: Doors, request: Request) -> Request:
    """Return the request with the nodes Slurm still waits for, perhaps none. Raises SlurmError."""
    waits = _WAITS[request.kind]
    waiting = {view.name for view in doors.scheduler.nodes() if waits(view)}
    over = [node for node in request.nodes if node not in waiting]
    if not over:
        return request
    text = f"{request.kind} of {fold(over)} came too late: Slurm does not wait for it any more"
    doors.say(Event(EventKind.REQUEST_ODD, text, request.request_id, level="warning"))
    return replace(
        request, nodes=tuple(node for node in request.nodes if node in waiting), notes=(*request.notes, text)
    )
