"""The rungs of a launch: what to ask EC2 for first, and what next when that is not to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from asbx.config.schema import NodeGroup
from asbx.errors import PlanError
from asbx.model.market import Market, Pool, Template
from asbx.model.plan import ExecutionPlan

_MARKETS = {
    "on-demand": (Market.ON_DEMAND,),
    "spot": (Market.SPOT,),
    "mixed": (Market.SPOT, Market.ON_DEMAND),
}


@dataclass(frozen=True)
class Rung:
    """One CreateFleet's worth of choice: every pool it may draw from, in one market."""

    market: Market
    pools: tuple[Pool, ...]
    template: Template
    strategy: str = ""
    single_zone: bool = False


@dataclass(frozen=True)
class Choice:
    """Rungs in order, and a sentence for everything a plan asked for that was not taken as it stands."""

    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


def choose(group: NodeGroup, plan: ExecutionPlan | None, *, together: bool) -> Choice:
    """Return the rungs of a node group, narrowed by a plan (never widened).

    together: the nodes belong to one job and must share a zone.
    Raises PlanError (`plan-refused`) for a plan that asks for more than the site allows.
    """
    notes: list[str] = []
    pools = tuple(
        Pool(override.instance_type, subnet, max_price=_price(override.spot_price))
        for override in group.launch_template_overrides
        for subnet in ([override.subnet_id] if override.subnet_id else group.subnet_ids)
    )
    markets = _MARKETS[group.purchasing_option]
    if plan is not None:
        pools = _narrow_pools(pools, plan, notes)
        markets = _narrow_markets(markets, plan, notes)
        notes += _not_followed(plan)
    if not pools:
        raise PlanError("plan-refused", "the plan's types and subnets have no pool of this group in common")
    spec = group.launch_template_specification
    template = Template(spec.launch_template_id, spec.launch_template_name, spec.version)
    return Choice(
        tuple(Rung(market, pools, template, _strategy(group, market), together) for market in markets),
        tuple(notes),
    )


def _strategy(group: NodeGroup, market: Market) -> str:
    options = group.spot_options if market is Market.SPOT else group.on_demand_options
    return str(options.get("AllocationStrategy", ""))


def _price(limit: Decimal | None) -> str:
    return format(limit, "f") if limit else ""  # 0 means no limit, as in the predecessor's files


def _narrow_pools(pools: tuple[Pool, ...], plan: ExecutionPlan, notes: list[str]) -> tuple[Pool, ...]:
    kept = _only(pools, [p.instance_type for p in pools], plan.instance_types, "instance types", notes)
    foreign = [subnet for subnet in plan.subnet_ids if subnet not in {p.subnet_id for p in pools}]
    if foreign:
        raise PlanError(
            "plan-refused",
            f"the plan's subnets {', '.join(foreign)} are not allowed for this group",
            "a plan can narrow what the site allows, never widen it",
            "leave subnet_ids out of the plan, or add them to the node group",
        )
    if plan.subnet_ids:
        kept = tuple(pool for pool in kept if pool.subnet_id in plan.subnet_ids)
    if plan.max_spot_price is not None:
        kept = tuple(Pool(p.instance_type, p.subnet_id, p.zone, _lower(p.max_price, plan.max_spot_price)) for p in kept)
    return kept


def _not_followed(plan: ExecutionPlan) -> list[str]:
    """Say which statements of a plan this version does not act on: nothing is dropped in silence."""
    stated = {
        "availability zones": plan.zones,
        "launch template": plan.template,
        "security groups": plan.security_group_ids,
        "instance profile": plan.instance_profile,
        "EFA": plan.needs_efa,
        "placement": plan.placement,
        "tags": plan.tags,
        "cost limits": plan.max_total_cost or plan.max_cost_per_hour,
        "time limits": plan.max_duration or plan.auto_terminate,
    }
    unused = [name for name, value in stated.items() if value]
    notes = [f"the plan's {', '.join(unused)} are not acted on by this version"] if unused else []
    if plan.unknown:
        notes.append(f"the plan's keys {', '.join(plan.unknown)} are not known")
    return notes


def _only(
    pools: tuple[Pool, ...], values: Sequence[str], wanted: Sequence[str], what: str, notes: list[str]
) -> tuple[Pool, ...]:
    """Keep the pools whose value the plan names; a plan that leaves none is noted and not followed in this point."""
    if not wanted:
        return pools
    kept = tuple(pool for pool, value in zip(pools, values, strict=True) if value in wanted)
    foreign = [value for value in wanted if value not in values]
    if not kept:
        notes.append(f"the plan's {what} {', '.join(wanted)} are not allowed for this group; its own are used")
        return pools
    if foreign:
        notes.append(f"the plan's {what} {', '.join(foreign)} are not allowed for this group and were left out")
    return kept


def _lower(configured: str, planned: Decimal) -> str:
    limit = min(Decimal(configured), planned) if configured else planned
    return format(limit, "f")


def _narrow_markets(markets: tuple[Market, ...], plan: ExecutionPlan, notes: list[str]) -> tuple[Market, ...]:
    if not plan.markets:
        return markets
    kept = tuple(market for market in plan.markets if market in markets)
    if not kept:
        asked = ", ".join(plan.markets)
        notes.append(f"the plan asks for {asked}; this group buys {', '.join(markets)} only")
        return markets
    return kept
