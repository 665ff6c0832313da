"""The data of a derived launch template: what its base says, with another network layout or reservation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asbx.model.catalogue import InterfaceSpec, TemplateChange
from asbx.model.market import Verdict
from asbx.ports import CloudError

# What an interface may keep of the base's primary one, by what it is. An EFA-only interface has no address and no ENA
# device; only the primary one has addresses beside its first (EC2 API reference,
# LaunchTemplateInstanceNetworkInterfaceSpecificationRequest). Single addresses and ids fit one instance, never a fleet.
_ANY = ("Description",)
_ENA = (*_ANY, "ConnectionTrackingSpecification", "EnaSrdSpecification")
_PRIMARY = (
    *_ENA,
    "AssociateCarrierIpAddress",
    "DeleteOnTermination",
    "EnaQueueCount",
    "Ipv4PrefixCount",
    "Ipv6AddressCount",
    "Ipv6PrefixCount",
    "PrimaryIpv6",
    "SecondaryPrivateIpAddressCount",
)


def create_launch_template(
    name: str, base: Mapping[str, Any], change: TemplateChange, tags: Mapping[str, str], shape: Any
) -> dict[str, Any]:
    """Build CreateLaunchTemplate for a derived template; the other arguments are those of launch_template."""
    body = [{"Key": key, "Value": value} for key, value in tags.items()]
    made: dict[str, Any] = {"LaunchTemplateName": name, "LaunchTemplateData": launch_template(base, change, shape)}
    if body:
        made["TagSpecifications"] = [{"ResourceType": "launch-template", "Tags": body}]
    return made


def launch_template(base: Mapping[str, Any], change: TemplateChange, shape: Any) -> dict[str, Any]:
    """Return the LaunchTemplateData of a derived template.

    base: LaunchTemplateData as DescribeLaunchTemplateVersions answers it. shape: botocore's RequestLaunchTemplateData;
    answers have members that requests do not take. Raises CloudError where the base cannot carry interfaces.
    """
    data: dict[str, Any] = accepted(base, shape)
    data.pop("Operator", None)  # names a service that manages the base, reserved for AWS; the derived one is ours
    if change.interfaces:
        data["NetworkInterfaces"] = _interfaces(base, change.interfaces)
        # Groups stand in the interfaces, or at the top, never both (RunInstances).
        data.pop("SecurityGroupIds", None)
        data.pop("SecurityGroups", None)
    if change.reservation:
        data["CapacityReservationSpecification"] = {
            "CapacityReservationTarget": {"CapacityReservationId": change.reservation}
        }
    if change.is_block:
        data["InstanceMarketOptions"] = {"MarketType": "capacity-block"}
    return data


def accepted(value: Any, shape: Any) -> Any:
    """Return a value without the members that a request does not know."""
    if shape.type_name == "list":
        return [accepted(item, shape.member) for item in value]
    if shape.type_name == "structure":
        return {name: accepted(item, shape.members[name]) for name, item in value.items() if name in shape.members}
    return value


def primary(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the interface with device 0 on card 0, {} for none."""
    for one in data.get("NetworkInterfaces") or []:
        if not one.get("DeviceIndex") and not one.get("NetworkCardIndex"):
            found: Mapping[str, Any] = one
            return found
    return {}


def groups_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of the primary interface's security groups, wherever the template has them."""
    return tuple(primary(data).get("Groups") or data.get("SecurityGroupIds") or ())


def _interfaces(base: Mapping[str, Any], specs: tuple[InterfaceSpec, ...]) -> list[dict[str, Any]]:
    default = groups_of(base)
    if base.get("SecurityGroups") and not default and not all(spec.groups for spec in specs):
        raise CloudError(
            "template-groups",
            "the launch template names its security groups",
            "network interfaces take ids of security groups, not names",
            "write SecurityGroupIds into the launch template",
            Verdict.INVALID,
        )
    return [_interface(primary(base), spec, default, is_only=len(specs) == 1) for spec in specs]


def _interface(
    base: Mapping[str, Any], spec: InterfaceSpec, groups: tuple[str, ...], *, is_only: bool
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "NetworkCardIndex": spec.card,
        "DeviceIndex": spec.device,
        "InterfaceType": spec.kind,
        # Told, not assumed: an interface that outlives its instance keeps an address of the subnet.
        "DeleteOnTermination": True,
    }
    if spec.groups or groups:
        made["Groups"] = list(spec.groups or groups)
    if spec.kind == "efa-only":
        kept: tuple[str, ...] = _ANY
    elif spec.card == 0 and spec.device == 0:
        kept = _PRIMARY
    else:
        kept = _ENA
    made |= {name: base[name] for name in kept if base.get(name) not in (None, "")}
    # EC2 refuses a public address on an instance with several interfaces (EC2 user guide, "Assign a public IPv4
    # address"), and any statement about one on an EFA-only interface.
    public = base.get("AssociatePublicIpAddress") if spec.public is None else spec.public
    if is_only and spec.kind != "efa-only" and public is not None:
        made["AssociatePublicIpAddress"] = public
    return made
