"""What becomes of instances EC2 shows under our cluster's name and the ledger does not know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from asbx.config.schema import Config
from asbx.decide.bind import name_of
from asbx.model.market import Instance
from asbx.model.names import GroupName
from asbx.model.node import NodeView


class Fate(StrEnum):
    """What is done with one."""

    BIND = "bind"  # it serves: it is written down with its node
    SPARE = "spare"  # it is ours and serves nobody: written down, so that the sweep ends it
    LEAVE = "leave"  # nothing says that it is this cluster's: not touched


@dataclass(frozen=True)
class Finding:
    """An instance, the node its tags name ("" for none), and why it has this fate."""

    instance: Instance
    node: str
    fate: Fate
    why: str


def findings(
    config: Config, strangers: Sequence[Instance], nodes: Mapping[str, NodeView], bound: Collection[str]
) -> tuple[Finding, ...]:
    """Return a finding for each, by id. bound: nodes that have an instance by the ledger.

    An instance serves a node when Slurm has its address for it; the tags alone may be of an earlier life of the node.
    """
    taken, found = set(bound), []
    for instance in sorted(strangers, key=lambda one: one.instance_id):
        node = name_of(instance)
        fate, why = _fate(config, instance, nodes.get(node), node, node in taken)
        if fate is Fate.BIND:
            taken.add(node)
        found.append(Finding(instance, node, fate, why))
    return tuple(found)


def _fate(config: Config, instance: Instance, view: NodeView | None, node: str, is_taken: bool) -> tuple[Fate, str]:
    tags = instance.tags
    group = GroupName(tags.get("asbx:partition", ""), tags.get("asbx:nodegroup", ""))
    if not tags.get("asbx:intent") or config.group(group) is None:
        return Fate.LEAVE, f"the configuration has no node group {group}"
    if node and view is None:
        return Fate.LEAVE, f"Slurm has no node {node}"
    why = _not_serving(instance, view, is_taken)
    return (Fate.SPARE, why) if why else (Fate.BIND, f"Slurm has its address for {node}")


def _not_serving(instance: Instance, view: NodeView | None, is_taken: bool) -> str:
    """Return why it serves no node, "" where it does."""
    if view is None:
        return "it was never given to a node"
    if view.is_powered_down:
        return f"Slurm holds {view.name} for powered down"
    if is_taken:
        return f"{view.name} has another instance"
    if view.address != instance.private_ip:
        return f"Slurm has the address {view.address} for {view.name}, not {instance.private_ip}"
    return ""
