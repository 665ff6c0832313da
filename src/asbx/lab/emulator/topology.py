"""DescribeInstanceTopology: where instances are in a pretend network.

A rule of our own gives every instance its nodes, the same at every look: one top node a zone; below it one node for
each cluster placement group, others share theirs by order of launch; at the bottom `topology_leaf` instances to a
node. Two bottom nodes fill in turn, so that the order of launch is not the order of the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_combination, invalid_value
from asbx.lab.emulator.listing import attribute, filtered, page
from asbx.lab.emulator.machine import Machine, Owner
from asbx.lab.emulator.resolve import Store
from asbx.lab.emulator.selecting import by_ids
from asbx.lab.emulator.world import World

# EC2 API reference, DescribeInstanceTopology.
_MOST_NAMED, _LARGEST_PAGE, _USUAL_PAGE = 100, 100, 20
# EC2 user guide, "Prerequisites for Amazon EC2 topology": types that have three network nodes, and those with four.
_FAMILIES = frozenset(
    {"g6e", "g7e", "hpc6a", "hpc6id", "hpc7a", "hpc7g", "p4d", "p4de", "p5e", "p5en", "trn1", "trn1n"}
)
_TYPES = frozenset({"p3dn.24xlarge", "p5.48xlarge", "p6e-gb200.36xlarge", "trn2.48xlarge", "trn2u.48xlarge"})
_FOUR = frozenset({"p6-b200.48xlarge", "p6-b300.48xlarge"})
_AISLE = 16  # instances outside cluster groups that share a middle node, for each place at a bottom node


def describe_instance_topology(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Describe instances; network nodes only of those that run and whose type is supported."""
    ids, groups = params.get("InstanceIds") or [], params.get("GroupNames") or []
    if ids and params.get("MaxResults"):
        raise invalid_combination("The parameter instanceIds cannot be used with the parameter maxResults")
    if max(len(ids), len(groups)) > _MOST_NAMED:
        raise invalid_value(f"At most {_MOST_NAMED} instance ids or placement group names can be specified.")
    for name in groups:
        if (owner, name) not in world.groups:
            raise Ec2Error("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    if params.get("DryRun"):
        raise DryRunClientError
    machines = by_ids(world, owner, ids) if ids else world.known(owner)
    chosen = [m for m in machines if not groups or m.launch.placement_group in groups]
    zones = Store(owner).zones()
    rows = [_row(world, machine, zones) for machine in chosen]
    usual = _MOST_NAMED if ids else _USUAL_PAGE
    rows, token = page(filtered(rows, params.get("Filters"), _texts), params, most=_LARGEST_PAGE, usual=usual)
    return {"Instances": rows, **({"NextToken": token} if token else {})}


def _texts(row: Mapping[str, Any], name: str) -> Sequence[str]:
    known = {
        "availability-zone": row["AvailabilityZone"],
        "instance-type": row["InstanceType"],
        "zone-id": row["ZoneId"],
    }
    return attribute(name, known)


def _row(world: World, machine: Machine, zones: Mapping[str, str]) -> dict[str, Any]:
    launch = machine.launch
    row: dict[str, Any] = {
        "InstanceId": machine.instance_id,
        "InstanceType": launch.pool.instance_type,
        "AvailabilityZone": launch.pool.zone,
        "ZoneId": zones[launch.pool.zone],
    }
    if launch.placement_group:
        row["GroupName"] = launch.placement_group
    layers = _layers(world, launch.pool.instance_type)
    if layers and machine.state(world.now()).name == "running":
        row["NetworkNodes"] = _nodes(world, machine)[:layers]
    return row


def _layers(world: World, kind: str) -> int:
    if kind in _FOUR:
        return 4
    supported = kind.partition(".")[0] in _FAMILIES or kind in _TYPES
    return 3 if supported or world.knobs.topology_all else 0


def _nodes(world: World, machine: Machine) -> list[str]:
    """Return the nodes from the top layer down."""
    launch, leaf = machine.launch, max(1, int(world.knobs.topology_leaf))
    block, place = divmod(machine.seat, 2 * leaf)
    bottom = f"{block}.{place % 2}"
    clustered = any(g.group_id == launch.placement_group_id and g.strategy == "cluster" for g in world.groups.values())
    middle = launch.placement_group_id if clustered else f"aisle {machine.seat // (_AISLE * leaf)}"
    path = [launch.owner.account, launch.pool.zone, middle, bottom, str(place // 2)]
    return [_node(*path[: depth + 1]) for depth in range(1, len(path))]


def _node(*path: str) -> str:
    return f"nn-{hashlib.sha256('/'.join(path).encode()).hexdigest()[:17]}"
