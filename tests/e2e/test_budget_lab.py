"""A budget on a real Slurm: a job it has no room for is held and told why; once it may spend more, the job runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, until

pytestmark = pytest.mark.slurm


def with_budget(settings: Row) -> None:
    """Let everybody on the partition spend ten cents a month together."""
    settings["budgets"] = {"rules": [{"name": "course", "partitions": ["aws"], "limit_usd": "0.10"}]}


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up with a budget."""
    with cluster("--nodes", "3", "--boot", "2") as one:
        one.configure(with_budget)
        yield one


def test_a_job_over_budget_is_held_told_why_and_runs_after_a_grant(lab: Cluster) -> None:
    """EC2 is not asked before; then the money is held, with the arithmetic."""
    job = lab.submit("-N2", "-t", "4:00:00", script="srun hostname")
    until("the job is held", lambda: lab.job(job), 30, lambda one: "JobHeld" in one.get("Reason", ""))
    told = lab.job(job)["AdminComment"]
    assert "asbx:budget-exceeded budget course" in told
    assert "left of 0.10: 0.00 spent, 0.00 held for other jobs" in told
    assert "4 h time limit" in told
    assert lab.of_job(job) == []
    assert lab.asbx("budget", "holds")["holds"] == []

    assert lab.asbx("budget", "grant", "course", "25")["limit_usd"] == "25.10"
    lab.slurm("scontrol", "release", str(job))
    # Slurm starts what was requeued no sooner than two minutes later, unless it is told.
    lab.slurm("scontrol", "update", f"jobid={job}", "starttime=now")
    assert lab.ended(job) == "COMPLETED"
    (hold,) = lab.asbx("budget", "holds")["holds"]
    assert (hold["job_id"], hold["budget"]) == (job, "course")
    assert 0 < float(hold["held_usd"]) < 25
    (course,) = lab.asbx("budget")["budgets"]
    assert course["held_usd"] == hold["held_usd"]
    kinds = [event["kind"] for event in lab.events("--job", str(job))]
    assert "budget-refused" in kinds
    assert kinds.index("budget-refused") < kinds.index("budget-held") < kinds.index("launch-asked")
