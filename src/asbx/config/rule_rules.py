"""Rules of policy and limits that are about nothing, or say nothing: they would protect nobody, in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from asbx.config.limits_section import LimitRule
from asbx.config.policy import Rule
from asbx.config.problem import Key, Problem
from asbx.config.schema import Config

_WHOM = {"name", "users", "accounts", "partitions"}
# They change what a limit does, and are none.
_MANNERS = {"each", "when_exceeded", "when_exceeded_at_once", "grace_seconds"}
_AT_ONCE = {"max_cost_per_hour_at_once", "max_nodes_at_once"}


def rule_warnings(config: Config) -> Iterator[Problem]:
    """Find what will not do what it says in the rules of policy and limits."""
    partitions = [one.partition_name for one in config.slurm.partitions]
    types = sorted({one.instance_type for _, group in config.groups() for one in group.launch_template_overrides})
    for n, rule in enumerate(config.policy.rules):
        at: Key = ("policy", "rules", n)
        yield from _about_nothing(rule, at, partitions)
        yield from _unmatched(rule.instance_types, (*at, "instance_types"), types, "instance type")
        if not rule.model_fields_set - _WHOM:
            yield Problem(at, f"({rule.name!r}) changes nothing: it states nothing that jobs may have")
    for n, limit in enumerate(config.limits.rules):
        at = ("limits", "rules", n)
        yield from _about_nothing(limit, at, partitions)
        if not limit.model_fields_set - _WHOM - _MANNERS:
            yield Problem(at, f"({limit.name!r}) changes nothing: it states no limit")
        elif limit.each != "all" and not limit.model_fields_set & _AT_ONCE:
            yield Problem((*at, "each"), f"changes nothing: of {limit.name!r} no limit ends in _at_once")


def _about_nothing(rule: Rule | LimitRule, at: Key, partitions: Sequence[str]) -> Iterator[Problem]:
    yield from _unmatched(rule.partitions, (*at, "partitions"), partitions, "partition")


def _unmatched(patterns: Sequence[str], at: Key, names: Sequence[str], what: str) -> Iterator[Problem]:
    for n, pattern in enumerate(patterns):
        if not any(fnmatchcase(name, pattern) for name in names):
            yield Problem((*at, n), f"is {pattern!r}, and no {what} of this configuration is so called")
