"""Prices as values: what an offering costs an hour, from when on, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from asbx.model.market import Market


class PriceSource(StrEnum):
    """Who says so. bundled: the site's own dated table (`prices.file`), where nothing better is to be had."""

    PRICING = "pricing"
    SPOT_HISTORY = "spot-history"
    BUNDLED = "bundled"


class VolumeUnit(StrEnum):
    """What EBS charges for, each for a month. The tiers of io2: beyond 32,000 and beyond 64,000 IOPS."""

    STORAGE = "gb-month"
    IOPS = "iops-month"
    IOPS_TIER2 = "iops-month-tier2"
    IOPS_TIER3 = "iops-month-tier3"
    THROUGHPUT = "mibps-month"


@dataclass(frozen=True)
class PriceChange:
    """A price in force from `since` until the next change of the same offering.

    instance_type: or what `volume_offering` names. zone: "" for on-demand prices, which hold for the whole region.
    usd: of one instance and hour, or one unit and month; in the currency of the region (`currency_of`). learned_at:
    when we asked, which is the price's age.
    """

    instance_type: str
    zone: str
    market: Market
    since: datetime
    usd: Decimal
    source: PriceSource
    learned_at: datetime


def volume_offering(volume_type: str, unit: VolumeUnit) -> str:
    """Return under which name a price of EBS is kept; no instance type has a colon."""
    return f"ebs:{volume_type}:{unit.value}"


def is_volume(name: str) -> bool:
    """Whether a price is one of EBS."""
    return name.startswith("ebs:")


def currency_of(region: str) -> str:
    """Return the currency AWS charges in: the China regions have CNY, all others USD. Nothing is converted."""
    return "CNY" if region.startswith("cn-") else "USD"
