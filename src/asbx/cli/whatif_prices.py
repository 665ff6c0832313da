"""Prices of the site's own ledger for a what-if."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from asbx.cli import reading
from asbx.daemon.clock import RealClock
from asbx.decide.price_history import in_force
from asbx.errors import UsageError
from asbx.model.market import Market
from asbx.model.price import PriceChange, currency_of
from asbx.sim.scenario import Price
from asbx.sim.whatif.market import Surroundings


def from_ledger(
    config: Path | None, around: Surroundings, types: Collection[str], region: str
) -> tuple[Surroundings, list[str]]:
    """Return the surroundings with the prices in force of these types, and what is to be said of them.

    Zones are those the ledger has spot prices of, unless the market file names some; subnets are given them in order.
    Raises UsageError (`no-prices`) where there is none.
    """
    now = RealClock().now()
    with reading.ledger_of(config) as ledger:
        found = [one for one in in_force(ledger.price_changes(now, now)) if one.instance_type in types]
    if not found:
        raise UsageError(
            "no-prices", "the ledger has no price of the types that are to be tried", "", "asbx prices --refresh"
        )
    ec2 = around.ec2
    zones = tuple(sorted({one.zone for one in found if one.market is Market.SPOT}))
    if zones and "zones" not in ec2.model_fields_set:
        ec2 = ec2.model_copy(update={"zones": zones})
    # model_copy tells of every field it was given, so that zones now count as named.
    known = tuple(_price(one) for one in found if one.zone in ("", *ec2.zones) or not zones)
    ec2 = ec2.model_copy(update={"prices": (*known, *ec2.prices)})
    return around.model_copy(update={"ec2": ec2}), list(_notes(found, types, region))


def _price(one: PriceChange) -> Price:
    market: Literal["spot", "on-demand"] = "spot" if one.market is Market.SPOT else "on-demand"
    return Price(type=one.instance_type, zone=one.zone or "*", market=market, usd=one.usd)


def _notes(found: Sequence[PriceChange], types: Collection[str], region: str) -> list[str]:
    oldest = min(one.learned_at for one in found)
    texts = [f"prices are those of the ledger, the oldest of {oldest:%Y-%m-%d}; spot prices move from there by chance"]
    for market in (Market.ON_DEMAND, Market.SPOT):
        missing = sorted(set(types) - {one.instance_type for one in found if one.market is market})
        if missing:
            texts.append(f"the ledger has no {market.value} price of {', '.join(missing)}: pretend figures")
    if currency_of(region) != "USD":
        texts.append(f"amounts are {currency_of(region)}, as the ledger has them")
    return texts
