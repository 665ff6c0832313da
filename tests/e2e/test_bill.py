"""What things cost, to the cent: the pretend EC2's own bill and `asbx cost`, line by line, with a price that changes.

Three stories side by side: a spot gang, two on-demand jobs that share a node, and a gang of which only a part came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, group_in, until

pytestmark = pytest.mark.slurm

GANG = "aws-cpu-[000-001]"
SHARED = "aws-hpc-001"
EFA_TYPES = ("c7i.48xlarge", "c6i.32xlarge")
# Sums are rounded to a billionth on either side, compute and each volume for itself.
NEAR = Decimal("0.000000005")


def _small(config: Row) -> None:
    config["reconcile"] = {"interval_seconds": 2, "orphan_grace_seconds": 4}
    config["prices"] = {"spot_refresh_seconds": 2}
    config["backoff"] = {"first_seconds": 120, "longest_seconds": 300}
    group_in(config, "cpu")["purchasing_option"] = "spot"
    group_in(config, "hpc")["purchasing_option"] = "on-demand"
    group_in(config, "efa")["strategy"] = "greedy"


@dataclass(frozen=True)
class Told:
    """Both bills, when nothing runs any more. gang, singles, failed: jobs. ran: instances of the first two."""

    gang: int
    singles: tuple[int, int]
    failed: int
    ours: Row
    theirs: dict[str, Row]


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up in which idle nodes go soon."""
    with cluster("--nodes", "4", "--boot", "2", "--no-daemon") as one:
        one.shorten(SuspendTime="3", SuspendTimeout="3")
        one.configure(_small)
        yield one


@pytest.fixture(scope="module")
def told(lab: Cluster) -> Told:
    """Run the three stories to their end; the price of the gang's pool is raised while it runs."""
    for kind, room in zip(EFA_TYPES, (1, 0), strict=True):
        lab.ask("POST", "pools", {"type": kind, "zone": "us-east-2a", "market": "on-demand", "capacity": room})
    failed = lab.submit("-phpc", "-N3", "--exclusive", script="true")
    gang = lab.submit("-N2", "--exclusive", f"-w{GANG}", script="srun sleep 5")
    singles = [lab.submit("-n1", "-c1", f"-w{SHARED}", script=f"sleep {length}") for length in (3, 6)]
    until("the gang runs", lambda: lab.job_state(gang), 30, lambda state: state == "RUNNING")
    pools = {(row["type"], row["zone"]) for row in lab.of_job(gang)}
    for kind, zone in pools:
        lab.lab("price", "set", "--type", kind, "--zone", zone, "--market", "spot", "--usd", "360.25")
    lab.slurm("scontrol", "hold", str(failed))
    for job in (gang, *singles):
        lab.ended(job)
    lab.all_gone((row["id"] for row in lab.instances()), 40)
    until("both bills agree", lambda: _apart(*_bills(lab)), 15, lambda apart: not apart)
    ours, theirs = _bills(lab)
    return Told(gang, (singles[0], singles[1]), failed, ours, theirs)


def _bills(lab: Cluster) -> tuple[Row, dict[str, Row]]:
    return lab.asbx("cost"), {row["id"]: row for row in lab.ask("GET", "bill")["instances"]}


def _apart(ours: Row, theirs: dict[str, Row]) -> list[tuple[Row, Row | None]]:
    """Return the lines that differ, ours and theirs."""
    mine = {row["id"]: row for row in ours["instances"]}
    assert mine.keys() == theirs.keys()
    return [
        (row, theirs[one])
        for one, row in mine.items()
        if abs(Decimal(row["usd"] or 0) - Decimal(theirs[one]["usd"])) > NEAR
        or abs(Decimal(row["volumes_usd"]) - Decimal(theirs[one]["volumes_usd"])) > NEAR
        or row["seconds"] != theirs[one]["billed_seconds"]
    ]


def test_every_line_is_that_of_ec2_with_the_price_changed_in_mid_run(told: Told) -> None:
    """Seconds, compute and volumes of each instance; the gang's have two prices, and dollars that show it."""
    assert not _apart(told.ours, told.theirs)
    mine = {row["id"]: row for row in told.ours["instances"]}
    spot = [line for line in told.theirs.values() if line["market"] == "spot"]
    assert len(spot) == 2
    assert all(len(line["segments"]) == 2 for line in spot), spot
    assert all(Decimal(line["usd"]) > Decimal("0.3") for line in spot), "three seconds at 360.25 USD an hour"
    assert all(Decimal(line["volumes_usd"]) > 0 for line in told.theirs.values())
    assert {row["market"] for row in mine.values()} == {"spot", "on-demand"}


def test_the_sum_is_that_of_ec2_and_of_whoever_bears_it(told: Told) -> None:
    """sum(jobs) + idle + waste = sum(instances), digit for digit, and EC2's total to the cent."""
    ours = told.ours
    parts = [*(Decimal(job["usd"]) for job in ours["jobs"]), Decimal(ours["idle_usd"]), Decimal(ours["waste_usd"])]
    assert sum(parts) == Decimal(ours["total_usd"]) == sum(Decimal(row["usd"]) for row in ours["instances"])
    theirs = sum(Decimal(line["usd"]) for line in told.theirs.values())
    assert round(theirs, 2) == round(Decimal(ours["total_usd"]), 2)
    assert ours["unpriced"] == []


def test_jobs_bear_what_they_used(told: Told) -> None:
    """The gang what its nodes cost while it ran and booted; singles their shares of one node; after them it is idle."""
    jobs = {job["job_id"]: job for job in told.ours["jobs"]}
    assert {told.gang, *told.singles} == jobs.keys(), jobs.keys()
    assert jobs[told.gang]["instances"] == 2
    assert Decimal(jobs[told.gang]["kinds"]["run"]) > Decimal("0.3")
    short, long = (Decimal(jobs[job]["kinds"]["run"]) for job in told.singles)
    assert 0 < short < long
    assert Decimal(told.ours["idle_usd"]) > 0
    (shared,) = [row for row in told.ours["instances"] if row["node"] == SHARED]
    bearers = {share["job_id"] for share in shared["charged_to"] if share["bearer"] == "job"}
    assert bearers == set(told.singles)


def test_a_gang_that_came_in_part_is_waste(lab: Cluster, told: Told) -> None:
    """What was given back cost money all the same, and no job bears it."""
    given = [row for row in told.ours["instances"] if not row["node"]]
    assert [row["type"] for row in given] == ["c7i.48xlarge"]
    assert {share["bearer"] for row in given for share in row["charged_to"]} == {"waste"}
    assert sum(Decimal(row["usd"]) for row in given) == Decimal(told.ours["waste_usd"]) > 0
    assert "asbx:" in lab.job(told.failed)["AdminComment"]


def test_the_emulators_bill_can_be_read(lab: Cluster, told: Told) -> None:
    """A line for each price and volume, and the total."""
    shown = lab.lab("bill")
    assert "360.25" in shown
    assert "gp3, 8 GiB" in shown
    assert all(one in shown for one in told.theirs)
