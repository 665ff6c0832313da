"""What a spot pool may cost: limits in USD, a part of the on-demand price, and the cheapest on-demand instance.

A pool whose known price is above what is allowed is not asked: EC2 would refuse it (SpotMaxPriceTooLow). Prices are
minutes old at the best, so the limit goes into the request as well, and EC2 holds it. Why no more than the cheapest
on-demand instance: every type of a group makes the same node, so a dearer spot instance is the same node for more
money that EC2 may take back; Karpenter leaves such offers out too (its `instancetype` provider, August 2026).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal

from asbx.config.limits import LEAST_SPOT_PRICE, SPOT_PRICE_STEP
from asbx.config.market import MarketRules
from asbx.decide.preflight import Dropped, Known
from asbx.model.market import Market, Pool, Verdict

ABOVE_LIMIT = "spot-price-limit"
ABOVE_ON_DEMAND = "spot-above-on-demand"


def capped(pool: Pool, rules: MarketRules, known: Known) -> Pool | Dropped:
    """Return a spot pool with the lowest limit that holds for it, or why its type cannot have one.

    EC2's own limit is the on-demand price (EC2 user guide, "Spot Instance pricing"), so a part of 1 or more of a price
    that is not known needs no other; less of it would be passed unseen.
    """
    share = rules.spot_share
    if share is None:
        return pool
    price = _price(pool, Market.ON_DEMAND, known)
    if price is None and share >= 1:
        return pool
    if price is None:
        why = f"its on-demand price is not known, and so what {rules.max_spot_percent} % of it is"
        return Dropped(f"{pool.instance_type} as spot", why, ABOVE_LIMIT, Verdict.PRICE, is_hopeless=False)
    most = (price * share).quantize(SPOT_PRICE_STEP, ROUND_DOWN)
    if pool.max_price:
        most = min(most, Decimal(pool.max_price))
    if most < LEAST_SPOT_PRICE:
        why = f"its limit would be {most:f} USD/h, and EC2 takes none below {LEAST_SPOT_PRICE}"
        return Dropped(f"{pool.instance_type} as spot", why, ABOVE_LIMIT, Verdict.PRICE, is_hopeless=False)
    return replace(pool, max_price=format(most.normalize(), "f"))


def refusal_of_price(pool: Pool, known: Known, cheapest: Decimal | None) -> Dropped | None:
    """Return why a spot pool is too dear, or None. cheapest: on-demand instance that would do as well."""
    price = _price(pool, Market.SPOT, known)
    if price is None:
        return None
    what = f"{pool.instance_type} as spot in {pool.zone or pool.subnet_id}"
    if pool.max_price and price > Decimal(pool.max_price):
        on_demand = _price(pool, Market.ON_DEMAND, known)
        share = f" (on-demand: {on_demand:f})" if on_demand is not None else ""
        why = f"it costs {price:f} USD/h, and the limit is {pool.max_price}{share}"
        return Dropped(what, why, ABOVE_LIMIT, Verdict.PRICE, is_hopeless=False)
    if cheapest is not None and price > cheapest:
        why = f"it costs {price:f} USD/h, and an on-demand instance of this group {cheapest:f}"
        return Dropped(what, why, ABOVE_ON_DEMAND, Verdict.PRICE, is_hopeless=False)
    return None


def cheapest_on_demand(pools: Iterable[Pool], known: Known) -> Decimal | None:
    """Return the lowest known on-demand price of these; None where none is known."""
    found = [_price(pool, Market.ON_DEMAND, known) for pool in pools]
    return min((price for price in found if price is not None), default=None)


def _price(pool: Pool, market: Market, known: Known) -> Decimal | None:
    return known.prices.get((pool.instance_type, pool.zone, market))
