"""What we say to EC2, built without saying it: pure functions, held by golden files."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from asbx.model.market import FleetOrder, Market, Pool, Template

# An instant fleet takes tags for all four in the launch call itself (CreateFleet, TagSpecifications).
_TAGGED = ("fleet", "instance", "volume", "network-interface")
# EC2's own default, lowest-price, is interrupted most; this is what its Spot guide recommends.
_SPOT_STRATEGY = "price-capacity-optimized"
# Our pools come in the order of preference that we decided on; `lowest-price` would have EC2 sort them anew.
_ON_DEMAND_STRATEGY = "prioritized"
# The strategies that look at an override's Priority (CreateFleet, FleetLaunchTemplateOverridesRequest).
_PRIORITIES = ("prioritized", "capacity-optimized-prioritized")


def create_fleet(order: FleetOrder) -> dict[str, Any]:
    """Build an instant CreateFleet: one synchronous try, whose answer lists what came and what did not.

    A Capacity Block gets no options: OnDemandOptions.CapacityReservationOptions is refused for it (EC2 user guide,
    "Configure your EC2 Fleet to launch instances into Capacity Blocks"), the rest is documented for on-demand only, and
    Karpenter sends none. So EC2 keeps no minimum there: it launches what fits, and the caller gives a part back.
    """
    tags = [{"Key": key, "Value": value} for key, value in order.tags]
    made: dict[str, Any] = {
        "Type": "instant",
        "ClientToken": order.token,
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": order.count,
            "DefaultTargetCapacityType": order.market.value,
        },
    }
    if order.market is Market.SPOT:
        made["SpotOptions"] = _options(order)
    elif order.market is Market.ON_DEMAND:
        made["OnDemandOptions"] = _options(order) | _open_reservations(order)
    made["LaunchTemplateConfigs"] = _configs(order)
    made["TagSpecifications"] = [{"ResourceType": kind, "Tags": tags} for kind in _TAGGED]
    return made


def _strategy(order: FleetOrder) -> str:
    """Return the allocation strategy; Capacity Blocks know none."""
    if order.market is Market.CAPACITY_BLOCK:
        return ""
    return order.strategy or (_SPOT_STRATEGY if order.market is Market.SPOT else _ON_DEMAND_STRATEGY)


def _options(order: FleetOrder) -> dict[str, Any]:
    options: dict[str, Any] = {"AllocationStrategy": _strategy(order)}
    if order.minimum:
        # Nothing is launched below the minimum; EC2 takes it only with a Single* flag (CreateFleet).
        options["MinTargetCapacity"] = order.minimum
    if order.single_zone:
        options["SingleAvailabilityZone"] = True
    if order.single_type:
        options["SingleInstanceType"] = True
    return options


def _open_reservations(order: FleetOrder) -> dict[str, Any]:
    """Use what is paid for already. A reservation that the template targets is used without this option."""
    if not order.open_reservations or order.reservation:
        return {}
    return {"CapacityReservationOptions": {"UsageStrategy": "use-capacity-reservations-first"}}


def _configs(order: FleetOrder) -> list[dict[str, Any]]:
    """Group neighbours with one launch template, so that the order of the pools stays what it is."""
    overrides = [_override(order, number, pool) for number, pool in enumerate(order.pools)]
    pairs = zip(order.pools, overrides, strict=True)
    return [
        {
            "LaunchTemplateSpecification": template_named(template) | {"Version": template.version},
            "Overrides": [override for _, override in neighbours],
        }
        for template, neighbours in groupby(pairs, key=lambda pair: pair[0].template or order.template)
    ]


def template_named(template: Template) -> dict[str, str]:
    """Name a launch template by its id, or by its name: EC2 takes one of them."""
    if template.template_id:
        return {"LaunchTemplateId": template.template_id}
    return {"LaunchTemplateName": template.name}


def _override(order: FleetOrder, number: int, pool: Pool) -> dict[str, Any]:
    override: dict[str, Any] = {"InstanceType": pool.instance_type, "SubnetId": pool.subnet_id}
    if pool.zone:
        override["AvailabilityZone"] = pool.zone  # echoed in Errors[], so a refusal names its zone
    if order.market is Market.SPOT and pool.max_price:
        override["MaxPrice"] = pool.max_price
    if _strategy(order) in _PRIORITIES:
        override["Priority"] = number  # the lowest number is taken first
    if order.placement_group:
        override["Placement"] = {"GroupName": order.placement_group}
    return override
