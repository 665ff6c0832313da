"""Merge a launch template with an override into the plan of one kind of instance; find what forbids it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.errors import Ec2Error, invalid_combination, invalid_value, missing
from asbx.lab.emulator.interfaces import EFA_ONLY, interface_bar, kind_of
from asbx.lab.emulator.resolve import Store, Subnet
from asbx.lab.emulator.world import Group, World

# What an override may replace in the template (EC2 API reference, FleetLaunchTemplateOverridesRequest).
_REPLACEABLE = (
    "ImageId",
    "KeyName",
    "BlockDeviceMappings",
    "IamInstanceProfile",
    "MetadataOptions",
    "InstanceType",
)
# EC2 user guide, "Run commands at launch": 16 KB in raw form.
_LONGEST_USER_DATA = 16384
# EC2 API reference, FleetLaunchTemplateOverridesRequest, Placement: not supported by CreateFleet.
_NO_PLACEMENT = ("Affinity", "AvailabilityZone", "HostId", "PartitionNumber", "Tenancy")


@dataclass(frozen=True)
class Blueprint:
    """One kind of instance in one place. data: LaunchTemplateData with the override's members put in.

    barred: EC2's code and text if this can never launch.
    """

    data: Mapping[str, Any]
    instance_type: str
    subnet: Subnet
    group: Group | None
    barred: tuple[str, str] | None = None

    def group_of(self, strategy: str) -> str:
        """Return the id of its placement group if that has the strategy, else ""."""
        return self.group.group_id if self.group and self.group.strategy == strategy else ""

    @property
    def interfaces(self) -> list[Mapping[str, Any]]:
        """The interfaces to make, in EC2's shape; one plain interface if the template names none."""
        return list(self.data.get("NetworkInterfaces") or [{"DeviceIndex": 0}])

    @property
    def addresses(self) -> int:
        """How many addresses one instance takes: efa-only interfaces have none."""
        return sum(1 for nic in self.interfaces if kind_of(nic) != EFA_ONLY)


def blueprint(world: World, store: Store, template: Mapping[str, Any], override: Mapping[str, Any]) -> Blueprint:
    """Return the plan for one override. Raises Ec2Error for what EC2 refuses the whole call for."""
    if override.get("InstanceRequirements"):
        if override.get("InstanceType"):
            raise invalid_combination("You cannot specify both InstanceType and InstanceRequirements.")
        raise Ec2Error("UnsupportedOperation", "This pretend EC2 does not choose by InstanceRequirements.")
    data = dict(template)
    data.update({key: override[key] for key in _REPLACEABLE if override.get(key)})
    kind = data.get("InstanceType")
    if not kind:
        raise missing("InstanceType")
    if not catalogue.is_known(kind, store.owner.region):
        raise Ec2Error("InvalidInstanceType.NotFound", f"The instance type '{kind}' does not exist in this region.")
    data["ImageId"] = store.image(data.get("ImageId", ""))
    subnet = _subnet(store, data, override)
    placement = {**(data.get("Placement") or {}), **_placement(override)}
    group, barred = _group(world, store, placement)
    barred = (
        barred
        or _zone_bar(store, kind, subnet)
        or _group_bar(group, kind)
        or interface_bar(kind, data.get("NetworkInterfaces") or [])
        or _firewall_bar(store, data, subnet)
        or _user_data_bar(data)
    )
    return Blueprint(data, kind, subnet, group, barred)


def _subnet(store: Store, data: Mapping[str, Any], override: Mapping[str, Any]) -> Subnet:
    in_template = {nic["SubnetId"] for nic in data.get("NetworkInterfaces") or [] if nic.get("SubnetId")}
    wanted, zone = override.get("SubnetId"), override.get("AvailabilityZone")
    if wanted and "," in wanted:
        raise invalid_value("For a fleet of type instant, an override names exactly one subnet.")
    if wanted and in_template:
        raise invalid_combination(
            "Network interfaces and an instance-level subnet ID may not be specified on the same request"
        )
    if len(in_template) > 1:
        raise invalid_combination("All network interfaces of an instance must be in one subnet.")
    if zone:
        store.check_zone(zone)
    named = wanted or next(iter(in_template), None)
    if not named:
        return store.default_subnet(zone or (data.get("Placement") or {}).get("AvailabilityZone") or "")
    subnet = store.subnet(named)
    if zone and zone != subnet.zone:
        raise invalid_combination(f"The subnet {named} is in {subnet.zone}, not in the availability zone {zone}.")
    return subnet


def _placement(override: Mapping[str, Any]) -> Mapping[str, Any]:
    placement: Mapping[str, Any] = override.get("Placement") or {}
    unsupported = [name for name in _NO_PLACEMENT if placement.get(name)]
    if unsupported:
        raise invalid_combination(f"CreateFleet does not support Placement.{unsupported[0]} in an override.")
    return placement


def _group(world: World, store: Store, placement: Mapping[str, Any]) -> tuple[Group | None, tuple[str, str] | None]:
    name, group_id = placement.get("GroupName"), placement.get("GroupId")
    if not name and not group_id:
        return None, None
    for group in world.groups.values():
        if group.owner == store.owner and (group.name == name or group.group_id == group_id):
            return group, None
    return None, ("InvalidPlacementGroup.Unknown", f"The Placement Group '{name or group_id}' is unknown.")


def _zone_bar(store: Store, kind: str, subnet: Subnet) -> tuple[str, str] | None:
    """Code and text as reported for instant fleets (hashicorp/packer #9946)."""
    if subnet.zone in catalogue.zones_by_type(store.owner.region)[kind]:
        return None
    return (
        "InvalidFleetConfiguration",
        f"Your requested instance type ({kind}) is not supported in your requested Availability Zone ({subnet.zone}).",
    )


def _group_bar(group: Group | None, kind: str) -> tuple[str, str] | None:
    """Code and text as RunInstances answers them (dstack #2872)."""
    if group is None or group.strategy in catalogue.placement_strategies(kind):
        return None
    text = (
        f"{group.strategy.title()} placement groups are not supported by the '{kind}' instance type. "
        "Specify a supported instance type or change the placement group strategy, and try again."
    )
    return "InvalidParameterCombination", text


def _firewall_bar(store: Store, data: Mapping[str, Any], subnet: Subnet) -> tuple[str, str] | None:
    """Check the security groups of every interface; texts as RunInstances answers them."""
    nics: Sequence[Mapping[str, Any]] = data.get("NetworkInterfaces") or []
    whole = list(data.get("SecurityGroupIds") or [])
    if nics and whole:
        text = "Network interfaces and an instance-level security groups may not be specified on the same request"
        return "InvalidParameterCombination", text
    for group in dict.fromkeys([g for nic in nics for g in nic.get("Groups") or []] + whole):
        try:
            vpc = store.group_vpc(group)
        except Ec2Error as error:
            return error.code, error.message
        if vpc != subnet.vpc_id:
            text = f"Security group {group} and subnet {subnet.subnet_id} belong to different networks."
            return "InvalidParameter", text
    return None


def _user_data_bar(data: Mapping[str, Any]) -> tuple[str, str] | None:
    try:
        size = len(base64.b64decode(str(data.get("UserData") or ""), validate=True))
    except binascii.Error:
        return "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."
    if size <= _LONGEST_USER_DATA:
        return None
    return "InvalidUserData.Malformed", f"User data is limited to {_LONGEST_USER_DATA} bytes"
