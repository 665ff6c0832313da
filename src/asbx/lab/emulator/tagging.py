"""Tags: reading them from requests, EC2's rules for them, and the three tag calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moto.ec2.models import ec2_backends

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_value, missing
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.resolve import Store
from asbx.lab.emulator.world import World

# EC2 user guide, "Tag restrictions", and the API reference of CreateTags.
_LONGEST_KEY, _LONGEST_VALUE, _MOST_TAGS, _MOST_RESOURCES = 128, 256, 50, 1000
# EC2 user guide, "Work with instance tags in instance metadata".
_METADATA_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")
_RESERVED = {".", "..", "_index"}
_NOT_FOUND = {
    "i": ("InvalidInstanceID.NotFound", "The instance ID '{}' does not exist"),
    "cr": ("InvalidCapacityReservationId.NotFound", "The capacity reservation '{}' does not exist"),
    "fleet": ("InvalidFleetId.NotFound", "The fleet ID '{}' does not exist"),
    "pg": ("InvalidPlacementGroup.Unknown", "The Placement Group '{}' is unknown."),
}
_TYPES = {
    "i": "instance",
    "cr": "capacity-reservation",
    "fleet": "fleet",
    "pg": "placement-group",
    "vol": "volume",
    "eni": "network-interface",
}


def tags_by_resource(specs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return TagSpecifications as tags by resource type."""
    found: dict[str, dict[str, str]] = {}
    for spec in specs:
        kind = spec.get("ResourceType")
        if not kind:
            raise invalid_value("Tag specification resource type must have a value")
        for tag in spec.get("Tags") or []:
            found.setdefault(kind, {})[tag["Key"]] = tag.get("Value", "")
    return found


def merged(template: Sequence[Mapping[str, Any]], call: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return the template's tags with the call's over them, by resource type."""
    tags = tags_by_resource(template)
    for kind, of_call in call.items():
        tags[kind] = {**tags.get(kind, {}), **of_call}
    return tags


def check_tags(by_resource: Mapping[str, Mapping[str, str]]) -> None:
    """Raise what EC2 answers for tags it does not take."""
    for tags in by_resource.values():
        if len(tags) > _MOST_TAGS:
            raise Ec2Error("TagLimitExceeded", f"More than {_MOST_TAGS} tags for one resource.")
        for key, value in tags.items():
            _check_tag(key, value)


def _check_tag(key: str, value: str) -> None:
    if key.lower().startswith("aws:"):
        raise invalid_value("Tag keys starting with 'aws:' are reserved for internal use")
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise invalid_value(f"Tag key exceeds the maximum length of {_LONGEST_KEY} characters or is empty")
    if len(value) > _LONGEST_VALUE:
        raise invalid_value(f"Tag value exceeds the maximum length of {_LONGEST_VALUE} characters")


def create_tags(world: World, owner: Owner, params: Mapping[str, Any]) -> None:
    """Put the same tags on up to 1,000 resources; one unknown id fails the whole call."""
    resources = list(params.get("Resources") or [])
    tags = {tag["Key"]: tag.get("Value", "") for tag in params.get("Tags") or []}
    if not tags:
        raise missing("Tag")
    check_tags({"": tags})
    ours, theirs = _split(world, owner, resources)
    for resource in ours:
        _check_room(world, resource, tags)
    if params.get("DryRun"):
        raise DryRunClientError
    for resource in ours:
        world.tags[resource].update(tags)
    if theirs:
        ec2_backends[owner.account][owner.region].create_tags(theirs, tags)


def _check_room(world: World, resource: str, tags: Mapping[str, str]) -> None:
    own = [key for key in {**world.tags[resource], **tags} if not key.startswith("aws:")]
    if len(own) > _MOST_TAGS:
        raise Ec2Error("TagLimitExceeded", f"More than {_MOST_TAGS} tags for resource '{resource}'.")
    machine = world.machines.get(resource)
    if machine and machine.launch.metadata_options.get("InstanceMetadataTags") == "enabled":
        check_metadata_keys(tags)


def check_metadata_keys(keys: Iterable[str]) -> None:
    """Raise for keys that instance metadata cannot serve."""
    for key in keys:
        if key in _RESERVED or not _METADATA_KEY.fullmatch(key):
            raise invalid_value(
                f"'{key}' is not a valid tag key. Tag keys must match pattern "
                "([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')"
            )


def delete_tags(world: World, owner: Owner, params: Mapping[str, Any]) -> None:
    """Take tags off resources: by key, or by key and value."""
    ours, theirs = _split(world, owner, list(params.get("Resources") or []))
    tags = {tag["Key"]: tag.get("Value") for tag in params.get("Tags") or []}
    if params.get("DryRun"):
        raise DryRunClientError
    for resource in ours:
        present = world.tags[resource]
        gone = tags or {key: None for key in present if not key.startswith("aws:")}
        for key, value in gone.items():
            if key in present and value in (None, present[key]):
                del present[key]
    if theirs:
        ec2_backends[owner.account][owner.region].delete_tags(theirs, tags)


def _split(world: World, owner: Owner, resources: list[str]) -> tuple[list[str], list[str]]:
    """Return the resources that are ours and those of the store; raise for one that does not exist."""
    if not resources:
        raise missing("resourceIdSet")
    if len(resources) > _MOST_RESOURCES:
        raise invalid_value(f"The maximum number of resources is {_MOST_RESOURCES}.")
    ours, theirs = [], []
    for resource in resources:
        prefix = resource.partition("-")[0]
        if resource in world.tags and (prefix != "i" or world.find(owner, resource)):
            ours.append(resource)
        elif prefix in _NOT_FOUND:
            code, text = _NOT_FOUND[prefix]
            raise Ec2Error(code, text.format(resource))
        else:
            theirs.append(resource)
    if theirs:
        Store(owner).check_resources(theirs)
    return ours, theirs


def describe_tags(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List tags of everything, ours and the store's."""
    filters = {f["Name"]: f.get("Values") or [] for f in params.get("Filters") or []}
    rows = [
        {"ResourceId": resource, "ResourceType": _TYPES[kind], "Key": key, "Value": value}
        for resource, tags in world.tags.items()
        for key, value in tags.items()
        if (kind := resource.partition("-")[0]) in _TYPES and (kind != "i" or world.find(owner, resource))
    ]
    names = {"resource-id": "ResourceId", "resource-type": "ResourceType", "key": "Key", "value": "Value"}
    for name, values in filters.items():
        if name not in names:
            raise invalid_value(f"The filter '{name}' is invalid")
        rows = [row for row in rows if row[names[name]] in values]
    theirs = ec2_backends[owner.account][owner.region].describe_tags(filters=filters)
    rows.extend(
        {
            "ResourceId": t["resource_id"],
            "ResourceType": t["resource_type"],
            "Key": t["key"],
            "Value": t["value"],
        }
        for t in theirs
    )
    return {"Tags": rows}
