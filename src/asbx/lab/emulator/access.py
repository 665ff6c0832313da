"""Which capacity reservations a launch may use, by what its template says and what the reservation is.

EC2 user guide, "Launch instances into an existing Capacity Reservation" and "Launch instances using Capacity Blocks".
A reservation that was not made in a cluster placement group does not serve a launch into one: such launches were
seen to fail with InsufficientInstanceCapacity or to get a part (aws-parallelcluster #4215, eksctl #7949,
terraform-aws-eks PR 3730); here they get nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asbx.lab.emulator.errors import Ec2Error
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.world import World
from asbx.sim.market import Lifecycle, Offer, PoolKey, Reservation
from asbx.sim.refusals import group_full, reserved_out

_RESERVATION_ID = re.compile(r"cr-[0-9a-f]{8,17}")
BLOCK = Lifecycle.CAPACITY_BLOCK


def target_of(data: Mapping[str, Any]) -> str:
    """Return the reservation a template targets, "" for none."""
    target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    if target.get("CapacityReservationResourceGroupArn"):
        raise Ec2Error("UnsupportedOperation", "This pretend EC2 has no groups of capacity reservations.")
    return str(target.get("CapacityReservationId") or "")


def preference_of(data: Mapping[str, Any]) -> str:
    """Return open, none or capacity-reservations-only; open is EC2's default."""
    spec = data.get("CapacityReservationSpecification") or {}
    return str(spec.get("CapacityReservationPreference") or "open")


def wants_block(data: Mapping[str, Any]) -> bool:
    """Whether a template asks for a Capacity Block."""
    return (data.get("InstanceMarketOptions") or {}).get("MarketType") == BLOCK.value


def with_reservations(world: World, owner: Owner, offer: Offer, data: Mapping[str, Any], market: Lifecycle) -> Offer:
    """Return the offer with the reservations it may use, or barred for those it must not."""
    if offer.barred:
        return offer
    target, preference = target_of(data), preference_of(data)
    if target:
        barred = _target_bar(world, owner, offer, target, market)
        return replace(offer, barred=barred, reservations=(target,), reserved_only=True)
    if market is BLOCK:
        text = "A launch into a Capacity Block must name it as the target of the capacity reservation."
        return replace(offer, barred=("InvalidParameterCombination", text))
    only = preference == "capacity-reservations-only"
    if market is Lifecycle.SPOT or preference == "none":
        return offer
    key = PoolKey(offer.instance_type, offer.zone, market)
    found = world.market.open_for(key, owner.account, offer.cluster, world.now())
    return replace(offer, reservations=found, reserved_only=only)


def _target_bar(world: World, owner: Owner, offer: Offer, target: str, market: Lifecycle) -> tuple[str, str] | None:
    if not _RESERVATION_ID.fullmatch(target):
        return "InvalidCapacityReservationId.Malformed", f"Invalid id: '{target}' (expecting 'cr-...')"
    made = world.market.reservations.get(target)
    if made is None or made.owner != owner.account:
        return "InvalidCapacityReservationId.NotFound", f"The capacity reservation '{target}' does not exist"
    if (made.key.market is BLOCK) != (market is BLOCK) or market is Lifecycle.SPOT:
        text = f"The capacity reservation {target} does not serve instances of market type {market.value}."
        return "InvalidParameterCombination", text
    closes = made.ends - (world.knobs.block_end_notice if market is BLOCK else 0)
    if not _matches(made, offer) or not made.serves(world.now()) or world.now() >= closes:
        return reserved_out(market, offer)
    if offer.cluster != made.group:
        return group_full(offer)
    return None


def _matches(made: Reservation, offer: Offer) -> bool:
    return (made.key.instance_type, made.key.zone) == (offer.instance_type, offer.zone)
