"""FOCUS rows, held against the rules the published validator has for FOCUS 1.0 (focus-validator 1.0.0).

`make focus` runs the validator itself; here its rules stand as a table, by the names the specification gives columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from tests.fakes import billing

from asbx.decide.meter.charges import Charge, meter
from asbx.decide.meter.sums import Dimension, Sum, sums
from asbx.decide.meter.tariff import Rules
from asbx.decide.reports.focus import COLUMNS, Payer, focus_rows
from asbx.decide.reports.hours import shared, shares
from asbx.decide.reports.keys import EVERY

PAYER = Payer("123456789012", "us-east-2", "USD")
NOT_NULL = {
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost"),
    *("InvoiceIssuerName", "ListCost", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
NULLABLE = {
    *("AvailabilityZone", "BillingAccountName", "ChargeClass", "ChargeDescription", "CommitmentDiscountCategory"),
    *("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory"),
    *("PricingQuantity", "PricingUnit", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType"),
    *("SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags"),
}
DECIMALS = {
    *("BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost"),
    *("ListUnitPrice", "PricingQuantity"),
}
MOMENTS = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
VALUES = {
    "ChargeClass": {"Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "CommitmentDiscountCategory": {"Spend", "Usage"},
    "CommitmentDiscountStatus": {"Used", "Unused"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {"Compute", "Storage"},
    # Not in the validator's table; from the specification.
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "BillingCurrency": {"USD", "CNY"},
}


def charges() -> list[Charge]:
    """Return all charges of the month."""
    return [charge for one in billing.month() for charge in meter(one, one.row.ended_at or billing.BEGIN).charges]


def every() -> tuple[Sum, ...]:
    """Return its sums by all dimensions."""
    return sums(charges(), EVERY)


def rows() -> list[dict[str, str | None]]:
    """Return its FOCUS rows."""
    return list(focus_rows(every(), PAYER, ["i-unpriced"]))


def test_each_rule_of_each_column() -> None:
    """Every column is there, null only where it may be, of its type, with a value that is allowed."""
    assert set(COLUMNS) == NOT_NULL | NULLABLE
    found = rows()
    assert len(found) == 33
    for row in found:
        assert list(row) == list(COLUMNS)
        assert {name for name, value in row.items() if value is None} <= NULLABLE
        told = {name: value for name, value in row.items() if value is not None}
        assert all(re.fullmatch(r"-?\d+\.\d+", value) for name, value in told.items() if name in DECIMALS)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", told[name]) for name in MOMENTS)
        assert all(told[name] in allowed for name, allowed in VALUES.items() if name in told)
        assert isinstance(json.loads(told["Tags"]), dict)
        # One unit belongs to one quantity.
        assert ("PricingUnit" in told) == ("PricingQuantity" in told)
        assert ("ConsumedUnit" in told) == ("ConsumedQuantity" in told)


def test_costs_add_up_to_the_meter() -> None:
    """All rows together cost what the charges do, to the billionth."""
    total = sum(Decimal(row["BilledCost"] or "nan") for row in rows())
    assert total == Decimal(sum(charge.nanos for charge in charges())).scaleb(-9)


def found_of(instance: str, rows: Iterable[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Return the rows of an instance itself."""
    return [row for row in rows if row["ResourceId"] == instance]


def test_a_quantity_is_told_where_it_is_known() -> None:
    """Two jobs on one node: from sums alone nobody knows who had which hours; all others add up to billed hours."""
    both = [row for row in found_of("i-shared", rows()) if "run" in (row["ChargeDescription"] or "")]
    assert [row["PricingQuantity"] for row in both] == [None, None]
    alone = found_of("i-spot", rows())
    assert sum(Decimal(row["PricingQuantity"] or 0) for row in alone) == 2
    for row in alone:
        priced = Decimal(row["ListUnitPrice"] or 0) * Decimal(row["PricingQuantity"] or 0)
        assert abs(priced - Decimal(row["ListCost"] or 0)) < Decimal("1e-9")


def test_hours_that_jobs_share_are_parted_as_their_cost() -> None:
    """Who used the node tells whose hours they were: together they are what EC2 bills, at one price."""
    lives = {one.row.instance_id: one for one in billing.month()}
    assert shared(every()) == {"i-shared"}
    known = shares(lives["i-shared"], billing.BEGIN, billing.MARCH.end, Rules())
    found = found_of("i-shared", focus_rows(every(), PAYER, ["i-unpriced"], known))
    assert sum(Decimal(row["PricingQuantity"] or "nan") for row in found) == 2
    assert sorted(row["PricingQuantity"] or "" for row in found) == ["0.083333333", "0.5", "0.5", "0.916666667"]
    assert {row["ListUnitPrice"] for row in found} == {"0.0312"}


def test_hours_known_otherwise_than_when_it_was_settled_are_not_told() -> None:
    """A run that came to light later changes no charge, so it must not change its hours."""
    life = next(one for one in billing.month() if one.row.instance_id == "i-shared")
    later = replace(life, runs=tuple(replace(one, ended_at=one.started_at + billing.MINUTE) for one in life.runs))
    known = shares(later, billing.BEGIN, billing.MARCH.end, Rules())
    told = found_of("i-shared", focus_rows(every(), PAYER, (), known))
    found = [row for row in told if '"run"' in (row["Tags"] or "")]
    assert [row["PricingQuantity"] for row in found] == [None, None]


def test_what_nobody_knows_is_not_made_up() -> None:
    """No SKU, no discount, no linked account; an instance without a price has no row, its volumes do."""
    for row in rows():
        assert (row["SkuId"], row["SkuPriceId"], row["SubAccountId"], row["ContractedUnitPrice"]) == (None,) * 4
    assert not [row for row in rows() if row["ResourceId"] == "i-unpriced"]
    tags = [json.loads(row["Tags"] or "") for row in rows() if row["ResourceType"] == "Volume"]
    assert "i-unpriced" in {tag["asbx:instance"] for tag in tags}


def test_names_are_in_tags_alone() -> None:
    """A name that a spreadsheet would run stands inside JSON, where it runs nowhere."""
    for row in rows():
        assert not [value for value in row.values() if value and value[0] in "=+-@"]
    assert any(billing.FORMULA in json.loads(row["Tags"] or "").values() for row in rows())


@pytest.mark.parametrize(
    ("day", "month", "end"),
    [("2024-12-31", "2024-12-01", "2025-01-01"), ("2024-02-29", "2024-02-01", "2024-03-01")],
)
def test_periods(day: str, month: str, end: str) -> None:
    """A charge is of one UTC day, in the calendar month that is billed."""
    values = {Dimension.DAY: day, Dimension.MARKET: "spot", Dimension.INSTANCE: "i-1", Dimension.TYPE: "c7i.large"}
    one = Sum(every()[0].kind, tuple(values.get(name, "") for name in EVERY), 3600, 10**9, 0)
    (row,) = focus_rows([one], PAYER)
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (f"{month}T00:00:00Z", f"{end}T00:00:00Z")
    start, stop = (datetime.fromisoformat(row[f"ChargePeriod{edge}"] or "") for edge in ("Start", "End"))
    assert (stop - start).days == 1
    assert f"{start:%Y-%m-%d}" == day
