"""Say why an override gave less than it was asked: EC2's code, and a text of its kind."""

from __future__ import annotations

from asbx.sim.fleet import Offer
from asbx.sim.prices import Lifecycle
from asbx.sim.stock import SPREAD_LIMIT

FULL = "InsufficientInstanceCapacity"


def pool_full(market: Lifecycle, offer: Offer) -> tuple[str, str]:
    """Return the refusal of a pool that has no more."""
    kind, zone = offer.instance_type, offer.zone
    if market is Lifecycle.SPOT:
        return FULL, f"There is no Spot capacity available that matches your request ({kind} in {zone})."
    return FULL, (
        f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone})."
    )


def group_full(offer: Offer) -> tuple[str, str]:
    """Return the refusal of a placement group; EC2 has no code of its own for it (Karpenter reads the text)."""
    if offer.spread:
        return FULL, (
            f"We currently do not have sufficient {offer.instance_type} capacity: a spread placement group holds at "
            f"most {SPREAD_LIMIT} running instances in an Availability Zone ({offer.zone})."
        )
    return FULL, (
        f"We currently do not have sufficient {offer.instance_type} capacity in the Availability Zone you requested "
        f"({offer.zone}) within the placement group."
    )


def group_elsewhere(offer: Offer, zones: frozenset[str]) -> tuple[str, str]:
    """Return the refusal of a cluster placement group that is in another zone."""
    _, text = group_full(offer)
    return FULL, f"{text} The group is in {', '.join(sorted(zones))}."


def reserved_out(market: Lifecycle, offer: Offer) -> tuple[str, str]:
    """Return the refusal of a reservation that has no place (EC2 API reference, "Error codes").

    For Capacity Blocks a fleet says insufficient capacity, before the block's start too (EC2 user guide, "Tutorial:
    Configure your EC2 Fleet to launch instances into Capacity Blocks").
    """
    if market is Lifecycle.CAPACITY_BLOCK:
        return pool_full(market, offer)
    text = "The requested reservation does not have sufficient compatible and available capacity for this request."
    return "ReservationCapacityExceeded", text


def over_quota(market: Lifecycle) -> tuple[str, str]:
    """Return the refusal of the account's quota."""
    if market is Lifecycle.SPOT:
        return "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
    text = "You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket."
    return "VcpuLimitExceeded", text


def not_sold(offer: Offer) -> tuple[str, str]:
    """Return the refusal of a type that the market does not have."""
    text = f"The requested configuration is currently not supported: {offer.instance_type} is not sold on this market."
    return "Unsupported", text
