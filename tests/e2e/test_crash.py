"""The daemon dies by SIGKILL, at the worst moments: nothing is launched twice, nothing is orphaned, every job runs."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster, until

pytestmark = pytest.mark.slurm

# Most seconds from sbatch to SIGKILL: Slurm calls ResumeProgram after 0 to 2 of them, and all is bound 0.1 later.
_LATEST_KILL = 2.5
_KILLS = 5
_SEED = 20261124


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab with a daemon up."""
    with cluster("--nodes", "20", "--boot", "2") as one:
        one.shorten(SuspendTime="6", SuspendTimeout="3")
        yield one


def _kill_and_start(lab: Cluster) -> None:
    lab.lab("daemon", "kill")
    lab.lab("daemon", "start")


@pytest.fixture(scope="module")
def cut_off(lab: Cluster) -> int:
    """Kill the daemon after EC2 has launched and before its answer is there; return the job."""
    lab.ask("POST", "faults", {"action": "CreateFleet", "then": "drop-answer", "latency": 6})
    job = lab.submit("-N3", "--exclusive", "-waws-cpu-[000-002]", script="srun hostname")
    until("EC2 has launched", lambda: lab.of_job(job), 20, lambda rows: len(rows) == 3)
    lab.lab("daemon", "kill")
    kinds = [event["kind"] for event in lab.events("--job", str(job))]
    assert kinds[-1] == "launch-asked", "the daemon has no answer yet"
    lab.lab("daemon", "start")
    return job


@pytest.fixture(scope="module")
def taken_over(lab: Cluster, cut_off: int) -> int:
    """Start the daemon while the hooks' own worker, there being no daemon, waits for EC2's answer; return the job."""
    del cut_off  # its fault must have struck
    lab.lab("daemon", "kill")
    lab.ask("POST", "faults", {"action": "CreateFleet", "then": "drop-answer", "latency": 6})
    job = lab.submit("-N2", "--exclusive", "-waws-cpu-[003-004]", script="srun hostname")
    until("EC2 has launched", lambda: lab.of_job(job), 20, lambda rows: len(rows) == 2)
    lab.lab("daemon", "start")
    return job


@pytest.fixture(scope="module")
def killed_at_random(lab: Cluster, taken_over: int) -> list[int]:
    """Submit jobs of one to three nodes, and kill and restart the daemon somewhere in the first seconds of each."""
    del taken_over  # its fault must have struck
    chance = random.Random(_SEED)
    jobs = []
    for _ in range(_KILLS):
        size = chance.randint(1, 3)
        jobs.append(lab.submit(f"-N{size}", "--exclusive", script="srun hostname"))
        threading.Event().wait(chance.uniform(0, _LATEST_KILL))
        _kill_and_start(lab)
    return jobs


def test_an_answer_lost_in_a_crash_is_no_second_launch(lab: Cluster, cut_off: int, killed_at_random: list[int]) -> None:
    """Killed between CreateFleet and its answer: the next daemon gets the same instances, and the job runs on them."""
    del killed_at_random  # only to wait together
    assert lab.ended(cut_off) == "COMPLETED", lab.output(cut_off)

    rows = lab.of_job(cut_off)
    assert len(rows) == 3
    assert len({row["fleet"] for row in rows}) == 1
    # Not the instances' own tags: those with the name of each are a courtesy that a crash may cost.
    billed = lab.billed()
    assert sorted(billed[row["id"]]["node"] for row in rows) == ["aws-cpu-000", "aws-cpu-001", "aws-cpu-002"]
    assert {row["id"]: billed[row["id"]]["jobs"] for row in rows} == {row["id"]: [cut_off] for row in rows}


def test_a_starting_daemon_takes_over_from_a_hooks_worker(lab: Cluster, taken_over: int) -> None:
    """A worker that holds the spool is no reason not to start: the daemon waits, and nothing is launched twice."""
    assert lab.ended(taken_over) == "COMPLETED", lab.output(taken_over)
    billed = lab.billed()
    assert sorted(billed[row["id"]]["node"] for row in lab.of_job(taken_over)) == ["aws-cpu-003", "aws-cpu-004"]
    assert lab.asbx("status")["daemon"] is not None


def test_jobs_survive_kills_at_any_moment(lab: Cluster, killed_at_random: list[int]) -> None:
    """Every job completes; no node was ever launched twice for the same job."""
    states = {job: lab.ended(job, 200) for job in killed_at_random}
    assert set(states.values()) == {"COMPLETED"}, states

    billed = lab.billed()
    for job in killed_at_random:
        nodes = Counter(billed[row["id"]]["node"] for row in lab.of_job(job))
        twice = [node for node, count in nodes.items() if count > 1]
        assert twice == [], f"job {job} has two instances of {twice}"


def test_a_crash_while_instances_are_ended_leaves_none(lab: Cluster, killed_at_random: list[int]) -> None:
    """Killed between TerminateInstances and its answer: the next daemon closes what EC2 has ended already."""
    del killed_at_random  # they must be through
    nodes = "aws-hpc-[015-016]"
    job = lab.submit("-N2", "--exclusive", f"-w{nodes}", script="sleep 600")
    lab.serving(nodes)
    ids = {row["id"] for row in lab.of_job(job)}
    until("only these live", lambda: {row["id"] for row in lab.alive()}, 60, lambda alive: alive == ids)
    lab.ask("POST", "faults", {"action": "TerminateInstances", "then": "drop-answer", "latency": 6})
    lab.slurm("scancel", str(job))
    lab.slurm("scontrol", "update", f"nodename={nodes}", "state=power_down")
    until(
        "EC2 ends them", lambda: {row["state"] for row in lab.of_job(job)}, 30, lambda states: "running" not in states
    )
    billed = lab.billed()
    assert [one for one in ids if not billed[one]["running"]] == [], "the daemon has no answer yet"

    _kill_and_start(lab)

    lab.all_gone(ids, 20)


def test_after_all_crashes_nothing_is_left(lab: Cluster, cut_off: int, killed_at_random: list[int]) -> None:
    """Every instance EC2 ever launched is terminated and has an end in the ledger; no request is left open."""
    del cut_off, killed_at_random
    ids = {row["id"] for row in lab.instances()}
    lab.all_gone(ids, 90)

    assert lab.bound() == {}
    assert lab.billed().keys() == ids
    until("no request is open", lambda: lab.asbx("status")["daemon"]["running_requests"], 20, lambda ids: ids == [])
    assert list((lab.root / "spool" / "requests").iterdir()) == []
