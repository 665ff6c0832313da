"""The estimate of a launch from its plan: the dearest offering it may draw from, for as long as the job may last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from asbx.config.schema import Config
from asbx.decide.estimate import Estimate, course
from asbx.flow.plan import PartPlan
from asbx.model.market import Market
from asbx.ports import Prices


def estimate(config: Config, prices: Prices, plan: PartPlan, nodes: int, limit: timedelta | None) -> Estimate:
    """Return what so many nodes of a part may cost. limit: of the job, None where it has none."""
    return Estimate(nodes, dearest(prices, plan), Decimal(0), course(config, limit))


def dearest(prices: Prices, plan: PartPlan) -> Decimal | None:
    """Return the highest price an instance of a part may have, USD an hour; None where one of them is not known."""
    offers = {
        (pool.instance_type, pool.zone, rung.market, pool.max_price)
        for rung in plan.choice.rungs
        for pool in rung.pools
    }
    return _highest(_price(prices, *offer) for offer in sorted(offers))


def _highest(found: Iterable[Decimal | None]) -> Decimal | None:
    known: list[Decimal] = []
    for price in found:
        if price is None:
            return None
        known.append(price)
    return max(known, default=None)


def _price(prices: Prices, instance_type: str, zone: str, market: Market, most: str) -> Decimal | None:
    """Return a price. A spot price that is not known is at most the on-demand price, or the one the launch allows.

    That is EC2's own limit where a request states none (EC2 user guide, "Spot Instances", maximum price).
    """
    found = prices.known(instance_type, zone, market)
    if found is None and market is Market.SPOT:
        found = Decimal(most) if most else prices.known(instance_type, zone, Market.ON_DEMAND)
    return prices.hourly(instance_type, zone, market) if found is None else found
