"""Costs as rows of FOCUS 1.0, the FinOps Open Cost and Usage Specification (focus.finops.org).

A row is what one instance, or its volumes, cost on one UTC day for one bearer and one kind of use. It is metered by us,
not taken from an invoice: where FOCUS wants what AWS alone knows (codes of SKUs, the linked account, discounts) the
column is null, as AWS's own exports have it in places ("FOCUS 1.0 with AWS columns conformance gaps", Data Exports
user guide). `COLUMNS` says of each column what it holds here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

from asbx.decide.cost import usd_of
from asbx.decide.meter.sums import Dimension, Sum
from asbx.decide.reports.hours import Hours, Part, Share
from asbx.decide.reports.keys import EVERY, day_of, rounded, value
from asbx.model.market import Market

VERSION = "1.0"
_NEVER = "always null: not known here"
_METERED = "what the cost meter says, exact to a billionth; not an invoice, and before taxes, credits and discounts"
_NO_PLAN = "always null: Savings Plans and reserved instances are not known here"
COLUMNS = {
    "AvailabilityZone": "the zone's name; AWS names zones anew for each account",
    "BilledCost": _METERED,
    "BillingAccountId": "`cost.billing_account`, or --billing-account",
    "BillingAccountName": _NEVER,
    "BillingCurrency": "USD, in the China regions CNY",
    "BillingPeriodEnd": "the first moment after the calendar month (UTC), exclusive",
    "BillingPeriodStart": "the first moment of the calendar month (UTC)",
    "ChargeCategory": "`Usage`",
    "ChargeClass": "always null: nothing corrects an earlier period",
    "ChargeDescription": "type, market and use in words",
    "ChargeFrequency": "`Usage-Based`",
    "ChargePeriodEnd": "the first moment after the day (UTC), exclusive",
    "ChargePeriodStart": "the first moment of the day (UTC)",
    "CommitmentDiscountCategory": _NO_PLAN,
    "CommitmentDiscountId": _NO_PLAN,
    "CommitmentDiscountName": _NO_PLAN,
    "CommitmentDiscountStatus": _NO_PLAN,
    "CommitmentDiscountType": _NO_PLAN,
    "ConsumedQuantity": "billed hours of the instance, parted among jobs as the cost is; null where that is not known",
    "ConsumedUnit": "`Hours`, null with the quantity",
    "ContractedCost": "as BilledCost: a negotiated price is not known here",
    "ContractedUnitPrice": _NEVER,
    "EffectiveCost": "as BilledCost: nothing is amortized",
    "InvoiceIssuerName": "`AWS`; a reseller is not known here",
    "ListCost": "as BilledCost: metered at published prices, spot at the published spot price",
    "ListUnitPrice": "mean price of the row's hours, to twelve digits; null with the quantity",
    "PricingCategory": "`Standard` on demand, `Dynamic` spot, `Other` for Capacity Blocks",
    "PricingQuantity": "as ConsumedQuantity; of volumes too the hours of their instance, not GB-months",
    "PricingUnit": "`Hours`, null with the quantity",
    "ProviderName": "`AWS`",
    "PublisherName": "`AWS`",
    "RegionId": "`aws.region`",
    "RegionName": _NEVER,
    "ResourceId": "the instance; null for volumes, whose instance is the tag `asbx:instance`",
    "ResourceName": _NEVER,
    "ResourceType": "`Instance` or `Volume`",
    "ServiceCategory": "`Compute` or `Storage`",
    "ServiceName": "`Amazon Elastic Compute Cloud` or `Amazon Elastic Block Store`",
    "SkuId": "always null: AWS's code is not known here (FOCUS wants it for usage; a gap)",
    "SkuPriceId": "always null: AWS's code is not known here (FOCUS wants it for usage; a gap)",
    "SubAccountId": _NEVER,
    "SubAccountName": _NEVER,
    "Tags": "`asbx:user`, `asbx:account`, `asbx:job`, `asbx:partition`, `asbx:nodegroup` as on the instances, "
    "`asbx:instance`, `asbx:kind` (run, boot, assumed, idle, given-back, never-registered)",
}
_CATEGORIES = {Market.ON_DEMAND: "Standard", Market.SPOT: "Dynamic"}
_TAGS = {
    "asbx:account": Dimension.ACCOUNT,
    "asbx:instance": Dimension.INSTANCE,
    "asbx:job": Dimension.JOB,
    "asbx:nodegroup": Dimension.GROUP,
    "asbx:partition": Dimension.PARTITION,
    "asbx:user": Dimension.USER,
}


@dataclass(frozen=True)
class Payer:
    """Who is billed, where and in what. account: the AWS account that pays."""

    account: str
    region: str
    currency: str


def focus_rows(
    every: Sequence[Sum],
    payer: Payer,
    unpriced: Collection[str] = (),
    shares: Mapping[Part, Share] | None = None,
) -> Iterator[dict[str, str | None]]:
    """Return a row for the instance and one for the volumes of each sum by all dimensions; keys as in COLUMNS.

    unpriced: instances of which no price is known: a row must have a cost, so these have none. shares: see Hours.
    """
    hours, unknown = Hours(every, shares), frozenset(unpriced)
    for one in sorted(every, key=lambda one: (value(one, EVERY, Dimension.DAY), one.key, one.kind)):
        seconds = hours.seconds(one)
        if value(one, EVERY, Dimension.INSTANCE) not in unknown:
            yield _row(one, payer, seconds, one.compute, is_volume=False)
        if one.volumes:
            yield _row(one, payer, seconds, one.volumes, is_volume=True)


def _row(one: Sum, payer: Payer, seconds: Fraction | None, nanos: int, *, is_volume: bool) -> dict[str, str | None]:
    by = EVERY
    day, cost = day_of(one, by), plain(usd_of(nanos))
    row: dict[str, str | None] = dict.fromkeys(COLUMNS)
    row |= _service(one, by, is_volume=is_volume)
    row |= _periods(day)
    row |= {
        "AvailabilityZone": value(one, by, Dimension.ZONE) or None,
        "BillingAccountId": payer.account,
        "BillingCurrency": payer.currency,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ProviderName": "AWS",
        "PublisherName": "AWS",
        "InvoiceIssuerName": "AWS",
        "RegionId": payer.region,
        "Tags": _tags(one, by),
    }
    row |= dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost)
    if seconds:
        row |= dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), plain(rounded(seconds / 3600, 9)))
        row |= dict.fromkeys(("ConsumedUnit", "PricingUnit"), "Hours")
        row["ListUnitPrice"] = plain(rounded(Fraction(nanos * 3600, 10**9) / seconds, 12))
    return row


def _service(one: Sum, by: Sequence[Dimension], *, is_volume: bool) -> dict[str, str | None]:
    kind, market = value(one, by, Dimension.TYPE), value(one, by, Dimension.MARKET)
    what = f"EBS volumes of {kind}" if is_volume else f"{kind}, {market}"
    found: dict[str, str | None] = {
        "ChargeDescription": f"{what}: {one.kind.value}",
        "ServiceCategory": "Storage" if is_volume else "Compute",
        "ServiceName": "Amazon Elastic Block Store" if is_volume else "Amazon Elastic Compute Cloud",
        "ResourceType": "Volume" if is_volume else "Instance",
        "PricingCategory": "Standard",
    }
    if not is_volume:
        found["ResourceId"] = value(one, by, Dimension.INSTANCE)
        found["PricingCategory"] = _CATEGORIES.get(Market(market), "Other")
    return found


def _periods(day: date) -> dict[str, str | None]:
    month = day.replace(day=1)
    return {
        "BillingPeriodStart": _moment(month),
        "BillingPeriodEnd": _moment((month + timedelta(days=31)).replace(day=1)),
        "ChargePeriodStart": _moment(day),
        "ChargePeriodEnd": _moment(day + timedelta(days=1)),
    }


def _moment(day: date) -> str:
    return f"{datetime.combine(day, time(), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _tags(one: Sum, by: Sequence[Dimension]) -> str:
    found = {name: value(one, by, dimension) for name, dimension in _TAGS.items()}
    found["asbx:kind"] = one.kind.value
    return json.dumps({name: text for name, text in sorted(found.items()) if text}, ensure_ascii=False)


def plain(amount: Decimal) -> str:
    """Return a number as FOCUS writes it: no exponent, no grouping, no zeros it can do without but one."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"
