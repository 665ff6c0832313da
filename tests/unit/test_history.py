"""What earlier runs let expect, and when nothing is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.config.limits import HISTORY_LEAST_RUNS
from asbx.decide.history import expect, runs_of_nodes
from asbx.model.job import PastRun

FOUR_HOURS = timedelta(hours=4)


def runs(*minutes: int, nodes: int = 4, state: str = "COMPLETED") -> list[PastRun]:
    """Return runs of these lengths."""
    return [PastRun(number, state, timedelta(minutes=span), nodes) for number, span in enumerate(minutes, 1)]


def test_a_range_is_told_with_its_source() -> None:
    """Seven runs: how many, the range, the limit."""
    found = expect(runs(55, 40, 44, 50, 41, 47, 52), 4, FOUR_HOURS)
    assert found.text == "from 7 earlier runs of this name on 4 node(s): 40-55 min, limit 4 h"
    assert (found.shortest, found.longest) == (timedelta(minutes=40), timedelta(minutes=55))
    assert found.is_used


def test_odd_runs_do_not_count_where_there_are_many() -> None:
    """Of ten or more a tenth at each end is left out."""
    found = expect(runs(1, *range(40, 58), 900), 4, None)
    assert (found.shortest, found.longest) == (timedelta(minutes=41), timedelta(minutes=56))
    assert found.text.endswith("41-56 min, no limit known")


@pytest.mark.parametrize(
    ("past", "why"),
    [
        (None, "earlier runs are not known"),
        ([], "no earlier run of this name has ended by itself (4 are needed)"),
        (runs(5, 6, 7), "only 3 earlier run(s) of this name (4 are needed)"),
        (runs(5, 6, 7, 8, 9, nodes=2) + runs(3), "6 earlier run(s) of this name, only 1 on 4 node(s) (4 are needed)"),
        (runs(5, 6, 7, 8, state="CANCELLED"), "no earlier run of this name has ended by itself (4 are needed)"),
        (runs(240, 240, state="TIMEOUT") + runs(5, 6), "2 of 4 earlier runs of this name were cut off"),
    ],
)
def test_without_enough_runs_the_limit_counts_and_it_is_said(past: list[PastRun] | None, why: str) -> None:
    """Nothing is made up of too few runs, of other sizes, of cancelled ones, or of ones that were cut off."""
    found = expect(past, 4, FOUR_HOURS)
    assert not found.is_used
    assert found.usd is None
    assert why in found.text
    assert found.text.endswith("so its time limit counts (limit 4 h)")
    assert "no time limit that is known" in expect(past, 4, None).text


def test_runs_that_were_cut_off_are_told() -> None:
    """One of five ran into its limit: it counts as long as it was let."""
    found = expect(runs(30, 31, 32, 33) + runs(240, state="TIMEOUT"), 4, FOUR_HOURS)
    assert (found.at_limit, found.longest) == (1, FOUR_HOURS)
    assert "1 of them cut off at their limit" in found.text


def test_nothing_longer_than_the_limit_is_expected() -> None:
    """Slurm will end it then."""
    found = expect(runs(40, 50, 60, 70), 4, timedelta(minutes=45))
    assert (found.shortest, found.longest) == (timedelta(minutes=40), timedelta(minutes=45))


def test_what_they_cost_is_told_where_enough_is_known() -> None:
    """A range of four known sums; not of three."""
    past = runs(40, 41, 42, 43)
    costs = {run.job_id: Decimal(run.job_id) / 10 for run in past}
    assert expect(past, 4, None, costs).usd == (Decimal("0.1"), Decimal("0.4"))
    assert expect(past, 4, None, {1: Decimal(1)}).usd is None


@given(st.lists(st.integers(1, 10**6), min_size=HISTORY_LEAST_RUNS, max_size=60), st.integers(1, 10**6))
def test_the_range_is_of_what_was_seen(seconds: list[int], limit: int) -> None:
    """Its ends are lengths that were seen, or the limit, in order."""
    past = [PastRun(n, "COMPLETED", timedelta(seconds=one), 1) for n, one in enumerate(seconds)]
    found = expect(past, 1, timedelta(seconds=limit))
    assert found.shortest is not None
    assert found.longest is not None
    assert found.shortest <= found.longest <= timedelta(seconds=limit)
    assert {found.shortest.total_seconds(), found.longest.total_seconds()} <= {*seconds, limit}


def test_where_nobody_keeps_runs_the_nodes_tell() -> None:
    """From launch to end; not of a job that lives, that shared its nodes, or whose instances were never nodes."""
    row = samples.instance_row("i-1")
    ends = NOON + timedelta(minutes=50)
    whole = replace(row, jobs=(1,), bound_at=NOON, ended_at=ends)
    rows = [
        whole,
        replace(whole, instance_id="i-2"),
        replace(whole, instance_id="i-3", jobs=(2,), ended_at=None),
        replace(whole, instance_id="i-4", jobs=(3, 4)),
        replace(whole, instance_id="i-5", jobs=(5,), bound_at=None),
        replace(whole, instance_id="i-6", jobs=(9,)),
    ]
    (found,) = runs_of_nodes(rows, {1, 2, 3, 4, 5})
    assert (found.job_id, found.elapsed, found.nodes) == (1, timedelta(minutes=50), 2)
    past = [replace(found, job_id=number) for number in range(4)]
    told = expect(past, 2, None)
    assert told.of_nodes
    assert "by how long their nodes were there, boot and idle time included" in told.text
