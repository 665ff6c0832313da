"""Neither a rule nor a plan ever widens what a node group allows (promise 8), whatever both say."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.site import config, group

from asbx.config.policy import Policy, Rule
from asbx.config.schema import NodeGroup
from asbx.decide.hints import hints
from asbx.decide.policy import Who, judge
from asbx.decide.preflight import Known
from asbx.decide.rungs import Choice, choose
from asbx.decide.wish import wish
from asbx.errors import PlanError
from asbx.model.market import Market, Template
from asbx.model.names import GroupName
from asbx.model.plan import ExecutionPlan, Origin

TYPES = ("c7i.large", "c7i.xlarge", "m7i.large")
SUBNETS = ("subnet-a", "subnet-b", "subnet-c")
ZONES = {"subnet-a": "us-east-2a", "subnet-b": "us-east-2b"}  # of the third nothing is known
SITE = config()
T = TypeVar("T")
some = st.sampled_from


def few(*values: T) -> st.SearchStrategy[tuple[T, ...]]:
    """Return up to two of these."""
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


rules = st.builds(
    Rule,
    name=some(["one", "two"]),
    users=few("ada", "a*", "eve"),
    instance_types=few("c7i.*", "*.large", "m7i.large", "p5.*"),
    zones=few("us-east-2a", "us-east-2b"),
    subnet_ids=few(*SUBNETS),
    purchasing_options=few("spot", "on-demand"),
    max_spot_price=st.none() | some([Decimal("0.1"), Decimal(1)]),
    max_nodes=st.none() | some([1, 4]),
    launch_templates=few("other", "asbx"),
)
plans = st.builds(
    ExecutionPlan,
    should_burst=st.just(value=True),
    dialect=st.just("documented"),
    text=st.just(""),
    instance_types=few(*TYPES, "p5.48xlarge"),
    subnet_ids=few(*SUBNETS, "subnet-z"),
    zones=few("us-east-2a", "us-east-1a"),
    markets=few(Market.SPOT, Market.ON_DEMAND),
    max_spot_price=st.none() | some([Decimal("0.05"), Decimal(9)]),
    template=st.none() | some([Template("", "other"), Template("", "asbx"), Template("lt-1", "")]),
    instance_profile=some(["", "admin"]),
    security_group_ids=some([(), ("sg-1",)]),
    is_gang=st.booleans(),
)
groups = st.builds(
    lambda kinds, subnets, option, price: NodeGroup.model_validate(
        group(
            "cpu",
            100,
            purchasing_option=option,
            subnet_ids=subnets,
            launch_template_overrides=[{"instance_type": kind, "spot_price": price} for kind in kinds],
        )
    ),
    st.lists(some(TYPES), min_size=1, unique=True),
    st.lists(some(SUBNETS), min_size=1, unique=True),
    some(["spot", "on-demand", "mixed"]),
    st.none() | some([Decimal("0.2"), Decimal(2)]),
)
words = some(["", "asbx:market=on-demand", "asbx:market=spot", "asbx:placement=cluster,strategy=greedy"])


def offers(choice: Choice) -> set[tuple[str, str, Market]]:
    """Return every (type, subnet, market) a choice may launch."""
    return {(pool.instance_type, pool.subnet_id, rung.market) for rung in choice.rungs for pool in rung.pools}


@given(
    groups,
    st.lists(rules, max_size=3),
    st.none() | plans,
    st.booleans(),
    some([None, "", "ada", "eve"]),
    some([1, 2, 8]),
    words,
)
def test_nothing_is_launched_that_the_group_and_every_rule_do_not_allow(
    group: NodeGroup,
    made: list[Rule],
    plan: ExecutionPlan | None,
    privileged: bool,
    user: str | None,
    size: int,
    said: str,
) -> None:
    """Types, subnets, markets, prices and templates of a launch are among the group's and within each rule about it."""
    jobs = () if user is None else (7,)
    who = Who(GroupName("aws", "cpu"), user, user, jobs, size)
    judged = judge(Policy(rules=tuple(made)), who, group, plan, Origin("here", privileged), ZONES)
    if judged.refusals:
        return
    want = wish(SITE, judged.group, size, plan, hints("", "", said))
    try:
        choice = choose(judged.group, want, plan, Known(), size)
    except PlanError:
        return
    free = choose(group, replace(want, markets=(Market.SPOT, Market.ON_DEMAND)), None, Known(), size)
    assert offers(choice) <= offers(free)
    sold = {"mixed": {"spot", "on-demand"}}.get(group.purchasing_option, {group.purchasing_option})
    about = [one for one in made if not one.users or user == "" or (user and any(_fits(user, p) for p in one.users))]
    for kind, subnet, market in offers(choice):
        assert market.value in sold
        for one in about:
            assert not one.instance_types or any(_fits(kind, pattern) for pattern in one.instance_types)
            assert not one.subnet_ids or subnet in one.subnet_ids
            assert not one.zones or ZONES.get(subnet) in one.zones
            assert not one.purchasing_options or market.value in one.purchasing_options
    ceilings = [one.max_spot_price for one in about if one.max_spot_price is not None]
    prices = [Decimal(pool.max_price) for rung in choice.rungs for pool in rung.pools if pool.max_price]
    if ceilings and offers(choice):
        assert prices
        assert max(prices) <= min(ceilings)
    templates = {rung.template.name for rung in choice.rungs}
    granted = {name for one in made if _is_surely(one, user) for name in one.launch_templates} if privileged else set()
    assert templates <= {"asbx"} | granted


def _fits(name: str, pattern: str) -> bool:
    """Whether a name is what one of the few patterns above says."""
    start, star, end = pattern.partition("*")
    return name.startswith(start) and name.endswith(end) if star else name == pattern


def _is_surely(rule: Rule, user: str | None) -> bool:
    return not rule.users or (bool(user) and any(_fits(user or "", pattern) for pattern in rule.users))
