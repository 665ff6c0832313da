"""How much of what may run at once is in use, and what of a call still fits.

Counted is what the ledger shows: instances that live, at what they cost now, and calls without an answer, at the
dearest pool they name and for all they ask. So the sum is never below what runs, whatever EC2 answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal

from asbx.config.limits_section import LimitRule, Limits
from asbx.decide.limits import AT_ONCE, Ceiling, Owner, Prices, covers, of_rules, owner_of, price_of
from asbx.model.limit import Measure, Use
from asbx.model.market import FleetOrder, Market, Pool

_ZERO = Decimal(0)


@dataclass(frozen=True)
class Load:
    """What an owner has running. usd: an hour; unpriced: instances of which that is not known."""

    owner: Owner
    nodes: int
    usd: Decimal
    unpriced: int = 0


@dataclass(frozen=True)
class Reach:
    """How far a limit is used. most, used: in the measure's unit."""

    ceiling: Ceiling
    used: Decimal
    unpriced: int = 0

    @property
    def headroom(self) -> Decimal:
        """Return what is left, never below zero."""
        return max(self.ceiling.most - self.used, _ZERO)

    def __str__(self) -> str:
        """Return it as people are told."""
        unit = self.ceiling.measure.unit
        return f"{self.ceiling}: {self.used.normalize():f} of {self.ceiling.most:f} {unit} in use"


def loads(use: Use, prices: Prices, volumes: Decimal) -> list[Load]:
    """Return what is in use, owner by owner. volumes: of one instance, USD an hour."""
    return [*_live(use, prices, volumes), *_asked(use, prices, volumes)]


def _live(use: Use, prices: Prices, volumes: Decimal) -> Iterator[Load]:
    for row in use.live:
        # What an on-demand instance costs stands from its launch on; a spot price moves.
        now = price_of(prices, row.instance_type, row.zone, row.market) if row.market is Market.SPOT else None
        price = row.price if now is None else now
        if price is None:
            price = price_of(prices, row.instance_type, row.zone, row.market)
        usd = _ZERO if price is None else row.count * (price + volumes)
        yield Load(owner_of(row), row.count, usd, row.count if price is None else 0)


def _asked(use: Use, prices: Prices, volumes: Decimal) -> Iterator[Load]:
    for intent, attempt in use.asked:
        order = attempt.order
        found = [price_of(prices, pool.instance_type, pool.zone, order.market) for pool in order.pools]
        known = [price for price in found if price is not None]
        owner = Owner(intent.user, intent.account, intent.group.partition, bool(intent.jobs))
        usd = order.count * (max(known) + volumes) if known else _ZERO
        yield Load(owner, order.count, usd, 0 if known else order.count)


def reaches(ceilings: Iterable[Ceiling], found: Sequence[Load]) -> list[Reach]:
    """Return how far each is used."""
    return [_reach(one, [load for load in found if one.adds(load.owner)]) for one in ceilings]


def _reach(one: Ceiling, mine: Sequence[Load]) -> Reach:
    unpriced = sum(load.unpriced for load in mine)
    if one.measure is Measure.NODES_AT_ONCE:
        return Reach(one, Decimal(sum(load.nodes for load in mine)))
    return Reach(one, sum((load.usd for load in mine), _ZERO), unpriced)


def of_rule(settings: Limits, rule: LimitRule, use: Use, prices: Prices) -> list[Reach]:
    """Return how far the `_at_once` limits of a rule are used, by each whose instances are added up."""
    owners = {owner_of(row) for row in use.live}
    owners |= {Owner(intent.user, intent.account, intent.group.partition, bool(intent.jobs)) for intent, _ in use.asked}
    mine = sorted((o for o in owners if covers(rule, o)), key=lambda o: (o.user, o.account, o.partition))
    only = settings.model_copy(update={"rules": (rule,)})
    # Where nobody has anything the limit is there all the same: an owner nobody knows is among those it is about.
    ceilings = of_rules(only, mine or [Owner("", "", "")], AT_ONCE)
    return reaches(ceilings, loads(use, prices, settings.volumes_usd_per_hour))


@dataclass(frozen=True)
class Demand:
    """What is about to be asked. whole: all of its instances or none. later: what of the gang is asked afterwards.

    later_usd: what that costs an hour at the least.
    """

    order: FleetOrder
    whole: bool
    volumes: Decimal = _ZERO
    later: int = 0
    later_usd: Decimal = _ZERO


@dataclass(frozen=True)
class Fit:
    """What of a call fits. order: None where nothing does. why: the limits that kept the rest from it."""

    order: FleetOrder | None
    why: str = ""


def fit(demand: Demand, reached: Sequence[Reach], prices: Prices, unknown: str) -> Fit:
    """Return the call with the pools, and where a part is welcome the number, that all limits leave room for."""
    blind = next((one for one in reached if one.unpriced and unknown == "refuse"), None)
    if blind is not None:
        return Fit(None, f"{blind}, and what {blind.unpriced} more instance(s) cost is not known")
    count = min([demand.order.count, *(_nodes_left(demand, one) for one in reached)])
    if count < (demand.order.count if demand.whole else 1):
        tight = next(one for one in reached if one.ceiling.measure is Measure.NODES_AT_ONCE)
        tight = min((one for one in reached if one.ceiling.measure is Measure.NODES_AT_ONCE), key=_left, default=tight)
        return Fit(None, f"{tight}, {demand.order.count + demand.later} more wanted")
    hourly = [one for one in reached if one.ceiling.measure is Measure.HOURLY_AT_ONCE]
    if not hourly:
        return Fit(replace(demand.order, count=count))
    return _within(demand, count, min(hourly, key=_left), prices, unknown)


def _left(one: Reach) -> Decimal:
    return one.headroom


def _nodes_left(demand: Demand, one: Reach) -> int:
    if one.ceiling.measure is not Measure.NODES_AT_ONCE:
        return demand.order.count
    return int(one.headroom) - demand.later


def _within(demand: Demand, count: int, tight: Reach, prices: Prices, unknown: str) -> Fit:
    """Return what fits into what is left of the tightest hourly limit: as many instances, then as many pools as do."""
    order, left = demand.order, tight.headroom - demand.later_usd
    priced = [(price_of(prices, p.instance_type, p.zone, order.market), p) for p in order.pools]
    blind = [pool for price, pool in priced if price is None] if unknown == "warn" else []
    known = [(price + demand.volumes, pool) for price, pool in priced if price is not None]
    best: tuple[int, list[Pool]] = (count if blind else 0, [])
    for rate in sorted({rate for rate, _ in known}):
        number = min(count, _times(left, rate))
        if number >= max(best[0], 1):
            best = (number, [pool for other, pool in known if other <= rate])
    number, pools = best
    pools = [pool for pool in order.pools if pool in pools or pool in blind]
    if not pools or number < (order.count if demand.whole else 1):
        return Fit(None, _short(demand, known, tight))
    return Fit(replace(order, count=number, pools=tuple(pools)))


def _times(left: Decimal, rate: Decimal) -> int:
    if left < 0:
        return 0
    return int((left / rate).to_integral_value(ROUND_FLOOR)) if rate > 0 else 10**9


def _short(demand: Demand, known: Sequence[tuple[Decimal, Pool]], tight: Reach) -> str:
    if not known:
        return f"{tight}, and no price of what is wanted is known"
    rate = min(rate for rate, _ in known)
    count = demand.order.count if demand.whole else 1
    wanted = count * rate + demand.later_usd
    more = f" + {demand.later_usd:f} for its other nodes" if demand.later else ""
    return f"{tight}; {count} more x {rate:f} USD/h{more} = {wanted:f} USD/h do not fit"
