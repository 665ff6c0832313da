"""The estimate of a launch from its plan: the dearest offering it may draw from, for as long as the job may last."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from asbx.config.schema import Config
from asbx.decide.estimate import Estimate, course
from asbx.flow.plan import PartPlan, dearest
from asbx.model.market import Market
from asbx.ports import Prices


def estimate(config: Config, prices: Prices, plan: PartPlan, nodes: int, limit: timedelta | None) -> Estimate:
    """Return what so many nodes of a part may cost. limit: of the job, None where it has none."""
    price = plan.price if plan.price is not None else dearest(plan.choice, dict(_asked(prices, plan)))
    return Estimate(nodes, price, config.limits.volumes_usd_per_hour, course(config, limit))


def _asked(prices: Prices, plan: PartPlan) -> Iterator[tuple[tuple[str, str, Market], Decimal]]:
    """Ask what everything a part may draw from costs, and yield what is known; the door remembers."""
    offers = {(pool.instance_type, pool.zone, rung.market) for rung in plan.choice.rungs for pool in rung.pools}
    for offer in sorted(offers | {(name, zone, Market.ON_DEMAND) for name, zone, _ in offers}):
        price = prices.hourly(*offer)
        if price is not None:
            yield offer, price
