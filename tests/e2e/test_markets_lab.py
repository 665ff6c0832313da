"""Markets on a real Slurm: a job that waits for spot and is then on demand, a gang whose rank 0 is on demand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, group_in, until

pytestmark = pytest.mark.slurm

TYPES = ("c7i.large", "c6i.large", "m7i.large")
ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")


def patient(config: Row) -> None:
    """Wait six seconds for spot, and keep rank 0 of gangs on demand."""
    config["backoff"] = {"first_seconds": 5, "longest_seconds": 5}
    group_in(config, "cpu")["market"] = {"fallback_after_seconds": 6, "critical_nodes": 1}


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up with machines that boot in no time."""
    with cluster("--nodes", "4", "--boot", "0.5") as one:
        one.configure(patient)
        yield one


def spot(lab: Cluster, capacity: int | None) -> None:
    """Set what EC2 has on spot; None: without limit."""
    for kind, zone in product(TYPES, ZONES):
        lab.ask("POST", "pools", {"type": kind, "zone": zone, "market": "spot", "capacity": capacity})


def test_rank_0_is_on_demand_and_a_job_waits_for_spot_no_longer_than_told(lab: Cluster) -> None:
    """The gang's first host is the on-demand instance; without spot the single job is told until when it waits."""
    gang = lab.submit("-N3", "--exclusive", "-waws-cpu-[000-002]", script="srun -l printenv SLURMD_NODENAME")
    until("the gang is launched", lab.bound, 40, lambda bound: len(bound) == 3)
    spot(lab, 0)
    job = lab.submit("-waws-cpu-003", script="sleep 1")
    rows = {row["id"]: row for row in lab.of_job(gang)}
    market_of = {node: rows[one]["market"] for node, one in lab.bound().items() if one in rows}
    assert market_of == {"aws-cpu-000": "on-demand", "aws-cpu-001": "spot", "aws-cpu-002": "spot"}
    assert len({(row["zone"], row["type"], row["placement_group"]) for row in rows.values()}) == 1

    told = until("the job is told", lambda: lab.job(job).get("AdminComment", ""), 20, lambda text: "asbx:" in text)
    assert "waits for spot until " in told
    assert told.endswith("then on-demand is allowed")
    assert "waits for spot until " in lab.asbx("explain", str(job))["now"]["text"]
    assert [row for row in lab.instances() if str(job) in row["job"].split(",")] == []
    assert lab.ended(gang, 40) == "COMPLETED"
    assert "0: aws-cpu-000" in lab.output(gang)
    assert lab.ended(job, 60) == "COMPLETED"
    assert [row["market"] for row in lab.instances() if str(job) in row["job"].split(",")] == ["on-demand"]
    kinds = [event["data"].get("market") for event in lab.events("--job", str(job)) if event["kind"] == "launch-asked"]
    assert kinds[0] == "spot"
    assert kinds[-1] == "on-demand"
