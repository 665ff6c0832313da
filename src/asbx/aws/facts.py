"""EC2's answers about what it sells and what the site has there, as values. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from asbx.aws.templates import groups_of
from asbx.model.catalogue import Card, InterfaceSpec, ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.market import Market, Template

# Quotas are in vCPUs, one for each class of families and market. Codes: EC2 user guide, "On-Demand Instance quotas" and
# "Spot Instance quotas", whose tables link each name to its code. A family is the letters before the first digit.
# Capacity Blocks have quotas of instances, not vCPUs, and Mac and dedicated hosts are counted in hosts: not here.
_STANDARD = ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z")
_ON_DEMAND = {
    "dl": "L-6E869C2A",
    "f": "L-74FC7D96",
    "g": "L-DB2E81BA",
    "gr": "L-DB2E81BA",
    "hpc": "L-F7808C92",
    "inf": "L-1945791B",
    "p": "L-417A185B",
    "trn": "L-2C3B7624",
    "u": "L-43DA4232",
    "vt": "L-DB2E81BA",
    "x": "L-7295265B",
} | dict.fromkeys(_STANDARD, "L-1216C47A")
_SPOT = {
    "dl": "L-85EED4F7",
    "f": "L-88CF9481",
    "g": "L-3819A6DF",
    "gr": "L-3819A6DF",
    "inf": "L-B5D1601B",
    "p2": "L-7212CCBC",
    "p3": "L-7212CCBC",
    "p4": "L-7212CCBC",
    "p5": "L-C4BD4855",
    "trn": "L-6B0D517C",
    "vt": "L-3819A6DF",
    "x": "L-E3A00192",
} | dict.fromkeys(_STANDARD, "L-34B43A08")


def quota_code(market: Market, instance_type: str) -> str:
    """Return the Service Quotas code of `ec2` that limits a type, "" where none is known."""
    found = re.match(r"([a-z]+)([0-9]*)", instance_type)
    if found is None or market is Market.CAPACITY_BLOCK:
        return ""
    family, generation = found.groups()
    if market is Market.SPOT:
        return _SPOT.get(family) or _SPOT.get(family + generation, "")
    return _ON_DEMAND.get(family, "")


def type_facts(item: Mapping[str, Any]) -> TypeFacts:
    """Read one of DescribeInstanceTypes."""
    network = item.get("NetworkInfo") or {}
    cards = sorted(network.get("NetworkCards") or [], key=lambda card: int(card["NetworkCardIndex"]))
    markets = [market for market in Market if market in (item.get("SupportedUsageClasses") or [])]
    gpus = (item.get("GpuInfo") or {}).get("Gpus") or []
    return TypeFacts(
        name=item["InstanceType"],
        vcpus=int(item["VCpuInfo"]["DefaultVCpus"]),
        memory_mib=int(item["MemoryInfo"]["SizeInMiB"]),
        efa=int((network.get("EfaInfo") or {}).get("MaximumEfaInterfaces") or 0),
        gpus=sum(int(gpu.get("Count") or 0) for gpu in gpus),
        markets=tuple(markets),
        arch=tuple((item.get("ProcessorInfo") or {}).get("SupportedArchitectures") or []),
        cores=int(item["VCpuInfo"].get("DefaultCores") or 0),
        placement=tuple((item.get("PlacementGroupInfo") or {}).get("SupportedStrategies") or []),
        cards=tuple(_card(card) for card in cards),
        gpu_name=str(gpus[0].get("Name") or "") if gpus else "",
        gpu_memory_mib=int((gpus[0].get("MemoryInfo") or {}).get("SizeInMiB") or 0) if gpus else 0,
    )


def _card(item: Mapping[str, Any]) -> Card:
    kinds = tuple(item.get("InterfaceTypes") or ("interface",))
    return Card(int(item["NetworkCardIndex"]), kinds, int(item.get("MaximumNetworkInterfaces") or 1))


def subnet_facts(item: Mapping[str, Any]) -> SubnetFacts:
    """Read one of DescribeSubnets."""
    return SubnetFacts(
        subnet_id=item["SubnetId"],
        zone=item.get("AvailabilityZone", ""),
        zone_id=item.get("AvailabilityZoneId", ""),
        free=int(item.get("AvailableIpAddressCount") or 0),
        vpc_id=item.get("VpcId", ""),
    )


def template_facts(asked: Template, item: Mapping[str, Any]) -> TemplateFacts:
    """Read one of DescribeLaunchTemplateVersions. The architecture is for others to learn: it is the image's.

    reservation: an id, or the ARN of a group of reservations.
    """
    data = item.get("LaunchTemplateData") or {}
    placement = data.get("Placement") or {}
    target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    return TemplateFacts(
        fixed=Template(asked.template_id, asked.name, str(item["VersionNumber"])),
        image_id=data.get("ImageId", ""),
        groups=groups_of(data),
        interfaces=tuple(_interface(one) for one in data.get("NetworkInterfaces") or []),
        placement_group=placement.get("GroupName") or placement.get("GroupId") or "",
        fingerprint=_fingerprint(data),
        reservation=target.get("CapacityReservationId") or target.get("CapacityReservationResourceGroupArn") or "",
    )


def _interface(item: Mapping[str, Any]) -> InterfaceSpec:
    return InterfaceSpec(
        card=int(item.get("NetworkCardIndex") or 0),
        device=int(item.get("DeviceIndex") or 0),
        kind=item.get("InterfaceType") or "interface",
        groups=tuple(item.get("Groups") or ()),
        public=item.get("AssociatePublicIpAddress"),
    )


def _fingerprint(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def reservation_facts(item: Mapping[str, Any]) -> ReservationFacts:
    """Read one of DescribeCapacityReservations. EndDate counts where EndDateType is not `unlimited`."""
    launchable = item.get("LaunchStatus") != "unlaunchable"
    return ReservationFacts(
        reservation_id=item["CapacityReservationId"],
        instance_type=item.get("InstanceType", ""),
        zone=item.get("AvailabilityZone", ""),
        available=int(item.get("AvailableInstanceCount") or 0),
        total=int(item.get("TotalInstanceCount") or 0),
        is_active=item.get("State") == "active" and launchable,
        is_block=item.get("ReservationType") == "capacity-block",
        is_open=item.get("InstanceMatchCriteria") == "open",
        starts=_time(item.get("StartDate")),
        ends=_time(item.get("EndDate")) if item.get("EndDateType") != "unlimited" else None,
        placement_group=str(item.get("PlacementGroupArn") or "").rpartition("/")[2],
    )


def _time(value: Any) -> datetime | None:
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def has_self_rule(group: Mapping[str, Any]) -> bool:
    """Whether a security group lets all its own traffic in and out, as EFA needs.

    EC2 user guide, "Get started with EFA", step "Prepare an EFA-enabled security group": all traffic to and from the
    group itself. A rule for 0.0.0.0/0 is no such rule: EFA traffic has no IP address, so that only rules that name the
    group match it (awslabs/awsome-distributed-ai #546, gardener-extension-provider-aws #1832).
    """
    return all(_names_itself(group, direction) for direction in ("IpPermissions", "IpPermissionsEgress"))


def _names_itself(group: Mapping[str, Any], direction: str) -> bool:
    rules = [rule for rule in group.get(direction) or [] if str(rule.get("IpProtocol")) == "-1"]
    return any(pair.get("GroupId") == group["GroupId"] for rule in rules for pair in rule.get("UserIdGroupPairs") or [])


def scores_by_zone(items: Sequence[Mapping[str, Any]], zones: Mapping[str, str]) -> dict[str, int]:
    """Read GetSpotPlacementScores, which names zones by id. zones: zone id -> name, for those of interest."""
    return {
        zones[item["AvailabilityZoneId"]]: int(item["Score"])
        for item in items
        if item.get("AvailabilityZoneId") in zones
    }
