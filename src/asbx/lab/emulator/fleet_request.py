"""Read a CreateFleet request as strictly as EC2 does. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.access import BLOCK, target_of, wants_block, with_reservations
from asbx.lab.emulator.blueprint import Blueprint, blueprint
from asbx.lab.emulator.errors import Ec2Error, invalid_combination, invalid_value, missing
from asbx.lab.emulator.quotas import family_class
from asbx.lab.emulator.resolve import Store, Template
from asbx.lab.emulator.tagging import check_metadata_keys, merged, tags_by_resource
from asbx.lab.emulator.world import World
from asbx.sim.market import FleetSpec, Lifecycle, Offer, Strategy

# EC2 API reference, MinTargetCapacity: at most 1000. We hold a whole instant fleet to it as well.
_MOST = 1000
# EC2 API reference, MaxPrice: lower values are refused.
_LEAST_PRICE = Decimal("0.001")
_STRATEGIES = {
    Lifecycle.ON_DEMAND: {Strategy.LOWEST_PRICE, Strategy.PRIORITIZED},
    Lifecycle.SPOT: set(Strategy) - {Strategy.PRIORITIZED},
}
_STRATEGIES[Lifecycle.CAPACITY_BLOCK] = _STRATEGIES[Lifecycle.ON_DEMAND]
_OPTIONS = {
    Lifecycle.ON_DEMAND: "OnDemandOptions",
    Lifecycle.SPOT: "SpotOptions",
    Lifecycle.CAPACITY_BLOCK: "OnDemandOptions",
}
# EC2 API reference, TagSpecifications of CreateFleet with type instant.
_TAGGABLE = {"fleet", "instance", "volume", "network-interface"}


@dataclass(frozen=True)
class Candidate:
    """One override of the request; echo: template and override as the answer repeats them."""

    template: Template
    plan: Blueprint
    offer: Offer
    echo: Mapping[str, Any]


@dataclass(frozen=True)
class FleetRequest:
    """A request that EC2 would accept. specs: what it asks of each market, in the order they are served."""

    candidates: tuple[Candidate, ...]
    specs: tuple[FleetSpec, ...]
    tags: Mapping[str, Mapping[str, str]]


def read_request(world: World, store: Store, params: Mapping[str, Any]) -> FleetRequest:
    """Return the request. Raises Ec2Error where EC2 refuses the whole call."""
    if params.get("Type", "maintain") != "instant":
        raise Ec2Error(
            "UnsupportedOperation",
            "This pretend EC2 serves fleets of type instant only; the default is maintain.",
        )
    tags = tags_by_resource(params.get("TagSpecifications") or [])
    for kind in tags:
        if kind not in _TAGGABLE:
            raise invalid_value(f"'{kind}' is not a valid taggable resource type for this operation.")
    candidates = _candidates(world, store, params.get("LaunchTemplateConfigs") or [])
    for candidate in candidates:
        _check_metadata_tags(candidate, tags)
    capacity = _capacity(params.get("TargetCapacitySpecification") or {})
    _check_blocks(candidates, capacity, params)
    specs = []
    for market, target in capacity.items():
        options = params.get(_OPTIONS[market]) or {}
        if target or options:
            offers = tuple(_for_market(world, store, candidate, market) for candidate in candidates)
            specs.append(_spec(market, target, offers, options))
    return FleetRequest(candidates, tuple(specs), tags)


def _check_blocks(
    candidates: tuple[Candidate, ...], capacity: Mapping[Lifecycle, int], params: Mapping[str, Any]
) -> None:
    """Hold to EC2 user guide, "Tutorial: Configure your EC2 Fleet to launch instances into Capacity Blocks"."""
    blocks = BLOCK in capacity
    for candidate in candidates:
        if wants_block(candidate.plan.data) != blocks:
            raise invalid_combination(
                "DefaultTargetCapacityType capacity-block and the launch template's market type capacity-block need "
                "each other."
            )
    if not blocks:
        return
    if (params.get("OnDemandOptions") or {}).get("CapacityReservationOptions"):
        raise invalid_combination("CapacityReservationOptions cannot be used with capacity-block.")
    if len({target_of(candidate.plan.data) for candidate in candidates}) > 1:
        raise invalid_combination("Several Capacity Blocks in one fleet are not supported.")


def _check_metadata_tags(candidate: Candidate, tags: Mapping[str, Mapping[str, str]]) -> None:
    data = candidate.plan.data
    if (data.get("MetadataOptions") or {}).get("InstanceMetadataTags") == "enabled":
        check_metadata_keys(merged(data.get("TagSpecifications") or [], tags).get("instance", {}))


def _candidates(world: World, store: Store, configs: list[Mapping[str, Any]]) -> tuple[Candidate, ...]:
    if not configs:
        raise missing("LaunchTemplateConfigs")
    found: list[Candidate] = []
    for config in configs:
        template = store.template(config.get("LaunchTemplateSpecification") or {})
        pools: set[tuple[str, str]] = set()
        for override in config.get("Overrides") or [{}]:
            candidate = _candidate(world, store, template, override, len(found))
            pool = (candidate.plan.instance_type, candidate.plan.subnet.zone)
            if pool in pools:
                raise Ec2Error("InvalidFleetConfig", "The fleet configuration contains duplicate instance pools.")
            pools.add(pool)
            found.append(candidate)
    return tuple(found)


def _candidate(world: World, store: Store, template: Template, override: Mapping[str, Any], position: int) -> Candidate:
    if override.get("AvailabilityZoneId"):
        zones = {zone_id: zone for zone, zone_id in store.zones().items()}
        if override.get("AvailabilityZone"):
            raise invalid_combination("Specify either AvailabilityZone or AvailabilityZoneId, not both.")
        override = {**override, "AvailabilityZone": zones.get(override["AvailabilityZoneId"], "unknown")}
    plan = blueprint(world, store, template.data, override)
    offer = Offer(
        position=position,
        instance_type=plan.instance_type,
        zone=plan.subnet.zone,
        subnet_id=plan.subnet.subnet_id,
        priority=_priority(override),
        max_price=_max_price(override.get("MaxPrice")),
        weight=_weight(override),
        addresses=plan.addresses,
        vcpus=catalogue.vcpus(plan.instance_type),
        barred=plan.barred,
        cluster=plan.group_of("cluster"),
        spread=plan.group_of("spread"),
    )
    spec = {"LaunchTemplateId": template.template_id, "Version": str(template.version)}
    return Candidate(template, plan, offer, {"LaunchTemplateSpecification": spec, "Overrides": dict(override)})


def _priority(override: Mapping[str, Any]) -> float | None:
    value = override.get("Priority")
    if value is not None and (value < 0 or value != int(value)):
        raise invalid_value(f"Priority must be a whole number from 0: {value}")
    return value


def _weight(override: Mapping[str, Any]) -> Decimal:
    weight = Decimal(str(override.get("WeightedCapacity") or 1))
    if weight <= 0:
        raise invalid_value(f"WeightedCapacity must be above 0: {weight}")
    return weight


def _max_price(value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        price = Decimal(value)
    except InvalidOperation:
        raise invalid_value(f"Invalid price: {value}") from None
    if price < _LEAST_PRICE:
        raise invalid_value(f"The price {value} is below the minimum of {_LEAST_PRICE}.")
    return price


def _capacity(target: Mapping[str, Any]) -> dict[Lifecycle, int]:
    if target.get("TotalTargetCapacity") is None:
        raise missing("TargetCapacitySpecification.TotalTargetCapacity")
    total = int(target["TotalTargetCapacity"])
    on_demand, spot = (
        int(target.get("OnDemandTargetCapacity") or 0),
        int(target.get("SpotTargetCapacity") or 0),
    )
    if not 1 <= total <= _MOST:
        raise invalid_value(f"TotalTargetCapacity must be between 1 and {_MOST}: {total}")
    if min(on_demand, spot) < 0 or on_demand + spot > total:
        raise invalid_value("OnDemandTargetCapacity and SpotTargetCapacity must not exceed TotalTargetCapacity.")
    default = target.get("DefaultTargetCapacityType", "on-demand")
    if default == BLOCK:
        if on_demand or spot:
            raise invalid_combination("With capacity-block, only TotalTargetCapacity may be given.")
        return {BLOCK: total}
    if default not in set(Lifecycle):
        raise Ec2Error("UnsupportedOperation", f"This pretend EC2 has no capacity of type {default}.")
    if default == Lifecycle.SPOT:
        spot = total - on_demand
    else:
        on_demand = total - spot
    return {Lifecycle.ON_DEMAND: on_demand, Lifecycle.SPOT: spot}


def _spec(market: Lifecycle, target: int, offers: tuple[Offer, ...], options: Mapping[str, Any]) -> FleetSpec:
    strategy = options.get("AllocationStrategy") or Strategy.LOWEST_PRICE.value
    if strategy not in set(_STRATEGIES[market]):
        raise invalid_value(f"Invalid AllocationStrategy for {_OPTIONS[market]}: {strategy}")
    single_type = bool(options.get("SingleInstanceType"))
    single_zone = bool(options.get("SingleAvailabilityZone"))
    minimum = int(options.get("MinTargetCapacity") or 0)
    if minimum and not (single_type or single_zone):
        raise invalid_combination("MinTargetCapacity requires SingleInstanceType or SingleAvailabilityZone.")
    if not 0 <= minimum <= min(_MOST, target or _MOST):
        raise invalid_value(f"MinTargetCapacity must be between 0 and the target capacity, at most {_MOST}: {minimum}")
    if market is Lifecycle.SPOT and options.get("InstanceInterruptionBehavior", "terminate") != "terminate":
        raise Ec2Error("UnsupportedOperation", "This pretend EC2 only terminates interrupted Spot instances.")
    return FleetSpec(
        market=market,
        target=target,
        offers=offers,
        strategy=Strategy(strategy),
        single_type=single_type,
        single_zone=single_zone,
        # A fleet into a Capacity Block gets as much as there is (the tutorial named above): no minimum holds there.
        minimum=0 if market is BLOCK else minimum,
        max_total_price=_max_price(options.get("MaxTotalPrice")),
        reserved_first=_reserved_first(options),
    )


def _reserved_first(options: Mapping[str, Any]) -> bool:
    usage = (options.get("CapacityReservationOptions") or {}).get("UsageStrategy")
    if usage not in (None, "use-capacity-reservations-first"):
        raise invalid_value(f"Invalid UsageStrategy: {usage}")
    return usage is not None


def _for_market(world: World, store: Store, candidate: Candidate, market: Lifecycle) -> Offer:
    """Return the override's offer on a market: its quota, its reservations; barred if EC2 does not sell it there."""
    offer = replace(candidate.offer, quota=family_class(candidate.offer.instance_type, market))
    # A lab may sell any type in a Capacity Block: there, the reservation that must be named decides.
    if offer.barred or market is BLOCK or market.value in catalogue.usage_classes(offer.instance_type):
        return with_reservations(world, store.owner, offer, candidate.plan.data, market)
    text = (
        f"The requested configuration is currently not supported: {offer.instance_type} is not sold as {market.value}."
    )
    return replace(offer, barred=("Unsupported", text))
