"""Every dollar is accounted for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.decide.cost import bill
from asbx.decide.meter.spans import Bearer
from asbx.model.record import InstanceRow

SPANS = st.integers(-(10**6), 10**6).map(lambda number: timedelta(milliseconds=number * 137))
TIMES = SPANS.map(lambda span: (NOON + span).astimezone(UTC))
PRICES = st.none() | st.decimals("0", "1000", places=6) | st.decimals("0", "1", places=18)


@st.composite
def rows(draw: st.DrawFn) -> list[InstanceRow]:
    """Make instances of all kinds: shared, unbound, jobless, running, unpriced."""
    count = draw(st.integers(0, 6))
    made = []
    for number in range(count):
        launched = draw(TIMES)
        ended = draw(st.none() | st.integers(0, 10**6).map(lambda ms: launched + timedelta(milliseconds=ms * 31)))  # noqa: B023
        jobs = tuple(draw(st.lists(st.integers(1, 4), max_size=4)))
        made.append(
            replace(
                samples.instance_row(f"i-{number}", jobs=jobs, launched_at=launched, price=draw(PRICES)),
                bound_at=draw(st.none() | st.just(launched)),
                ended_at=ended,
            )
        )
    return made


def exact_sum(amounts: list[Decimal]) -> Decimal:
    """Add without rounding."""
    with localcontext(prec=200):
        return sum(amounts, Decimal(0))


@given(rows=rows(), until=TIMES, since=st.none() | TIMES, job_id=st.none() | st.integers(1, 4))
def test_jobs_idle_and_waste_are_the_instances(
    rows: list[InstanceRow], until: datetime, since: datetime | None, job_id: int | None
) -> None:
    """The sum over jobs, idle and waste equals the sum over instances, digit for digit."""
    found = bill(rows, until, since, job_id)
    borne = exact_sum([*(job.usd for job in found.jobs), found.idle_usd, found.waste_usd])
    spent = exact_sum([cost.usd for cost in found.instances if cost.usd is not None])
    assert borne == spent == found.total_usd
    for cost in found.instances:
        assert cost.seconds > 0
        assert sum(share.bearer == Bearer.JOB for share in cost.shares) in (0, len(cost.shares))


@given(rows=rows(), moments=st.lists(TIMES, min_size=3, max_size=3).map(sorted))
def test_periods_add_up_to_the_whole(rows: list[InstanceRow], moments: list[datetime]) -> None:
    """Two periods that follow one another bill the seconds of both together, no second twice and none lost."""
    first, middle, last = moments

    def seconds(since: datetime, until: datetime) -> dict[str, int]:
        return {cost.instance_id: cost.seconds for cost in bill(rows, until, since).instances}

    early, late, whole = seconds(first, middle), seconds(middle, last), seconds(first, last)
    for row in rows:
        name = row.instance_id
        assert early.get(name, 0) + late.get(name, 0) == whole.get(name, 0)
