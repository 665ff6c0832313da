"""Capacity reservations and Capacity Blocks: made, described, cancelled. Their places are the market's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_combination, invalid_value, missing
from asbx.lab.emulator.listing import attribute, filtered, page
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.quotas import family_class
from asbx.lab.emulator.resolve import Store
from asbx.lab.emulator.tagging import check_tags, tags_by_resource
from asbx.lab.emulator.world import Booking, Group, World
from asbx.sim.market import Lifecycle, PoolKey, Reservation

_MATCHES = ("open", "targeted")


@dataclass(frozen=True)
class Wish:
    """What a reservation is asked to be. starts, ends: seconds since the epoch, infinite for now and never."""

    key: PoolKey
    count: int
    is_open: bool = True
    group: Group | None = None
    starts: float = -math.inf
    ends: float = math.inf
    platform: str = "Linux/UNIX"


def create_capacity_reservation(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Reserve places at once; the same token and parameters reserve nothing new."""
    token = str(params.get("ClientToken") or "")
    said = json.dumps({k: v for k, v in params.items() if k != "DryRun"}, sort_keys=True, default=str)
    earlier = world.tokens.get((owner, "CreateCapacityReservation", token)) if token else None
    if earlier:
        if earlier[0] != said:
            raise Ec2Error("IdempotentParameterMismatch", "The client token was used with other parameters.")
        return {"CapacityReservation": _description(world, earlier[1])}
    wish = _read(world, owner, params)
    tags = tags_by_resource(params.get("TagSpecifications") or [])
    check_tags(tags)
    if set(tags) - {"capacity-reservation"}:
        raise invalid_value("Only capacity-reservation is a valid taggable resource type for this operation.")
    if params.get("DryRun"):
        raise DryRunClientError
    booking = book(world, owner, wish, tags.get("capacity-reservation", {}))
    if token:
        world.tokens[owner, "CreateCapacityReservation", token] = (said, booking)
    return {"CapacityReservation": _description(world, booking)}


def _read(world: World, owner: Owner, params: Mapping[str, Any]) -> Wish:
    for name in ("InstanceType", "InstancePlatform", "InstanceCount"):
        if not params.get(name):
            raise missing(name)
    if params.get("StartDate"):
        raise Ec2Error("UnsupportedOperation", "This pretend EC2 has no future-dated capacity reservations.")
    match = str(params.get("InstanceMatchCriteria") or "open")
    if match not in _MATCHES:
        raise invalid_value(f"Invalid InstanceMatchCriteria: {match}")
    end, limited = params.get("EndDate"), params.get("EndDateType") == "limited"
    if (end is not None) != limited:
        raise invalid_combination("EndDate and EndDateType limited need each other.")
    ends = end.replace(tzinfo=UTC).timestamp() if end else math.inf
    if ends <= world.now():
        raise invalid_value("EndDate must be in the future.")
    key = PoolKey(str(params["InstanceType"]), _zone(owner, params), Lifecycle.ON_DEMAND)
    group = _group(world, owner, str(params.get("PlacementGroupArn") or ""))
    platform = str(params["InstancePlatform"])
    return Wish(key, int(params["InstanceCount"]), match == "open", group, ends=ends, platform=platform)


def _zone(owner: Owner, params: Mapping[str, Any]) -> str:
    name, zone_id = str(params.get("AvailabilityZone") or ""), str(params.get("AvailabilityZoneId") or "")
    if bool(name) == bool(zone_id):
        raise invalid_combination("Specify either AvailabilityZone or AvailabilityZoneId.")
    by_id = {known: zone for zone, known in Store(owner).zones().items()}
    return name or by_id.get(zone_id, zone_id)


def _group(world: World, owner: Owner, arn: str) -> Group | None:
    if not arn:
        return None
    group = world.groups.get((owner, arn.partition(":placement-group/")[2]))
    if group is None:
        raise Ec2Error("InvalidPlacementGroup.Unknown", f"The Placement Group '{arn}' is unknown.")
    if group.strategy != "cluster":
        raise invalid_value("Capacity reservations can be made in placement groups of the cluster strategy only.")
    return group


def book(world: World, owner: Owner, wish: Wish, tags: Mapping[str, str]) -> Booking:
    """Take the places. Raises Ec2Error where EC2 has not so many, or the quota forbids it."""
    kind, zone = wish.key.instance_type, wish.key.zone
    if not catalogue.is_known(kind, owner.region):
        raise Ec2Error("InvalidInstanceType.NotFound", f"The instance type '{kind}' does not exist in this region.")
    Store(owner).check_zone(zone)
    if zone not in catalogue.zones_by_type(owner.region)[kind]:
        raise Ec2Error("Unsupported", f"Your requested instance type ({kind}) is not supported in {zone}.")
    if wish.count < 1:
        raise invalid_value(f"InstanceCount must be at least 1: {wish.count}")
    left = world.quotas_left(owner, wish.key.market).get(family_class(kind, wish.key.market))
    if left is not None and wish.count * catalogue.vcpus(kind) > left:
        raise Ec2Error("InstanceLimitExceeded", "Your On-Demand limit does not allow for so many more instances.")
    reservation_id = world.new_id("cr")
    group_id = wish.group.group_id if wish.group else ""
    made = Reservation(
        reservation_id, wish.key, wish.count, owner.account, wish.is_open, group_id, wish.starts, wish.ends
    )
    try:
        world.market.reserve(made)
    except ValueError:
        text = f"There is no capacity for {wish.count} {kind} in {zone}."
        raise Ec2Error("InsufficientInstanceCapacity", text) from None
    booking = Booking(reservation_id, owner, world.now(), wish.platform, wish.group.name if wish.group else "")
    world.bookings[reservation_id] = booking
    world.tags[reservation_id] = dict(tags)
    return booking


def cancel_capacity_reservation(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Give the free places back; instances in the reservation run on.

    AWS names no code for one that is over already; ours is the state's.
    """
    booking = _owned(world, owner, str(params.get("CapacityReservationId") or ""))
    made = world.market.reservations[booking.reservation_id]
    if made.key.market is Lifecycle.CAPACITY_BLOCK:
        raise Ec2Error("UnsupportedOperation", "A Capacity Block cannot be cancelled.")
    if not made.is_held:
        raise Ec2Error("InvalidCapacityReservationState", f"The capacity reservation is {state(world, booking)}.")
    if params.get("DryRun"):
        raise DryRunClientError
    world.market.end_reservation(booking.reservation_id)
    booking.is_cancelled = True
    return {"Return": True}


def _owned(world: World, owner: Owner, reservation_id: str) -> Booking:
    booking = world.bookings.get(reservation_id)
    if booking is None or booking.owner != owner:
        text = f"The capacity reservation '{reservation_id}' does not exist"
        raise Ec2Error("InvalidCapacityReservationId.NotFound", text)
    return booking


def describe_capacity_reservations(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List reservations, ended ones too, by id and filter."""
    ids = params.get("CapacityReservationIds") or []
    chosen = [_owned(world, owner, i) for i in ids] or [b for b in world.bookings.values() if b.owner == owner]
    described = [_description(world, booking) for booking in chosen]
    rows, token = page(filtered(described, params.get("Filters"), _texts), params)
    answer: dict[str, Any] = {"CapacityReservations": rows}
    return {**answer, "NextToken": token} if token else answer


def _texts(row: Mapping[str, Any], name: str) -> Any:
    known = {
        "availability-zone": row["AvailabilityZone"],
        "end-date-type": row["EndDateType"],
        "instance-match-criteria": row["InstanceMatchCriteria"],
        "instance-platform": row["InstancePlatform"],
        "instance-type": row["InstanceType"],
        "owner-id": row["OwnerId"],
        "placement-group-arn": row.get("PlacementGroupArn"),
        "state": row["State"],
        "tenancy": row["Tenancy"],
    }
    return attribute(name, known, {tag["Key"]: tag["Value"] for tag in row["Tags"]})


def state(world: World, booking: Booking) -> str:
    """Return the reservation's state in EC2's words."""
    made, now = world.market.reservations[booking.reservation_id], world.now()
    if booking.is_cancelled:
        return "cancelled"
    if now >= made.ends:
        return "expired"
    return "active" if now >= made.starts else "scheduled"


def _description(world: World, booking: Booking) -> dict[str, Any]:
    made = world.market.reservations[booking.reservation_id]
    owner, block = booking.owner, made.key.market is Lifecycle.CAPACITY_BLOCK
    arn = f"arn:aws:ec2:{owner.region}:{owner.account}"
    starts = booking.created_at if math.isinf(made.starts) else made.starts
    shown: dict[str, Any] = {
        "CapacityReservationId": made.reservation_id,
        "CapacityReservationArn": f"{arn}:capacity-reservation/{made.reservation_id}",
        "OwnerId": owner.account,
        "InstanceType": made.key.instance_type,
        "InstancePlatform": booking.platform,
        "AvailabilityZone": made.key.zone,
        "AvailabilityZoneId": Store(owner).zones()[made.key.zone],
        "Tenancy": "default",
        "TotalInstanceCount": made.total,
        "AvailableInstanceCount": made.free if made.serves(world.now()) else 0,
        "EbsOptimized": False,
        "EphemeralStorage": False,
        "State": state(world, booking),
        "CreateDate": datetime.fromtimestamp(booking.created_at, UTC),
        "StartDate": datetime.fromtimestamp(starts, UTC),
        "EndDateType": "unlimited" if math.isinf(made.ends) else "limited",
        "InstanceMatchCriteria": "open" if made.is_open else "targeted",
        "ReservationType": "capacity-block" if block else "default",
        "Tags": [{"Key": k, "Value": v} for k, v in world.tags[made.reservation_id].items()],
    }
    if not math.isinf(made.ends):
        shown["EndDate"] = datetime.fromtimestamp(made.ends, UTC)
    if booking.group:
        shown["PlacementGroupArn"] = f"{arn}:placement-group/{booking.group}"
    return shown
