"""The pools of a node group, and how an execution plan narrows them. A plan never adds one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from asbx.config.schema import NodeGroup
from asbx.decide.preflight import Known
from asbx.errors import PlanError
from asbx.model.market import Pool
from asbx.model.plan import ExecutionPlan


def pools_of(group: NodeGroup, plan: ExecutionPlan | None, known: Known, notes: list[str]) -> tuple[Pool, ...]:
    """Return every type in every subnet that group and plan allow; notes gets what of the plan was not taken.

    Raises PlanError (`plan-refused`) where the plan wants what the site does not allow.
    """
    pools = tuple(
        Pool(override.instance_type, subnet, _zone(subnet, known), _price(override.spot_price))
        for override in group.launch_template_overrides
        for subnet in ([override.subnet_id] if override.subnet_id else group.subnet_ids)
    )
    if plan is None:
        return pools
    pools = _narrow(pools, plan, notes)
    if not pools:
        raise PlanError("plan-refused", "the plan's types and subnets have no pool of this group in common")
    return pools


def _zone(subnet: str, known: Known) -> str:
    facts = known.subnets.get(subnet)
    return facts.zone if facts else ""


def _price(limit: Decimal | None) -> str:
    return format(limit, "f") if limit else ""  # 0 means no limit, as in the predecessor's files


def _narrow(pools: tuple[Pool, ...], plan: ExecutionPlan, notes: list[str]) -> tuple[Pool, ...]:
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
    if all(pool.zone for pool in kept):
        kept = _only(kept, [p.zone for p in kept], plan.zones, "availability zones", notes)
    elif plan.zones:
        notes.append("the plan's availability zones are not acted on: the zones of the subnets are not known")
    if plan.max_spot_price is not None:
        kept = tuple(replace(pool, max_price=_lower(pool.max_price, plan.max_spot_price)) for pool in kept)
    return kept


def not_followed(plan: ExecutionPlan) -> list[str]:
    """Say which keys of a plan nobody reads: nothing is dropped in silence."""
    if plan.unknown:
        return [f"the plan's keys {', '.join(plan.unknown)} are not known"]
    return []


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
