"""What charts show."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from tests.fakes.samples import NOON

from asbx.decide.meter.spans import Kind
from asbx.decide.meter.sums import Sum
from asbx.decide.reports import charts
from asbx.decide.reports.charts import Frame, Step
from asbx.decide.reports.waits import Arrival, JobWait, job_waits

FIRST = date(2026, 3, 1)


def spent(days: int, accounts: int, first: date = FIRST) -> list[Sum]:
    """Return what accounts spent: the first most."""
    return [
        Sum(Kind.RUN, (str(first + timedelta(day)), f"account-{number:02d}"), 60, 10**9 * (accounts - number), 0)
        for day in range(days)
        for number in range(accounts)
    ]


@pytest.mark.parametrize(
    ("days", "step", "bars"),
    [(1, Step.DAY, 1), (92, Step.DAY, 92), (93, Step.WEEK, 15), (400, Step.WEEK, 58), (900, Step.MONTH, 30)],
)
def test_no_bar_is_lost_whatever_it_stands_for(days: int, step: Step, bars: int) -> None:
    """Few days have a bar each, many one a week or a month; the sum is the same."""
    some = spent(days, 3)
    found = charts.accounts(some, Frame(FIRST, FIRST + timedelta(days - 1)))
    assert (found.step, len(found.starts)) == (step, bars)
    assert sum(one.total for one in found.series) == sum(one.nanos for one in some)
    assert step.value in found.title
    assert bool(found.note) == (step is not Step.DAY)


@pytest.mark.parametrize(("accounts", "shown"), [(1, 1), (8, 8), (9, 8), (60, 8)])
def test_many_accounts_are_grouped(accounts: int, shown: int) -> None:
    """There are no more colours than can be told apart; the rest is one part, and says how many it is."""
    some = spent(3, accounts)
    found = charts.accounts(some, Frame(FIRST, FIRST + timedelta(2))).series
    assert len(found) == shown
    assert found[0].label == "account-00"
    assert found[-1].label == (f"account-{accounts - 1:02d}" if accounts <= 8 else f"{accounts - 7} others")
    assert sum(one.total for one in found) == sum(one.nanos for one in some)


def test_nobodys_cost_is_no_accounts() -> None:
    """Idle and waste are named so, and are not taken for jobs without an account."""
    some = [Sum(Kind.IDLE, (str(FIRST), ""), 60, 2, 0), Sum(Kind.RUN, (str(FIRST), ""), 60, 1, 0)]
    assert [one.label for one in charts.accounts(some, Frame(FIRST, FIRST)).series] == ["idle and waste", "no account"]


def test_long_names_stay_apart() -> None:
    """Names are cut in the middle; two that become the same are numbered; what cannot be seen is a question mark."""
    long = "a" * 30
    found = charts.labels([f"{long}{'x' * 20}{long}", f"{long}{'y' * 20}{long}", "a\x1b[2Jb"])
    assert len(set(found)) == 3
    assert all(len(one) <= 32 for one in found)
    assert found[2] == "a?[2Jb"


def test_waste_by_kind() -> None:
    """What was paid for while no job ran has its kinds in one order; what jobs ran for is not in it."""
    some = [Sum(kind, (str(FIRST),), 60, 5, 0) for kind in Kind]
    found = charts.waste(some, Frame(FIRST, FIRST))
    assert [one.label.split()[0] for one in found.series] == ["boot", "idle", "given", "never"]


def test_an_empty_period_says_so() -> None:
    """There is a chart, and nothing in it."""
    found = charts.markets([], Frame(FIRST, FIRST + timedelta(30)))
    assert found.is_empty
    assert len(found.starts) == 31


def arrival(launch: str, job: int, asked: datetime, after: int, market: str = "spot") -> Arrival:
    """Return a node that came so many seconds after it was asked for."""
    return Arrival(launch, (job,), market, asked, asked + timedelta(seconds=after))


def test_a_job_waits_for_the_last_of_its_first_nodes() -> None:
    """Nodes of a later launch, after a requeue, do not count; a job of unknown cost has no point."""
    some = [
        arrival("r-2", 1, NOON + timedelta(hours=1), 900),
        arrival("r-1", 1, NOON, 60),
        arrival("r-1", 1, NOON, 90, "on-demand"),
        arrival("r-1", 2, NOON, 30),
    ]
    by_job = [Sum(Kind.RUN, ("1",), 9, 5, 0), Sum(Kind.BOOT, ("1",), 9, 2, 0), Sum(Kind.IDLE, ("",), 9, 9, 0)]
    assert job_waits(some, by_job) == (JobWait(1, "mixed", 90, 7),)


def test_points_say_what_they_leave_out() -> None:
    """The dearest jobs are shown, and how many are not."""
    found = charts.waits([JobWait(1, "spot", 60, 9)], Frame(FIRST, FIRST), left_out=5)
    assert "5 cheaper" in found.note
    assert "minutes" in found.x_label
    assert "USD" in found.y_label
