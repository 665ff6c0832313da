"""What a node group would make of a plan, by the decisions a launch takes, with nothing behind the doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asbx.cli.facts import bundled_facts
from asbx.config.schema import Config
from asbx.decide import limits as about
from asbx.decide.estimate import Estimate, course
from asbx.decide.filling import Filled, filling
from asbx.decide.hints import JobHints
from asbx.decide.limits import Owner, Prices
from asbx.decide.limits_launch import Frame, Piece, cap
from asbx.decide.policy import Judgement, Who, judge, refused
from asbx.decide.rungs import Choice, choose
from asbx.decide.wish import Wish, wish
from asbx.model.plan import ExecutionPlan, Origin


@dataclass(frozen=True)
class JobCost:
    """What a job's cost needs. limit: its time limit, None for none. prices: of what may be launched."""

    limit: timedelta | None
    prices: Callable[[Choice], Prices]


@dataclass(frozen=True)
class Trial:
    """As flow.plan.PartPlan, of facts that are bundled. cost: None where neither a limit nor the caller asks."""

    want: Wish
    choice: Choice
    judged: Judgement
    filled: tuple[Filled, ...]
    cost: Estimate | None = None

    @property
    def estimate(self) -> str:
        """Return the estimate's arithmetic, "" where there is none."""
        return self.cost.arithmetic if self.cost else ""


def trial(  # noqa: PLR0913  a launch has so many sides
    config: Config,
    who: Who,
    plan: ExecutionPlan | None,
    hints: JobHints,
    count: int,
    *,
    origin: Origin,
    now: datetime | None = None,
    job: JobCost | None = None,
) -> Trial:
    """Return what would be launched for so many nodes. Raises PlanError for what the site or a limit does not allow.

    job: of a job that is about to be submitted; else nobody is asked for prices, what is not known of them is told.
    """
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
    choice = replace(choice, notes=(*choice.notes, *about.forecast(config.limits, plan)))
    ceilings = [*about.of_rules(config.limits, [owner]), *about.own(config.limits, plan, hints)]
    if not ceilings and job is None:
        return Trial(want, choice, judged, filled)
    limit, prices = (lasts(plan), {}) if job is None else (job.limit, job.prices(choice))
    has_job = job is not None or bool(who.jobs)
    frame = Frame(course(config, limit), config.limits.volumes_usd_per_hour, has_job=has_job)
    # A price that is not known here may be known at the launch: it is told, and refuses nothing.
    capped = cap([Piece(choice, who.size)], prices, frame, ceilings, "tell")
    choice = replace(capped.choices[0], notes=(*choice.notes, *capped.notes))
    return Trial(want, choice, judged, filled, capped.estimate)


def lasts(plan: ExecutionPlan | None) -> timedelta | None:
    """Return how long a plan lets the job run; Slurm, which knows its time limit, is not asked."""
    return plan.max_duration if plan is not None else None
