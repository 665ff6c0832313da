"""Regions, currencies, and answers that are not as they should be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.fakes.clock import FakeClock

from asbx.aws import price_list
from asbx.aws.price_list import Ec2PriceList
from asbx.config.schema import Aws
from asbx.model.price import currency_of
from asbx.ports import CloudError


def product(kind: str, since: str = "2026-02-01T00:00:00Z", unit: str = "Hrs", **prices: str) -> str:
    """Return an entry of PriceList."""
    rate = {"unit": unit, "pricePerUnit": prices}
    terms = {"OnDemand": {"S.T": {"effectiveDate": since, "priceDimensions": {"S.T.D": rate}}}}
    return json.dumps({"product": {"attributes": {"instanceType": kind}}, "terms": terms})


@dataclass
class Service:
    """The Pricing service, with one answer. asked: every question."""

    answer: list[str]
    asked: list[dict[str, Any]] = field(default_factory=list)

    def get_products(self, **asked: Any) -> dict[str, Any]:
        """Give it."""
        self.asked.append(asked)
        return {"PriceList": self.answer}


def door(monkeypatch: pytest.MonkeyPatch, region: str, *answer: str) -> tuple[Ec2PriceList, Service, list[str]]:
    """Return a door for a region, what it speaks to, and the regions it went to."""
    service = Service(list(answer))
    homes: list[str] = []

    def client(settings: Aws, name: str, *, attempts: int, region: str) -> Service:
        assert (settings.region, name, attempts) == (where, "pricing", 1)
        homes.append(region)
        return service

    where = region
    monkeypatch.setattr(price_list, "client", client)
    return Ec2PriceList(Aws(region=region), FakeClock()), service, homes


@pytest.mark.parametrize(
    ("region", "home"),
    [
        ("us-east-2", "us-east-1"),
        ("ca-central-1", "us-east-1"),
        ("sa-east-1", "us-east-1"),
        ("eu-west-3", "eu-central-1"),
        ("ap-southeast-2", "ap-south-1"),
        ("cn-north-1", "cn-northwest-1"),
    ],
)
def test_each_region_asks_where_the_service_is(monkeypatch: pytest.MonkeyPatch, region: str, home: str) -> None:
    """And for its own prices."""
    told, service, homes = door(monkeypatch, region, product("c5.large", USD="0.085", CNY="0.9"))
    (one,) = told.on_demand(["c5.large"])
    assert homes == [home]
    assert {"Type": "TERM_MATCH", "Field": "regionCode", "Value": region} in service.asked[0]["Filters"]
    assert one.since == datetime(2026, 2, 1, tzinfo=UTC)
    assert one.usd == Decimal("0.9" if region.startswith("cn-") else "0.085")


def test_china_is_charged_in_its_own_money(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is converted; an answer in another currency has no price for us."""
    assert (currency_of("cn-north-1"), currency_of("us-gov-west-1")) == ("CNY", "USD")
    told, _, _ = door(monkeypatch, "cn-north-1", product("c5.large", USD="0.085"))
    assert told.on_demand(["c5.large"]) == ()


def test_govcloud_has_no_price_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once, with the way out."""
    told, service, _ = door(monkeypatch, "us-gov-west-1")
    with pytest.raises(CloudError) as caught:
        told.on_demand(["c5.large"])
    assert (caught.value.code, service.asked) == ("pricing-absent", [])
    assert "prices.file" in caught.value.hint


def test_lines_of_nothing_and_of_others_are_no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price of 0 is a line for capacity paid elsewhere; other types and units are not what was asked for."""
    told, _, _ = door(
        monkeypatch,
        "us-east-2",
        product("c5.large", USD="0.0000000000"),
        product("c5.large", USD="0.1"),
        product("c5.large", USD="0.085"),
        product("c5.large", unit="Quantity", USD="0.001"),
        product("m5.large", USD="0.01"),
    )
    assert [(one.instance_type, one.usd) for one in told.on_demand(["c5.large"])] == [("c5.large", Decimal("0.085"))]


@pytest.mark.parametrize("answer", ["{", "[]", '{"product": {}}', product("c5.large", USD="cheap")])
def test_an_answer_of_another_shape_is_one_error(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Not a traceback, and not a price of nothing."""
    told, _, _ = door(monkeypatch, "us-east-2", answer)
    with pytest.raises(CloudError) as caught:
        told.on_demand(["c5.large"])
    assert caught.value.code == "price-answer"
