"""Nodes that never come and nodes that fall ill, on a real Slurm: ended, explained, held back, tried again, replaced.

All stories run side by side in one lab: what waits for ResumeTimeout waits once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, until

pytestmark = pytest.mark.slurm

LOST = ("aws-cpu-000", "aws-cpu-001")
ILL = "aws-hpc-001"
SHUT_DOWN = "aws-hpc-002"
_RESUME_TIMEOUT = 12


def _impatient(config: Row) -> None:
    config["slurm"]["resume_timeout"] = _RESUME_TIMEOUT
    config["reconcile"] = {"interval_seconds": 2, "orphan_grace_seconds": 4}
    config["boots"] = {"failures_in_a_row": 2, "first_pause_seconds": 12}
    config["health"] = {"impaired_seconds": 3}


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up in which everything happens soon, and no idle node is powered down by Slurm itself."""
    with cluster("--nodes", "8", "--boot", "4") as one:
        one.shorten(ResumeTimeout=str(_RESUME_TIMEOUT), SuspendTime="300", SuspendTimeout="3")
        one.configure(_impatient)
        yield one


@dataclass(frozen=True)
class Stories:
    """hung: ids of the instances that never boot, by node. jobs: theirs.

    ill: the job on the node that falls ill. shut_down: the job whose first machine powers itself off.
    """

    hung: dict[str, str]
    jobs: list[int]
    ill: int
    shut_down: int


@pytest.fixture(scope="module")
def begun(lab: Cluster) -> Stories:
    """Submit two jobs whose machines hang, one whose machine powers itself off, one on a node whose host falls ill."""
    jobs = [lab.submit("-N1", "--exclusive", script=f"sleep 1; echo done {node}") for node in LOST]
    ill = lab.submit("-N1", f"-w{ILL}", script="sleep 2; echo healthy")
    shut_down = lab.submit("-N1", f"-w{SHUT_DOWN}", script="echo second machine")
    rows = until("they have names", lambda: lab.of_nodes([*LOST, SHUT_DOWN]), 20, lambda found: len(found) == 3)
    for row in rows:  # before they have booted
        wish = "stopped-itself" if row["node"] == SHUT_DOWN else "hung"
        lab.ask("POST", f"machines/{row['id']}", {"state": wish})
    return Stories({row["node"]: row["id"] for row in rows if row["node"] in LOST}, jobs, ill, shut_down)


@pytest.fixture(scope="module")
def impaired(lab: Cluster, begun: Stories) -> str:
    """Impair the host of the third node once that has registered; return its instance."""
    del begun
    lab.serving(ILL)
    lab.lab("instance", "impair", "--node", ILL, "--system")
    return lab.bound()[ILL]


@pytest.fixture(scope="module")
def given_up(lab: Cluster, begun: Stories, impaired: str) -> Stories:
    """Wait until Slurm has given up the nodes that hang."""
    del impaired
    until(
        "both boots have failed",
        lambda: [e for e in lab.events() if e["kind"] == "boot-failed" and e["data"]["trouble"] == "never-registered"],
        40,
        lambda events: len(events) == 2,
    )
    return begun


@pytest.fixture(scope="module")
def refused(lab: Cluster, given_up: Stories) -> int:
    """Submit a job while the group is closed; return it once it is told."""
    assert [row["state"] for row in lab.asbx("boots")["groups"] if row["group"] == "aws-cpu"] == ["closed"]
    del given_up
    job = lab.submit("-N1", "-waws-cpu-005", script="echo probed")
    until("the job is told", lambda: lab.job(job).get("AdminComment", ""), 20)
    return job


def test_a_group_whose_nodes_never_come_is_closed_and_the_job_is_told(lab: Cluster, refused: int) -> None:
    """After two failures in a row nothing is launched for it: the job hears why and when it is tried again."""
    told = lab.job(refused)["AdminComment"]
    assert told.startswith("asbx:boot-failures the last 2 instances of aws-cpu never became nodes"), told
    assert "next try" in told
    kinds = [event["kind"] for event in lab.events()]
    assert kinds.count("group-closed") == 1
    assert {row["group"]: row["closings"] for row in lab.asbx("boots")["groups"]}["aws-cpu"] >= 1


def test_an_instance_that_never_registers_is_ended_and_explained(lab: Cluster, given_up: Stories) -> None:
    """Nothing of it is left; its console, its history and its failure are there for whoever asks."""
    lab.all_gone(given_up.hung.values())
    told = lab.asbx("explain", LOST[0])
    assert told["console"]["instance"] == given_up.hung[LOST[0]]
    assert "hangs before its user data" in told["console"]["text"]
    assert [(one["instance"], one["trouble"]) for one in told["failures"]] == [
        (given_up.hung[LOST[0]], "never-registered")
    ]
    assert told["history"][0]["registered_at"] is None
    assert told["history"][0]["end_reason"] == "its node did not register within ResumeTimeout"


def test_a_good_boot_opens_the_group_and_the_jobs_finish_elsewhere(
    lab: Cluster, given_up: Stories, refused: int
) -> None:
    """One job tries; its node registers, the group opens by itself, and the jobs of the lost nodes run."""
    until("the group is open", lambda: [e["kind"] for e in lab.events()], 40, lambda kinds: "group-opened" in kinds)
    for job in given_up.jobs:  # Slurm holds what it has requeued back for two minutes
        lab.slurm("scontrol", "update", f"jobid={job}", "starttime=now")
    for job, node in zip(given_up.jobs, LOST, strict=True):
        assert lab.ended(job, 60) == "COMPLETED"
        assert lab.output(job).strip() == f"done {node}"
    assert lab.ended(refused, 60) == "COMPLETED"
    states = {row["group"]: row["state"] for row in lab.asbx("status")["boots"]}
    assert states["aws-cpu"] == "open"


def test_an_ill_node_is_left_and_then_replaced(lab: Cluster, given_up: Stories, impaired: str) -> None:
    """The job is not touched; then the instance ends and the node can be used again."""
    assert lab.ended(given_up.ill, 60) == "COMPLETED"
    assert lab.output(given_up.ill).strip() == "healthy"
    drained = [event for event in lab.events("--node", ILL) if event["kind"] == "node-drained"]
    assert len(drained) == 1
    assert f"the host status check of {impaired} fails" in drained[0]["text"]
    lab.all_gone([impaired], 40)
    until("the node is free", lambda: lab.states(ILL), 30, lambda states: states == {"IDLE+CLOUD+POWERED_DOWN"})


def test_a_machine_that_powers_itself_off_is_not_waited_for(lab: Cluster, given_up: Stories) -> None:
    """Its job is told and tried again long before ResumeTimeout, and runs on another machine."""
    (failed,) = [event for event in lab.events("--node", SHUT_DOWN) if event["kind"] == "boot-failed"]
    assert failed["data"]["trouble"] == "ended-itself"
    assert lab.ended(given_up.shut_down, 60) == "COMPLETED"
    assert lab.job(given_up.shut_down)["AdminComment"].startswith(
        f"asbx:boot-failed {failed['instance_id']} never became"
    )
    assert len(lab.of_nodes([SHUT_DOWN])) == 2
