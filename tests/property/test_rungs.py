"""The rungs of a group: a plan narrows and never widens, and what is left out has a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import assume, given, reject
from hypothesis import strategies as st
from tests.fakes.catalogue import able
from tests.fakes.samples import NOON
from tests.fakes.site import config
from tests.fakes.site import group as group_of

from asbx.aws.bundled import bundled
from asbx.config.schema import NodeGroup
from asbx.decide.hints import JobHints
from asbx.decide.narrow import pools_of
from asbx.decide.place import efa_layout
from asbx.decide.preflight import Known, refusal_of_market
from asbx.decide.rungs import Choice, Rung, choose
from asbx.decide.unrest import CALM, Unrest
from asbx.decide.wish import Wish, wish
from asbx.errors import PlanError
from asbx.model.catalogue import InterfaceSpec, ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.market import Market, Pool, Template
from asbx.model.plan import ExecutionPlan

KINDS = ("c7i.large", "m7i.large", "c7g.large", "c6in.32xlarge", "hpc7a.96xlarge", "p5.48xlarge", "x9.huge")
SUBNETS = ("subnet-a", "subnet-b", "subnet-c")
ZONES = tuple(f"us-east-2{subnet[-1]}" for subnet in SUBNETS)
MARKETS = {"on-demand": {Market.ON_DEMAND}, "spot": {Market.SPOT}, "mixed": {Market.SPOT, Market.ON_DEMAND}}
BASE = Template(name="asbx", version="1")


@dataclass(frozen=True)
class Case:
    """What a choice is made of."""

    group: NodeGroup
    want: Wish
    plan: ExecutionPlan | None
    known: Known
    count: int

    def choice(self) -> Choice:
        """Return it; plans that are refused are no cases."""
        try:
            return choose(self.group, self.want, self.plan, self.known, self.count, now=NOON)
        except PlanError:
            reject()


def facts_of(kind: str) -> TypeFacts:
    """Return what is known of a type."""
    return bundled().get(kind) or able(kind)


@st.composite
def groups(draw: st.DrawFn) -> NodeGroup:
    """Draw a node group of the site."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5, unique=True))
    overrides = [{"instance_type": kind, "subnet_id": draw(st.sampled_from(("", "", *SUBNETS)))} for kind in kinds]
    subnets = draw(st.lists(st.sampled_from(SUBNETS), min_size=1, unique=True))
    fields = {
        "launch_template_overrides": overrides,
        "subnet_ids": subnets,
        "strategy": draw(st.sampled_from(["gang", "greedy", "best-effort"])),
        "mixed_types": draw(st.booleans()),
        "placement": draw(st.sampled_from(["auto", "cluster", "partition", "spread", "none"])),
        "placement_fallback": draw(st.booleans()),
        "purchasing_option": draw(st.sampled_from(sorted(MARKETS))),
        "efa": draw(st.sampled_from([None, "required", "preferred", "optional", "disabled"])),
        "efa_interfaces": draw(st.sampled_from(["efa-only", "efa", "separate"])),
        "capacity_reservations": draw(st.lists(st.sampled_from(["cr-1", "cr-2"]), unique=True)),
        "most_extra_nodes": draw(st.integers(0, 3)),
    }
    percent = draw(st.sampled_from([None, None, 1, 50, 100, 200]))
    fields["market"] = {"max_spot_percent": percent, "spot_below_on_demand": draw(st.booleans())}
    if fields["capacity_reservations"]:
        fields["reservations_only"] = draw(st.integers(0, 3)) == 0
    return NodeGroup.model_validate(group_of("cpu", 60) | fields)


@st.composite
def plans(draw: st.DrawFn) -> ExecutionPlan | None:
    """Draw what an advisor may say, foreign types, subnets and zones included."""
    if draw(st.booleans()):
        return None
    return ExecutionPlan(
        should_burst=True,
        dialect="documented",
        text="",
        instance_types=tuple(draw(st.lists(st.sampled_from((*KINDS, "u-6tb1.metal")), max_size=3, unique=True))),
        markets=tuple(draw(st.lists(st.sampled_from([Market.SPOT, Market.ON_DEMAND]), max_size=2, unique=True))),
        subnet_ids=draw(st.sampled_from([(), (), (), ("subnet-a",), ("subnet-b", "subnet-c"), ("subnet-z",)])),
        zones=tuple(draw(st.lists(st.sampled_from((*ZONES, "eu-west-1a")), max_size=2, unique=True))),
        max_spot_price=draw(st.none() | st.decimals("0.01", "9", places=2)),
        is_gang=draw(st.booleans()),
        needs_efa=draw(st.booleans()),
        placement=draw(st.sampled_from(["", "cluster", "spread"])),
    )


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    """Draw what EC2 has told, which may be nothing."""
    asked = st.sets(st.sampled_from(KINDS))
    sold = st.sampled_from([ZONES, ZONES, ZONES[:2], ZONES[1:], ()])
    free = st.sampled_from([0, 20, 4000, 4000])
    subnets = draw(st.sets(st.sampled_from(SUBNETS)))
    interfaces = draw(st.sampled_from([(), (InterfaceSpec(0, 0, "efa"),), (InterfaceSpec(0, 0, "interface"),)]))
    facts = TemplateFacts(BASE, "ami-1", ("sg-1",), interfaces, arch=draw(st.sampled_from(["", "x86_64", "arm64"])))
    quota = st.dictionaries(
        st.tuples(st.sampled_from([Market.ON_DEMAND, Market.SPOT]), st.sampled_from(KINDS)),
        st.sampled_from([100, 4000, 50_000]),
        max_size=2,
    )
    return Known(
        types={kind: facts_of(kind) for kind in draw(asked)},
        zones={kind: frozenset(draw(sold)) for kind in draw(asked)},
        subnets={one: SubnetFacts(one, f"us-east-2{one[-1]}", "az", draw(free)) for one in sorted(subnets)},
        template=draw(st.sampled_from([facts, facts, None])),
        has_no_template=draw(st.integers(0, 29)) == 0,
        quotas=draw(quota),
        reservations={
            name: ReservationFacts(
                name, draw(st.sampled_from(KINDS)), draw(st.sampled_from(ZONES)), draw(st.integers(0, 40)), 40,
                is_active=draw(st.booleans()), is_block=draw(st.booleans()), starts=NOON - timedelta(hours=1),
                ends=NOON + timedelta(minutes=draw(st.sampled_from([30, 600]))),
            )
            for name in draw(st.sets(st.sampled_from(["cr-1", "cr-2"])))
        },
        unruly=draw(st.sampled_from([(), (), ("sg-1",)])),
        scores=draw(st.dictionaries(st.sampled_from(ZONES), st.integers(1, 10))),
        prices=draw(
            st.dictionaries(
                st.tuples(st.sampled_from(KINDS), st.sampled_from(ZONES), st.sampled_from(list(Market))),
                st.sampled_from([Decimal(1), Decimal(1), Decimal("0.4"), Decimal(3)]),
                max_size=draw(st.sampled_from([4, 40])),
            )
        ),
        unrest=draw(
            st.dictionaries(
                st.tuples(st.sampled_from(KINDS), st.sampled_from(ZONES)),
                st.builds(Unrest, st.integers(1, 9), st.sampled_from([Decimal("0.5"), Decimal(2), Decimal(7)])),
                max_size=4,
            )
        ),
        subnet=draw(st.sampled_from(["", "", "", "subnet-a"])),
        trouble=draw(st.dictionaries(st.just("capacity/on-demand/c7i.large/us-east-2a"), st.integers(1, 9))),
    )  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a choice as the flow makes it."""
    group, plan, size = draw(groups()), draw(plans()), draw(st.integers(1, 40))
    said = JobHints(
        draw(st.sampled_from([None, None, "required", "preferred", "optional", "disabled"])),
        draw(st.sampled_from([None, None, "cluster", "partition", "spread", "none"])),
        draw(st.sampled_from([None, None, "gang", "greedy", "best-effort"])),
        draw(st.sampled_from([None, None, Market.SPOT, Market.ON_DEMAND])),
        draw(st.sampled_from([None, None, 2])),
    )
    settings = config()
    if draw(st.booleans()):
        mpi = settings.mpi.model_copy(update={"force_cluster_placement_group": True})
        settings = settings.model_copy(update={"mpi": mpi})
    return Case(group, wish(settings, group, size, plan, said), plan, draw(knowns()), draw(st.integers(1, size)))


def allowed(group: NodeGroup) -> set[tuple[str, str]]:
    """Return the pools the site allows: type, subnet."""
    return {
        (one.instance_type, subnet)
        for one in group.launch_template_overrides
        for subnet in ([one.subnet_id] if one.subnet_id else group.subnet_ids)
    }


def pools(rungs: tuple[Rung, ...]) -> set[tuple[str, str]]:
    """Return the pools of rungs: type, subnet."""
    return {(pool.instance_type, pool.subnet_id) for rung in rungs for pool in rung.pools}


@given(cases())
def test_nothing_is_asked_that_the_site_does_not_allow(case: Case) -> None:
    """Every pool of every rung is a type of the group in a subnet of the group, in a market the group buys."""
    choice = case.choice()
    assert pools(choice.rungs) <= allowed(case.group)
    for rung in choice.rungs:
        assert rung.pools
        assert len(pools((rung,))) == len(rung.pools)
        if rung.reservation:
            assert rung.reservation in case.group.capacity_reservations
        else:
            assert rung.market in MARKETS[case.group.purchasing_option]
            assert not case.group.reservations_only
    assert len({rung.key for rung in choice.rungs}) == len(choice.rungs)


def is_restless(case: Case, pool: Pool) -> bool:
    """Whether calmer pools are asked before this one."""
    return case.known.unrest.get((pool.instance_type, pool.zone), CALM).is_restless


@given(cases())
def test_spot_never_costs_more_than_is_allowed(case: Case) -> None:
    """No pool whose known price is above its limit or the part of on-demand; and EC2 is told what the limit is."""
    group, prices = case.group, case.known.prices
    share = group.market.spot_share
    for rung in case.choice().rungs:
        for pool in rung.pools if rung.market is Market.SPOT else ():
            spot = prices.get((pool.instance_type, pool.zone, Market.SPOT))
            listed = prices.get((pool.instance_type, pool.zone, Market.ON_DEMAND))
            assert spot is None or not pool.max_price or spot <= Decimal(pool.max_price)
            if share is not None:
                assert share >= 1 if listed is None else Decimal(pool.max_price) <= listed * share
            below = group.purchasing_option == "mixed" and group.market.spot_below_on_demand
            if below and refusal_of_market(pool, Market.ON_DEMAND, case.count, case.known) is None:
                assert spot is None or listed is None or spot <= listed


@given(cases())
def test_restless_pools_are_asked_last_within_their_market(case: Case) -> None:
    """Where a rung is one of restless pools, all of it is, and the calm ones of its kind had their turn before."""
    before: dict[str, list[Rung]] = {}
    for rung in case.choice().rungs:
        kind, _, restless = rung.key.partition("+restless")
        kind = kind.partition("#")[0]
        if restless or rung.key.endswith("+restless"):
            assert all(is_restless(case, pool) for pool in rung.pools)
            assert before[kind]
            assert not any(is_restless(case, pool) for calm in before[kind] for pool in calm.pools)
        else:
            before.setdefault(kind, []).append(rung)


@given(cases())
def test_a_plan_narrows_and_never_widens(case: Case) -> None:
    """With a plan there are no pools but those without it, no dearer ones, and none it rules out."""
    assume(case.plan is not None)
    assert case.plan is not None
    choice = case.choice()
    free = replace(case, plan=None).choice()
    assert pools(choice.rungs) <= pools(free.rungs)
    kinds = {one.instance_type for one in case.group.launch_template_overrides} & set(case.plan.instance_types)
    for kind, subnet in pools(choice.rungs):
        assert not kinds or kind in kinds
        assert not case.plan.subnet_ids or subnet in case.plan.subnet_ids
    if case.plan.max_spot_price is not None:
        prices = {pool.max_price for rung in choice.rungs for pool in rung.pools}
        assert all(price and Decimal(price) <= case.plan.max_spot_price for price in prices)


@given(cases())
def test_required_efa_is_complete_or_nothing(case: Case) -> None:
    """Where EFA is required, every type has it, with every device its cards take, and the rule that lets it pass."""
    case = replace(case, want=replace(case.want, efa="required"))
    for rung in case.choice().rungs:
        if rung.reservation:
            continue
        assert not case.known.unruly
        for kind in {pool.instance_type for pool in rung.pools}:
            facts = case.known.types[kind]
            assert facts.efa
            devices = sum(s.kind != "interface" for s in efa_layout(facts, (), case.group.efa_interfaces))
            there = case.known.template.interfaces if case.known.template else ()
            base = sum(spec.kind != "interface" for spec in there)
            found = rung.efa(kind)
            assert devices == (base if found is None else found)


@given(cases())
def test_a_rung_is_of_one_kind(case: Case) -> None:
    """No rung mixes placed and unplaced, types of other sizes where all must be alike, or tiers of EFA."""
    choice = case.choice()
    for rung in choice.rungs:
        assert not (rung.placement and case.want.placement and rung.placement != case.want.placement)
        assert rung.single_zone == case.want.together
        assert rung.reservation or rung.single_type == case.want.one_type
        assert not rung.open_reservations or not rung.placement
        if case.want.placed_only and not rung.reservation:
            assert rung.placement == "cluster"
        if rung.single_zone and not rung.single_type:
            kinds = {pool.instance_type for pool in rung.pools}
            known = [case.known.types[kind] for kind in kinds if kind in case.known.types]
            assert len(kinds) == 1 or len(known) == len(kinds)
            assert len({(one.cores, one.vcpus, one.memory_mib) for one in known}) <= 1
        if rung.placement and not rung.reservation:
            for kind in {pool.instance_type for pool in rung.pools}:
                types = case.known.types.get(kind)
                assert types is None or not types.placement or rung.placement in types.placement


@given(cases())
def test_what_is_left_out_has_one_reason(case: Case) -> None:
    """Each reason is said once, with a code and a sentence; a pool on no rung has one."""
    choice = case.choice()
    said = [str(one) for one in choice.dropped]
    assert len(set(said)) == len(said)
    assert all(one.code and one.why and one.what for one in choice.dropped)
    assert len(choice.considered) == len(choice.rungs) + len(choice.dropped)
    if case.known.has_no_template:
        assert [one.code for one in choice.dropped] == ["template-missing"]
        return
    if case.group.reservations_only:
        return
    left = {(p.instance_type, p.subnet_id) for p in pools_of(case.group, case.plan, case.known, [])}
    for kind, subnet in left - pools(choice.rungs):
        zone = case.known.subnets[subnet].zone if subnet in case.known.subnets else subnet
        heads = (f"{kind}:", f"{kind} ", f"{subnet}:", f"{case.count} x {kind}:", f"1 x {kind}:")
        found = [line for line in said if line.startswith(heads)]
        assert found, f"{kind} in {zone} is on no rung, and nobody says why: {said}"


@given(cases())
def test_what_is_known_to_fail_is_not_asked(case: Case) -> None:
    """No pool in a zone that does not sell it, of another architecture, beyond a quota, in a subnet that is full."""
    least = case.count if case.want.whole else 1
    known = case.known
    for rung in case.choice().rungs:
        for pool in rung.pools:
            zone, facts = pool.zone, known.types.get(pool.instance_type)
            assert not zone or zone in known.zones.get(pool.instance_type, {zone})
            assert not known.subnet or pool.subnet_id == known.subnet
            if facts is None or rung.reservation:
                continue
            assert not (known.template and known.template.arch) or known.template.arch in facts.arch
            assert rung.market in facts.markets
            assert facts.vcpus * least <= known.quotas.get((rung.market, pool.instance_type), 10**9)
            assert pool.subnet_id not in known.subnets or known.subnets[pool.subnet_id].free >= least
