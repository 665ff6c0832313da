"""What a submission amounts to at this site: advice, what the policy leaves, what would be launched, what it costs."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from asbx import __version__
from asbx.aws.bundled import bundled
from asbx.cli.trial import Trial, trial
from asbx.config.schema import Config, Mpi, NodeGroup
from asbx.decide.attach import Attachment
from asbx.decide.estimate import Estimate, course
from asbx.decide.hints import JobHints, hints
from asbx.decide.landing import group_of, landing, longest
from asbx.decide.policy import Who, judge, refused
from asbx.decide.script.advice import Advice, Site, advise
from asbx.decide.script.geometry import geometry
from asbx.decide.script.own_plan import own_plan
from asbx.decide.script.sbatch import Stating, Submission
from asbx.errors import LimitError, PlanError
from asbx.model.market import Market
from asbx.model.names import GroupName
from asbx.model.plan import NOWHERE, ExecutionPlan, Origin, parse_plan

# (type, zone, market) -> USD an hour, None where nobody tells.
Price = Callable[[str, str, Market], Decimal | None]


@dataclass(frozen=True)
class Landed:
    """What a node group would make of it. found: None where it is refused. least: with spot at today's price."""

    group: GroupName
    refusal: str = ""
    found: Trial | None = None
    most: Estimate | None = None
    least: Estimate | None = None
    limit_by: str = ""


@dataclass(frozen=True)
class Component:
    """One component. plan_text: what is to be attached, "" for nothing. groups: () where none of them bursts."""

    advice: Advice
    hints: JobHints
    comment: str
    groups: tuple[Landed, ...]
    plan: ExecutionPlan | None
    plan_text: str
    notes: tuple[str, ...]

    @property
    def cost(self) -> Estimate | None:
        """Return the dearest of where it may land; one whose sum cannot be told counts as dearest."""
        told = [one.most for one in self.groups if one.most is not None]
        return max(told, key=lambda one: (one.usd is None, one.usd or Decimal(0)), default=None)

    @property
    def least(self) -> Estimate | None:
        """Return the cheapest of where it may land, None where nothing is cheaper than the most."""
        told = [one.least for one in self.groups if one.least is not None and one.least.usd is not None]
        return min(told, key=lambda one: one.usd or Decimal(0), default=None)


@dataclass(frozen=True)
class Case:
    """A submission, judged. components: () where the script cannot be read here. command: sbatch's words.

    plan_name: of the file in the plans folder. error: what forbids it for its cost.
    """

    command: tuple[str, ...]
    components: tuple[Component, ...]
    attachment: Attachment
    plan_name: str
    error: LimitError | None
    notes: tuple[str, ...]

    @property
    def plan_text(self) -> str:
        """Return the plan that is attached."""
        return self.components[0].plan_text if self.components else ""

    @property
    def usd(self) -> Decimal | None:
        """Return the most that all components cost, None where that cannot be told."""
        sums = [one.cost.usd if one.cost else None for one in self.components]
        known = [one for one in sums if one is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(sums) else None


@dataclass(frozen=True)
class Weigher:
    """Judges the components of a submission. config: None where the site's is not to be had."""

    config: Config | None
    submission: Submission
    stated_plan: str | None
    privileged: bool
    price: Price
    now: datetime

    def components(self) -> tuple[Component, ...]:
        """Return all of them. Raises PlanError where the policy refuses one everywhere it could land."""
        return tuple(self._component(index) for index in range(len(self.submission.components)))

    def _component(self, index: int) -> Component:
        stated = self.submission.components[index]
        comment = _text(stated, "comment")
        asked = hints(_text(stated, "constraint"), _text(stated, "extra"), comment)
        names = landing(self.config, stated) if self.config else ()
        if self.config is None or not names:
            usual = Mpi()
            far = Site(bundled(), usual.hpc_instances_threshold, usual.placement_group_threshold, {}, {})
            found = advise(self.submission, far, index)
            plan, text = self._plan(found, ()) if self.config is None else (None, "")
            return Component(found, asked, comment, (), plan, text, found.notes)
        return self._at_site(self.config, index, names, asked, comment)

    def _at_site(
        self, config: Config, index: int, names: Sequence[GroupName], asked: JobHints, comment: str
    ) -> Component:
        stated = self.submission.components[index]
        left, refusals = self._left(config, stated, names)
        types = {one.instance_type for group in left.values() for one in group.launch_template_overrides}
        candidates = {name: facts for name, facts in bundled().items() if name in types}
        mpi = config.mpi
        site = Site(candidates, mpi.hpc_instances_threshold, mpi.placement_group_threshold, {}, {})
        found = advise(self.submission, site, index)
        plan, text = self._plan(found, tuple(left.values()))
        landed = [self._landed(config, stated, name, found, plan, asked) for name in left]
        if all(one.found is None for one in landed):
            raise self._refusal(landed[0].refusal)
        rows = (*landed, *(Landed(name, why) for name, why in refusals.items()))
        return Component(found, asked, comment, rows, plan, text, (*found.notes, *_of_accounts(config, stated)))

    def _refusal(self, why: str) -> PlanError:
        if self.stated_plan is None:
            return PlanError("policy-refused", "the site's policy does not allow this job", why, "ask for another rule")
        hint = "change the plan, or ask for a rule of the policy"
        return PlanError("plan-refused", "the execution plan asks for more than this site allows", why, hint)

    def _left(
        self, config: Config, stated: Stating, names: Sequence[GroupName]
    ) -> tuple[dict[GroupName, NodeGroup], dict[GroupName, str]]:
        """Return what the policy leaves of each group for the job itself, and why it takes others away."""
        left: dict[GroupName, NodeGroup] = {}
        refusals: dict[GroupName, str] = {}
        first: PlanError | None = None
        for name in names:
            judged = judge(config.policy, who_of(stated, name), group_of(config, name), None, NOWHERE, None)
            error = refused(judged, has_plan=False)
            if error is None:
                left[name] = judged.group
            else:
                first, refusals[name] = first or error, error.why
        if first is not None and not left:
            raise first
        return left, refusals

    def _plan(self, advice: Advice, groups: Sequence[NodeGroup]) -> tuple[ExecutionPlan | None, str]:
        """Return the plan the user gave, else the analyzer's. Raises PlanError."""
        if self.stated_plan is not None:
            return parse_plan(self.stated_plan), self.stated_plan
        text = json.dumps(own_plan(advice, self.now, __version__, groups), indent=2) + "\n"
        return parse_plan(text), text

    def _landed(
        self,
        config: Config,
        stated: Stating,
        name: GroupName,
        advice: Advice,
        plan: ExecutionPlan | None,
        asked: JobHints,
    ) -> Landed:
        who = replace(who_of(stated, name), size=advice.nodes)
        origin = Origin("--plan" if self.stated_plan is not None else "asbx submit", self.privileged)
        try:
            found = trial(config, who, plan, asked, advice.nodes, origin=origin, now=self.now)
        except PlanError as error:
            return Landed(name, error.why or error.what)
        limit, by = longest(config, name, stated)
        most, spot = self._prices(found)
        whole = Estimate(advice.nodes * advice.geometry.array_tasks, most, Decimal(0), course(config, limit))
        return Landed(name, "", found, whole, replace(whole, price=spot) if spot is not None else None, by)

    def _prices(self, found: Trial) -> tuple[Decimal | None, Decimal | None]:
        """Return (the dearest, the spot price of the first pool where that is cheaper), USD an hour.

        The dearest is on demand, also of spot: EC2 charges no spot instance more unless a higher limit is stated
        (EC2 user guide, "Spot Instance pricing").
        """
        kinds = dict.fromkeys(pool.instance_type for rung in found.choice.rungs for pool in rung.pools)
        told: list[Decimal] = []
        for kind in kinds:
            price = self.price(kind, "", Market.ON_DEMAND)
            if price is None:
                return None, None
            told.append(price.normalize())
        most = max(told, default=None)
        first = found.choice.rungs[0] if found.choice.rungs else None
        if most is None or first is None or first.market is not Market.SPOT:
            return most, None
        spot = self.price(first.pools[0].instance_type, first.pools[0].zone, Market.SPOT)
        return most, spot.normalize() if spot is not None and spot < most else None


def _text(stated: Stating, name: str) -> str:
    found = stated.get(name)
    return found.value if found is not None else ""


def user_name(stated: Stating) -> str:
    """Return whose job it becomes: root may submit for others (sbatch(1), --uid)."""
    named = _text(stated, "uid")
    try:
        if named:
            return pwd.getpwuid(int(named)).pw_name if named.isdecimal() else named
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return named


def who_of(stated: Stating, name: GroupName) -> Who:
    """Return whose job it becomes; an account that is not stated is Slurm's to choose, so no rule about it counts."""
    account = _text(stated, "account") or None
    return Who(name, user_name(stated), account, (), max(geometry(stated).nodes[0], 1))


def _of_accounts(config: Config, stated: Stating) -> Iterator[str]:
    if not _text(stated, "account") and any(rule.accounts for rule in config.policy.rules):
        yield "rules about accounts were not looked at: Slurm chooses the account, as no --account is stated"


# -- what the job itself may cost; the site's limits join here


def own_limits(components: Sequence[Component]) -> Mapping[str, tuple[Decimal, str]]:
    """Return `usd` and `usd_an_hour` -> (the least stated, who states it)."""
    found: dict[str, tuple[Decimal, str]] = {}
    for one in components:
        amounts = dict(one.hints.amounts)
        plan = one.plan
        said = (
            ("usd", amounts.get("max-cost"), "the job's hint asbx:max-cost"),
            ("usd_an_hour", amounts.get("max-cost-per-hour"), "the job's hint asbx:max-cost-per-hour"),
            ("usd", plan.max_total_cost if plan else None, "the plan's cost_constraints.max_total_cost"),
            ("usd_an_hour", plan.max_cost_per_hour if plan else None, "the plan's cost_constraints.max_cost_per_hour"),
        )
        for measure, most, by in said:
            if most is not None and (measure not in found or most < found[measure][0]):
                found[measure] = most, by
    return found


def over_limit(components: Sequence[Component]) -> tuple[LimitError | None, tuple[str, ...]]:
    """Return what refuses it for its cost, and what could not be looked at."""
    notes = []
    estimates = [one.cost for one in components]
    for measure, (most, by) in own_limits(components).items():
        sums = [None if one is None else one.usd if measure == "usd" else one.per_hour for one in estimates]
        known = [one for one in sums if one is not None]
        if len(known) < len(sums):
            notes.append(f"{most.normalize():f} USD of {by} cannot be held against a sum that is not known")
        elif sum(known) > most:
            why = "; ".join(one.arithmetic for one in estimates if one is not None)
            unit = "USD" if measure == "usd" else "USD an hour"
            what = f"the job may cost {sum(known):f} {unit}, more than the {most.normalize():f} of {by}"
            hint = "state a shorter --time or fewer nodes, or a higher limit"
            return LimitError("over-limit", what, why, hint), tuple(notes)
    return None, tuple(notes)
