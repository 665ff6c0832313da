"""Suspend: end the instances behind nodes, reset their addresses, close the books. Also for nodes that never came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asbx.decide.bind import name_of
from asbx.decide.boots import Failed
from asbx.decide.intake import refusal
from asbx.errors import ExitCode, SlurmError
from asbx.flow.boots import Boots
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure, Outcome
from asbx.flow.rows import names
from asbx.model.boot import BootTrouble
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.job import Request, RequestKind


def suspend(doors: Doors, request: Request, boots: Boots | None = None) -> Outcome:
    """End what stands behind the request's nodes. Safe to run again from the start at any time.

    Nodes of no group of ours are left alone. EC2 first, the ledger next, Slurm last: money stops even while slurmctld
    is away. Raises CloudError, LedgerError or SlurmError where a side does not answer; the next run does the rest.
    """
    doors = doors.about(request_id=request.request_id)
    never_came = request.kind is RequestKind.RESUME_FAIL
    why = "its node did not register within ResumeTimeout" if never_came else "its node was powered down"
    outcome = Outcome()
    nodes = _ours(doors, request, outcome)
    if never_came:
        _note(boots or Boots(doors), nodes)
    behind = _instances_behind(doors, nodes)
    ids = sorted({instance for instances in behind.values() for instance in instances})
    # Read before they end, for the story: it goes on under the names it began with.
    rows = {row.instance_id: row for row in doors.ledger.instances(live_only=True)} if ids else {}
    ended = set(doors.cloud.terminate(ids)) if ids else set()
    now = doors.clock.now()
    closed = sorted(node for node, instances in behind.items() if ended.issuperset(instances))
    doors.ledger.end_instances(sorted(ended), why, now)
    doors.ledger.release(closed, now)
    left = sorted(set(behind) - set(closed))
    if left:
        # EC2 did not know the id, which right after a launch may only mean "not yet": the sweep looks again.
        outcome.fail(left, Failure("instance-unknown", "EC2 did not know its instance", ExitCode.PARTLY))
    outcome.bound.extend(closed)
    for node in closed:
        _say(doors, request, node, behind[node], why, names(rows.get(behind[node][0])))
    if nodes:
        _slurm(doors, request, nodes, never_came=never_came)
    return outcome.settled()


def _note(boots: Boots, nodes: Sequence[str]) -> None:
    """Note the boots that failed: of nodes that have an instance, and whose slurmd was never seen."""
    waiting = [one for one in boots.doors.ledger.live_bindings(nodes) if one.registered_at is None]
    boots.note(Failed(one, BootTrouble.NEVER_REGISTERED, "ResumeTimeout reached") for one in waiting)


def _ours(doors: Doors, request: Request, outcome: Outcome) -> list[str]:
    """Return the nodes that belong to a group of ours; the others are only reported."""
    nodes = []
    for node in request.nodes:
        why = refusal(doors.config, node)
        if why is None:
            nodes.append(node)
        else:
            outcome.fail([node], Failure("node-refused", why, ExitCode.USAGE))
            doors.say(Event(EventKind.NODE_REFUSED, f"{node}: {why}", request.request_id, node=node, level="error"))
    return nodes


def _instances_behind(doors: Doors, nodes: Sequence[str]) -> dict[str, list[str]]:
    """Return node -> instance ids from the ledger's bindings; for nodes without one also by EC2's tags.

    Only instances whose intent is ours are looked at: another cluster may carry our name.
    """
    behind = {binding.node: [binding.instance_id] for binding in doors.ledger.live_bindings(nodes)}
    unknown = set(nodes) - set(behind)
    if unknown and not doors.ledger.has_history(sorted(unknown)):
        owned = doors.cloud.owned(doors.config.cluster.name)
        ours = doors.ledger.known_intents({instance.tags.get("asbx:intent", "") for instance in owned})
        for instance in owned:
            if instance.tags.get("asbx:intent") in ours and name_of(instance) in unknown:
                behind.setdefault(name_of(instance), []).append(instance.instance_id)
    return behind


def _say(doors: Doors, request: Request, node: str, instances: Sequence[str], why: str, about: dict[str, Any]) -> None:
    never_came = request.kind is RequestKind.RESUME_FAIL
    doors.say(
        Event(
            EventKind.NODE_FAILED if never_came else EventKind.NODE_RELEASED,
            f"{node}: {', '.join(instances)} ended because {why}",
            request.request_id,
            node=node,
            instance_id=instances[0],
            level="warning" if never_came else "info",
            **about,
        )
    )


def _slurm(doors: Doors, request: Request, nodes: Sequence[str], *, never_came: bool) -> None:
    """Reset addresses; a node that never came is DOWN and is brought back to where it can be tried again.

    ResumeTimeout neither calls SuspendProgram nor resets the address (observed on 22.05 and 26.05). Raises SlurmError
    while slurmctld is away; a refusal (a node taken out of slurm.conf) is only reported.
    """
    try:
        if never_came:
            doors.scheduler.fail(nodes, "asbx:boot-timeout the instance did not register within ResumeTimeout")
        doors.scheduler.release(nodes)
    except SlurmError as error:
        if error.code != "slurm-refused":
            raise
        doors.scheduler.ping()  # raises when it was no refusal but silence
        text = f"addresses of {fold(nodes)} were not reset: {error.why}"
        doors.say(Event(EventKind.REQUEST_ODD, text, request.request_id, level="warning"))
