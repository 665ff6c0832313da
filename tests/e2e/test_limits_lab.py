"""Limits on a real Slurm: what a user sees of each, in one lab of a few seconds a job."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, run, until

pytestmark = pytest.mark.slurm


def limited(config: Row) -> None:
    """Give each case an account of its own, so that none disturbs another; stop quickly."""
    config["reconcile"]["interval_seconds"] = 1
    config["limits"] = {
        "grace_seconds": 1,
        "retry_seconds": 5,
        "rules": [
            {"name": "total", "accounts": ["total"], "max_total_cost": 0.5},
            {"name": "hourly", "accounts": ["hourly"], "max_cost_per_hour": 0.01},
            {"name": "capped", "accounts": ["capped"], "max_cost_per_hour": 0.05},
            {"name": "nodes", "accounts": ["nodes"], "max_nodes": 1},
            {"name": "hours", "accounts": ["hours"], "max_hours": 1},
            {"name": "house", "accounts": ["house"], "max_nodes_at_once": 1},
            {"name": "big", "partitions": ["hpc"], "max_nodes": 4},
            {"name": "alert", "accounts": ["alert"], "cost_alert": 0.00001},
            {"name": "stop", "accounts": ["stop"], "auto_terminate_hours": 0.0005},
            {"name": "again", "accounts": ["again"], "auto_terminate_hours": 0.0005, "when_exceeded": "requeue"},
        ],
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up with machines that boot in no time."""
    with cluster("--nodes", "12", "--boot", "0.5") as one:
        one.configure(limited)
        yield one


def sent(lab: Cluster, account: str, nodes: str, *options: str, script: str = "sleep 60") -> int:
    """Submit a job of an account to nodes of its own."""
    return lab.submit(f"--account={account}", f"-w{nodes}", "--time=5", *options, script=script)


def told(lab: Cluster, job: int, words: str, state: str) -> dict[str, str]:
    """Wait until a job is in a state and its comment says some words."""
    return until(
        f"job {job} is {state} and told {words!r}",
        lambda: lab.job(job),
        35,
        lambda one: words in one.get("AdminComment", "") and one["JobState"] == state,
    )


def test_what_a_user_sees_of_each_limit(lab: Cluster) -> None:
    """Held with the arithmetic, put off, told, stopped or requeued and held: each with the rule's name."""
    total = sent(lab, "total", "aws-cpu-000", "--time=1-0")
    hourly = sent(lab, "hourly", "aws-cpu-001")
    nodes = sent(lab, "nodes", "aws-cpu-[002-003]")
    hours = sent(lab, "hours", "aws-cpu-004", "--time=2:00:00")
    own = sent(lab, "none", "aws-cpu-005", "--comment=asbx:max-cost=0.001")
    capped = sent(lab, "capped", "aws-cpu-006")
    first = sent(lab, "house", "aws-cpu-007")
    second = sent(lab, "house", "aws-cpu-008", script="sleep 1")
    alert = sent(lab, "alert", "aws-cpu-009")
    stop = sent(lab, "stop", "aws-cpu-010")
    again = sent(lab, "again", "aws-cpu-011")
    for job, words in (
        (total, "max_total_cost 0.5 of limit 'total': 1 node(s) x "),
        (hourly, "max_cost_per_hour 0.01 of limit 'hourly': 1 node(s) x "),
        (nodes, "max_nodes 1 of limit 'nodes': the job has 2 node(s)"),
        (hours, "max_hours 1 of limit 'hours': its time limit is 2 h"),
        (own, "max_total_cost 0.001 of the job's hint asbx:max-cost: 1 node(s) x "),
    ):
        fields = told(lab, job, words, "PENDING")
        assert "asbx:limit-refused" in fields["AdminComment"]
        until("held", lambda job=job: lab.job(job), 20, lambda one: one["Priority"] == "0")  # type: ignore[misc]
        assert lab.of_job(job) == []
    fields = told(lab, second, "max_nodes_at_once 1 of limit 'house': 1 of 1 node(s) in use", "PENDING")
    assert fields["Priority"] != "0"
    told(lab, alert, "cost_alert 0.00001 of limit 'alert': it has cost", "RUNNING")
    told(lab, stop, "of limit 'stop': it has run for", "CANCELLED")
    told(lab, again, "it was requeued and held", "PENDING")
    until("held", lambda: lab.job(again), 20, lambda one: one["Priority"] == "0")
    kinds = [row["kind"] for row in lab.events("--job", str(stop))]
    assert kinds.index("limit-warned") < kinds.index("limit-stopped")
    (bought,) = lab.of_job(capped)
    assert bought["market"] == "spot"
    (ladder,) = [row for row in lab.events("--job", str(capped)) if row["kind"] == "ladder-planned"]
    assert "(on-demand)" in ladder["text"]
    assert "max_cost_per_hour 0.05 of limit 'capped': 1 node(s) x 0.085 USD/h = 0.085 USD/h" in ladder["text"]
    lab.slurm("scancel", str(alert), str(capped), str(first))
    lab.slurm("scontrol", "update", "nodename=aws-cpu-007", "state=power_down")
    until("the house had room for the second", lambda: lab.of_job(second), 40)


def test_whoever_calls_by_hand_sees_the_exit_status_and_the_room(lab: Cluster) -> None:
    """`--wait` and `--dry-run` end with 6 and the arithmetic; `asbx limits` shows use and headroom."""
    plan = lab.out / "plan.json"
    plan.write_text(json.dumps({"should_burst": True, "cost_constraints": {"max_cost_per_hour": 0.01}}))
    command = ["asbx", "resume", "aws-cpu-005", f"--execution-plan={plan}"]
    real = run([*command, "--wait"], lab.environ)
    assert (real.status, "limit-refused" in real.err) == (6, True), real
    plan.write_text(json.dumps({"should_burst": True, "instance_specification": {"instance_count": 5}}))
    many = ["asbx", "resume", "hpc-efa-[000-004]", f"--execution-plan={plan}"]
    said = run([*many, "--dry-run"], lab.environ)
    assert said.status == 6, said
    assert "max_nodes 4 of limit 'big': the job has 5 node(s)" in said.err
    (house,) = [row for row in lab.asbx("limits")["limits"] if row["rule"] == "house"]
    assert (house["limit"], house["used"], house["headroom"]) == ("max_nodes_at_once", "1", "0")
