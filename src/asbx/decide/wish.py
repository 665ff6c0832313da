"""What a gang wants: all or none, close together, with EFA, in which markets - from the job, its plan and the site.

The job's own words come first, then its plan, then the node group, then the site's defaults. A wish can choose among
what the site offers, never add to it: markets and types outside the group are dropped with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from asbx.config.limits import SPREAD_MOST
from asbx.config.schema import Config, NodeGroup
from asbx.decide.hints import JobHints
from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan

Efa = Literal["required", "preferred", "optional", "disabled"]

_MARKETS = {
    "on-demand": (Market.ON_DEMAND,),
    "spot": (Market.SPOT,),
    "mixed": (Market.SPOT, Market.ON_DEMAND),
}


@dataclass(frozen=True)
class Wish:
    """What one part of a gang wants.

    whole: all nodes or none. together: in one zone. one_type: all of one type. placement: strategy of the group, "" for
    none; placement_stated: somebody asked for it. group_name: an existing group, "" for one made for the gang.
    placed_only: rather nothing than outside a group. extra: instances to launch beyond the nodes, the worst connected
    of which are given back. sources: what of it -> who said so. spot_wait: how long its jobs wait for spot before
    on-demand is allowed too, None where they do not.
    """

    whole: bool
    together: bool
    one_type: bool
    markets: tuple[Market, ...]
    efa: Efa = "disabled"
    placement: str = ""
    group_name: str = ""
    placed_only: bool = False
    placement_fallback: bool = False
    extra: int = 0
    notes: tuple[str, ...] = ()
    placement_stated: bool = False
    sources: tuple[tuple[str, str], ...] = ()
    spot_wait: timedelta | None = None


def agree(wants: Sequence[Wish]) -> tuple[Wish, ...]:
    """Return the wishes of a gang's parts with one placement, as a gang is in one group: what somebody asked for.

    Where different groups are asked for, nothing is changed: no launch can serve that, and the ladder says so.
    """
    asked = {(want.placement, want.group_name) for want in wants if want.placement_stated}
    if len({(want.placement, want.group_name) for want in wants}) < 2 or len(asked) > 1:
        return tuple(wants)
    placement, group_name = asked.pop() if asked else ("", "")
    return tuple(replace(want, placement=placement, group_name=group_name) for want in wants)


def wish(config: Config, group: NodeGroup, size: int, plan: ExecutionPlan | None, hints: JobHints) -> Wish:
    """Return what a gang of so many nodes wants of a group. size: all nodes of the job, those already up included."""
    notes = [f"{word!r} is not understood and was left out" for word in hints.unknown]
    strategy, strategy_from = _strategy(group, size, plan, hints)
    placement, stated, placement_from = _placement(config, group, size, plan, hints)
    efa, efa_from = _efa(config, group, size, plan, hints)
    markets, markets_from = _markets(group, plan, hints, notes)
    if strategy != "gang" and not stated:
        placement = ""
    # The site's rule stands above what a job or a plan asks for; only the group itself is an exception to it.
    forced = config.mpi.force_cluster_placement_group and group.placement in ("auto", "cluster")
    placed_only = forced and size > 1 and strategy == "gang"
    if placed_only and placement != "cluster":
        notes.append(
            f"the site launches into cluster placement groups only; placement {placement or 'none'} is not used"
        )
        placement, placement_from = "cluster", "site: mpi.force_cluster_placement_group"
    is_named = bool(group.placement_group_name or (plan is not None and plan.placement_group))
    return Wish(
        whole=strategy != "best-effort",
        together=strategy == "gang" and size > 1 and not (placement == "spread" and size > SPREAD_MOST),
        one_type=strategy == "gang" and size > 1 and not group.mixed_types,
        markets=markets,
        efa=efa,
        placement=placement,
        group_name=_group_name(group, plan, notes) if placement and is_named else "",
        placed_only=placed_only,
        placement_fallback=group.placement_fallback,
        extra=_extra(group, size, hints, notes) if strategy == "gang" else 0,
        notes=tuple(notes),
        placement_stated=stated or placed_only or bool(group.placement_group_name),
        sources=(
            ("strategy", strategy_from),
            ("placement", placement_from),
            ("efa", efa_from),
            ("markets", markets_from),
        ),
    )


def _strategy(group: NodeGroup, size: int, plan: ExecutionPlan | None, hints: JobHints) -> tuple[str, str]:
    """Return (strategy, who said so)."""
    if hints.strategy and size > 1:
        return hints.strategy, "job: strategy"
    if plan is not None and plan.is_gang:
        return "gang", _by(plan, "mpi_configuration.requires_gang_scheduling", "instance_specification.instance_count")
    return (group.strategy, "node group: strategy") if size > 1 else ("best-effort", "one node")


def _placement(
    config: Config, group: NodeGroup, size: int, plan: ExecutionPlan | None, hints: JobHints
) -> tuple[str, bool, str]:
    """Return (strategy or "", whether somebody asked for it, who). One node gains nothing from a group."""
    if size < 2:
        return "", False, "one node"
    if hints.placement:
        return ("" if hints.placement == "none" else hints.placement), True, "job: placement"
    # What the analyzer has found out stands below what the node group says.
    if plan is not None and plan.placement and not (plan.is_guess and group.placement != "auto"):
        keys = ("network_configuration.placement_group_type", "instance_specification.placement_group")
        return plan.placement, True, _by(plan, *keys)
    if group.placement != "auto":
        return ("" if group.placement == "none" else group.placement), True, "node group: placement"
    return _usual_placement(config, group, size)


def _usual_placement(config: Config, group: NodeGroup, size: int) -> tuple[str, bool, str]:
    """Return the same where nobody asked for anything."""
    if config.mpi.force_cluster_placement_group:
        return "cluster", False, "site: mpi.force_cluster_placement_group"
    if group.placement_group_name:
        return "cluster", False, "node group: placement_group_name"
    placed = size >= config.mpi.placement_group_threshold
    return ("cluster" if placed else ""), False, "site: mpi.placement_group_threshold"


def _by(plan: ExecutionPlan, *keys: str) -> str:
    """Return which of these keys of a plan says it."""
    if plan.is_guess:
        return "analyzer"
    return f"plan: {next((key for key in keys if key in plan.stated), keys[0])}"


def _group_name(group: NodeGroup, plan: ExecutionPlan | None, notes: list[str]) -> str:
    asked = plan.placement_group if plan is not None else ""
    if asked and asked != group.placement_group_name:
        # A group by name may hold another's instances: only the site may say which.
        notes.append(f"the plan's placement group {asked} is not this group's; it is not used")
    return group.placement_group_name


def _efa(config: Config, group: NodeGroup, size: int, plan: ExecutionPlan | None, hints: JobHints) -> tuple[Efa, str]:
    """Return (how much it wants EFA, who said so)."""
    if hints.efa:
        return hints.efa, "job: efa"
    if plan is not None and plan.needs_efa:
        return "required", _by(plan, "mpi_configuration.requires_efa", "network_configuration.enable_efa")
    if group.efa is not None:
        return group.efa, "node group: efa"
    if size < 2:
        return "disabled", "one node"  # EFA is for traffic between nodes
    default: Efa = config.mpi.efa_default
    if default != "optional":
        return default, "site: mpi.efa_default"
    is_large = size >= config.mpi.hpc_instances_threshold
    by = "analyzer" if plan is not None and plan.prefers_efa else "site: mpi.hpc_instances_threshold"
    return ("preferred", by) if is_large else ("optional", "site: mpi.efa_default")


def _markets(
    group: NodeGroup, plan: ExecutionPlan | None, hints: JobHints, notes: list[str]
) -> tuple[tuple[Market, ...], str]:
    """Return (markets in order of preference, who said so)."""
    allowed: tuple[Market, ...] = _MARKETS[group.purchasing_option]
    keys = (
        "instance_specification.purchasing_option",
        "cost_constraints.prefer_spot",
        "cost_constraints.allow_mixed_pricing",
    )
    for who, asked in (
        ("job", (Market(hints.market),) if hints.market else ()),
        ("plan", plan.markets if plan else ()),
    ):
        if not asked:
            continue
        kept = tuple(market for market in asked if market in allowed)
        if kept:
            return kept, "job: market" if who == "job" or plan is None else _by(plan, *keys)
        notes.append(f"the {who} asks for {', '.join(asked)}; this group buys {', '.join(allowed)} only")
    return allowed, "node group: purchasing_option"


def _extra(group: NodeGroup, size: int, hints: JobHints, notes: list[str]) -> int:
    asked = hints.extra_nodes or 0
    allowed = min(asked, group.most_extra_nodes)
    if size > 1 and asked > allowed:
        notes.append(f"the job asks for {asked} extra node(s); this group allows {group.most_extra_nodes}")
    return allowed if size > 1 else 0
