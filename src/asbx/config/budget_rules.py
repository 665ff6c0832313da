"""Rules about budgets: periods that make sense, names that name one, a service that can be asked."""

from __future__ import annotations

from collections.abc import Iterator

from asbx.config.budgets import Budget
from asbx.config.problem import Key, Problem
from asbx.config.schema import Config

# Levels above tell that more is spent than was allowed.
_HIGHEST_LEVEL = 200


def budget_problems(config: Config) -> Iterator[Problem]:
    """Yield what cannot be meant."""
    names: set[str] = set()
    for n, one in enumerate(config.budgets.rules):
        at: Key = ("budgets", "rules", n)
        if one.name in names:
            yield Problem((*at, "name"), f"is {one.name!r}, as of a budget above: both would share one book")
        names.add(one.name)
        yield from _period_problems(one, at)
        if any(not 0 < level <= _HIGHEST_LEVEL for level in one.alerts_percent):
            yield Problem((*at, "alerts_percent"), f"has levels from 1 to {_HIGHEST_LEVEL}")


def _period_problems(one: Budget, at: Key) -> Iterator[Problem]:
    if one.period == "once":
        if one.starts is None:
            yield Problem((*at, "starts"), "is required for a budget that is for once")
        if one.carry_over_percent:
            yield Problem((*at, "carry_over_percent"), "needs a period that comes again")
        if one.ends is not None and one.starts is not None and one.ends < one.starts:
            yield Problem((*at, "ends"), f"is {one.ends}, before it starts on {one.starts}")
        return
    if one.ends is not None:
        yield Problem((*at, "ends"), "is for a budget whose period is `once`")
    if one.carry_over_percent and one.starts is None:
        yield Problem((*at, "starts"), "is required where something is carried over: nothing is, from before it")


def budget_warnings(config: Config) -> Iterator[Problem]:
    """Yield what will probably disappoint."""
    asbb = config.asbb
    if asbb.enabled in (True, "true") and not asbb.url:
        yield Problem(("asbb", "url"), "is empty, so no budget service is asked")
    if asbb.is_used and "asbb-reconciliation" in config.learning.formats:
        text = "has asbb-reconciliation beside asbb.url: the service would charge what it is told and what it imports"
        yield Problem(("learning", "formats"), text)
    if asbb.is_used and asbb.policy == "local" and not config.budgets.rules:
        text = "is local, but `budgets` has no rules: while the service does not answer, every job waits"
        yield Problem(("asbb", "policy"), text)
