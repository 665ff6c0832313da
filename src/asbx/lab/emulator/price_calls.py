"""What EC2 says of Spot: prices over time, and the chance of capacity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.errors import invalid_value
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.resolve import Store
from asbx.lab.emulator.world import World
from asbx.sim.market import Lifecycle, PoolKey

_PRODUCTS = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
_PAGE = 1000
_REACH = 90 * 86_400  # seconds: "up to the past 90 days" (EC2 API reference)
_FILTERS = ("availability-zone", "instance-type", "product-description")
_SCORED_TYPES = 3  # GetSpotPlacementScores: fewer than three types always score low
_LOW, _HIGH = 3, 9


def describe_spot_price_history(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List price changes in a span of time, the one in force at its start included; newest first."""
    _refuse_wrong(owner, params)
    now = world.now()
    start, end = max(_epoch(params.get("StartTime"), now - _REACH), now - _REACH), _epoch(params.get("EndTime"), now)
    products = params.get("ProductDescriptions") or _filter(params, "product-description") or list(_PRODUCTS)
    product = next((p for p in reversed(_PRODUCTS) if p in products), None)
    rows = [
        {
            "InstanceType": key.instance_type,
            "AvailabilityZone": key.zone,
            "ProductDescription": product,
            "SpotPrice": f"{change.usd:.6f}",
            "Timestamp": datetime.fromtimestamp(change.at, UTC),
        }
        for key in _spot_pools(owner, params)
        for change in reversed(world.market.prices.history(key, start, end))
        if product
    ]
    rows.sort(key=lambda row: row["Timestamp"], reverse=True)  # type: ignore[arg-type,return-value]
    first = _page_start(params)
    size = int(params.get("MaxResults") or _PAGE)
    answer: dict[str, Any] = {"SpotPriceHistory": rows[first : first + size], "NextToken": ""}
    if first + size < len(rows):
        answer["NextToken"] = str(first + size)
    return answer


def _page_start(params: Mapping[str, Any]) -> int:
    token = str(params.get("NextToken") or "0")
    if not token.isdigit():
        raise invalid_value(f"Invalid value '{token}' for nextToken")
    return int(token)


def _refuse_wrong(owner: Owner, params: Mapping[str, Any]) -> None:
    """Refuse what names things that do not exist. That EC2 words it like this is assumed, not seen."""
    for one in params.get("Filters") or []:
        if one.get("Name") not in _FILTERS:
            raise invalid_value(f"The filter '{one.get('Name')}' is invalid")
    if not 0 <= int(params.get("MaxResults") or 0) <= _PAGE:
        raise invalid_value(f"Value ( {params['MaxResults']} ) for parameter maxResults is invalid")
    zone = params.get("AvailabilityZone")
    if zone and zone not in Store(owner).zones():
        raise invalid_value(f"Invalid availability zone: [{zone}]")
    for kind in params.get("InstanceTypes") or []:
        if kind not in INSTANCE_TYPES:
            raise invalid_value(f"Invalid value '{kind}' for InstanceType.")


def _epoch(moment: datetime | None, otherwise: float) -> float:
    """Moto hands times over as naive UTC."""
    return otherwise if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _filter(params: Mapping[str, Any], name: str) -> list[str]:
    return [v for f in params.get("Filters") or [] if f.get("Name") == name for v in f.get("Values") or []]


def _spot_pools(owner: Owner, params: Mapping[str, Any]) -> Iterable[PoolKey]:
    offered = catalogue.zones_by_type(owner.region)
    types = params.get("InstanceTypes") or _filter(params, "instance-type") or sorted(offered)
    zones = [params["AvailabilityZone"]] if params.get("AvailabilityZone") else _filter(params, "availability-zone")
    for kind in types:
        if Lifecycle.SPOT.value not in catalogue.usage_classes(kind):
            continue
        for zone in sorted(offered.get(kind, ())):
            if not zones or zone in zones:
                yield PoolKey(kind, zone, Lifecycle.SPOT)


def get_spot_placement_scores(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Score zones by what their pools have left; a simple stand-in for EC2's own secret rule."""
    types = list(params.get("InstanceTypes") or [])
    target = int(params.get("TargetCapacity") or 1)
    regions = params.get("RegionNames") or [owner.region]
    if owner.region not in regions:
        return {"SpotPlacementScores": []}
    scores = {
        (zone_id): _score(world, owner, types, zone, target) for zone, zone_id in sorted(Store(owner).zones().items())
    }
    if not params.get("SingleAvailabilityZone"):
        return {"SpotPlacementScores": [{"Region": owner.region, "Score": max(scores.values())}]}
    rows = [{"Region": owner.region, "AvailabilityZoneId": z, "Score": s} for z, s in scores.items()]
    return {"SpotPlacementScores": rows}


def _score(world: World, owner: Owner, types: list[str], zone: str, target: int) -> int:
    offered = [t for t in types if zone in catalogue.zones_by_type(owner.region).get(t, ())]
    free = [world.market.free(PoolKey(t, zone, Lifecycle.SPOT)) for t in offered]
    if not any(f is None or f >= target for f in free):
        return 1
    return _HIGH if len(types) >= _SCORED_TYPES else _LOW
