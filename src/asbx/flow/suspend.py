"""Suspend: end the instances behind nodes, reset their addresses, close the books. Also for nodes that never came."""

from __future__ import annotations

from collections.abc import Sequence

from asbx.decide.bind import name_of
from asbx.errors import ExitCode, SlurmError
from asbx.flow.doors import Doors
from asbx.flow.outcome import Outcome
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.job import Request, RequestKind


def suspend(doors: Doors, request: Request) -> Outcome:
    """End what stands behind the request's nodes. Safe to run again from the start at any time.

    EC2 first, then Slurm, the ledger last: whatever a crash leaves undone is found again by the next run.
    Raises CloudError or LedgerError when EC2 or the ledger cannot serve; nothing is closed then that is not ended.
    """
    never_came = request.kind is RequestKind.RESUME_FAIL
    why = "its node did not register within ResumeTimeout" if never_came else "its node was powered down"
    behind = _instances_behind(doors, request.nodes)
    ended = set(doors.cloud.terminate(sorted(behind.values()))) if behind else set()
    outcome = Outcome()
    _slurm(doors, request, outcome, never_came=never_came)
    now = doors.clock.now()
    closed = sorted(node for node, instance in behind.items() if instance in ended)
    doors.ledger.end_instances(sorted(ended), why, now)
    doors.ledger.release(closed, now)
    left = sorted(set(behind) - set(closed))
    if left:
        # EC2 did not know the id, which right after a launch may only mean "not yet": the sweep looks again.
        outcome.failed.update(dict.fromkeys(left, "EC2 did not know its instance"))
        outcome.exit_code = ExitCode.PARTLY
    outcome.bound.extend(closed)
    for node in closed:
        doors.say(
            Event(
                EventKind.NODE_FAILED if never_came else EventKind.NODE_RELEASED,
                f"{node}: instance {behind[node]} ended because {why}",
                request.request_id,
                node=node,
                instance_id=behind[node],
                level="warning" if never_came else "info",
            )
        )
    return outcome


def _instances_behind(doors: Doors, nodes: Sequence[str]) -> dict[str, str]:
    """Return node -> instance id from the ledger; for nodes it does not know, from EC2's tags."""
    behind = {binding.node: binding.instance_id for binding in doors.ledger.live_bindings(nodes)}
    unknown = set(nodes) - set(behind)
    if unknown and not doors.ledger.has_history(sorted(unknown)):
        for instance in doors.cloud.owned(doors.config.cluster.name):
            node = name_of(instance)
            if node in unknown:
                behind[node] = instance.instance_id
    return behind


def _slurm(doors: Doors, request: Request, outcome: Outcome, *, never_came: bool) -> None:
    """Reset addresses; a node that never came is DOWN and is brought back to where it can be tried again.

    ResumeTimeout neither calls SuspendProgram nor resets the address (observed on 22.05 and 26.05).
    """
    try:
        doors.scheduler.release(request.nodes)
        if never_came:
            doors.scheduler.fail(request.nodes, "asbx:boot-timeout the instance did not register within ResumeTimeout")
    except SlurmError as error:
        outcome.codes.append(error.code)
        outcome.exit_code = ExitCode.SLURM
        doors.say(
            Event(
                EventKind.REQUEST_ODD,
                f"addresses of {fold(request.nodes)} were not reset: {error.why}",
                request.request_id,
                level="warning",
            )
        )
