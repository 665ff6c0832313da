"""Ask AWS for prices: on-demand and EBS from the Pricing API, spot from EC2's price history.

On-demand: Pricing GetProducts, many types a call (filter ANY_OF: Price List API reference, Filter; that commas stand
between its values was not tried on AWS, so what such a call leaves out is asked for singly). Filters as in Karpenter:
metal is sold as `Dedicated`. Each entry of PriceList is itself a JSON text.
Spot: DescribeSpotPriceHistory includes the change in force at StartTime and reaches back 90 days (EC2 API reference).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from asbx.aws.client import client, translated
from asbx.config.limits import PRICE_FILTER_CHARS, SPOT_HISTORY_PAGE, SPOT_HISTORY_REACH
from asbx.config.schema import Aws
from asbx.model.market import Market, Verdict
from asbx.model.price import PriceChange, PriceSource, VolumeUnit, currency_of, volume_offering
from asbx.ports import Clock, CloudError

# The Pricing API has few endpoints (botocore: us-east-1, eu-central-1, ap-south-1; cn-northwest-1 for China).
_HOMES = {"ap": "ap-south-1", "eu": "eu-central-1", "cn": "cn-northwest-1"}
_PLAIN = {"operatingSystem": "Linux", "preInstalledSw": "NA", "capacitystatus": "Used", "marketoption": "OnDemand"}
_VOLUMES = ("gp2", "gp3", "io1", "io2")
_USAGE = re.compile(r"EBS:Volume(?:Usage|P-IOPS|P-Throughput)(?:\.[a-z0-9]+)?(?:\.tier(\d))?$")
_TIERS = {None: VolumeUnit.IOPS, "2": VolumeUnit.IOPS_TIER2, "3": VolumeUnit.IOPS_TIER3}
_MIB_OF = {"MiBps-Mo": 1, "GiBps-mo": 1024, "GiBps-Mo": 1024}


class Ec2PriceList:
    """The port PriceList. Raises CloudError where AWS does not tell."""

    def __init__(self, settings: Aws, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._clients: dict[str, Any] = {}

    def on_demand(self, instance_types: Iterable[str]) -> tuple[PriceChange, ...]:
        """Return the price of each type that is sold in the region."""
        names = sorted(set(instance_types))
        metal = [name for name in names if ".metal" in name]
        with _readable("pricing GetProducts"):
            return (
                *self._of_types([name for name in names if name not in metal], "Shared"),
                *self._of_types(metal, "Dedicated"),
            )

    def _of_types(self, names: Sequence[str], tenancy: str) -> Iterator[PriceChange]:
        plain = _PLAIN | {"tenancy": tenancy}
        found: dict[str, PriceChange] = {}
        for few in _fitting(names):
            for product in self._products({**plain, "instanceType": ",".join(few)}, any_of="instanceType"):
                self._keep_cheaper(found, product, few)
        for name in [name for name in names if name not in found] if len(names) > 1 else []:
            for product in self._products({**plain, "instanceType": name}):
                self._keep_cheaper(found, product, (name,))
        yield from found.values()

    def _keep_cheaper(self, found: dict[str, PriceChange], product: Mapping[str, Any], asked: Sequence[str]) -> None:
        """Take a product's price. Where two pass the filters one is a special offer on top of the plain one."""
        name = str(product["product"]["attributes"].get("instanceType", ""))
        for since, unit, price in self._rates(product):
            other = found.get(name)
            if name in asked and unit == "Hrs" and (other is None or price < other.usd):
                found[name] = self._told(name, since, price)

    def volumes(self) -> tuple[PriceChange, ...]:
        """Return what EBS charges for a GB, an IOPS and a MiB/s, a month each; what is free is not in it."""
        asked = {"volumeApiName": ",".join(_VOLUMES)}
        with _readable("pricing GetProducts"):
            found = dict(
                kept for product in self._products(asked, any_of="volumeApiName") for kept in self._rent(product)
            )
        return tuple(found[name] for name in sorted(found))

    def _rent(self, product: Mapping[str, Any]) -> Iterator[tuple[str, PriceChange]]:
        attributes = product["product"]["attributes"]
        usage = _USAGE.search(str(attributes.get("usagetype", "")))
        if usage is None:
            return
        for since, unit, price in self._rates(product):
            of = _volume_unit(unit, usage[1])
            if of is not None:
                name = volume_offering(str(attributes["volumeApiName"]), of)
                yield name, self._told(name, since, price / _MIB_OF.get(unit, 1))

    def _told(self, name: str, since: datetime, price: Decimal) -> PriceChange:
        return PriceChange(name, "", Market.ON_DEMAND, since, price, PriceSource.PRICING, self._clock.now())

    def _rates(self, product: Mapping[str, Any]) -> Iterator[tuple[datetime, str, Decimal]]:
        """Yield (since, unit, price). A price of 0 is a line for something that is paid elsewhere."""
        currency = currency_of(self._settings.region)
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            since = datetime.fromisoformat(term["effectiveDate"])
            for rate in term["priceDimensions"].values():
                price = Decimal(rate["pricePerUnit"].get(currency, "0"))
                if price > 0:
                    yield since, str(rate.get("unit", "")), price

    def _products(self, fields: Mapping[str, str], any_of: str = "") -> Iterator[dict[str, Any]]:
        region = self._settings.region
        if region.startswith("us-gov-"):
            raise CloudError(
                "pricing-absent",
                "the Pricing API has no endpoint in AWS GovCloud",
                "keys of that partition are not valid at the others",
                "state a table in `prices.file`: `asbx prices --save` writes one wherever it may ask",
                Verdict.PERMISSION,
            )
        filters = [
            {"Type": "ANY_OF" if field == any_of else "TERM_MATCH", "Field": field, "Value": value}
            for field, value in ({"regionCode": region} | dict(fields)).items()
        ]
        asked: dict[str, Any] = {"ServiceCode": "AmazonEC2", "Filters": filters}
        while True:
            with translated("pricing", "GetProducts"):
                page = self._client("pricing", _HOMES.get(region.split("-")[0], "us-east-1")).get_products(**asked)
            yield from (json.loads(text) for text in page.get("PriceList") or ())
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]

    def spot(self, instance_types: Iterable[str], zones: Iterable[str], since: datetime) -> tuple[PriceChange, ...]:
        """Return every change since then and those in force then. zones: none means all of the region."""
        names, places, now = sorted(set(instance_types)), sorted(set(zones)), self._clock.now()
        asked: dict[str, Any] = {
            "InstanceTypes": names,
            "ProductDescriptions": ["Linux/UNIX"],
            "StartTime": max(since, now - SPOT_HISTORY_REACH + timedelta(hours=1)),
            "MaxResults": SPOT_HISTORY_PAGE,
        }
        if places:
            asked["Filters"] = [{"Name": "availability-zone", "Values": places}]
        found: list[PriceChange] = []
        while names:
            with translated("ec2", "DescribeSpotPriceHistory"):
                page = self._client("ec2", "").describe_spot_price_history(**asked)
            with _readable("ec2 DescribeSpotPriceHistory"):
                found += [_spot(row, now) for row in page.get("SpotPriceHistory") or ()]
            if not page.get("NextToken"):  # EC2 sends "" on the last page
                break
            asked["NextToken"] = page["NextToken"]
        return tuple(found)

    def _client(self, service: str, region: str) -> Any:
        """Try once: without a way to the Pricing API each try holds up a pass for as long as a connection may take."""
        if service not in self._clients:
            self._clients[service] = client(self._settings, service, attempts=1, region=region)
        return self._clients[service]


def _spot(row: Mapping[str, Any], now: datetime) -> PriceChange:
    return PriceChange(
        row["InstanceType"],
        row["AvailabilityZone"],
        Market.SPOT,
        row["Timestamp"],
        Decimal(row["SpotPrice"]),
        PriceSource.SPOT_HISTORY,
        now,
    )


def _volume_unit(unit: str, tier: str | None) -> VolumeUnit | None:
    if unit == "GB-Mo":
        return VolumeUnit.STORAGE
    if unit in _MIB_OF:
        return VolumeUnit.THROUGHPUT
    return _TIERS.get(tier) if unit == "IOPS-Mo" else None


def _fitting(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Cut a list into pieces that one filter takes."""
    few: list[str] = []
    for name in names:
        if few and len(",".join([*few, name])) > PRICE_FILTER_CHARS:
            yield tuple(few)
            few = []
        few.append(name)
    if few:
        yield tuple(few)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn an answer of another shape into a CloudError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        why = f"{type(error).__name__}: {error}"
        raise CloudError(
            "price-answer", f"{what} says what we cannot read", why, "report this", Verdict.UNKNOWN
        ) from error
