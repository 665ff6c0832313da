"""Who pays for which second."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.decide.cost import bill
from asbx.decide.meter.spans import Bearer
from asbx.decide.meter.tariff import tariff
from asbx.model.names import GroupName
from asbx.model.record import InstanceRow

HOUR = timedelta(hours=1)
ZERO = Decimal(0)


def row(
    name: str = "i-1",
    *,
    jobs: tuple[int, ...] = (12,),
    price: str | None = "3.60",
    ran: timedelta | None = HOUR,
    bound: bool = True,
    launched_at: datetime = NOON,
) -> InstanceRow:
    """Return an instance that served for a time; ran: None while it still runs."""
    return replace(
        samples.instance_row(name, jobs=jobs, launched_at=launched_at, price=None if price is None else Decimal(price)),
        bound_at=launched_at if bound else None,
        ended_at=None if ran is None else launched_at + ran,
    )


@pytest.mark.parametrize(
    ("ran", "seconds"),
    [
        (timedelta(0), 0),
        (timedelta(microseconds=1), 60),
        (timedelta(seconds=59), 60),
        (timedelta(seconds=61), 61),
        (timedelta(seconds=61, microseconds=1), 62),
        (timedelta(days=2), 172_800),
        (timedelta(seconds=-5), 0),
    ],
)
def test_seconds_are_billed_as_ec2_does(ran: timedelta, seconds: int) -> None:
    """Begun seconds count, a start costs a minute at least, nothing costs before its launch."""
    assert tariff(NOON, Decimal(1), ()).seconds(NOON + ran) == seconds


def test_a_job_pays_for_its_instances() -> None:
    """From launch to end at the recorded price, with the job's user, account and partition."""
    found = bill([row("i-1"), row("i-2", ran=2 * HOUR)], NOON + 9 * HOUR)
    (job,) = found.jobs
    assert (job.job_id, job.user, job.account, job.partition) == (12, "ada", "physics", "aws")
    assert (job.usd, job.instances, job.seconds) == (Decimal("10.80"), 2, 10_800)
    assert (found.idle_usd, found.waste_usd, found.total_usd) == (ZERO, ZERO, Decimal("10.80"))


def test_what_runs_is_charged_to_now() -> None:
    """An instance without an end costs until now, and is said to be running."""
    found = bill([row(ran=None)], NOON + timedelta(minutes=10))
    assert found.total_usd == Decimal("0.60")
    assert found.instances[0].is_running


def test_several_jobs_share_evenly_to_the_last_digit() -> None:
    """What cannot be parted evenly is not lost."""
    found = bill([row(jobs=(1, 2, 3), price="0.01", ran=timedelta(seconds=100))], NOON + HOUR)
    parts = [job.usd for job in found.jobs]
    assert sum(parts) == found.instances[0].usd
    assert max(parts) - min(parts) <= Decimal("3E-9")


def test_what_was_never_bound_is_waste() -> None:
    """A launch that was given back costs money, and no job bears it."""
    found = bill([row("i-1", bound=False), row("i-2")], NOON + HOUR)
    assert (found.waste_usd, [job.usd for job in found.jobs]) == (Decimal("3.60"), [Decimal("3.60")])


def test_a_manual_power_up_is_idle() -> None:
    """Nodes brought up for no job are nobody's but the cluster's."""
    found = bill([row(jobs=())], NOON + HOUR)
    assert (found.idle_usd, found.jobs) == (Decimal("3.60"), ())
    assert found.instances[0].shares[0].bearer == Bearer.IDLE


def test_an_unknown_price_is_not_guessed() -> None:
    """It is listed as unpriced, with its seconds, and adds nothing."""
    found = bill([row("i-1", price=None), row("i-2")], NOON + HOUR)
    assert found.unpriced == ("i-1",)
    assert found.instances[0].usd is None
    assert found.instances[0].seconds == 3600
    assert found.total_usd == Decimal("3.60")


def test_a_period_counts_only_its_seconds() -> None:
    """What ran before is left out, what ran across is cut, and the minute's minimum is charged once."""
    rows = [
        row("i-before", ran=timedelta(minutes=10)),
        row("i-across", ran=None),
        row("i-short", launched_at=NOON + 30 * HOUR / 60, ran=timedelta(seconds=5)),
    ]
    found = bill(rows, NOON + HOUR, since=NOON + timedelta(minutes=30))
    assert [(cost.instance_id, cost.seconds) for cost in found.instances] == [("i-across", 1800), ("i-short", 60)]
    later = bill(rows, NOON + HOUR, since=NOON + timedelta(minutes=30, seconds=10))
    assert [cost.instance_id for cost in later.instances] == ["i-across"]


def test_what_ends_after_the_period_still_runs_in_it() -> None:
    """A bill up to a moment does not know the future."""
    found = bill([row(ran=5 * HOUR)], NOON + HOUR)
    assert found.total_usd == Decimal("3.60")
    assert found.instances[0].is_running


def test_one_job_alone() -> None:
    """Asked for one job: its part of shared instances, the waste made for it, and nothing of others."""
    rows = [row("i-1", jobs=(1, 2)), row("i-2", jobs=(2,)), row("i-3", jobs=(1,), bound=False), row("i-4", jobs=())]
    found = bill(rows, NOON + HOUR, job_id=1)
    assert [(job.job_id, job.usd) for job in found.jobs] == [(1, Decimal("1.80"))]
    assert [(cost.instance_id, cost.usd) for cost in found.instances] == [
        ("i-1", Decimal("1.80")),
        ("i-3", Decimal("3.60")),
    ]
    assert (found.waste_usd, found.idle_usd, found.total_usd) == (Decimal("3.60"), ZERO, Decimal("5.40"))


def test_a_job_over_two_partitions_names_both() -> None:
    """A heterogeneous job's partitions are listed once each."""
    other = replace(row("i-2"), group=GroupName("hpc", "efa"))
    assert bill([row("i-1"), other], NOON + HOUR).jobs[0].partition == "aws,hpc"


def test_nothing_costs_nothing() -> None:
    """An empty ledger has an empty bill."""
    found = bill([], NOON)
    assert (found.total_usd, found.jobs, found.instances) == (ZERO, (), ())
