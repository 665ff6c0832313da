"""Placement groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_combination, invalid_value, missing
from asbx.lab.emulator.listing import attribute, filtered
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.tagging import check_tags, tags_by_resource
from asbx.lab.emulator.world import Group, World

_STRATEGIES = ("cluster", "spread", "partition")
# EC2 user guide, "Placement group rules": 500 groups a region; a name has at most 255 ASCII characters.
_MOST_GROUPS, _LONGEST_NAME = 500, 255
# EC2 user guide, "Placement groups": a partition group has at most seven partitions in a zone.
_MOST_PARTITIONS = 7


def create_placement_group(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Make a group; a name is unique in an account and region."""
    name = str(params.get("GroupName") or "")
    strategy = str(params.get("Strategy") or "")
    if not name:
        raise missing("GroupName")
    if len(name) > _LONGEST_NAME or not name.isascii() or strategy not in _STRATEGIES:
        raise invalid_value(f"Invalid placement group name or strategy: '{name}', '{strategy}'")
    partitions = _partitions(strategy, params.get("PartitionCount"))
    if (owner, name) in world.groups:
        raise Ec2Error("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
    if sum(1 for key in world.groups if key[0] == owner) >= _MOST_GROUPS:
        raise Ec2Error("PlacementGroupLimitExceeded", f"The limit of {_MOST_GROUPS} placement groups is reached.")
    tags = tags_by_resource(params.get("TagSpecifications") or [])
    check_tags(tags)
    if params.get("DryRun"):
        raise DryRunClientError
    group = Group(world.new_id("pg"), name, strategy, owner, partitions)
    world.groups[owner, name] = group
    world.tags[group.group_id] = dict(tags.get("placement-group", {}))
    return {"PlacementGroup": _description(world, group)}


def _partitions(strategy: str, count: int | None) -> int:
    if count is None:
        return _MOST_PARTITIONS if strategy == "partition" else 0
    if strategy != "partition":
        raise invalid_combination("PartitionCount is for placement groups of the partition strategy only.")
    if not 1 <= int(count) <= _MOST_PARTITIONS:
        raise invalid_value(f"PartitionCount must be between 1 and {_MOST_PARTITIONS}: {count}")
    return int(count)


def describe_placement_groups(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List groups, by name or id; an unknown name fails the call."""
    own = {g.name: g for g in world.groups.values() if g.owner == owner}
    ids = {g.group_id: g for g in own.values()}
    chosen = [_named(own, name) for name in params.get("GroupNames") or []]
    chosen += [_named(ids, group_id) for group_id in params.get("GroupIds") or []]
    if not params.get("GroupNames") and not params.get("GroupIds"):
        chosen = list(own.values())
    chosen = filtered(chosen, params.get("Filters"), lambda group, name: _texts(world, group, name))
    return {"PlacementGroups": [_description(world, group) for group in chosen]}


def _named(groups: Mapping[str, Group], name: str) -> Group:
    if name not in groups:
        raise Ec2Error("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return groups[name]


def _texts(world: World, group: Group, name: str) -> Sequence[str]:
    known = {
        "group-arn": _arn(group),
        "group-id": group.group_id,
        "group-name": group.name,
        "state": "available",
        "strategy": group.strategy,
    }
    return attribute(name, known, world.tags[group.group_id])


def _arn(group: Group) -> str:
    return f"arn:aws:ec2:{group.owner.region}:{group.owner.account}:placement-group/{group.name}"


def delete_placement_group(world: World, owner: Owner, params: Mapping[str, Any]) -> None:
    """Remove a group that no instance is in."""
    name = str(params.get("GroupName") or "")
    group = _named({g.name: g for g in world.groups.values() if g.owner == owner}, name)
    # EC2 user guide, "Use Capacity Reservations with cluster placement groups": active ones keep the group.
    reserved = any(made.is_held and made.group == group.group_id for made in world.market.reservations.values())
    if reserved or world.group_members(group):
        raise Ec2Error("InvalidPlacementGroup.InUse", f"The placement group {name} is in use and may not be deleted.")
    if params.get("DryRun"):
        raise DryRunClientError
    del world.groups[owner, name]
    del world.tags[group.group_id]


def _description(world: World, group: Group) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "GroupName": group.name,
        "GroupId": group.group_id,
        "GroupArn": _arn(group),
        "State": "available",
        "Strategy": group.strategy,
        "Tags": [{"Key": key, "Value": value} for key, value in world.tags[group.group_id].items()],
    }
    if group.strategy == "partition":
        shown["PartitionCount"] = group.partitions
    return shown
