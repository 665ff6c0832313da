"""What we say to EC2, built without saying it: pure functions, held by golden files."""

from __future__ import annotations

from typing import Any

from asbx.model.market import FleetOrder, Market, Pool, Template

# An instant fleet takes tags for all four in the launch call itself (CreateFleet, TagSpecifications).
_TAGGED = ("fleet", "instance", "volume", "network-interface")
# EC2's own default, lowest-price, is interrupted most; this is what its Spot guide recommends.
_SPOT_STRATEGY = "price-capacity-optimized"
_ON_DEMAND_STRATEGY = "lowest-price"


def create_fleet(order: FleetOrder) -> dict[str, Any]:
    """Build an instant CreateFleet: one synchronous try, whose answer lists what came and what did not."""
    spot = order.market is Market.SPOT
    tags = [{"Key": key, "Value": value} for key, value in order.tags]
    return {
        "Type": "instant",
        "ClientToken": order.token,
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": order.count,
            "DefaultTargetCapacityType": order.market.value,
        },
        "SpotOptions" if spot else "OnDemandOptions": _options(order, spot),
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": _template(order.template),
                "Overrides": [_override(pool, spot) for pool in order.pools],
            }
        ],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in _TAGGED],
    }


def _options(order: FleetOrder, spot: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "AllocationStrategy": order.strategy or (_SPOT_STRATEGY if spot else _ON_DEMAND_STRATEGY)
    }
    if order.minimum:
        # Nothing is launched below the minimum; EC2 takes it only with a Single* flag (CreateFleet).
        options["MinTargetCapacity"] = order.minimum
    if order.single_zone:
        options["SingleAvailabilityZone"] = True
    return options


def _template(template: Template) -> dict[str, str]:
    if template.template_id:
        return {"LaunchTemplateId": template.template_id, "Version": template.version}
    return {"LaunchTemplateName": template.name, "Version": template.version}


def _override(pool: Pool, spot: bool) -> dict[str, str]:
    override = {"InstanceType": pool.instance_type, "SubnetId": pool.subnet_id}
    if pool.zone:
        override["AvailabilityZone"] = pool.zone  # echoed in Errors[], so a refusal names its zone
    if spot and pool.max_price:
        override["MaxPrice"] = pool.max_price
    return override
