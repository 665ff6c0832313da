"""The ledger's file is destroyed under a running job: nothing starts as if nothing were there, and nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster, run

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up."""
    with cluster("--nodes", "4", "--boot", "2") as one:
        one.shorten(SuspendTime="6", SuspendTimeout="3")
        yield one


def test_a_destroyed_ledger_is_rebuilt(lab: Cluster) -> None:
    """Refused, rebuilt from tags and Slurm, and from then on as before: the job runs through and all ends with it."""
    nodes = "aws-cpu-[000-001]"
    job = lab.submit("-N2", "--exclusive", f"-w{nodes}", script="sleep 2")
    lab.serving(nodes)
    before = lab.bound()
    lab.lab("daemon", "kill")
    ledger = lab.root / "state" / "ledger.db"
    for path in (ledger, ledger.with_name("ledger.db-wal")):
        path.write_bytes(b"\xff" * 20_000)

    started = run(["asbx", "lab", "daemon", "start", "--state-dir", str(lab.root)], lab.environ)
    assert started.status != 0
    assert "ledger-corrupt" in (lab.root / "log" / "daemon.out").read_text(encoding="utf-8")
    assert run(["asbx", "ledger", "check"], lab.environ).status == 10

    rehearsed = lab.asbx("ledger", "rebuild", "--dry-run")
    assert rehearsed["done"] is False
    assert {one["node"]: one["id"] for one in rehearsed["instances"] if one["fate"] == "bind"} == before
    ledger.unlink()  # somebody tidies up: a daemon that starts now must not begin with nothing
    ledger.with_name("ledger.db-wal").unlink(missing_ok=True)
    assert run(["asbx", "lab", "daemon", "start", "--state-dir", str(lab.root)], lab.environ).status != 0
    assert "ledger-lost" in (lab.root / "log" / "daemon.out").read_text(encoding="utf-8")

    rebuilt = json.loads(run(["asbx", "ledger", "rebuild", "--json"], lab.environ).out)
    assert rebuilt["done"] is True
    assert lab.bound() == before
    lab.lab("daemon", "start")
    assert lab.ended(job, 60) == "COMPLETED", lab.output(job)
    lab.all_gone({row["id"] for row in lab.instances()}, 40)
    assert lab.bound() == {}
