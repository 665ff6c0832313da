"""Promise 7 for any history: shared nodes, requeues, price changes, volumes, runs that make no sense."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.decide.cost import bill_of
from asbx.decide.meter.charges import meter
from asbx.decide.meter.spans import Capacity, Life
from asbx.decide.meter.tariff import Rules
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource
from asbx.model.usage import JobRun

# Of a day and a half, to the microsecond: midnights and instance-hours are crossed.
MOMENTS = st.integers(0, 130_000 * 10**6).map(lambda us: NOON + timedelta(microseconds=us))
SPANS = st.integers(0, 130_000).map(lambda seconds: timedelta(seconds=seconds))
USD = st.decimals("0", "100", places=6)
RULES = st.builds(Rules, st.sampled_from([0, 60]), st.sampled_from([1, 60, 3600]), st.booleans())
_DRIFT_ROWS = 1_000_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 20_000


@st.composite
def runs(draw: st.DrawFn) -> JobRun:
    """Make any run, also one that ends before it starts or lies outside of every life."""
    start = draw(MOMENTS)
    end = draw(st.none() | SPANS.map(lambda span: start + span) | MOMENTS)
    asked = [draw(st.integers(0, 8)) for _ in range(3)]
    job = draw(st.integers(1, 5))
    run = JobRun(job, draw(st.integers(0, 2)), "aws-cpu-001", start, end, "ada", "physics")
    return replace(run, cpus=asked[0], memory_mib=asked[1], gpus=asked[2])


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Make any life."""
    launched = draw(MOMENTS)
    ended = draw(st.none() | SPANS.map(lambda span: launched + span))
    row = replace(
        samples.instance_row(draw(st.uuids()).hex, jobs=tuple(draw(st.lists(st.integers(1, 5), max_size=3)))),
        launched_at=launched,
        price=draw(st.none() | USD),
        market=draw(st.sampled_from(Market)),
        bound_at=draw(st.none() | st.just(launched)),
        ended_at=ended,
    )
    changes = draw(st.lists(st.tuples(MOMENTS, USD), max_size=4))
    return Life(
        row,
        draw(st.none() | MOMENTS),
        tuple(draw(st.lists(runs(), max_size=6))),
        tuple(
            PriceChange("c7i.large", "us-east-2a", row.market, since, usd, PriceSource.SPOT_HISTORY, NOON)
            for since, usd in changes
        ),
        draw(USD),
        draw(st.none() | st.builds(Capacity, *[st.integers(0, 16)] * 3)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@given(lives=st.lists(lives(), max_size=4), until=MOMENTS, rules=RULES)
def test_jobs_idle_and_waste_are_the_instances(lives: list[Life], until: object, rules: Rules) -> None:
    """Digit for digit; no part is negative, none is lost."""
    found = bill_of(lives, until, rules=rules)  # type: ignore[arg-type]
    spent = sum((cost.usd for cost in found.instances if cost.usd is not None), Decimal(0))
    unpriced = {one.instance_id: one.volumes_usd for one in found.instances if one.usd is None}
    assert found.total_usd == spent + sum(unpriced.values(), Decimal(0))
    assert sum(found.kinds.values()) == found.total_usd
    assert all(charge.compute >= 0 <= charge.volumes for charge in found.charges)
    for job in found.jobs:
        assert sum(job.kinds.values()) == job.usd


@given(life=lives(), moments=st.lists(MOMENTS, min_size=2, max_size=5), rules=RULES)
def test_periods_and_days_add_up_to_the_whole(life: Life, moments: list[object], rules: Rules) -> None:
    """However a life is cut, its parts are the whole: of the instance, of each day and of what volumes cost."""
    cuts = sorted(moments)  # type: ignore[type-var]
    whole = meter(life, cuts[-1], cuts[0], rules)  # type: ignore[arg-type]
    parts = [meter(life, end, begin, rules) for begin, end in pairwise(cuts)]  # type: ignore[arg-type]
    assert sum(part.nanos for part in parts) == whole.nanos
    assert sum(part.seconds for part in parts) == whole.seconds
    days: dict[object, int] = defaultdict(int)
    for part in parts:
        for charge in part.charges:
            days[charge.day] += charge.nanos
    for day in {charge.day for charge in whole.charges}:
        assert days[day] == sum(charge.nanos for charge in whole.charges if charge.day == day)


def test_no_drift_over_many_rows() -> None:
    """Instances whose hour cannot be parted into seconds exactly: the sum is off by half a billionth each, at most.

    A million of them in the nightly search.
    """
    price = Decimal("0.0850001")
    row = replace(samples.instance_row("i-1", price=price), launched_at=NOON, bound_at=NOON)
    exact = nanos = 0
    for number in range(_DRIFT_ROWS):
        seconds = 60 + number % 977
        life = Life(replace(row, ended_at=NOON + timedelta(seconds=seconds), jobs=(1, 2, 3)))
        metered = meter(life, NOON + timedelta(days=1))
        assert sum(charge.nanos for charge in metered.charges) == metered.nanos
        nanos += metered.nanos
        exact += seconds
    assert abs(nanos - price * 10**9 * exact / 3600) <= Decimal(_DRIFT_ROWS) / 2
