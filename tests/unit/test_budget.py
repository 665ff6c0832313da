"""Which budgets are about a job, what a period is, whether there is room."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asbx.config.budgets import Budget
from asbx.decide.budget import (
    Owner,
    Period,
    carried,
    forecast,
    is_about,
    is_hopeless,
    judge,
    level,
    limit_of,
    not_before,
    period_at,
    told,
    weight,
    with_margin,
)
from asbx.model.budget import Book

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def budget(**fields: Any) -> Budget:
    """Return a budget of 100 USD a month."""
    return Budget.model_validate({"name": "physics", "limit_usd": "100", **fields})


def period(rule: Budget, at: datetime = NOON) -> Period:
    """Return the period a moment is in, which there is."""
    found = period_at(rule, at)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "is_it"),
    [
        ({}, True),
        ({"accounts": ["phys*"]}, True),
        ({"accounts": ["bio", "phys-1"]}, True),
        ({"accounts": ["phys"]}, False),
        ({"users": ["ada"], "partitions": ["aws"]}, True),
        ({"users": ["ada"], "partitions": ["gpu"]}, False),
        ({"users": ["bob"]}, False),
    ],
)
def test_a_budget_is_about_the_jobs_it_names(fields: dict[str, Any], is_it: bool) -> None:
    """All that it states must fit; what it leaves open fits everybody."""
    assert is_about(budget(**fields), Owner("ada", "phys-1", ("aws",))) is is_it


def test_of_a_job_in_several_partitions_one_is_enough() -> None:
    """Else a job that spreads over two would be nobody's, and free."""
    both = Owner("ada", "phys-1", ("aws", "gpu"))
    assert is_about(budget(partitions=["gpu"]), both)
    assert is_about(budget(partitions=["a*"], users=["ada"]), both)
    assert not is_about(budget(partitions=["hpc"]), both)


def test_a_job_without_an_account_is_everybodys_alone() -> None:
    """Clusters without accounting have none."""
    assert is_about(budget(accounts=["*"]), Owner("ada", "", ("aws",)))
    assert not is_about(budget(accounts=["phys*"]), Owner("ada", "", ("aws",)))


@pytest.mark.parametrize(
    ("fields", "begins", "ends", "before"),
    [
        ({"period": "month"}, "2026-11-01", date(2026, 12, 1), "2026-10-01"),
        ({"period": "quarter"}, "2026-10-01", date(2027, 1, 1), "2026-07-01"),
        ({"period": "year"}, "2026-01-01", date(2027, 1, 1), "2025-01-01"),
        ({"period": "month", "starts": "2026-01-31"}, "2026-10-31", date(2026, 11, 30), "2026-09-30"),
        ({"period": "year", "starts": "2024-02-29"}, "2026-02-28", date(2027, 2, 28), "2025-02-28"),
        ({"period": "year", "starts": "2026-10-01"}, "2026-10-01", date(2027, 10, 1), ""),
        ({"period": "once", "starts": "2026-10-01", "ends": "2026-12-31"}, "2026-10-01", date(2027, 1, 1), ""),
        ({"period": "once", "starts": "2026-10-01"}, "2026-10-01", None, ""),
    ],
)
def test_periods(fields: dict[str, Any], begins: str, ends: date | None, before: str) -> None:
    """Of the calendar, or from the first day on; short months end on their last day."""
    found = period(budget(**fields))
    assert found.key == begins
    assert (found.ends.date() if found.ends else None) == ends
    assert found.previous == before


def test_there_is_none_before_the_first_day_and_after_the_last() -> None:
    """To the second, in UTC."""
    once = budget(period="once", starts="2026-12-01", ends="2026-12-24")
    assert period_at(once, datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)) is None
    assert period_at(once, datetime(2026, 12, 1, tzinfo=UTC)) is not None
    assert period_at(once, datetime(2026, 12, 24, 23, 59, 59, tzinfo=UTC)) is not None
    assert period_at(once, datetime(2026, 12, 25, tzinfo=UTC)) is None


@given(
    st.sampled_from(["month", "quarter", "year"]),
    st.one_of(st.none(), st.dates(date(1999, 1, 1), date(2026, 1, 1))),
    st.datetimes(datetime(2026, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  hypothesis adds it
)
def test_every_moment_is_in_one_period(kind: str, starts: date | None, at: datetime) -> None:
    """They follow one another without a gap."""
    rule = budget(period=kind, starts=starts)
    now = period(rule, at)
    assert now.ends is not None
    assert now.starts <= at < now.ends
    assert period(rule, now.ends).previous == now.key
    if now.previous:
        assert period(rule, now.starts - timedelta(seconds=1)).key == now.previous


@pytest.mark.parametrize(
    ("percent", "most", "spent", "more"),
    [
        (0, None, "0", "0"),
        (100, None, "30", "70"),
        (50, None, "30", "35"),
        (100, "20", "30", "20"),
        (100, None, "130", "0"),
        (33, None, "99.99", "0"),
    ],
)
def test_a_share_of_what_was_left_is_carried_over(percent: int, most: str | None, spent: str, more: str) -> None:
    """Bounded, and never less than nothing: debts are not carried."""
    rule = budget(carry_over_percent=percent, carry_over_most_usd=most, starts="2026-01-01")
    assert carried(rule, Book("physics", "2026-10-01", spent=Decimal(spent))) == Decimal(more)


def test_what_is_still_held_is_not_carried_over() -> None:
    """It will be charged to the old period: carried, both periods would spend it."""
    rule = budget(carry_over_percent=100, starts="2026-01-01")
    october = Book("physics", "2026-10-01", held=Decimal(90))
    assert carried(rule, october) == 10
    november = period(rule)
    book = Book("physics", november.key, spent=Decimal(110))
    assert judge(rule, november, Decimal(1), {("physics", "2026-10-01"): october, ("physics", november.key): book})
    assert carried(rule, Book("physics", "2026-10-01", spent=Decimal(40))) == 60  # once it is known to be less


def test_what_was_carried_is_not_carried_on() -> None:
    """Of a month that spent nothing the next one has its whole limit; a year of saving makes no fortune."""
    rule = budget(carry_over_percent=100, starts="2026-01-01")
    assert limit_of(rule, period(rule), {}) == 200
    first = period(rule, datetime(2026, 1, 5, tzinfo=UTC))
    assert limit_of(rule, first, {}) == 100


def test_room_is_limit_and_grant_and_carry_less_spent_and_held() -> None:
    """To the cent."""
    rule = budget(carry_over_percent=100, carry_over_most_usd=5, starts="2026-01-01")
    now = period(rule)
    books = {("physics", now.key): Book("physics", now.key, Decimal(40), Decimal(50), Decimal(10))}
    assert judge(rule, now, Decimal(25), books) is None
    short = judge(rule, now, Decimal("25.01"), books)
    assert short is not None
    assert (short.limit, short.left) == (Decimal(115), Decimal(25))
    assert told(short) == (
        "budget physics (from 2026-11-01): 25.01 USD needed, 25.00 left of 115.00: "
        "50.00 spent, 40.00 held for other jobs"
    )


def test_what_may_help_a_job_that_has_no_room() -> None:
    """What others hold comes back; what is spent comes back with the next period; too much never does."""
    rule = budget()
    now = period(rule)

    def case(held: str, spent: str, needed: str) -> tuple[datetime | None, bool]:
        books = {("physics", now.key): Book("physics", now.key, Decimal(held), Decimal(spent))}
        short = judge(rule, now, Decimal(needed), books)
        assert short is not None
        return not_before(short, now), is_hopeless(rule, short)

    assert case("90", "0", "20") == (None, False)
    assert case("0", "90", "20") == (datetime(2026, 12, 1, tzinfo=UTC), False)
    assert case("0", "0", "101")[1] is True
    once = budget(period="once", starts="2026-01-01")
    short = judge(
        once, period(once), Decimal(20), {("physics", "2026-01-01"): Book("physics", "2026-01-01", spent=Decimal(90))}
    )
    assert short is not None
    assert is_hopeless(once, short)


def test_a_margin_is_rounded_up() -> None:
    """To a cent."""
    assert with_margin(Decimal("0.36"), 20) == Decimal("0.44")
    assert with_margin(Decimal("0.36"), 0) == Decimal("0.36")


def test_shared_nodes_weigh_less() -> None:
    """In even parts; a node whose jobs are not known is one."""
    jobs_of = {"a": (1,), "b": (1, 2), "c": (1, 2, 3)}
    assert weight(["a", "b"], jobs_of) == Decimal("1.5")
    assert weight(["a", "b", "c", "d"], jobs_of) == pytest.approx(Decimal("2.8333333"))


@pytest.mark.parametrize(
    ("held", "spent", "told", "found"),
    [("0", "49", 0, None), ("10", "40", 0, 50), ("0", "96", 0, 95), ("0", "96", 95, None), ("0", "96", 80, 95)],
)
def test_the_highest_level_is_told(held: str, spent: str, told: int, found: int | None) -> None:
    """Of spent and held money; not what was told before."""
    book = Book("physics", "2026-11-01", Decimal(held), Decimal(spent), alerted=told)
    assert level(budget(), book, Decimal(100)) == found


def test_a_forecast_goes_on_at_the_pace_so_far() -> None:
    """Not from the first hours, and not without an end."""
    rule = budget()
    assert forecast(Decimal(10), period(rule), datetime(2026, 11, 11, tzinfo=UTC)) == Decimal("30.00")
    assert forecast(Decimal(10), period(rule), datetime(2026, 11, 1, 3, tzinfo=UTC)) is None
    once = budget(period="once", starts="2026-01-01")
    assert forecast(Decimal(10), period(once), NOON) is None
