"""The arithmetic of markets: base and share, what interruptions weigh, what spot may cost, the end of a wait."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from tests.fakes.samples import NOON

from asbx.config.limits import INTERRUPTION_HALF_LIFE, INTERRUPTION_WINDOW
from asbx.config.market import MarketRules
from asbx.decide.backoff import Next, no_later_than
from asbx.decide.markets import Singles, critical, least_on_demand, to_buy
from asbx.decide.preflight import Dropped, Known
from asbx.decide.spot_price import capped, refusal_of_price
from asbx.decide.unrest import CALM, unrest
from asbx.model.market import Market, Pool
from asbx.model.spot import Interruption

POOL = Pool("c7i.large", "subnet-a", "us-east-2a")


def known(spot: str = "", on_demand: str = "") -> Known:
    """Return what these prices make known."""
    prices = {("c7i.large", "us-east-2a", Market.SPOT): spot, ("c7i.large", "us-east-2a", Market.ON_DEMAND): on_demand}
    return Known(prices={key: Decimal(price) for key, price in prices.items() if price})


@pytest.mark.parametrize(
    ("base", "percent", "total", "least"),
    [
        (0, 0, 100, 0),
        (2, 0, 1, 1),
        (2, 0, 100, 2),
        (0, 25, 1, 1),
        (0, 25, 4, 1),
        (0, 25, 5, 2),
        (2, 50, 2, 2),
        (2, 50, 5, 4),
        (10, 100, 30, 30),
        (0, 1, 100, 1),
        (0, 1, 101, 2),
    ],
)
def test_base_and_share(base: int, percent: int, total: int, least: int) -> None:
    """The base first; of the rest the share, rounded up."""
    assert least_on_demand(MarketRules(on_demand_base=base, on_demand_percent=percent), total) == least


@pytest.mark.parametrize(
    ("there", "count", "bought"),
    [
        (Singles(), 3, 3),
        (Singles(4, 4), 4, 2),
        (Singles(4, 2), 4, 4),
        (Singles(10, 10), 4, 0),
        (Singles(10, 0), 2, 2),
    ],
)
def test_new_nodes_make_up_for_what_is_there(there: Singles, count: int, bought: int) -> None:
    """A base of four and a half of the rest; never more than the new ones, never fewer than none."""
    assert to_buy(MarketRules(on_demand_base=4, on_demand_percent=50), there, count) == bought


def test_the_first_nodes_are_critical_in_the_order_of_their_numbers() -> None:
    """Node 9 comes before node 10."""
    nodes = ["aws-cpu-10", "aws-cpu-9", "aws-cpu-11"]
    assert critical(MarketRules(critical_nodes=2), nodes) == {"aws-cpu-9", "aws-cpu-10"}
    assert critical(MarketRules(), nodes) == frozenset()


def test_interruptions_weigh_half_as_much_after_a_half_life_and_nothing_in_the_end() -> None:
    """A fresh one weighs 1; what is beyond the window is not counted; a clock set back makes none weigh more."""
    ages = (timedelta(0), INTERRUPTION_HALF_LIFE, 2 * INTERRUPTION_HALF_LIFE, 2 * INTERRUPTION_WINDOW, -timedelta(1))
    told = [Interruption(f"i-{n}", "c7i.large", "us-east-2a", NOON - age) for n, age in enumerate(ages)]
    (mine,) = unrest(told, NOON).values()
    assert (mine.count, mine.weight) == (4, Decimal("2.750"))
    assert mine.is_restless
    assert mine.counted(Decimal("0.1")) == Decimal("0.1") * (1 + Decimal("0.25") * Decimal("2.75"))
    assert CALM.counted(Decimal("0.1")) == Decimal("0.1")
    assert str(mine) == "4 interruption(s) in 7 days weigh 2.75"


@pytest.mark.parametrize(
    ("percent", "on_demand", "stated", "limit"),
    [
        (None, "0.1", "", ""),
        (None, "", "0.05", "0.05"),
        (70, "0.1", "", "0.07"),
        (70, "0.1", "0.05", "0.05"),
        (70, "0.1", "0.09", "0.07"),
        (33, "0.0833", "", "0.027489"),
        (200, "0.1", "", "0.2"),
        (100, "", "", ""),
        (99, "", "", None),
        (99, "", "0.05", None),
        (1, "0.05", "", None),
    ],
)
def test_the_limit_of_a_pool(percent: int | None, on_demand: str, stated: str, limit: str | None) -> None:
    """The lower of the part and what is stated, rounded down; None: the pool is not asked."""
    rules = MarketRules(max_spot_percent=percent)
    found = capped(Pool("c7i.large", "subnet-a", "us-east-2a", stated), rules, known(on_demand=on_demand))
    if limit is None:
        assert isinstance(found, Dropped)
        assert not found.is_hopeless
    else:
        assert isinstance(found, Pool)
        assert found.max_price == limit


def test_what_is_not_known_refuses_nothing() -> None:
    """Nor does a price that is just the limit."""
    at_limit = Pool("c7i.large", "subnet-a", "us-east-2a", "0.05")
    assert refusal_of_price(at_limit, known(), Decimal("0.01")) is None
    assert refusal_of_price(at_limit, known("0.05"), Decimal("0.05")) is None
    assert refusal_of_price(POOL, known("0.06"), None) is None
    assert refusal_of_price(at_limit, known("0.051"), None) is not None
    assert refusal_of_price(POOL, known("0.06"), Decimal("0.05")) is not None


def test_a_try_comes_at_the_end_of_the_wait_at_the_latest() -> None:
    """Just after it, in whole seconds; one that comes sooner, or after a wait that is over, stays as it is."""
    soon, late = (
        Next(timedelta(seconds=60), held=False, text="x"),
        Next(timedelta(hours=1), held=False, text="y UTC (z)"),
    )
    end = NOON + timedelta(seconds=100.5)
    assert no_later_than(soon, end, NOON) == soon
    assert no_later_than(late, NOON, NOON) == late
    capped_ = no_later_than(late, end, NOON)
    assert capped_.delay == timedelta(seconds=102)
    assert capped_.text == f"next try {NOON + timedelta(seconds=102):%H:%M:%S} UTC (z)"
