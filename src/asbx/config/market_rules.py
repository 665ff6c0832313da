"""Rules about the section `market` of a node group: what of it has no effect there."""

from __future__ import annotations

from collections.abc import Iterator

from asbx.config.problem import Key, Problem
from asbx.config.schema import NodeGroup

_MIXED_ONLY = (
    "on_demand_base",
    "on_demand_percent",
    "critical_nodes",
    "fallback_after_seconds",
    "spot_below_on_demand",
)
_SPOT_ONLY = ("max_spot_percent", "interruption_history")


def market_warnings(group: NodeGroup, at: Key) -> Iterator[Problem]:
    """Find keys that change nothing for what the group buys."""
    stated, option = group.market.model_fields_set, group.purchasing_option
    unused = [*(_MIXED_ONLY if option != "mixed" else ()), *(_SPOT_ONLY if option == "on-demand" else ())]
    for name in unused:
        if name in stated:
            yield Problem((*at, "market", name), f"is not used: purchasing_option is {option}")
    if option == "mixed" and group.market.critical_nodes and group.strategy != "gang":
        yield Problem(
            (*at, "market", "critical_nodes"),
            f"serves only jobs that ask for strategy=gang: strategy is {group.strategy}",
        )
