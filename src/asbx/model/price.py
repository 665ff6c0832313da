"""Prices as values: what an offering costs an hour, from when on, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from asbx.model.market import Market


class PriceSource(StrEnum):
    """Who says so. bundled: the dated table that comes with the program, where nothing better is to be had."""

    PRICING = "pricing"
    SPOT_HISTORY = "spot-history"
    BUNDLED = "bundled"


@dataclass(frozen=True)
class PriceChange:
    """A price in force from `since` until the next change of the same offering.

    zone: "" for on-demand prices, which hold for the whole region. usd: of one instance and hour. learned_at: when we
    asked, which is the price's age.
    """

    instance_type: str
    zone: str
    market: Market
    since: datetime
    usd: Decimal
    source: PriceSource
    learned_at: datetime
