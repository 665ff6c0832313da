"""What else starts anew in the middle of a resume: slurmctld, the daemon. Nodes come, once each.

A daemon that is killed has tests of its own (test_crash.py). A slurmctld that is killed has lost jobs it had not saved.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster, until

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up; a launch takes a second, so that something can happen in its middle."""
    with cluster("--nodes", "20", "--boot", "2") as one:
        yield one


def _daemon(lab: Cluster, word: str) -> None:
    lab.lab("daemon", word)
    lab.lab("daemon", "start")


CASES: dict[str, Callable[[Cluster], object]] = {
    "slurmctld is restarted": lambda lab: lab.restart_slurmctld(signal.SIGTERM),
    "the daemon is restarted": lambda lab: _daemon(lab, "stop"),
}


@pytest.mark.parametrize("case", CASES)
def test_in_the_middle_of_a_resume(lab: Cluster, case: str) -> None:
    """It happens while EC2 launches: the job completes on nodes that were launched once, and was not requeued.

    A slurmctld of 22.05.8 that starts anew forgets the addresses it had for a job whose nodes boot: its steps then
    find nodes only where names resolve, which they do not in a lab. So that job has no step.
    """
    number = list(CASES).index(case)
    before = lab.ask("GET", "calls").get("CreateFleet", 0)
    lab.ask("POST", "faults", {"action": "CreateFleet", "latency": 1.0})
    nodes = f"aws-cpu-[{2 * number:03d}-{2 * number + 1:03d}]"
    job = lab.submit(
        "-N2", "--exclusive", f"-w{nodes}", script="hostname" if case.startswith("slurmctld") else "srun hostname"
    )
    until("EC2 is asked", lambda: lab.ask("GET", "calls").get("CreateFleet", 0), 20, lambda calls: calls > before)
    threading.Event().wait(0.3 * (number % 3))
    CASES[case](lab)

    assert lab.ended(job, 60) == "COMPLETED", lab.output(job)
    billed = lab.billed()
    found = Counter(billed[row["id"]]["node"] for row in lab.of_job(job))
    assert len(found) == 2, found
    assert set(found.values()) == {1}, f"launched twice: {found}"
    assert lab.job(job).get("Restarts") == "0"
