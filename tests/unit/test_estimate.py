"""The one estimate of what a launch will cost."""

from datetime import timedelta
from decimal import Decimal

from asbx.decide.estimate import Course, Estimate

COURSE = Course(timedelta(minutes=6), timedelta(hours=2), timedelta(minutes=6))


def test_boot_limit_and_idle_are_in_it_and_the_arithmetic_is_shown() -> None:
    """The dearest hour times the longest course."""
    found = Estimate(16, Decimal("2.88"), Decimal("0.0065"), COURSE)
    assert found.per_hour == Decimal("46.184")
    assert found.usd == Decimal("101.61")  # 46.184 x 2.2 = 101.6048, rounded up
    assert found.arithmetic == (
        "16 node(s) x 2.88 + 0.0065 of volumes USD/h x (0.1 h boot + 2 h time limit + 0.1 h idle) = 101.61 USD"
    )


def test_what_is_not_known_is_not_guessed() -> None:
    """Neither a price nor a time limit is made up."""
    assert Estimate(4, None, Decimal(0), COURSE).usd is None
    assert "not known" in Estimate(4, None, Decimal(0), COURSE).arithmetic
    endless = Estimate(4, Decimal(1), Decimal(0), Course(timedelta(), None, timedelta()))
    assert endless.usd is None
    assert endless.per_hour == 4
    assert "without a time limit" in endless.arithmetic
