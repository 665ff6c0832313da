"""Plan a gang: ask for the facts a choice needs, and choose. Changes nothing anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from asbx.config.schema import NodeGroup
from asbx.decide.filling import Filled, filling
from asbx.decide.hints import JobHints, hints
from asbx.decide.markets import SPOT_FIRST, critical, divided, is_on_demand, on_demand_only, waiting, without_wait
from asbx.decide.narrow import pools_of
from asbx.decide.policy import Judgement, Who, judge, refused
from asbx.decide.preflight import Known, in_zone
from asbx.decide.rungs import Choice, choose
from asbx.decide.spot_price import ABOVE_ON_DEMAND
from asbx.decide.wish import Wish, agree, wish
from asbx.errors import PlanError
from asbx.flow.doors import Doors
from asbx.flow.markets import Markets
from asbx.flow.plans import Found, JobPlans
from asbx.model.catalogue import TypeFacts
from asbx.model.gang import Gang, Part
from asbx.model.job import JobFacts, Request
from asbx.model.market import Market, Pool, Template
from asbx.model.names import GroupName
from asbx.model.record import Shortage


@dataclass(frozen=True)
class Others:
    """Where the nodes of a job are that are up already. group: their placement group, "" for none."""

    subnet: str
    group: str = ""


@dataclass(frozen=True)
class PartPlan:
    """What is to be launched for the nodes of one node group. filled: each value, and who said so.

    price: of the dearest instance it may be, USD an hour; None where one of them is not known. critical: its nodes are
    on demand while others of the gang may be on spot.
    """

    part: Part
    group: NodeGroup
    want: Wish
    choice: Choice
    found: Found
    judged: Judgement
    filled: tuple[Filled, ...]
    price: Decimal | None = None
    critical: bool = False


class Planner:
    """Plans the gangs of one request; what was asked once serves them all."""

    def __init__(self, doors: Doors, request: Request, plans: JobPlans, facts: Mapping[int, JobFacts]) -> None:
        self._doors, self._request, self._plans, self._facts = doors, request, plans, facts
        self._asks = {job.job_id: job for job in request.jobs}
        self._known: dict[tuple[GroupName, Template], Known] = {}
        self._shortages: dict[str, Shortage] | None = None
        self._markets = Markets(doors, request)

    def parts(self, gang: Gang, parts: Sequence[Part], others: Others | None = None) -> list[PartPlan]:
        """Plan the parts of a gang. others: where its nodes are that are up already.

        Raises PlanError (`plan-refused`) for a plan that asks for more than the site allows.
        """
        size = max(gang.size, len(gang.nodes)) if gang.whole else 1
        found = self._plans.of(gang.asking)
        judged = [self._judged(gang, part, size, found) for part in parts]
        hinted = self._hints(gang)
        wants = [wish(self._doors.config, one.group, size, found.plan, hinted) for one in judged]
        if gang.whole and all(want.together for want in wants):
            wants = list(agree(wants))
        return [
            plan
            for part, one, want in zip(parts, judged, wants, strict=True)
            for plan in self._pieces(gang, part, one, self._waiting(gang, one, want), found, others)
        ]

    def keep(self, gangs: Sequence[Gang]) -> None:
        """Count single nodes that an earlier run of the request has begun to launch."""
        self._markets.plan(gangs)

    def divided(self, gang: Gang) -> list[Gang]:
        """Return single nodes as the launches they are bought in: some on demand, the others as the group says."""
        if gang.whole or len(gang.parts) != 1 or is_on_demand(gang.gang_id):
            return [gang]
        found, (part,) = self._plans.of(gang.jobs), gang.parts
        try:
            judged = self._judged(gang, part, 1, found)
        except PlanError:
            return [gang]  # said when it is planned
        rules = judged.group.market
        want = wish(self._doors.config, judged.group, 1, found.plan, self._hints(gang))
        if want.markets != SPOT_FIRST or not (rules.on_demand_base or rules.on_demand_percent):
            return [gang]
        made = divided(gang, rules, self._markets.singles(part.group))
        self._markets.plan(made)
        return made

    def _waiting(self, gang: Gang, judged: Judgement, want: Wish) -> Wish:
        """Return what is wanted now: spot alone while its jobs wait for it, on-demand alone where it must be that."""
        rules = judged.group.market
        if is_on_demand(gang.gang_id):
            return on_demand_only(want, "node group: market.on_demand_base, market.on_demand_percent")
        since = self._markets.since(gang.jobs) if rules.fallback_after else ()
        return waiting(want, rules, since, self._doors.clock.now())

    def _pieces(
        self, gang: Gang, part: Part, judged: Judgement, want: Wish, found: Found, others: Others | None
    ) -> list[PartPlan]:
        """Plan the nodes of one node group: in one piece, or the critical ones apart from the others."""
        rules, piece = judged.group.market, self._spot_first if want.spot_wait else self._part
        may_split = gang.whole and want.together and Market.SPOT in want.markets
        first = critical(rules, [*gang.nodes, *gang.others]) if may_split and self._sells_both(want) else ()
        hot = tuple(node for node in part.nodes if node in first)
        if not hot:
            return [piece(part, judged, want, found, others)]
        rest = tuple(node for node in part.nodes if node not in first)
        sure = replace(want, markets=(Market.ON_DEMAND,), spot_wait=None)
        plan = self._part(Part(part.group, hot), judged, sure, found, others)
        rungs = tuple(replace(rung, key=f"critical {rung.key}") for rung in plan.choice.rungs)
        plan = replace(plan, choice=replace(plan.choice, rungs=rungs), critical=bool(rest))
        return [piece(Part(part.group, rest), judged, want, found, others), plan] if rest else [plan]

    @staticmethod
    def _sells_both(want: Wish) -> bool:
        """Whether nodes may be on spot first and on demand else, now or after a wait for spot."""
        return want.markets == SPOT_FIRST or want.spot_wait is not None

    def _spot_first(self, part: Part, judged: Judgement, want: Wish, found: Found, others: Others | None) -> PartPlan:
        """Plan for spot alone; where that can come to nothing, or is dearer than on-demand, there is no wait for it."""
        plan = self._part(part, judged, want, found, others)
        worth = any(not one.is_hopeless and one.code != ABOVE_ON_DEMAND for one in plan.choice.dropped)
        if any(rung.market is Market.SPOT for rung in plan.choice.rungs) or worth:
            return plan
        return self._part(part, judged, without_wait(want), found, others)

    def _group(self, part: Part) -> NodeGroup:
        group = self._doors.config.group(part.group)
        assert group is not None, part.group  # the intake refused nodes without a group
        return group

    def _judged(self, gang: Gang, part: Part, size: int, found: Found) -> Judgement:
        """Return what the policy leaves of a node group. Raises PlanError for what it refuses."""
        group = self._group(part)
        known = self._known_of(part.group, group)
        zones = {subnet: facts.zone for subnet, facts in known.subnets.items()}
        user, account = (gang.user, gang.account) if gang.jobs else (None, None)
        who = Who(part.group, user, account, gang.jobs, size)
        judged = judge(self._doors.config.policy, who, group, found.plan, found.origin, zones)
        error = refused(judged, has_plan=found.plan is not None and not found.plan.is_guess)
        if error is not None:
            raise error
        return judged

    def _part(self, part: Part, judged: Judgement, want: Wish, found: Found, others: Others | None) -> PartPlan:
        group = judged.group
        known = self._known_of(part.group, group)
        if others is not None and want.together:
            known = replace(known, subnet=others.subnet)
            # A placed gang is in one group: the one its first nodes are in, or none.
            want = replace(want, placement=want.placement if others.group else "", group_name=others.group)
        known = self._with_scores(known, group, want, len(part.nodes))
        choice = choose(group, want, found.plan, known, len(part.nodes), now=self._doors.clock.now())
        if judged.notes:
            choice = replace(choice, notes=(*judged.notes, *choice.notes))
        filled = filling(self._group(part), found.plan, want, judged, choice)
        return PartPlan(part, group, want, choice, found, judged, filled, dearest(choice, known.prices))

    @property
    def types(self) -> dict[str, TypeFacts]:
        """Return what is known of the types of every group planned so far."""
        return {name: facts for known in self._known.values() for name, facts in known.types.items()}

    def _hints(self, gang: Gang) -> JobHints:
        """Return what the job itself asks; the jobs of loose nodes launched together all ask the same."""
        return job_hints(self._asks, self._facts, gang.asking[:1])

    # -- facts

    def _known_of(self, name: GroupName, group: NodeGroup) -> Known:
        """Return what is known of a group with its launch template; a policy only takes away from the rest."""
        spec = group.launch_template_specification
        key = (name, Template(spec.launch_template_id, spec.launch_template_name, spec.version))
        if key not in self._known:
            self._known[key] = self._learn(group)
        return self._known[key]

    def _learn(self, group: NodeGroup) -> Known:
        catalogue = self._doors.catalogue
        kinds = list(dict.fromkeys(override.instance_type for override in group.launch_template_overrides))
        subnets = catalogue.subnets(_subnets(group))
        spec = group.launch_template_specification
        named = Template(spec.launch_template_id, spec.launch_template_name, spec.version)
        template = catalogue.template(named)
        groups = (template.groups if template else ()) or group.security_group_ids
        types = catalogue.types(kinds)
        known = Known(
            types=types,
            zones=catalogue.zones(kinds),
            subnets=subnets,
            template=template,
            has_no_template=template is None and catalogue.missing_template(named),
            quotas=self._quotas(group, kinds),
            reservations=catalogue.reservations(group.capacity_reservations) if group.capacity_reservations else {},
            unruly=self._unruly(groups) if any(one.efa for one in types.values()) else (),
            trouble={row.key: row.failures for row in self._remembered().values()},
            block_early=self._doors.config.reservations.drain_before_end,
            unrest=self._markets.unrest if group.purchasing_option != "on-demand" else {},
        )
        pools = [in_zone(pool, known) for pool in pools_of(group, None, known, [])]
        return replace(known, prices=dict(self._prices(pools)))

    def _unruly(self, groups: Sequence[str]) -> tuple[str, ...]:
        """Return the security groups where none lets EFA traffic pass; one that does is enough for an interface."""
        lacking = self._doors.catalogue.without_self_rule(groups) if groups else ()
        return lacking if set(lacking) >= set(groups) else ()

    def _remembered(self) -> dict[str, Shortage]:
        if self._shortages is None:
            self._shortages = {row.key: row for row in self._doors.ledger.shortages()}
        return self._shortages

    def _quotas(self, group: NodeGroup, kinds: Sequence[str]) -> dict[tuple[Market, str], int]:
        """Return the quota each type counts against; two of one family may have others, as P4 and P5 on spot."""
        markets = [m for m in (Market.ON_DEMAND, Market.SPOT) if group.purchasing_option in (m.value, "mixed")]
        told = {(market, kind): self._doors.catalogue.quota(market, kind) for market in markets for kind in kinds}
        return {key: quota for key, quota in told.items() if quota is not None}

    def _prices(self, pools: Iterable[Pool]) -> Iterable[tuple[tuple[str, str, Market], Decimal]]:
        for pool in pools:
            for market in (Market.ON_DEMAND, Market.SPOT):
                price = self._doors.prices.known(pool.instance_type, pool.zone, market)
                if price is not None:
                    yield (pool.instance_type, pool.zone, market), price

    def _with_scores(self, known: Known, group: NodeGroup, want: Wish, count: int) -> Known:
        """Take the known spot placement scores where a gang must choose a zone: a launch does not wait for them."""
        kinds = list(dict.fromkeys(override.instance_type for override in group.launch_template_overrides))
        if not (self._doors.config.aws.spot_placement_scores and want.together and Market.SPOT in want.markets):
            return known
        return replace(known, scores=self._doors.catalogue.spot_scores(kinds, count))


def dearest(choice: Choice, prices: Mapping[tuple[str, str, Market], Decimal]) -> Decimal | None:
    """Return the highest price among the pools of a choice. A spot price that is not known is below the other one.

    EC2: "the default maximum price is the On-Demand price" (EC2 user guide, "Spot Instance pricing").
    """
    known = [
        prices.get((pool.instance_type, pool.zone, rung.market))
        or prices.get((pool.instance_type, pool.zone, Market.ON_DEMAND))
        for rung in choice.rungs
        for pool in rung.pools
    ]
    told = [price for price in known if price is not None]
    return max(told) if told and len(told) == len(known) else None


def job_hints(asks: Mapping[int, object], facts: Mapping[int, JobFacts], jobs: Sequence[int]) -> JobHints:
    """Return what the first of some jobs asks for itself, from the resume file where it tells, else from the queue."""
    if not jobs:
        return JobHints()
    ask, fact = asks.get(jobs[0]), facts.get(jobs[0], JobFacts(jobs[0]))
    features = getattr(ask, "features", None) or fact.features
    extra = getattr(ask, "extra", None) or fact.extra
    return hints(features, extra, fact.comment)


def _subnets(group: NodeGroup) -> list[str]:
    stated = [override.subnet_id for override in group.launch_template_overrides if override.subnet_id]
    return list(dict.fromkeys([*group.subnet_ids, *stated]))
