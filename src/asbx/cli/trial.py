"""What a node group would make of a plan, by the decisions a launch takes, with nothing behind the doors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asbx.cli.facts import bundled_facts
from asbx.config.schema import Config
from asbx.decide import limits as about
from asbx.decide.estimate import course
from asbx.decide.filling import Filled, filling
from asbx.decide.hints import JobHints
from asbx.decide.limits import Owner, Prices
from asbx.decide.limits_launch import Frame, Piece, cap
from asbx.decide.policy import Judgement, Who, judge, refused
from asbx.decide.rungs import Choice, choose
from asbx.decide.wish import Wish, wish
from asbx.model.plan import ExecutionPlan, Origin


@dataclass(frozen=True)
class Trial:
    """As flow.plan.PartPlan, of facts that are bundled. estimate: its arithmetic, "" where no limit asks for one."""

    want: Wish
    choice: Choice
    judged: Judgement
    filled: tuple[Filled, ...]
    estimate: str = ""


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
    """Return what would be launched for so many nodes. Raises PlanError for what the site or a limit does not allow."""
    group = config.group(who.group)
    assert group is not None, who.group
    zones: Mapping[str, str] | None = None  # the bundled catalogue knows no subnets
    judged = judge(config.policy, who, group, plan, origin, zones)
    error = refused(judged, has_plan=plan is not None)
    if error is not None:
        raise error
    want = wish(config, judged.group, who.size, plan, hints)
    choice = choose(judged.group, want, plan, bundled_facts(judged.group), count, now=now)
    filled = filling(group, plan, want, judged, choice)
    owner = Owner(who.user or "", who.account or "", who.group.partition, has_job=who.user is not None)
    ceilings = [*about.of_rules(config.limits, [owner]), *about.own(config.limits, plan, hints)]
    if not ceilings:
        return Trial(want, choice, judged, filled)
    # Nobody is asked for prices here: what is not known of them is told, and refuses nothing.
    frame = Frame(course(config, lasts(plan)), config.limits.volumes_usd_per_hour, has_job=bool(who.jobs))
    capped = cap([Piece(choice, who.size)], prices(choice), frame, ceilings, "warn")
    choice = replace(capped.choices[0], notes=(*choice.notes, *capped.notes))
    return Trial(want, choice, judged, filled, capped.estimate.arithmetic)


def lasts(plan: ExecutionPlan | None) -> timedelta | None:
    """Return how long a plan lets the job run; Slurm, which knows its time limit, is not asked."""
    return plan.max_duration if plan is not None else None


def prices(choice: Choice) -> Prices:
    """Return the prices that are known without asking anybody."""
    del choice
    return {}
