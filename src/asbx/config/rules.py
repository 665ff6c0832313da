"""Rules over several keys: what cannot work is a problem, what will probably disappoint is a warning.

Sources: EC2 API reference (CreateFleet), slurm.conf(5). Reads values only; asks neither EC2 nor Slurm.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from asbx.config.budget_rules import budget_problems, budget_warnings
from asbx.config.gang_rules import gang_problems, gang_warnings, site_warnings, topology_problems
from asbx.config.limits import LEAST_SPOT_PRICE
from asbx.config.market_rules import market_warnings
from asbx.config.problem import Key, Problem
from asbx.config.rule_rules import rule_warnings
from asbx.config.schema import Config, LaunchTemplateOverride, NodeGroup, Partition

# CreateFleet, SpotAllocationStrategy and FleetOnDemandAllocationStrategy.
SPOT_STRATEGIES = (
    "price-capacity-optimized",
    "capacity-optimized",
    "capacity-optimized-prioritized",
    "lowest-price",
    "diversified",
)
ON_DEMAND_STRATEGIES = ("lowest-price", "prioritized")
# EC2: 50 tags a resource; ASBX sets up to 11 and its node list up to 8 more.
MOST_OWN_TAGS = 30
# Node numbers have at most nine digits (model/names.py).
LAST_NUMBER = 999_999_999

_METHOD_SECTIONS = ("assume_role", "sso", "web_identity", "cross_account", "access_keys")
_SLURM_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NOT_IN_SLURM_CONF = re.compile(r"[\x00-\x1f\x7f\"#\\]")
_NODE_KEYS = frozenset({"nodename", "state", "nodeaddr", "nodehostname"})
_PARTITION_KEYS = frozenset({"partitionname", "nodes"})

# Keys a file may hold that change nothing in this version: key -> why.
WITHOUT_EFFECT: dict[Key, str] = {
    ("aws", "token_refresh"): "credentials renew themselves",
    ("logging", "max_size_mb"): "logrotate decides about rotation",
    ("logging", "max_age_days"): "logrotate decides about rotation",
    ("logging", "compress"): "logrotate decides about rotation",
    ("asba",): "plans are taken from --execution-plan and the plans folder",
    ("ecosystem",): "this version asks no companion",
    ("mpi", "enable_enhanced_networking"): "every current instance type has it",
}


@dataclass(frozen=True)
class Findings:
    """What the rules say; places are filled in by the loader."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check(config: Config) -> Findings:
    """Check every rule; nothing is raised."""
    problems: list[Problem] = [*_aws_problems(config), *_name_problems(config), *topology_problems(config)]
    problems += _policy_problems(config)
    problems += _telemetry_problems(config)
    problems += budget_problems(config)
    warnings: list[Problem] = [*_without_effect(config), *_aws_warnings(config), *_timing_warnings(config)]
    warnings += [*site_warnings(config), *rule_warnings(config)]
    warnings += budget_warnings(config)
    for p, partition in enumerate(config.slurm.partitions):
        problems += _slurm_lines(
            partition.partition_options, ("slurm", "partitions", p, "partition_options"), _PARTITION_KEYS
        )
        for g, group in enumerate(partition.node_groups):
            at: Key = ("slurm", "partitions", p, "node_groups", g)
            problems += _group_problems(config, partition, group, at)
            warnings += _group_warnings(config, group, at)
    return Findings(tuple(problems), tuple(warnings))


def _aws_problems(config: Config) -> Iterator[Problem]:
    aws = config.aws
    method = aws.authentication_method
    if method in _METHOD_SECTIONS and getattr(aws, method) is None:
        yield Problem(("aws", "authentication_method"), f"is {method}, so the section aws.{method} is required")
    if method == "profile" and not aws.profile:
        yield Problem(("aws", "authentication_method"), "is profile, so aws.profile is required")
    if method == "sso" and aws.sso is not None and not (aws.sso.profile_name or aws.profile):
        yield Problem(("aws", "sso", "profile_name"), "is required: SSO sessions belong to a profile")
    if aws.endpoint_url and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", aws.endpoint_url):
        yield Problem(("aws", "endpoint_url"), "must begin with http:// or https:// and a host")


def _telemetry_problems(config: Config) -> Iterator[Problem]:
    try:
        _ = config.telemetry.address
    except ValueError as error:
        yield Problem(("telemetry", "listen"), f"{config.telemetry.listen!r} {error}")


def _name_problems(config: Config) -> Iterator[Problem]:
    partitions = config.slurm.partitions
    for p in _repeated([partition.partition_name for partition in partitions]):
        name = partitions[p].partition_name
        yield Problem(("slurm", "partitions", p, "partition_name"), f"is {name!r}, as of a partition above")
    for p, partition in enumerate(partitions):
        for g in _repeated([group.node_group_name for group in partition.node_groups]):
            name = partition.node_groups[g].node_group_name
            yield Problem(
                ("slurm", "partitions", p, "node_groups", g, "node_group_name"),
                f"is {name!r}, as of a group above: both would have the same node names",
            )
    for program in ("resume_program", "suspend_program", "resume_fail_program"):
        path = getattr(config.slurm, program)
        if path and not path.startswith("/"):
            yield Problem(("slurm", program), f"must be an absolute path for slurmctld, not {path!r}")


def _policy_problems(config: Config) -> Iterator[Problem]:
    rules = config.policy.rules
    for n in _repeated([rule.name for rule in rules]):
        yield Problem(("policy", "rules", n, "name"), f"is {rules[n].name!r}, as of a rule above: refusals name rules")


def _group_problems(config: Config, partition: Partition, group: NodeGroup, at: Key) -> Iterator[Problem]:
    if group.region != config.aws.region:
        yield Problem(
            (*at, "region"),
            f"is {group.region}, but aws.region is {config.aws.region}: this version bursts into one region",
        )
    template = group.launch_template_specification
    if bool(template.launch_template_id) == bool(template.launch_template_name):
        both = "not both" if template.launch_template_id else "one of them is required"
        yield Problem(
            (*at, "launch_template_specification"),
            f"names its template by launch_template_name or by launch_template_id: {both}",
        )
    if group.last_number > LAST_NUMBER:
        yield Problem((*at, "first_number"), "makes node numbers of more than nine digits")
    yield from _subnet_problems(group, at)
    for index, override in enumerate(group.launch_template_overrides):
        yield from _override_problems(override, (*at, "launch_template_overrides", index))
    yield from _pool_problems(group, at)
    yield from _strategy_problems(group.spot_options, SPOT_STRATEGIES, (*at, "spot_options"))
    yield from _strategy_problems(group.on_demand_options, ON_DEMAND_STRATEGIES, (*at, "on_demand_options"))
    yield from _slurm_lines(group.slurm_specifications, (*at, "slurm_specifications"), _NODE_KEYS)
    yield from _tag_problems(group, at)
    yield from gang_problems(config, group, at)
    del partition


def _subnet_problems(group: NodeGroup, at: Key) -> Iterator[Problem]:
    for index in _repeated(group.subnet_ids):
        yield Problem((*at, "subnet_ids", index), f"{group.subnet_ids[index]} is in the list twice")
    for index, subnet in enumerate(group.subnet_ids):
        if not re.fullmatch(r"subnet-[A-Za-z0-9-]+", subnet):
            yield Problem((*at, "subnet_ids", index), f"must be a subnet id (subnet-..), not {subnet!r}")


def _override_problems(override: LaunchTemplateOverride, at: Key) -> Iterator[Problem]:
    if override.weighted_capacity not in (None, Decimal(1), Decimal(0)):
        yield Problem(
            (*at, "weighted_capacity"),
            f"is {override.weighted_capacity}: a gang counts instances, and EC2 rounds weights up; "
            "leave it out (one instance is one node)",
        )
    price = override.spot_price
    if price is not None and 0 < price < LEAST_SPOT_PRICE:
        yield Problem(
            (*at, "spot_price"), f"is {price}: EC2 takes no price below {LEAST_SPOT_PRICE} (0 means no limit)"
        )


def _pool_problems(group: NodeGroup, at: Key) -> Iterator[Problem]:
    """Find pools named twice: EC2 refuses a fleet with duplicate pools."""
    first: dict[tuple[str, str], int] = {}
    for index, override in enumerate(group.launch_template_overrides):
        subnets = (override.subnet_id,) if override.subnet_id else group.subnet_ids
        twice = [subnet for subnet in subnets if (override.instance_type, subnet) in first]
        if twice:
            before = first[override.instance_type, twice[0]]
            yield Problem(
                (*at, "launch_template_overrides", index),
                f"offers {override.instance_type} in {twice[0]} again (as item {before}): "
                "EC2 refuses the same pool twice",
            )
        for subnet in subnets:
            first.setdefault((override.instance_type, subnet), index)


def _strategy_problems(options: dict[str, object], known: tuple[str, ...], at: Key) -> Iterator[Problem]:
    for name, value in options.items():
        if name == "AllocationStrategy" and value not in known:
            yield Problem((*at, name), f"must be one of {', '.join(known)}, not {str(value)[:60]!r}")
        if name == "MaxTotalPrice":
            yield Problem(
                (*at, name),
                "limits the whole fleet per hour, which is rarely meant: state spot_price at the "
                "launch_template_overrides (per instance and hour)",
            )


def _slurm_lines(options: dict[str, str | int | float | bool], at: Key, taken: frozenset[str]) -> Iterator[Problem]:
    """Find what would break or forge a line of slurm.conf."""
    for name, value in options.items():
        if not _SLURM_KEY.fullmatch(name):
            yield Problem((*at, name), "is not a key of slurm.conf")
        elif name.lower() in taken:
            yield Problem((*at, name), "is written by asbx itself")
        if _NOT_IN_SLURM_CONF.search(str(value)):
            yield Problem((*at, name), "may not hold quotes, backslashes, # or line ends")
    lower = [name.lower() for name in options]
    for index in _repeated(lower):
        yield Problem((*at, list(options)[index]), "is stated twice in different spelling")


def _tag_problems(group: NodeGroup, at: Key) -> Iterator[Problem]:
    for index in _repeated([tag.key for tag in group.tags]):
        yield Problem((*at, "tags", index), f"{group.tags[index].key!r} is in the list twice")
    for index, tag in enumerate(group.tags):
        if tag.key.lower().startswith(("aws:", "asbx:")) or tag.key in ("Name", "ManagedBy"):
            yield Problem((*at, "tags", index, "key"), f"{tag.key!r} is set by asbx or reserved by AWS")
    if len(group.tags) > MOST_OWN_TAGS:
        yield Problem((*at, "tags"), f"holds {len(group.tags)} tags; EC2 leaves room for {MOST_OWN_TAGS}")


def _without_effect(config: Config) -> Iterator[Problem]:
    for key, why in WITHOUT_EFFECT.items():
        section = config
        for part in key[:-1]:
            section = getattr(section, str(part))
        if key[-1] in section.model_fields_set:
            yield Problem(key, f"changes nothing: {why}")


def _aws_warnings(config: Config) -> Iterator[Problem]:
    aws = config.aws
    if aws.authentication_method == "access_keys":
        yield Problem(("aws", "access_keys"), "are static and do not expire: an instance profile or a role is safer")
    for method in _METHOD_SECTIONS:
        if getattr(aws, method) is not None and aws.authentication_method != method:
            yield Problem(("aws", method), f"is not used: authentication_method is {aws.authentication_method}")


def _timing_warnings(config: Config) -> Iterator[Problem]:
    slurm = config.slurm
    for rate in ("resume_rate", "suspend_rate"):
        if getattr(slurm, rate) > 0:
            what = "the nodes of a job arrive in parts" if rate == "resume_rate" else "nodes idle on"
            yield Problem(("slurm", rate), f"is {getattr(slurm, rate)} nodes a minute: {what}; use 0")
    advised = slurm.resume_timeout + slurm.suspend_timeout
    stated = slurm.model_fields_set & {"suspend_time", "resume_timeout", "suspend_timeout"}
    if stated and slurm.suspend_time < advised:
        key = next(name for name in ("suspend_time", "resume_timeout", "suspend_timeout") if name in stated)
        yield Problem(
            ("slurm", key),
            f"makes suspend_time ({slurm.suspend_time}) shorter than resume_timeout + suspend_timeout "
            f"({advised}); slurm.conf(5) advises at least their sum",
        )


def _group_warnings(config: Config, group: NodeGroup, at: Key) -> Iterator[Problem]:
    yield from gang_warnings(config, group, at)
    yield from market_warnings(group, at)
    if group.security_group_ids:
        yield Problem(
            (*at, "security_group_ids"),
            "serve only interfaces made for EFA, and only where the launch template names none: else its own apply",
        )
    if group.iam_instance_profile:
        yield Problem((*at, "iam_instance_profile"), "is not used: the launch template's own applies")
    for section, market in (("spot_options", "spot"), ("on_demand_options", "on-demand")):
        options = getattr(group, section)
        if options and group.purchasing_option not in (market, "mixed"):
            yield Problem((*at, section), f"is not used: purchasing_option is {group.purchasing_option}")
            continue
        for name in options:
            if name not in ("AllocationStrategy", "MaxTotalPrice"):
                yield Problem((*at, section, name), "is not used; AllocationStrategy is what can be set here")
    if group.purchasing_option == "on-demand":
        for index, override in enumerate(group.launch_template_overrides):
            if override.spot_price:
                yield Problem(
                    (*at, "launch_template_overrides", index, "spot_price"),
                    "is not used: purchasing_option is on-demand",
                )
    yield from _subnet_warnings(group, at)


def _subnet_warnings(group: NodeGroup, at: Key) -> Iterator[Problem]:
    for index, override in enumerate(group.launch_template_overrides):
        if override.subnet_id and override.subnet_id not in group.subnet_ids:
            yield Problem(
                (*at, "launch_template_overrides", index, "subnet_id"),
                f"is {override.subnet_id}, which is not among subnet_ids: only {override.instance_type} goes there",
            )


def _repeated(names: Iterable[str]) -> Iterator[int]:
    """Yield the positions of names that were there before."""
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        if seen[name]:
            yield index
        seen[name] += 1
