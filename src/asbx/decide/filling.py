"""Where each value of a launch comes from: a plan, the job, the analyzer, the node group or a default of the site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asbx.config.schema import NodeGroup
from asbx.decide.policy import Judgement
from asbx.decide.rungs import Choice
from asbx.decide.wish import Wish
from asbx.model.plan import ExecutionPlan

_SPEC = "instance_specification"
_GROUP = "node group"


@dataclass(frozen=True)
class Filled:
    """A value of a launch, and who said so. value: as a person reads it, "" for none."""

    field: str
    value: str
    source: str

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.field}: {self.value or 'none'} ({self.source})"


def filling(
    group: NodeGroup, plan: ExecutionPlan | None, want: Wish, judged: Judgement, choice: Choice
) -> tuple[Filled, ...]:
    """Return every value, in the order of a plan's sections. group: as the site wrote it."""
    sources = dict(want.sources)
    return (
        *_types(group, plan, judged, choice),
        Filled("markets", ", then ".join(want.markets), sources.get("markets", "")),
        _spot_price(group, plan, judged, choice),
        *_places(plan, choice),
        _template(judged),
        _from_template("security_groups", ", ".join(group.security_group_ids), plan, "security_group_ids"),
        _from_template("instance_profile", group.iam_instance_profile, plan, "iam_instance_profile"),
        Filled("user_data", "of the launch template", "launch template"),
        Filled("launch", _strategy(want), sources.get("strategy", "")),
        Filled("efa", want.efa, sources.get("efa", "")),
        Filled("placement", want.placement, sources.get("placement", "")),
        Filled("placement_group", want.group_name or ("made for it" if want.placement else ""), _of_group(want)),
        Filled("tags", ", ".join(f"{k}={v}" for k, v in judged.tags), "plan: execution_metadata.tags")
        if judged.tags
        else Filled("tags", ", ".join(f"{t.key}={t.value}" for t in group.tags), f"{_GROUP}: tags"),
    )


def as_data(rows: tuple[Filled, ...]) -> list[dict[str, str]]:
    """Return them for JSON."""
    return [{"field": row.field, "value": row.value, "source": row.source} for row in rows]


def _pools(choice: Choice) -> Iterator[tuple[str, str, str, str]]:
    for rung in choice.rungs:
        for pool in rung.pools:
            yield pool.instance_type, pool.subnet_id, pool.zone, pool.max_price


def _types(group: NodeGroup, plan: ExecutionPlan | None, judged: Judgement, choice: Choice) -> Iterator[Filled]:
    kinds = list(dict.fromkeys(kind for kind, *_ in _pools(choice)))
    offered = {one.instance_type for one in group.launch_template_overrides}
    left = {one.instance_type for one in judged.group.launch_template_overrides}
    source = f"{_GROUP}: launch_template_overrides"
    if plan is not None and set(plan.instance_types) & left:
        source = f"plan: {_SPEC}.instance_types"
    elif offered - left:
        source += f", narrowed by {_rules(judged)}"
    yield Filled("instance_types", ", ".join(kinds), source)


def _spot_price(group: NodeGroup, plan: ExecutionPlan | None, judged: Judgement, choice: Choice) -> Filled:
    limits = sorted({price for *_, price in _pools(choice) if price})
    was = {one.instance_type: one.spot_price or None for one in group.launch_template_overrides}
    now = {one.instance_type: one.spot_price or None for one in judged.group.launch_template_overrides}
    source = f"{_GROUP}: spot_price"
    if plan is not None and plan.max_spot_price is not None and format(plan.max_spot_price, "f") in limits:
        source = f"plan: {_SPEC}.max_spot_price"
    elif any(now[kind] != was[kind] for kind in now):
        source = _rules(judged)
    if limits and judged.group.market.max_spot_percent is not None:
        source = f"{_GROUP}: market.max_spot_percent {judged.group.market.max_spot_percent}, or less by {source}"
    return Filled("max_spot_price", ", ".join(limits) or "no limit", source)


def _places(plan: ExecutionPlan | None, choice: Choice) -> Iterator[Filled]:
    pools = list(_pools(choice))
    subnets = list(dict.fromkeys(subnet for _, subnet, _, _ in pools))
    zones = list(dict.fromkeys(zone for *_, zone, _ in pools if zone))
    own = f"{_GROUP}: subnet_ids"
    stated = plan is not None and plan.subnet_ids
    yield Filled("subnets", ", ".join(subnets), f"plan: {_SPEC}.subnet_ids" if stated else own)
    asked = plan is not None and bool(set(plan.zones) & set(zones))
    yield Filled("zones", ", ".join(zones), "plan: network_configuration.availability_zones" if asked else own)


def _template(judged: Judgement) -> Filled:
    spec = judged.group.launch_template_specification
    named = spec.launch_template_id or spec.launch_template_name
    if judged.template_from:
        return Filled("launch_template", named, f"plan: {_SPEC}, by rule {judged.template_from!r}")
    return Filled("launch_template", named, f"{_GROUP}: launch_template_specification")


def _from_template(field: str, own: str, plan: ExecutionPlan | None, key: str) -> Filled:
    """Return what stands in the launch template; a plan may at most repeat what the node group says of it."""
    stated = plan is not None and f"{_SPEC}.{key}" in plan.stated
    if stated:
        return Filled(field, own, f"plan: {_SPEC}.{key}, as the node group says")
    return Filled(field, "of the launch template", "launch template")


def _strategy(want: Wish) -> str:
    words = {
        "all nodes or none": want.whole,
        "each for itself": not want.whole,
        "one zone": want.together,
        "one type": want.one_type,
    }
    return ", ".join(word for word, holds in words.items() if holds)


def _of_group(want: Wish) -> str:
    if want.group_name:
        return f"{_GROUP}: placement_group_name"
    return dict(want.sources).get("placement", "")


def _rules(judged: Judgement) -> str:
    return f"policy: {', '.join(judged.rules)}"
