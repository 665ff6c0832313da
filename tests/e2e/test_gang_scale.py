"""Many gangs, and a very large one, on a real Slurm: whole or nothing, in few calls, and nothing wasted.

No machine ever boots, so a job whose nodes have instances stays CONFIGURING; what is looked at is who has instances,
what was launched, and what the jobs are told. Jobs are held, then released in one call, and slurmctld looks at
more than its usual hundred jobs a pass: so they mostly come in one call of the resume program. slurmctld makes a call
every two seconds, though, and may spread them. What is counted here holds however they come: what one call of the
program has learned of EC2, the next need not ask. A refused job is not tried again within these tests.
"""

from __future__ import annotations

import getpass
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, until

pytestmark = pytest.mark.slurm

TYPES = ("c7i.large", "c6i.large", "m7i.large", "c6in.32xlarge", "c6i.32xlarge")
ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")
POOLS = list(product(TYPES, ZONES, ("spot", "on-demand")))
PLACE = ("c7i.large", "us-east-2b", "on-demand")
OTHERS = "aws-hpc-[001-016]"


@pytest.fixture(scope="module")
def big() -> Iterator[Cluster]:
    """Keep a lab up that gives its nodes ten minutes, and refused jobs an hour."""
    with cluster("--nodes", "1500", "--no-machines") as one:
        file = one.root / "aws-burst.yaml"
        text = file.read_text(encoding="utf-8")
        for old, new in (
            ("first_seconds: 5", "first_seconds: 3600"),
            ("longest_seconds: 30", "longest_seconds: 3600"),
            ("resume_timeout: 90", "resume_timeout: 600"),
        ):
            assert old in text
            text = text.replace(old, new)
        one.lab("daemon", "stop")
        file.write_text(text, encoding="utf-8")
        one.shorten(
            ResumeTimeout="600",
            SuspendTimeout="3",
            SchedulerParameters="sbatch_wait_nodes,sched_interval=2,bf_interval=5,default_queue_depth=1000",
        )
        one.lab("daemon", "start")
        yield one


@pytest.fixture
def lab(big: Cluster) -> Iterator[Cluster]:
    """Give the lab to a test with nothing to be had, nothing remembered of EC2, and no call counted; clear up after."""
    for pool in POOLS:
        room(big, pool, 0)
    forget(big)
    big.ask("DELETE", "calls")
    yield big
    big.slurm("scancel", "--user", getpass.getuser())
    names = big.slurm("sinfo", "-h", "-o", "%N", "-t", "powering_up,alloc,mix,comp")
    if names:
        big.slurm("scontrol", "update", f"nodename={names}", "state=power_down_force")
    ready(big)


def forget(lab: Cluster) -> None:
    """Have nothing remembered of EC2's empty pools: they would be left alone for a minute."""
    with sqlite3.connect(lab.root / "state" / "ledger.db", timeout=10) as ledger:
        ledger.execute("DELETE FROM shortages")


def ready(lab: Cluster) -> None:
    """Wait until every node can be started again, and every instance is gone, with its group: ending keeps a place."""
    until("all nodes can be started again", lambda: states(lab), 30, lambda seen: seen <= {"idle~"})
    until("all is gone", lambda: {row["state"] for row in lab.instances()}, 30, lambda seen: seen <= {"terminated"})
    # The sweep removes them, which comes every ten seconds in a lab.
    until("all groups are removed", lambda: lab.ask("GET", "groups"), 40, lambda groups: not groups)


def states(lab: Cluster) -> set[str]:
    """Return the states nodes are in, as sinfo says them."""
    return set(lab.slurm("sinfo", "-h", "-o", "%T").split())


def room(lab: Cluster, pool: tuple[str, str, str], capacity: int) -> None:
    """Set what EC2 has of a pool."""
    kind, zone, market = pool
    lab.ask("POST", "pools", {"type": kind, "zone": zone, "market": market, "capacity": capacity})


def held(lab: Cluster, *options: str) -> int:
    """Submit a held job on whole nodes; of the group that has room: Slurm would now and then take the other's."""
    only = () if any(option.startswith("-w") for option in options) else (f"--exclude={OTHERS}",)
    return lab.submit("--hold", "--exclusive", *only, *options, script="true")


def release(lab: Cluster, *jobs: int) -> None:
    """Let jobs start, all in one call."""
    lab.slurm("scontrol", "release", ",".join(map(str, jobs)))


def again(lab: Cluster, job: int) -> None:
    """Take back a job that was refused, and be ready for the next."""
    lab.slurm("scancel", str(job))
    ready(lab)
    forget(lab)


def comments(lab: Cluster) -> dict[int, tuple[str, str]]:
    """Return job -> (its state, what it is told) for all jobs in the queue; tasks of arrays are jobs."""
    lines = lab.slurm("squeue", "-h", "-r", "-O", "JobID:|,State:|,admin_comment:600").splitlines()
    rows = [line.split("|", 2) for line in lines]
    return {int(job): (state, text.strip()) for job, state, text in rows}


def told(lab: Cluster, count: int, seconds: float = 40) -> set[int]:
    """Wait until so many jobs wait again and know why; return them."""

    def waiting() -> set[int]:
        return {
            job
            for job, (state, text) in comments(lab).items()
            if state == "PENDING" and re.match(r"asbx:InsufficientInstanceCapacity .*next try", text)
        }

    return until(f"{count} jobs are told", waiting, seconds, lambda jobs: len(jobs) >= count)


def bound(lab: Cluster, count: int, seconds: float = 40) -> list[Row]:
    """Wait until so many nodes have an instance; return the instances."""
    nodes = until(f"{count} nodes are bound", lab.bound, seconds, lambda rows: len(rows) >= count)
    return [row for row in lab.instances() if row["id"] in set(nodes.values())]


def launched(lab: Cluster) -> list[Row]:
    """Return every instance launched for a job that is in the queue now, alive or not."""
    jobs = {str(job) for job in comments(lab)}
    return [row for row in lab.instances() if jobs.intersection(row["job"].split(","))]


def launches(lab: Cluster) -> int:
    """Return how many CreateFleet calls were made."""
    return int(lab.ask("GET", "calls").get("CreateFleet", 0))


def settled(lab: Cluster) -> None:
    """Wait until no request is open any more, so that what is counted does not change under our eyes."""
    until("no request is open", lambda: lab.asbx("status")["open_requests"], 30, lambda rows: not rows)


def test_a_heterogeneous_job_is_one_gang(lab: Cluster) -> None:
    """Two components of two node groups: with room in two zones nothing; with room in one both, in one subnet."""
    room(lab, PLACE, 2)
    large = ("c6in.32xlarge", "us-east-2b", "on-demand")
    room(lab, large, 1)
    room(lab, ("c6in.32xlarge", "us-east-2c", "on-demand"), 2)
    job = held(lab, "-N2", "-waws-cpu-[010-011]", ":", "-N2", "--exclusive", "-waws-hpc-[001-002]")
    release(lab, job)
    assert told(lab, 2) == {job, job + 1}
    settled(lab)
    assert until("nothing runs", lab.alive, 20, lambda rows: not rows) == []
    again(lab, job)
    room(lab, large, 2)
    # On other nodes, and before all other tests: backfill, which alone starts such jobs, takes its time on nodes that
    # were just switched off.
    release(lab, held(lab, "-N2", "-waws-cpu-[012-013]", ":", "-N2", "--exclusive", "-waws-hpc-[003-004]"))
    rows = bound(lab, 4)
    assert {row["node"] for row in rows} == {"aws-cpu-012", "aws-cpu-013", "aws-hpc-003", "aws-hpc-004"}
    assert len({row["subnet"] for row in rows}) == 1
    assert len({row["placement_group"] for row in rows}) == 1


def test_five_of_ten_gangs_of_ten_fit_into_55(lab: Cluster) -> None:
    """Five are bound whole, 50 instances were ever launched, and five wait and say why, for at most eight calls."""
    room(lab, PLACE, 55)
    release(lab, held(lab, "-N10", "--array=1-10"))
    rows = bound(lab, 50)
    refused = told(lab, 5)
    settled(lab)
    assert len(refused) == 5
    assert len(lab.bound()) == len(launched(lab)) == 50
    assert set(Counter(row["job"] for row in rows).values()) == {10}
    assert len({row["job"] for row in rows}) == 5
    assert not refused & {int(row["job"]) for row in rows}
    assert launches(lab) <= 8


def test_a_gang_comes_first_and_single_nodes_take_the_rest(lab: Cluster) -> None:
    """Of 50 places a gang of 40 has its 40, ten of twenty single-node jobs the others, and ten jobs are told."""
    room(lab, PLACE, 50)
    gang = held(lab, "-N40")
    singles = [held(lab, "-N1", "--nice=1000") for _ in range(20)]
    release(lab, gang, *singles)
    rows = bound(lab, 50)
    refused = told(lab, 10)
    settled(lab)
    assert sum(str(gang) in row["job"].split(",") for row in rows) == 40
    assert len(lab.bound()) == len(launched(lab)) == 50
    assert len(refused) == 10
    assert refused < set(singles)


def test_250_gangs_without_capacity_cost_five_calls(lab: Cluster) -> None:
    """All 250 are told; nothing is left, and EC2 was asked at most five times."""
    release(lab, held(lab, "-N2", "--array=1-250"))
    assert len(told(lab, 250, 90)) == 250
    settled(lab)
    assert launched(lab) == []
    assert lab.ask("GET", "groups") == []
    assert launches(lab) <= 5


def test_1500_nodes_come_whole_or_not_at_all(lab: Cluster) -> None:
    """With room for 1,400 nothing runs in the end; with room for 1,500 all do, in one placement group and zone."""
    room(lab, PLACE, 1400)
    job = held(lab, "-N1500")
    release(lab, job)
    assert told(lab, 1, 60) == {job}
    settled(lab)
    assert until("nothing runs", lab.alive, 30, lambda rows: not rows) == []
    assert lab.bound() == {}
    again(lab, job)
    other = ("c7i.large", "us-east-2c", "spot")
    room(lab, other, 1500)
    release(lab, held(lab, "-N1500"))
    rows = bound(lab, 1500, 60)
    assert len(rows) == len(lab.alive()) == 1500
    assert {(row["type"], row["zone"], row["market"]) for row in rows} == {other}
    (group,) = {row["placement_group"] for row in rows}
    assert group


def test_gangs_on_shared_nodes_share_instances(lab: Cluster) -> None:
    """Two jobs of two nodes, one CPU on each: two instances serve both."""
    room(lab, PLACE, 2)
    words = ("-N2", "-n2", "-c1", "--hold", "-waws-cpu-[000-001]")
    jobs = [lab.submit(*words, script="true") for _ in range(2)]
    release(lab, *jobs)
    rows = bound(lab, 2)
    until("both jobs have nodes", lambda: comments(lab), 20, lambda seen: all(seen[j][0] != "PENDING" for j in jobs))
    settled(lab)
    assert len(rows) == len(launched(lab)) == 2
    assert {lab.job(job)["NodeList"] for job in jobs} == {"aws-cpu-[000-001]"}
