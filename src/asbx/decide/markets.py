"""Which nodes are bought in which market: a base and a share on demand, critical nodes, and how long to wait for spot.

All of it is about nodes that may be on spot first and on demand else; whoever names one market gets that one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asbx.config.market import MarketRules
from asbx.decide.wish import Wish
from asbx.model.gang import Gang, Part
from asbx.model.hostlist import unique_sorted
from asbx.model.market import Market

SPOT_FIRST = (Market.SPOT, Market.ON_DEMAND)
# How the id of a launch ends whose nodes must be on demand: a restart knows it by that.
_ON_DEMAND = "-on-demand"


@dataclass(frozen=True)
class Singles:
    """Nodes of a group that were launched each for itself and live, or are being launched."""

    total: int = 0
    on_demand: int = 0


def least_on_demand(rules: MarketRules, total: int) -> int:
    """Return how many of so many nodes must be on demand: the base, and of the rest the share, rounded up."""
    base = min(rules.on_demand_base, total)
    return base + -(-(total - base) * rules.on_demand_percent // 100)


def to_buy(rules: MarketRules, there: Singles, count: int) -> int:
    """Return how many of `count` new nodes are to be on demand, so that base and share hold for all together.

    As far as the new ones can make it so: none of what is there is replaced.
    """
    wanted = least_on_demand(rules, there.total + count) - there.on_demand
    return min(max(wanted, 0), count)


def divided(gang: Gang, rules: MarketRules, there: Singles) -> list[Gang]:
    """Return single nodes as one or two launches: the first ones on demand, the others as the group says."""
    (part,) = gang.parts
    number = to_buy(rules, there, len(part.nodes))
    bought = replace(gang, gang_id=gang.gang_id + _ON_DEMAND, parts=(Part(part.group, part.nodes[:number]),))
    rest = replace(gang, parts=(Part(part.group, part.nodes[number:]),))
    return [one for one in (bought, rest) if one.nodes]


def is_on_demand(gang_id: str) -> bool:
    """Whether a launch is one of nodes that must be on demand."""
    return gang_id.endswith(_ON_DEMAND)


def on_demand_only(want: Wish, why: str) -> Wish:
    """Return the wish with on-demand as its only market, where it may be."""
    if Market.ON_DEMAND not in want.markets:
        return want
    return _in_markets(want, (Market.ON_DEMAND,), why)


def critical(rules: MarketRules, nodes: Collection[str]) -> frozenset[str]:
    """Return the critical ones of all nodes of a job: the first, as Slurm numbers ranks along its node list."""
    return frozenset(unique_sorted(nodes)[: rules.critical_nodes]) if rules.critical_nodes else frozenset()


def waiting(want: Wish, rules: MarketRules, since: Sequence[datetime], now: datetime) -> Wish:
    """Return the wish without on-demand while its job waits for spot. since: when each of its jobs began to wait.

    Nodes no job is known for wait for nothing: there is no one to put off.
    """
    wait = rules.fallback_after
    if not wait or want.markets != SPOT_FIRST or not since:
        return want
    until = min(since) + wait
    if now >= until:
        return want
    why = f"node group: market.fallback_after_seconds, on-demand from {until:%Y-%m-%d %H:%M:%S} UTC on"
    return replace(_in_markets(want, (Market.SPOT,), why), spot_wait=wait)


def without_wait(want: Wish) -> Wish:
    """Return the wish of one who would wait for spot in vain: never sold, or dearer than on-demand."""
    why = "node group: purchasing_option; there is no wait for spot, which is never to be had or dearer"
    return replace(_in_markets(want, SPOT_FIRST, why), spot_wait=None)


def _in_markets(want: Wish, markets: tuple[Market, ...], why: str) -> Wish:
    sources = tuple((key, why if key == "markets" else said) for key, said in want.sources)
    return replace(want, markets=markets, sources=sources)


def told(since: datetime, wait: timedelta) -> str:
    """Return until when a job waits for spot, as its owner is told."""
    return f"waits for spot until {since + wait:%H:%M:%S} UTC, then on-demand is allowed"
