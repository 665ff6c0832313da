"""What EC2 charges now: the Pricing API for on-demand, the spot price history for spot. Cached; never raises."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from asbx.aws.client import client, translated
from asbx.config.limits import ON_DEMAND_PRICE_LIFE, SPOT_PRICE_LIFE
from asbx.config.schema import Aws
from asbx.model.market import Market
from asbx.ports import Clock, CloudError

# The Pricing API lives in few regions (AWS, "Price List Query API endpoints").
_PRICING_HOMES = {"ap": "ap-south-1", "eu": "eu-central-1", "cn": "cn-northwest-1"}
_Key = tuple[str, str, Market]


class Ec2Prices:
    """The Prices port. A price that was learned is kept when a refresh fails."""

    def __init__(self, settings: Aws, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._clients: dict[str, Any] = {}
        self._known: dict[_Key, tuple[datetime, Decimal | None]] = {}
        self._lock = threading.RLock()

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price last learned, however old, without asking AWS."""
        key = (instance_type, zone if market is Market.SPOT else "", market)
        return self._known.get(key, (None, None))[1]

    def hourly(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return USD an hour, or None while it cannot be learned."""
        key = (instance_type, zone if market is Market.SPOT else "", market)
        life: timedelta = SPOT_PRICE_LIFE if market is Market.SPOT else ON_DEMAND_PRICE_LIFE
        with self._lock:
            asked_at, price = self._known.get(key, (None, None))
            now = self._clock.now()
            if asked_at is None or now - asked_at > life:
                price = self._ask(instance_type, zone, market) or price
                self._known[key] = (now, price)
            return price

    def _ask(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        try:
            return self._spot(instance_type, zone) if market is Market.SPOT else self._on_demand(instance_type)
        except (CloudError, ValueError, KeyError, InvalidOperation):
            return None  # the bill says `unpriced`; a launch never waits for a price list

    def _spot(self, instance_type: str, zone: str) -> Decimal | None:
        """Ask for the price in force: StartTime=now returns the last change before it (EC2 API reference)."""
        arguments: dict[str, Any] = {
            "InstanceTypes": [instance_type],
            "ProductDescriptions": ["Linux/UNIX"],
            "StartTime": self._clock.now(),
        }
        if zone:
            arguments["AvailabilityZone"] = zone
        with translated("ec2", "DescribeSpotPriceHistory"):
            rows = self._client("ec2", "").describe_spot_price_history(**arguments).get("SpotPriceHistory") or []
        return Decimal(rows[0]["SpotPrice"]) if rows else None

    def _on_demand(self, instance_type: str) -> Decimal | None:
        filters = {
            "instanceType": instance_type,
            "regionCode": self._settings.region,
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            "tenancy": "Shared",
            "marketoption": "OnDemand",
        }
        home = _PRICING_HOMES.get(self._settings.region.split("-")[0], "us-east-1")
        with translated("pricing", "GetProducts"):
            raw = self._client("pricing", home).get_products(
                ServiceCode="AmazonEC2",
                Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters.items()],
            )
        for text in raw.get("PriceList") or []:
            for term in json.loads(text)["terms"]["OnDemand"].values():
                for dimension in term["priceDimensions"].values():
                    price = Decimal(dimension["pricePerUnit"].get("USD", "0"))
                    if price > 0:
                        return price
        return None

    def _client(self, service: str, region: str) -> Any:
        if service not in self._clients:
            self._clients[service] = client(self._settings, service, region=region)
        return self._clients[service]
