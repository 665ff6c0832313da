"""What the site's policy makes of a job and its plan: what is refused, and what remains of group and plan.

A rule about a job takes away from its node group: types, subnets, markets, prices. What is left is a node group that
allows a subset, and everything after this works on that one: so neither a plan nor a hint can undo a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from asbx.config.policy import Policy, Rule
from asbx.config.schema import LaunchTemplateOverride, LaunchTemplateSpecification, NodeGroup
from asbx.errors import PlanError
from asbx.model.market import Market
from asbx.model.names import GroupName
from asbx.model.plan import ExecutionPlan, Origin

_SECTION = "instance_specification"
_OPTIONS: Mapping[frozenset[str], str] = {
    frozenset({"spot", "on-demand"}): "mixed",
    frozenset({"spot"}): "spot",
    frozenset({"on-demand"}): "on-demand",
}


@dataclass(frozen=True)
class Who:
    """Whose nodes these are. user and account: None for nodes of no job, "" where Slurm did not tell.

    size: all nodes of the job, those that are up included.
    """

    group: GroupName
    user: str | None = None
    account: str | None = None
    jobs: tuple[int, ...] = ()
    size: int = 1


@dataclass(frozen=True)
class Refusal:
    """What may not be. field: of the plan, or what of the job. rule: which rule says so."""

    field: str
    value: str
    rule: str

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"{self.field} {self.value!a} is not allowed by {self.rule}"


@dataclass(frozen=True)
class Judgement:
    """What remains.

    group: with what the rules leave. tags: of the plan, those it may set. rules: names of those that
    count. template_from: the rule that granted the plan's launch template, "" where the group's is used.
    """

    group: NodeGroup
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    rules: tuple[str, ...] = ()
    template_from: str = ""


def judge(
    policy: Policy,
    who: Who,
    group: NodeGroup,
    plan: ExecutionPlan | None,
    origin: Origin,
    zones: Mapping[str, str] | None,
) -> Judgement:
    """Return what the policy leaves of a node group for a job and its plan.

    zones: subnet -> zone; a subnet that is not in it is in none. None: nobody was asked, so zones are not judged.
    """
    rules = [rule for rule in policy.rules if _is_about(rule, who)]
    if zones is None:
        zones, rules = {}, [rule.model_copy(update={"zones": ()}) for rule in rules]
    refusals = list(_of_job(rules, who))
    left, why = _narrowed(group, rules, zones, who)
    refusals += why
    notes: list[str] = []
    template_from = ""
    tags: tuple[tuple[str, str], ...] = ()
    if plan is not None:
        granting = [rule for rule in policy.rules if _is_about(rule, who, surely=True)]
        refusals += _of_plan(plan, who, group, left, rules, zones)
        refusals += _of_privileged(plan, origin, group, who)
        template_from, refused = _template(plan, origin, group, granting, who)
        refusals += refused
        tags = tuple(tag for tag in plan.tags if any(_fits(tag[0], rule.tags) for rule in granting))
        refusals += _of_tags(plan, tags, granting)
        if plan.tags and not tags and not any(rule.tags for rule in granting):
            notes.append("the plan's tags are left out: no rule of the policy lets it set any")
        if who.size > 1 and plan.node_count not in (None, who.size):
            notes.append(f"the plan is for {plan.node_count} node(s), Slurm wants {who.size}: Slurm's word counts")
        if template_from and plan.template is not None:
            named = plan.template
            spec = LaunchTemplateSpecification(launch_template_id=named.template_id, launch_template_name=named.name)
            left = left.model_copy(update={"launch_template_specification": spec})
    names = tuple(rule.name for rule in rules)
    return Judgement(left, tuple(dict.fromkeys(refusals)), tuple(notes), tags, names, template_from)


def refused(judgement: Judgement, *, has_plan: bool) -> PlanError | None:
    """Return the error that holds the job, or None."""
    if not judgement.refusals:
        return None
    why = "; ".join(str(one) for one in judgement.refusals)
    if has_plan:
        hint = (
            "a plan can narrow what the site allows, never widen it: change the plan, or ask for a rule of the policy"
        )
        return PlanError("plan-refused", "the execution plan asks for more than this site allows", why, hint)
    hint = "ask for what its rules allow, or for another partition; who runs the site may change the rule"
    return PlanError("policy-refused", "the site's policy does not allow this job", why, hint)


# -- whom a rule is about


def _is_about(rule: Rule, who: Who, *, surely: bool = False) -> bool:
    """Whether a rule is about a job. One whose user is not known gets every restriction and (surely) no grant."""
    if rule.partitions and not _fits(who.group.partition, rule.partitions):
        return False
    return _names(rule.users, who.user, surely=surely) and _names(rule.accounts, who.account, surely=surely)


def _names(patterns: Sequence[str], name: str | None, *, surely: bool) -> bool:
    if not patterns:
        return True
    if not name:
        return name == "" and not surely
    return _fits(name, patterns)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# -- the job and its node group


def _of_job(rules: Sequence[Rule], who: Who) -> Iterator[Refusal]:
    for rule in rules:
        if rule.max_nodes is not None and who.size > rule.max_nodes:
            yield Refusal("nodes", str(who.size), f"rule {rule.name!r}: max_nodes {rule.max_nodes}")


def _narrowed(
    group: NodeGroup, rules: Sequence[Rule], zones: Mapping[str, str], who: Who
) -> tuple[NodeGroup, list[Refusal]]:
    """Return the group with what the rules leave of it; where that is nothing, as it was, with the refusal."""
    for rule in rules:
        subnets = tuple(subnet for subnet in group.subnet_ids if _may_be_in(rule, subnet, zones))
        overrides = tuple(
            _priced(one, rule)
            for one in group.launch_template_overrides
            if (not rule.instance_types or _fits(one.instance_type, rule.instance_types))
            and (_may_be_in(rule, one.subnet_id, zones) if one.subnet_id else subnets)
        )
        if not overrides or not subnets:
            what = "instance types" if subnets else "subnets"
            return group, [
                Refusal("node group", str(who.group), f"rule {rule.name!r}, which leaves none of its {what}")
            ]
        sold = {"spot", "on-demand"} if group.purchasing_option == "mixed" else {group.purchasing_option}
        markets = sold & set(rule.purchasing_options or sold)
        if not markets:
            said = f"rule {rule.name!r}: purchasing_options {', '.join(rule.purchasing_options)}"
            return group, [Refusal("purchasing_option", group.purchasing_option, said)]
        update: dict[str, object] = {
            "launch_template_overrides": overrides,
            "subnet_ids": subnets,
            "purchasing_option": _OPTIONS[frozenset(markets)],
        }
        if rule.purchasing_options and "on-demand" not in rule.purchasing_options:
            update |= {"capacity_reservations": (), "open_reservations": False}
        group = group.model_copy(update=update)
    return group, []


def _may_be_in(rule: Rule, subnet: str, zones: Mapping[str, str]) -> bool:
    if rule.subnet_ids and subnet not in rule.subnet_ids:
        return False
    return not rule.zones or zones.get(subnet, "") in rule.zones


def _priced(override: LaunchTemplateOverride, rule: Rule) -> LaunchTemplateOverride:
    if rule.max_spot_price is None:
        return override
    limit = min(override.spot_price or rule.max_spot_price, rule.max_spot_price)
    return override.model_copy(update={"spot_price": limit})


# -- what a plan states


def _of_plan(
    plan: ExecutionPlan,
    who: Who,
    group: NodeGroup,
    left: NodeGroup,
    rules: Sequence[Rule],
    zones: Mapping[str, str],
) -> Iterator[Refusal]:
    named = f"node group {who.group}"
    if plan.job_id is not None and who.jobs and plan.job_id not in who.jobs:
        yield Refusal("execution_metadata.job_id", str(plan.job_id), f"the job it lies with, {who.jobs[0]}")
    offered, subnets = _types(group), _subnets(group)
    for kind in plan.instance_types:
        if kind in offered and kind not in _types(left):
            yield Refusal(
                f"{_SECTION}.instance_types",
                kind,
                _rule(rules, lambda r, k=kind: r.instance_types and not _fits(k, r.instance_types)),
            )
    for subnet in plan.subnet_ids:
        if subnet not in subnets:
            yield Refusal(f"{_SECTION}.subnet_ids", subnet, f"{named}: subnet_ids {', '.join(sorted(subnets))}")
        elif subnet not in _subnets(left):
            yield Refusal(
                f"{_SECTION}.subnet_ids", subnet, _rule(rules, lambda r, s=subnet: not _may_be_in(r, s, zones))
            )
    there = {zones.get(subnet, "") for subnet in subnets}
    remain = {zones.get(subnet, "") for subnet in _subnets(left)}
    for zone in plan.zones:
        if zone in there - remain:
            yield Refusal(
                "network_configuration.availability_zones",
                zone,
                _rule(rules, lambda r, z=zone: r.zones and z not in r.zones),
            )
    yield from _of_amounts(plan, rules)
    yield from _of_markets(plan, group, left, rules)


def _of_amounts(plan: ExecutionPlan, rules: Sequence[Rule]) -> Iterator[Refusal]:
    hours = None if plan.max_duration is None else Decimal(int(plan.max_duration.total_seconds())) / 3600
    for field, value, key in (
        (f"{_SECTION}.max_spot_price", plan.max_spot_price, "max_spot_price"),
        (f"{_SECTION}.instance_count", plan.node_count, "max_nodes"),
        ("cost_constraints.max_duration_hours", hours, "max_hours"),
    ):
        for rule in rules:
            most = getattr(rule, key)
            if most is not None and value is not None and value > most:
                yield Refusal(
                    field,
                    f"{value:f}" if isinstance(value, Decimal) else str(value),
                    f"rule {rule.name!r}: {key} {most}",
                )


def _of_markets(plan: ExecutionPlan, group: NodeGroup, left: NodeGroup, rules: Sequence[Rule]) -> Iterator[Refusal]:
    sold, remain = _markets(group), _markets(left)
    wanted = [market for market in plan.markets if market in sold]
    if wanted and not any(market in remain for market in wanted):
        for market in wanted:
            yield Refusal(
                f"{_SECTION}.purchasing_option",
                market.value,
                _rule(rules, lambda r, m=market: r.purchasing_options and m.value not in r.purchasing_options),
            )


def _of_privileged(plan: ExecutionPlan, origin: Origin, group: NodeGroup, who: Who) -> Iterator[Refusal]:
    """Refuse what stands in a launch template, unless it is what the node group has; from users in any case."""
    named = f"node group {who.group}"
    if "user_data" in plan.privileged:
        rule = "any: it is the launch template's, and nodes find their names by it"
        yield Refusal(f"{_SECTION}.user_data", "(hidden)", rule)
    profile = plan.instance_profile
    if profile and not origin.privileged:
        yield Refusal(f"{_SECTION}.iam_instance_profile", profile, f"policy: {origin.where} is no administrator's word")
    elif profile and profile != group.iam_instance_profile:
        own = group.iam_instance_profile or "the launch template's"
        yield Refusal(f"{_SECTION}.iam_instance_profile", profile, f"{named}: iam_instance_profile {own}")
    for one in plan.security_group_ids:
        if one not in group.security_group_ids:
            own = ", ".join(group.security_group_ids) or "the launch template's"
            yield Refusal(f"{_SECTION}.security_group_ids", one, f"{named}: security_group_ids {own}")


def _template(
    plan: ExecutionPlan, origin: Origin, group: NodeGroup, granting: Sequence[Rule], who: Who
) -> tuple[str, list[Refusal]]:
    """Return (the rule that grants the plan's launch template, refusals); ("", []) where it is the group's own."""
    spec = group.launch_template_specification
    if plan.template is None:
        return "", []
    named = plan.template.template_id or plan.template.name
    if named in (spec.launch_template_id, spec.launch_template_name):
        return "", []
    field = f"{_SECTION}.launch_template_{'id' if plan.template.template_id else 'name'}"
    by = next((rule.name for rule in granting if named in rule.launch_templates), "")
    if by and origin.privileged:
        return by, []
    if by:
        return "", [
            Refusal(field, named, f"rule {by!r}, which counts for plans of administrators: {origin.where} is none")
        ]
    own = spec.launch_template_id or spec.launch_template_name
    return "", [Refusal(field, named, f"node group {who.group}: launch template {own}")]


def _of_tags(plan: ExecutionPlan, tags: Sequence[tuple[str, str]], granting: Sequence[Rule]) -> Iterator[Refusal]:
    names = [rule.name for rule in granting if rule.tags]
    if names:
        for tag in plan.tags:
            if tag not in tags:
                yield Refusal("execution_metadata.tags", tag[0], f"rule {names[0]!r}: tags")


def _rule(rules: Sequence[Rule], refuses: object) -> str:
    """Return which rule refuses, by its name."""
    assert callable(refuses)
    return next((f"rule {rule.name!r}" for rule in rules if refuses(rule)), "the policy's rules together")


def _types(group: NodeGroup) -> frozenset[str]:
    return frozenset(override.instance_type for override in group.launch_template_overrides)


def _subnets(group: NodeGroup) -> frozenset[str]:
    stated = {override.subnet_id for override in group.launch_template_overrides if override.subnet_id}
    return frozenset({*group.subnet_ids, *stated})


def _markets(group: NodeGroup) -> tuple[Market, ...]:
    both = (Market.SPOT, Market.ON_DEMAND)
    return both if group.purchasing_option == "mixed" else (Market(group.purchasing_option),)
