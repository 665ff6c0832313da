"""The Pricing service: GetProducts over what EC2 and EBS sell in the region of the pretend world.

Strict where ours could go wrong: unknown fields, filter types and sizes of pages are refused (Price List API reference,
GetProducts and Filter). That ANY_OF takes its values with commas between them was not tried on AWS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.world import World
from asbx.sim.market import Lifecycle, PoolKey
from asbx.sim.prices import VOLUME_USD

_PAGE, _MOST_FILTERS, _LONGEST = 100, 50, 1024
_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "TERM_MATCH": lambda has, asked: has == asked,
    "EQUALS": lambda has, asked: has == asked,
    "CONTAINS": lambda has, asked: asked in has,
    "ANY_OF": lambda has, asked: has in asked.split(","),
    "NONE_OF": lambda has, asked: has not in asked.split(","),
}
_OF_INSTANCES = {
    "servicecode": "AmazonEC2",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
_FIELDS = {
    *_OF_INSTANCES,
    *("instanceType", "regionCode", "tenancy", "vcpu", "memory", "volumeApiName", "usagetype", "productFamily"),
}
_EBS_SINCE = datetime(2024, 1, 1, tzinfo=UTC)


class PricingError(Exception):
    """The service refuses a call; code: its exception's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def get_products(world: World, params: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one page; each entry of PriceList is itself a JSON text. Raises PricingError."""
    filters = params.get("Filters") or []
    _refuse_wrong(params, filters)
    found = [
        (attributes, rates)
        for attributes, rates in (*_instances(world), *_volumes(world.region))
        if all(
            one["Field"] == "ServiceCode" or _MATCHES[one["Type"]](attributes.get(one["Field"], ""), one["Value"])
            for one in filters
        )
    ]
    token, size = str(params.get("NextToken") or "0"), int(params.get("MaxResults") or _PAGE)
    if not token.isdigit():
        raise PricingError("InvalidNextTokenException", "The pagination token is invalid.")
    start = int(token)
    page = [json.dumps(_product(attributes, *rates())) for attributes, rates in found[start : start + size]]
    answer: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": page}
    if start + size < len(found):
        answer["NextToken"] = str(start + size)
    return answer


def _refuse_wrong(params: Mapping[str, Any], filters: list[Mapping[str, str]]) -> None:
    wrong = ""
    if params.get("ServiceCode") != "AmazonEC2":
        wrong = f"Invalid ServiceCode: {params.get('ServiceCode')}"
    if not 1 <= int(params.get("MaxResults") or _PAGE) <= _PAGE:
        wrong = f"MaxResults must be from 1 to {_PAGE}"
    if len(filters) > _MOST_FILTERS:
        wrong = f"at most {_MOST_FILTERS} filters"
    for one in filters:
        if one.get("Type") not in _MATCHES or one.get("Field") not in (*_FIELDS, "ServiceCode"):
            wrong = f"Invalid filter: {one.get('Type')} {one.get('Field')}"
        elif not 1 <= len(one.get("Value", "")) <= _LONGEST:
            wrong = f"the value of {one['Field']} must have 1 to {_LONGEST} characters"
    if wrong:
        raise PricingError("InvalidParameterException", wrong)


# (rate's unit, price, since when)
_Rate = tuple[str, str, datetime]


def _instances(world: World) -> Iterator[tuple[dict[str, str], Callable[[], _Rate]]]:
    for kind, zones in sorted(catalogue.zones_by_type(world.region).items()):
        is_metal = ".metal" in kind
        attributes = {
            **_OF_INSTANCES,
            "instanceType": kind,
            "regionCode": world.region,
            "tenancy": "Dedicated" if is_metal else "Shared",
            "productFamily": "Compute Instance (bare metal)" if is_metal else "Compute Instance",
        }
        yield attributes, lambda kind=kind, zones=zones: _hourly(world, kind, min(zones))  # type: ignore[misc]


def _hourly(world: World, kind: str, zone: str) -> _Rate:
    now = world.now()
    (change,) = world.market.prices.history(PoolKey(kind, zone, Lifecycle.ON_DEMAND), now, now)
    return "Hrs", f"{change.usd:.10f}", datetime.fromtimestamp(change.at, UTC)


def _volumes(region: str) -> Iterator[tuple[dict[str, str], Callable[[], _Rate]]]:
    """Name them as AWS does: USE2-EBS:VolumeUsage.gp3, EBS:VolumeP-IOPS.io2.tier2, EBS:VolumeP-Throughput.gp3."""
    names = {"GB-Mo": "Usage", "IOPS-Mo": "P-IOPS", "GiBps-mo": "P-Throughput"}
    for kind, rates in VOLUME_USD.items():
        for line, usd in rates.items():
            unit, _, tier = line.partition(".")
            usage = f"USE2-EBS:Volume{names[unit]}.{kind}" + (f".{tier}" if tier else "")
            attributes = {
                "servicecode": "AmazonEC2",
                "regionCode": region,
                "volumeApiName": kind,
                "usagetype": usage,
                "productFamily": "Storage" if unit == "GB-Mo" else "System Operation",
            }
            yield attributes, lambda unit=unit, usd=usd: (unit, usd, _EBS_SINCE)  # type: ignore[misc]


def _product(attributes: Mapping[str, str], unit: str, usd: str, since: datetime) -> dict[str, Any]:
    kind = attributes.get("instanceType", "")
    more = {}
    if kind:
        memory = INSTANCE_TYPES[kind]["MemoryInfo"]["SizeInMiB"] // 1024
        more = {"vcpu": str(catalogue.vcpus(kind)), "memory": f"{memory} GiB"}
    sku = "PRETEND" + (kind or attributes["usagetype"]).upper().replace(".", "").replace(":", "")
    rate = {"unit": unit, "pricePerUnit": {"USD": usd}, "description": "a pretend price"}
    term = {"sku": sku, "effectiveDate": f"{since:%Y-%m-%dT%H:%M:%SZ}", "priceDimensions": {f"{sku}.ON.HR": rate}}
    family = attributes["productFamily"]
    told = {name: value for name, value in attributes.items() if name != "productFamily"} | more
    return {
        "serviceCode": "AmazonEC2",
        "product": {"sku": sku, "productFamily": family, "attributes": told},
        "terms": {"OnDemand": {f"{sku}.ON": term}},
    }
