"""What a submission amounts to at this site: advice, what the policy leaves, what would be launched, what it costs."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from asbx import __version__
from asbx.aws.bundled import bundled
from asbx.cli.trial import JobCost, Trial, trial
from asbx.config.schema import Config, Mpi, NodeGroup
from asbx.decide.attach import Attachment
from asbx.decide.estimate import Estimate
from asbx.decide.hints import JobHints, hints
from asbx.decide.landing import group_of, landing, longest
from asbx.decide.limits import Prices
from asbx.decide.policy import Who, judge, refused
from asbx.decide.rungs import Choice
from asbx.decide.script.advice import Advice, Site, advise
from asbx.decide.script.geometry import geometry
from asbx.decide.script.own_plan import own_plan
from asbx.decide.script.sbatch import Stating, Submission
from asbx.errors import PlanError
from asbx.model.market import Market
from asbx.model.names import GroupName
from asbx.model.plan import NOWHERE, ExecutionPlan, Origin, parse_plan

# (type, zone, market) -> USD an hour, None where nobody tells.
Price = Callable[[str, str, Market], Decimal | None]


@dataclass(frozen=True)
class Landed:
    """What a node group would make of it. found: None where it is refused. least: with spot at today's price."""

    group: GroupName
    refusal: PlanError | None = None
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
        nothing = Decimal(0)
        return max(
            told,
            key=lambda one: (one.usd is None, one.price is None, one.usd or nothing, one.per_hour or nothing),
            default=None,
        )

    @property
    def least(self) -> tuple[Decimal, ...]:
        """Return (least, most) USD with spot at today's price, of where it may land; () where spot is nowhere less."""
        told = [one.least.usd for one in self.groups if one.least is not None and one.least.usd is not None]
        return (min(told), max(told)) if told else ()


@dataclass(frozen=True)
class Case:
    """A submission, judged. components: () where the script cannot be read here. command: sbatch's words.

    plan_name: of the file in the plans folder. has_site: whether the site's configuration was there to judge by.
    """

    command: tuple[str, ...]
    components: tuple[Component, ...]
    attachment: Attachment
    plan_name: str
    notes: tuple[str, ...]
    has_site: bool = True

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
        """Return all of them. Raises PlanError where policy or limits refuse one everywhere it could land."""
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
        errors = [one.refusal for one in landed if one.refusal is not None]
        if len(errors) == len(landed):
            raise errors[0]
        rows = (*landed, *(Landed(name, why) for name, why in refusals.items()))
        return Component(found, asked, comment, rows, plan, text, (*found.notes, *_of_accounts(config, stated)))

    def _left(
        self, config: Config, stated: Stating, names: Sequence[GroupName]
    ) -> tuple[dict[GroupName, NodeGroup], dict[GroupName, PlanError]]:
        """Return what the policy leaves of each group for the job itself, and why it takes others away."""
        left: dict[GroupName, NodeGroup] = {}
        refusals: dict[GroupName, PlanError] = {}
        for name in names:
            judged = judge(config.policy, who_of(stated, name), group_of(config, name), None, NOWHERE, None)
            error = refused(judged, has_plan=False)
            if error is None:
                left[name] = judged.group
            else:
                refusals[name] = error
        if not left:
            raise next(iter(refusals.values()))
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
        limit, by = longest(config, name, stated)
        cost = JobCost(limit, self._prices)
        try:
            found = trial(config, who, plan, asked, advice.nodes, origin=origin, now=self.now, job=cost)
        except PlanError as error:
            return Landed(name, error)
        assert found.cost is not None, "a job's cost was asked for"
        most = replace(found.cost, nodes=advice.nodes * advice.geometry.array_tasks)
        spot = self._spot(found)
        is_less = spot is not None and most.price is not None and spot < most.price
        return Landed(
            name, None, found, most, replace(most, price=spot.normalize()) if spot is not None and is_less else None, by
        )

    def _prices(self, choice: Choice) -> Prices:
        """Return what each pool costs now, on demand too: a spot price that is not known is at most that."""
        wanted = {(pool.instance_type, pool.zone, rung.market) for rung in choice.rungs for pool in rung.pools}
        wanted |= {(kind, zone, Market.ON_DEMAND) for kind, zone, _ in wanted}
        told = {key: self.price(*key) for key in sorted(wanted)}
        return {key: price for key, price in told.items() if price is not None}

    def _spot(self, found: Trial) -> Decimal | None:
        """Return the spot price of what is tried first, None where that is no spot instance or nobody tells."""
        first = next(iter(found.choice.rungs), None)
        if first is None or first.market is not Market.SPOT:
            return None
        return self.price(first.pools[0].instance_type, first.pools[0].zone, Market.SPOT)


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
