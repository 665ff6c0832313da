"""Gangs on a real Slurm: whole or nothing, in one place, with the job told why, and an MPI program on eight nodes.

What waits, waits side by side: the job that finds no room is submitted first and looked at last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, run, until

import asbx.lab

pytestmark = pytest.mark.slurm

TYPES = ("c7i.large", "c6i.large", "m7i.large")
ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")
EFA_TYPES = ("c7i.48xlarge", "c6i.32xlarge")
CPU = list(product(TYPES, ZONES, ("spot", "on-demand")))


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up with nodes for three gangs of eight, beside the partition with EFA."""
    with cluster("--nodes", "24", "--boot", "2") as one:
        one.shorten(SuspendTime="5", SuspendTimeout="3")
        yield one


def pool(lab: Cluster, kind: str, zone: str, market: str, capacity: int | None) -> None:
    """Set what EC2 has; None: without limit."""
    lab.ask("POST", "pools", {"type": kind, "zone": zone, "market": market, "capacity": capacity})


def gang(lab: Cluster, first: int, script: str = "srun hostname") -> int:
    """Submit a job of eight nodes, by name, so that the jobs of this module do not share them."""
    return lab.submit("-N8", "--exclusive", f"-waws-cpu-[{first:03d}-{first + 7:03d}]", script=script)


@pytest.fixture(scope="module")
def refused(lab: Cluster) -> int:
    """Submit a gang of eight where each pool of its group has seven places; return the job."""
    for kind in EFA_TYPES:
        pool(lab, kind, "us-east-2a", "on-demand", 7)
    job = lab.submit("-phpc", "-N8", "--exclusive", "--no-requeue", script="srun hostname")
    until("the job is told", lambda: lab.job(job).get("AdminComment", ""), 30, lambda text: "asbx:" in text)
    return job


def ever(lab: Cluster, job: int) -> list[Row]:
    """Return all instances a job ever had."""
    return [row for row in lab.instances() if str(job) in row["job"].split(",")]


def test_no_room_for_all_leaves_nothing_and_tells_the_job(lab: Cluster, refused: int) -> None:
    """Seven everywhere: the job is pending with EC2's reason and the next try; nothing was started, not even for it.

    It asked not to be requeued, which is for jobs that ran: this one has not, so it is not lost.
    """
    fields = until("it waits", lambda: lab.job(refused), 30, lambda one: one["JobState"] == "PENDING")
    assert fields["AdminComment"].startswith("asbx:InsufficientInstanceCapacity"), fields
    assert re.search(r"next try \d\d:\d\d:\d\d UTC", fields["AdminComment"]), fields
    assert ever(lab, refused) == []
    assert lab.ask("GET", "groups") == []
    shut = lab.asbx("status", "--shortages")["shortages"]
    assert {(row["code"], row["least"], row["placed"]) for row in shut} == {("InsufficientInstanceCapacity", 8, True)}
    assert {row["instance_type"] for row in shut} == set(EFA_TYPES)
    told = until("its next try is told", lambda: lab.asbx("explain", str(refused)), 20, lambda one: one["next_try"])
    assert told["now"]["word"] == "waiting"
    assert "InsufficientInstanceCapacity" in told["now"]["text"]
    asked = [call for rung in told["tries"][0]["rungs"] for call in rung["calls"]]
    assert {said["code"] for call in asked for said in call["refusals"]} == {"InsufficientInstanceCapacity"}
    assert {row["instance_type"] for row in told["closed"]} == set(EFA_TYPES)
    assert (told["place"], told["cost"]["so_far_usd"]) == (None, "0.00")


def test_a_gang_goes_where_there_is_room_for_all(lab: Cluster, refused: int) -> None:
    """Seven in zone a, eight in zone b: all eight are in b, nothing is or was in a, and the job starts once."""
    del refused
    for key in CPU:
        pool(lab, *key, 0)
    pool(lab, "c7i.large", "us-east-2a", "on-demand", 7)
    pool(lab, "c7i.large", "us-east-2b", "on-demand", 8)
    job = gang(lab, 0)
    assert lab.ended(job) == "COMPLETED"
    rows = ever(lab, job)
    assert len(rows) == 8
    assert {(row["zone"], row["market"]) for row in rows} == {("us-east-2b", "on-demand")}
    assert lab.job(job)["Restarts"] == "0"


def test_an_mpi_program_runs_on_demand_in_one_group_where_spot_is_empty(lab: Cluster, refused: int) -> None:
    """No spot, room on demand: Open MPI over PMIx on eight nodes of one placement group; the group goes with them."""
    del refused
    for kind, zone, market in CPU:
        pool(lab, kind, zone, market, 0 if market == "spot" else None)
    ring = lab.out / "ring"
    made = run(["mpicc", "-O1", "-o", ring, Path(asbx.lab.__file__).with_name("ring.c")], lab.environ)
    assert made.status == 0, made.err
    job = gang(lab, 8, f"srun --mpi=pmix {ring}")
    during = until("it has instances", lambda: lab.asbx("explain", str(job)), 20, lambda one: one["place"])
    assert during["now"]["word"] in ("launching", "booting")
    assert lab.ended(job) == "COMPLETED", lab.output(job)
    assert "closed, the token was passed on 8 times by 8 ranks" in lab.output(job)
    assert len(set(re.findall(r"on (aws-cpu-\d+)", lab.output(job)))) == 8
    rows = ever(lab, job)
    assert {row["market"] for row in rows} == {"on-demand"}
    (group,) = {row["placement_group"] for row in rows}
    assert re.fullmatch(rf"asbx-.*-job-{job}-[0-9a-f]{{10}}", group)
    assert len({row["subnet"] for row in rows}) == 1
    told = lab.asbx("explain", str(job))
    assert told["plan"]["origin"] == during["plan"]["origin"] == "analyzer", "there was no plan: its script told"
    assert "srun --mpi=pmix" in told["plan"]["why"]
    assert {one["field"]: one["source"] for one in told["plan"]["filled"]}["placement"] == "analyzer"
    assert (told["place"]["placement_groups"], told["place"]["zones"]) == ([group], [rows[0]["zone"]])
    assert (told["job"]["state"], told["now"]["word"]) == ("COMPLETED", "over")
    lab.all_gone([row["id"] for row in rows])
    until(
        "its group is removed", lambda: {one["name"] for one in lab.ask("GET", "groups")}, 40, lambda n: group not in n
    )


def test_the_refused_gang_runs_when_there_is_room(lab: Cluster, refused: int) -> None:
    """The pool is raised and an administrator has the refusals forgotten: the job runs on eight EFA nodes."""
    pool(lab, "c6i.32xlarge", "us-east-2a", "on-demand", 8)
    calls = lab.ask("GET", "calls")["CreateFleet"]
    assert lab.asbx("forget", "capacity/on-demand/c6i.32xlarge/*", "capacity/on-demand/c7i.48xlarge/*")["forgotten"]
    lab.slurm("scontrol", "update", f"jobid={refused}", "starttime=now")
    assert lab.ended(refused, 150) == "COMPLETED"
    rows = ever(lab, refused)
    assert len(rows) == 8
    assert {row["type"] for row in rows} == {"c6i.32xlarge"}
    assert lab.ask("GET", "calls")["CreateFleet"] - calls <= 4, "no hot loop"
    assert lab.job(refused)["Requeue"] == "0", "what the job asked for holds again"
