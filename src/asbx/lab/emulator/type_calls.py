"""DescribeInstanceTypes and DescribeInstanceTypeOfferings over the real lists that moto carries.

Moto gives every type in every region, in one page, and matches an offering's filters without wildcards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.errors import Ec2Error, invalid_value
from asbx.lab.emulator.listing import attribute, filtered, page
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.world import World

# EC2 API reference, DescribeInstanceTypes: at most 100 names, pages of 5 to 100.
_MOST_NAMED = 100
_LOCATIONS = ("region", "availability-zone", "availability-zone-id")


def describe_instance_types(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List the region's types; one unknown name fails the call."""
    names = list(params.get("InstanceTypes") or [])
    if len(names) > _MOST_NAMED:
        raise invalid_value(f"At most {_MOST_NAMED} instance types can be described by name.")
    unknown = [name for name in names if not catalogue.is_known(name, owner.region)]
    if unknown:
        text = f"The following supplied instance types do not exist: [{', '.join(unknown)}]"
        raise Ec2Error("InvalidInstanceType", text)
    filters = {f["Name"]: f.get("Values") or [] for f in params.get("Filters") or []}
    found = ec2_backends[owner.account][owner.region].describe_instance_types(names, filters)
    offered = catalogue.zones_by_type(owner.region)
    rows = [row for row in found if row["InstanceType"] in offered]
    rows, token = page(rows, params, least=5, most=100, usual=100)
    return {"InstanceTypes": rows, **({"NextToken": token} if token else {})}


def describe_instance_type_offerings(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List which types are offered where; by region unless a kind of location is named."""
    kind = str(params.get("LocationType") or "region")
    if kind not in _LOCATIONS:
        raise invalid_value(f"Invalid LocationType: {kind}")
    rows = INSTANCE_TYPE_OFFERINGS[kind].get(owner.region, [])
    rows, token = page(filtered(rows, params.get("Filters"), _texts), params, least=5, most=1000, usual=1000)
    shown = [{**row, "LocationType": kind} for row in rows]
    return {"InstanceTypeOfferings": shown, **({"NextToken": token} if token else {})}


def _texts(row: Mapping[str, Any], name: str) -> Sequence[str]:
    return attribute(name, {"instance-type": row["InstanceType"], "location": row["Location"]})
