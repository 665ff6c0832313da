"""Base and share hold for any sequence of launches and ends; no rule buys in a market that was not there to choose."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import NOON
from tests.fakes.site import config

from asbx.config.market import MarketRules
from asbx.decide.hints import JobHints
from asbx.decide.markets import SPOT_FIRST, Singles, divided, is_on_demand, least_on_demand, on_demand_only, waiting
from asbx.decide.wish import wish
from asbx.model.gang import Gang, Part
from asbx.model.market import Market
from asbx.model.names import GroupName

RULES = st.builds(
    MarketRules,
    on_demand_base=st.integers(0, 12),
    on_demand_percent=st.integers(0, 100),
    fallback_after_seconds=st.sampled_from([0, 60, 600]),
)
# Launches of so many nodes, of which so many on spot fall back to on demand; ends of so many of each kind.
STEPS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30
)
CPU = GroupName("aws", "cpu")


@given(RULES, STEPS)
def test_base_and_share_hold_for_any_sequence(rules: MarketRules, steps: list[tuple[int, int, int, int]]) -> None:
    """After every launch there is as much on demand as there must be, or all that was launched is; and not more."""
    spot = bought = number = 0
    for count, fallen, spot_ends, ends in steps:
        nodes = tuple(f"aws-cpu-{number + n}" for n in range(count))
        number += count
        there = Singles(spot + bought, bought)
        made = divided(Gang("loose-r-0", (1,), (Part(CPU, nodes),), whole=False), rules, there)
        assert tuple(node for gang in made for node in gang.nodes) == nodes
        new = sum(len(gang.nodes) for gang in made if is_on_demand(gang.gang_id))
        least = least_on_demand(rules, there.total + count)
        assert bought + new >= least or new == count
        assert new == 0 or bought + new <= least, "no more is bought than must be"
        back = min(fallen, count - new)
        bought, spot = bought + new + back, spot + count - new - back
        bought, spot = max(bought - ends, 0), max(spot - spot_ends, 0)


@given(
    RULES,
    st.sampled_from(["spot", "on-demand", "mixed"]),
    st.sampled_from([None, Market.SPOT, Market.ON_DEMAND]),
    st.integers(1, 9),
    st.lists(st.integers(0, 1000), max_size=3),
)
def test_no_rule_widens_the_markets(
    rules: MarketRules, option: str, asked: Market | None, size: int, ages: list[int]
) -> None:
    """Whatever must be on demand or waits is in a market it could have been in; only who waits is kept from one."""
    site = config(purchasing_option=option)
    group = site.group(CPU)
    assert group is not None
    want = wish(site, group, size, None, JobHints(market=asked))
    now = waiting(want, rules, [NOON - timedelta(seconds=age) for age in ages], NOON)
    sure = on_demand_only(want, "a rule")
    assert now.markets
    assert sure.markets
    assert set(now.markets) | set(sure.markets) <= set(want.markets)
    is_waiting = bool(rules.fallback_after) and want.markets == SPOT_FIRST and bool(ages)
    is_waiting = is_waiting and max(ages) < rules.fallback_after_seconds
    assert (now.spot_wait is not None) is is_waiting
    assert now.markets == ((Market.SPOT,) if is_waiting else want.markets)
