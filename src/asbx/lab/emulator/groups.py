"""Placement groups, and capacity reservations, of which there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_value, missing
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.tagging import check_tags, tags_by_resource
from asbx.lab.emulator.world import Group, World

_STRATEGIES = ("cluster", "spread", "partition")
# EC2 user guide, "Placement group rules": 500 groups a region; a name has at most 255 ASCII characters.
_MOST_GROUPS, _LONGEST_NAME = 500, 255


def create_placement_group(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Make a group; a name is unique in an account and region."""
    name = str(params.get("GroupName") or "")
    strategy = str(params.get("Strategy") or "")
    if not name:
        raise missing("GroupName")
    if len(name) > _LONGEST_NAME or not name.isascii() or strategy not in _STRATEGIES:
        raise invalid_value(f"Invalid placement group name or strategy: '{name}', '{strategy}'")
    if (owner, name) in world.groups:
        raise Ec2Error("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
    if sum(1 for key in world.groups if key[0] == owner) >= _MOST_GROUPS:
        raise Ec2Error("PlacementGroupLimitExceeded", f"The limit of {_MOST_GROUPS} placement groups is reached.")
    tags = tags_by_resource(params.get("TagSpecifications") or [])
    check_tags(tags)
    if params.get("DryRun"):
        raise DryRunClientError
    group = Group(world.new_id("pg"), name, strategy, owner, int(params.get("PartitionCount") or 0))
    world.groups[owner, name] = group
    world.tags[group.group_id] = dict(tags.get("placement-group", {}))
    return {"PlacementGroup": _description(world, group)}


def describe_placement_groups(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List groups, by name or id; an unknown name fails the call."""
    own = {g.name: g for g in world.groups.values() if g.owner == owner}
    ids = {g.group_id: g for g in own.values()}
    chosen = [_named(own, name) for name in params.get("GroupNames") or []]
    chosen += [_named(ids, group_id) for group_id in params.get("GroupIds") or []]
    if not params.get("GroupNames") and not params.get("GroupIds"):
        chosen = list(own.values())
    for wanted in params.get("Filters") or []:
        chosen = [g for g in chosen if _matches(world, g, str(wanted["Name"]), wanted.get("Values") or [])]
    return {"PlacementGroups": [_description(world, group) for group in chosen]}


def _named(groups: Mapping[str, Group], name: str) -> Group:
    if name not in groups:
        raise Ec2Error("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return groups[name]


def _matches(world: World, group: Group, name: str, values: list[str]) -> bool:
    tags = world.tags[group.group_id]
    if name.startswith("tag:"):
        return tags.get(name[len("tag:") :]) in values
    if name == "tag-key":
        return any(value in tags for value in values)
    known = {
        "group-name": group.name,
        "strategy": group.strategy,
        "state": "available",
        "group-id": group.group_id,
    }
    if name not in known:
        raise invalid_value(f"The filter '{name}' is invalid")
    return known[name] in values


def delete_placement_group(world: World, owner: Owner, params: Mapping[str, Any]) -> None:
    """Remove a group that no instance is in."""
    name = str(params.get("GroupName") or "")
    group = _named({g.name: g for g in world.groups.values() if g.owner == owner}, name)
    if world.group_members(group):
        raise Ec2Error("InvalidPlacementGroup.InUse", f"The placement group {name} is in use and may not be deleted.")
    if params.get("DryRun"):
        raise DryRunClientError
    del world.groups[owner, name]
    del world.tags[group.group_id]


def _description(world: World, group: Group) -> dict[str, Any]:
    region, account = group.owner.region, group.owner.account
    shown: dict[str, Any] = {
        "GroupName": group.name,
        "GroupId": group.group_id,
        "GroupArn": f"arn:aws:ec2:{region}:{account}:placement-group/{group.name}",
        "State": "available",
        "Strategy": group.strategy,
        "Tags": [{"Key": key, "Value": value} for key, value in world.tags[group.group_id].items()],
    }
    if group.strategy == "partition":
        shown["PartitionCount"] = group.partitions or 7
    return shown


def describe_capacity_reservations(_world: World, _owner: Owner, _params: Mapping[str, Any]) -> dict[str, Any]:
    """List no reservations."""
    return {"CapacityReservations": []}
