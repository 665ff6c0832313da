"""What is wrong between Slurm, EC2 and the ledger, and what to do about it.

Nothing is done on one sighting: a finding must be there on two looks, a grace apart. Only instances whose intent is in
our own ledger are ever ended; everything else in the account is none of our business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from asbx.model.market import Instance
from asbx.model.node import NodeView
from asbx.model.record import Binding, InstanceRow


class ActionKind(StrEnum):
    """What a pass may do."""

    TERMINATE = "terminate"  # end an instance nobody needs
    FORGET = "forget"  # the instance is gone from EC2: close its row and its binding
    RELEASE = "release"  # a node is bound to an instance that has ended: unbind it
    REPORT = "report"  # nothing is done; somebody should know


@dataclass(frozen=True)
class Action:
    """Something to do, to which instance or node, and why."""

    kind: ActionKind
    target: str
    reason: str
    node: str = ""


@dataclass(frozen=True)
class Snapshot:
    """One look at the three sides. owned was taken before nodes, so that a fresh launch is no orphan.

    reclaimed: instances EC2 says it took back for Spot. busy_*: what a running request is working on; it is left alone.
    elsewhere: instances of another region than the configured one, about which nothing was asked.
    """

    taken_at: datetime
    owned: Sequence[Instance]
    nodes: Sequence[NodeView]
    rows: Sequence[InstanceRow]
    bindings: Sequence[Binding]
    known_intents: Collection[str]
    reclaimed: Collection[str] = ()
    elsewhere: Collection[str] = ()
    busy_nodes: Collection[str] = ()
    busy_intents: Collection[str] = ()


def registered(look: Snapshot) -> tuple[str, ...]:
    """Return the bound nodes whose slurmd has registered since they were last looked at."""
    nodes = {view.name: view for view in look.nodes}
    return tuple(
        binding.node
        for binding in look.bindings
        if binding.registered_at is None and binding.node in nodes and _answers(nodes[binding.node])
    )


def _answers(view: NodeView) -> bool:
    # One that came with less than slurm.conf promises (INVALID_REG) does not serve: that is a failed boot.
    rising = {"POWERING_UP", "POWERED_DOWN", "POWERING_DOWN", "POWER_UP", "NOT_RESPONDING", "INVALID_REG"}
    return view.state not in ("DOWN", "UNKNOWN", "FUTURE") and not view.flags & rising


Sightings = Mapping[tuple[str, str], datetime]


def findings(look: Snapshot) -> tuple[Action, ...]:
    """Return everything that looks wrong on this look alone."""
    nodes = {view.name: view for view in look.nodes}
    bound = {binding.instance_id: binding.node for binding in look.bindings}
    alive = {i.instance_id for i in look.owned}
    found: list[Action] = []
    for instance in look.owned:
        intent = instance.tags.get("asbx:intent", "")
        if intent not in look.known_intents or intent in look.busy_intents:
            continue
        found.extend(_about_instance(instance, bound.get(instance.instance_id), nodes, look.busy_nodes))
    for row in look.rows:
        gone = row.ended_at is None and row.instance_id not in alive and row.instance_id not in look.elsewhere
        if gone and bound.get(row.instance_id) not in look.busy_nodes:
            node = bound.get(row.instance_id, "")
            found.append(Action(ActionKind.FORGET, row.instance_id, "EC2 does not list it any more", node))
    live = {row.instance_id for row in look.rows} | alive
    for binding in look.bindings:
        if binding.instance_id not in live and binding.node not in look.busy_nodes:
            reason = f"it is bound to {binding.instance_id}, which has ended"
            found.append(Action(ActionKind.RELEASE, binding.node, reason, binding.node))
    return tuple(found)


def _about_instance(
    instance: Instance, node: str | None, nodes: Mapping[str, NodeView], busy: Collection[str]
) -> list[Action]:
    if node is None:
        return [Action(ActionKind.TERMINATE, instance.instance_id, "it is bound to no node")]
    if node in busy:
        return []
    view = nodes.get(node)
    if view is None:
        # A foreign or empty node table must end nothing: this may be a wrong SLURM_CONF.
        return [
            Action(ActionKind.REPORT, instance.instance_id, f"Slurm has no node {node}; its instance is kept", node)
        ]
    if view.is_powered_down:
        return [Action(ActionKind.TERMINATE, instance.instance_id, f"Slurm holds {node} for powered down", node)]
    return []


def due(
    look: Snapshot, before: Sightings, grace: timedelta
) -> tuple[tuple[Action, ...], dict[tuple[str, str], datetime]]:
    """Return (actions to take now, what to remember for the next look). A report is due once."""
    found = findings(look)
    seen = {_key(action): before.get(_key(action), look.taken_at) for action in found}
    ready = [a for a in found if _key(a) in before and look.taken_at - before[_key(a)] >= grace]
    for action in ready:
        if action.kind is ActionKind.REPORT:
            seen[_key(action)] = datetime.max.replace(tzinfo=look.taken_at.tzinfo)
    return tuple(ready), seen


def _key(action: Action) -> tuple[str, str]:
    return action.kind.value, action.target
