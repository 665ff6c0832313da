"""What a node group would make of a plan, by the decisions a launch takes, with nothing behind the doors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from asbx.cli.facts import bundled_facts
from asbx.config.schema import Config
from asbx.decide.filling import Filled, filling
from asbx.decide.hints import JobHints
from asbx.decide.policy import Judgement, Who, judge, refused
from asbx.decide.rungs import Choice, choose
from asbx.decide.wish import Wish, wish
from asbx.model.plan import ExecutionPlan, Origin


@dataclass(frozen=True)
class Trial:
    """As flow.plan.PartPlan, of facts that are bundled."""

    want: Wish
    choice: Choice
    judged: Judgement
    filled: tuple[Filled, ...]


def trial(
    config: Config,
    who: Who,
    plan: ExecutionPlan | None,
    hints: JobHints,
    count: int,
    *,
    origin: Origin,
    now: datetime | None = None,
) -> Trial:
    """Return what would be launched for so many nodes. Raises PlanError for what the site does not allow."""
    group = config.group(who.group)
    assert group is not None, who.group
    zones: Mapping[str, str] | None = None  # the bundled catalogue knows no subnets
    judged = judge(config.policy, who, group, plan, origin, zones)
    error = refused(judged, has_plan=plan is not None)
    if error is not None:
        raise error
    want = wish(config, judged.group, who.size, plan, hints)
    choice = choose(judged.group, want, plan, bundled_facts(judged.group), count, now=now)
    return Trial(want, choice, judged, filling(group, plan, want, judged, choice))
