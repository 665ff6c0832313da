"""Who bears which second, at which price."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.decide.cost import bill_of
from asbx.decide.meter.charges import meter, parted
from asbx.decide.meter.spans import Capacity, Kind, Life, weights
from asbx.decide.meter.tariff import Rules, tariff
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource
from asbx.model.record import InstanceRow
from asbx.model.usage import JobRun

MINUTE = timedelta(minutes=1)
HOUR = 60 * MINUTE


def at(minutes: float) -> datetime:
    """Return a moment."""
    return NOON + minutes * MINUTE


def row(*, jobs: tuple[int, ...] = (7,), price: str | None = "3.60", ended: float | None = 60) -> InstanceRow:
    """Return an instance bound two minutes after its launch."""
    return replace(
        samples.instance_row("i-1", jobs=jobs, launched_at=NOON, price=None if price is None else Decimal(price)),
        market=Market.SPOT,
        node="aws-cpu-001",
        bound_at=at(2),
        ended_at=None if ended is None else at(ended),
    )


def run(job: int, start: float, end: float | None, *, cpus: int = 0, memory: int = 0, gpus: int = 0) -> JobRun:
    """Return a job's time on the node, in minutes after noon."""
    stop = None if end is None else at(end)
    return JobRun(job, 0, "aws-cpu-001", at(start), stop, "ada", "physics", cpus=cpus, memory_mib=memory, gpus=gpus)


def life(*runs: JobRun, registered: float | None = 3, of: InstanceRow | None = None, **more: object) -> Life:
    """Return a life whose runs were recorded."""
    ready = None if registered is None else at(registered)
    return replace(Life(of or row(), ready, runs, is_tracked=True), **more)  # type: ignore[arg-type]


def change(minutes: float, usd: str) -> PriceChange:
    """Return a change of the Spot price."""
    return PriceChange(
        "c7i.large", "us-east-2a", Market.SPOT, at(minutes), Decimal(usd), PriceSource.SPOT_HISTORY, NOON
    )


def cents(found: Life, until: float = 60, rules: Rules | None = None) -> dict[tuple[str, int | None], int]:
    """Return what was charged, in cents, by kind and job."""
    kinds: dict[tuple[str, int | None], int] = {}
    for charge in meter(found, at(until), rules=rules).charges:
        key = (charge.kind.value, charge.job_id)
        kinds[key] = kinds.get(key, 0) + charge.nanos // 10**7
    return kinds


def test_boot_run_gap_and_tail() -> None:
    """3.60 an hour is 6 cents a minute: boot and run are the jobs', what is between and after is idle."""
    found = cents(life(run(7, 4, 24), run(8, 30, 40)))
    assert found == {("boot", 7): 24, ("run", 7): 120, ("idle", None): 36 + 120, ("run", 8): 60}


def test_boot_ends_where_another_job_comes_first() -> None:
    """The job it was launched for never came: it bears the boot, nobody the wait."""
    assert cents(life(run(8, 10, 60))) == {("boot", 7): 18, ("idle", None): 42, ("run", 8): 300}


def test_a_job_cancelled_before_it_began_bears_the_boot_only() -> None:
    """The node registered, then stood idle until it was powered down."""
    assert cents(life()) == {("boot", 7): 18, ("idle", None): 57 * 6}


def test_what_never_registered_or_was_given_back_is_waste() -> None:
    """By kind; while it still lives it is a boot."""
    assert cents(life(registered=None)) == {("never-registered", None): 360}
    assert cents(life(registered=None, of=replace(row(), bound_at=None))) == {("given-back", None): 360}
    assert cents(life(registered=None, of=row(ended=None)), 10) == {("boot", 7): 60}
    assert cents(life(registered=None, of=replace(row(ended=None), bound_at=None)), 10) == {("boot", 7): 60}


def test_without_a_record_of_runs_the_jobs_it_was_launched_for_bear_all() -> None:
    """Said as such."""
    assert cents(Life(row(jobs=(7, 8)))) == {("assumed", 7): 180, ("assumed", 8): 180}
    assert cents(Life(row(jobs=()))) == {("idle", None): 360}


def test_a_shared_node_is_parted_by_what_is_allocated() -> None:
    """By the largest of the shares of processors, memory and GPUs, at each moment."""
    found = cents(life(run(7, 3, 33, cpus=3), run(8, 3, 63, cpus=1), of=row(ended=63)), 63)
    assert found == {("boot", 7): 18, ("run", 7): 135, ("run", 8): 45 + 180}


@pytest.mark.parametrize(
    ("runs", "capacity", "expected"),
    [
        ([run(1, 0, 1)], None, ((1, 1),)),
        ([run(2, 0, 1), run(1, 0, 1)], None, ((1, 1), (2, 1))),
        (
            [run(1, 0, 1, cpus=1, memory=900), run(2, 0, 1, cpus=3, memory=100)],
            Capacity(4, 1000),
            ((1, 3600), (2, 3000)),
        ),
        ([run(1, 0, 1, cpus=1, gpus=1), run(2, 0, 1, cpus=7)], Capacity(8, 0, 4), ((1, 8), (2, 28))),
    ],
)
def test_weights(runs: list[JobRun], capacity: Capacity | None, expected: tuple[tuple[int, int], ...]) -> None:
    """Largest share of the node; even where nothing is known."""
    assert weights(runs, capacity) == expected


def test_odd_runs() -> None:
    """Before the launch, after the end, of no length, twice: what lies within the life counts, once."""
    odd = (run(7, -10, 30), run(7, -10, 30), run(9, 70, 80), run(9, 5, 5), run(8, 50, None), run(6, 40, 30))
    assert cents(life(*odd)) == {("run", 7): 180, ("idle", None): 120, ("run", 8): 60}


def test_a_spot_price_counts_from_the_instances_next_hour_on() -> None:
    """What is in effect when an hour of the instance begins."""
    prices = (change(-60, "6.00"), change(10, "1.20"), change(30, "2.40"), change(61, "0.60"))
    assert cents(life(run(7, 0, 180), of=row(ended=180), changes=prices), 180) == {("run", 7): 600 + 240 + 60}
    by_minute = Rules(hold_s=60)
    assert cents(life(run(7, 0, 60), changes=prices), 60, by_minute) == {("run", 7): 100 + 40 + 120}


def test_the_price_at_launch_is_found() -> None:
    """In the record of prices; else as noted at the launch; else the first one known later; else there is none."""
    for first, changes, usd in (
        ("3.60", (change(-1, "1.20"),), 120),
        ("3.60", (change(61, "1.20"),), 360),
        (None, (change(30, "1.20"),), 120),
        (None, (), 0),
    ):
        metered = meter(life(run(7, 0, 60), of=row(price=first), changes=changes), at(60))
        assert metered.nanos == usd * 10**7
        assert metered.has_price == bool(usd)


def test_ec2_takes_nothing_for_a_spot_instance_it_takes_back_in_its_first_hour() -> None:
    """Later it does; where the site says so, or the instance was not Spot, always. Volumes are paid for."""
    taken = life(run(7, 3, 30), of=row(ended=30), is_interrupted=True, volumes_month=Decimal(744))
    assert cents(taken) == {("boot", 7): 5, ("run", 7): 45}  # March has 744 hours
    assert sum(cents(taken, rules=Rules(free_first_hour=False)).values()) > 180
    assert cents(replace(taken, row=replace(row(ended=90))), 90)["idle", None] >= 360
    assert sum(cents(replace(taken, row=replace(row(ended=30), market=Market.ON_DEMAND))).values()) > 180


def test_volumes_cost_by_the_seconds_of_the_calendar_month() -> None:
    """31 USD a month is a dollar a day in January, and more in February."""
    month = tariff(datetime(2026, 1, 31, tzinfo=UTC), None, (), volumes_month=Decimal(31))
    assert month.volume(datetime(2026, 2, 1, tzinfo=UTC)) == 10**9
    assert month.volume(datetime(2026, 2, 3, tzinfo=UTC)) == 10**9 + 2 * 31 * 10**9 // 28 + 0
    assert month.volume(datetime(2026, 1, 30, tzinfo=UTC)) == 0


def test_days_are_cut_at_midnight_utc() -> None:
    """Each day's rows add up to the whole."""
    found = meter(life(run(7, 3, 60 * 24), of=row(ended=60 * 24)), at(60 * 24))
    assert {charge.day for charge in found.charges} == {date(2026, 3, 1), date(2026, 3, 2)}
    assert sum(charge.nanos for charge in found.charges) == found.nanos == 24 * 36 * 10**8


def test_parts_are_whole_and_add_up() -> None:
    """The largest remainders get the billionths that are left."""
    assert parted(10, ((1, 1), (2, 1), (3, 1))) == [4, 3, 3]
    assert parted(7, ((1, 1), (2, 5))) == [1, 6]
    assert parted(5, ()) == [5]


def test_a_job_that_found_a_node_up_is_in_the_bill() -> None:
    """And with its own user and account."""
    later = replace(run(8, 30, 40), user="lin", account="bio")
    found = bill_of([life(run(7, 4, 24), later)], at(60))
    assert [(job.job_id, job.user, job.account, job.usd) for job in found.jobs] == [
        (7, "ada", "physics", Decimal("1.44")),
        (8, "lin", "bio", Decimal("0.60")),
    ]
    assert found.kinds[Kind.IDLE] == found.idle_usd == Decimal("1.56")
    assert found.total_usd == Decimal("3.60")
