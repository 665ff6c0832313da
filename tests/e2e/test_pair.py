"""Two controllers: the acting host dies in the middle of a launch, and the other one's daemon finishes it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster, run, until

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab with two slurmctld, two daemons and a PostgreSQL up."""
    with cluster("--nodes", "4", "--boot", "2", "--controllers", "2", "--ledger", "postgres") as one:
        one.shorten(SuspendTime="6", SuspendTimeout="3")
        yield one


def saved(lab: Cluster) -> float:
    """Return when slurmctld has last saved jobs and nodes."""
    files = [lab.root / "slurm" / name for name in ("job_state", "node_state")]
    return min(file.stat().st_mtime if file.exists() else 0 for file in files)


def role(lab: Cluster, number: int) -> str:
    """Return what the daemon of a host says it does, "" when it does not run."""
    environ = lab.environ | {"ASBX_CONFIG": str(lab.root / f"ctl{number}" / "aws-burst.yaml")}
    said = run(["asbx", "status"], environ)
    line = said.out.partition("\n")[0]
    return next((word for word in ("acting", "standby") if f"{word} since" in line), "")


def test_the_other_controller_finishes_a_launch(lab: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed with EC2's answer under way: one launch, no orphan, the job runs; then control returns, and all ends."""
    assert (role(lab, 1), role(lab, 2)) == ("acting", "standby")
    lab.ask("POST", "faults", {"action": "CreateFleet", "then": "drop-answer", "latency": 20})
    # Without srun: 22.05 forgets the addresses of a job that waits for its nodes when slurmctld restarts.
    job = lab.submit("-N3", "--exclusive", script="scontrol show hostnames")
    until("EC2 has launched", lambda: lab.of_job(job), 20, lambda rows: len(rows) == 3)
    launched = time.time()
    # Whatever changes a job makes slurmctld save it; what it has not saved would be lost with it.
    lab.slurm("scontrol", "update", f"jobid={job}", "comment=x")
    until("slurmctld has saved job and nodes", lambda: saved(lab), 20, lambda at: at > launched)
    assert lab.events("--job", str(job))[-1]["kind"] == "launch-asked", "the daemon has no answer yet"

    lab.lab("host", "kill", "1")
    died = time.monotonic()
    until("the other one works", lambda: role(lab, 2), 60, lambda said: said == "acting")
    taken = time.monotonic() - died
    assert lab.ended(job, 60) == "COMPLETED", lab.output(job)
    assert len(lab.output(job).split()) == 3
    done = time.monotonic() - died

    rows = lab.of_job(job)
    assert len(rows) == 3, "launched once"
    assert len({row["fleet"] for row in rows}) == 1
    billed = lab.billed()
    assert len({billed[row["id"]]["node"] for row in rows}) == 3

    lab.lab("host", "start", "1")
    back = time.monotonic()
    until("control returns", lambda: (role(lab, 1), role(lab, 2)), 40, lambda said: said == ("acting", "standby"))
    returned = time.monotonic() - back
    lab.all_gone({row["id"] for row in lab.instances()}, 40)
    assert lab.bound() == {}
    with capsys.disabled():
        print(  # noqa: T201  the figures of docs/how-to/two-controllers.md
            f" taken over after {taken:.1f} s, job done after {done:.1f} s, control back in {returned:.1f} s"
        )
