"""The order of requests: a node's calls are worked on one after the other, everything else side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from asbx.model.job import Request


def runnable(waiting: Sequence[Request], running: Collection[Request]) -> tuple[Request, ...]:
    """Return the waiting requests that may start now. waiting: oldest first.

    A request waits while an earlier one, running or waiting, names one of its nodes: a suspend must not overtake
    the resume it undoes.
    """
    busy = {node for request in running for node in request.nodes}
    ready: list[Request] = []
    for request in waiting:
        if busy.isdisjoint(request.nodes):
            ready.append(request)
        busy.update(request.nodes)
    return tuple(ready)
