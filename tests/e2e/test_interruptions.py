"""EC2 takes spot instances back under running jobs: a real Slurm, EC2's own messages, an MPI program on eight nodes.

The second story runs while the gang of the first comes up again: Slurm looks at new nodes every thirty seconds only.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, run, until

import asbx.lab

pytestmark = pytest.mark.slurm

SPOT = "--comment=asbx:market=spot"
GANG, ALONE = "aws-cpu-[000-008]", "aws-cpu-009"
TAKEN = "aws-cpu-003"


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up with a spare node beside those of the gang, and one more."""
    with cluster("--nodes", "10", "--boot", "2") as one:
        yield one


@pytest.fixture(scope="module")
def jobs(lab: Cluster) -> tuple[int, int]:
    """Run an MPI job on eight spot nodes and a job on one; at their first try they are busy until they are moved."""
    ring = lab.out / "ring"
    made = run(["mpicc", "-O1", "-o", ring, Path(asbx.lab.__file__).with_name("ring.c")], lab.environ)
    assert made.status == 0, made.err
    first = '[ "${SLURM_RESTART_COUNT:-0}" = 0 ]'
    alone = lab.submit("-N1", SPOT, "--exclusive", f"-w{ALONE}", script=f"echo began; {first} && sleep 600; true")
    gang = lab.submit(
        "-N8", SPOT, "--exclusive", f"-x{ALONE},aws-hpc-[001-016]",
        script=f"echo began; {first} && srun sleep 600; srun --mpi=pmix {ring}",
    )  # fmt: skip
    for job in (gang, alone):
        until(f"job {job} runs", lambda job=job: lab.output(job), 60, lambda text: "began" in text)  # type: ignore[misc]
    return gang, alone


def said(lab: Cluster, kind: str, node: str) -> list[Row]:
    """Return the product's events of a kind about a node."""
    return [row for row in lab.events("--node", node) if row["kind"] == kind]


def end_of(lab: Cluster, instance: str) -> str:
    """Return why the ledger says that an instance ended."""
    with contextlib.closing(sqlite3.connect(f"file:{lab.root}/state/ledger.db?mode=ro", uri=True)) as ledger:
        query = "SELECT end_reason FROM instances WHERE instance_id = ?"
        return str(ledger.execute(query, [instance]).fetchone()[0])


def test_a_warning_moves_an_mpi_job_as_a_whole(lab: Cluster, jobs: tuple[int, int]) -> None:
    """Drained within ten seconds of the message, the job requeued once, the instance ended, the pool known as short."""
    gang, _ = jobs
    instance = lab.bound()[TAKEN]
    asked = time.monotonic()
    lab.lab("spot", "interrupt", "--node", TAKEN)
    until(f"{TAKEN} is drained", lambda: lab.states(TAKEN), 10, lambda states: "DRAIN" in "".join(states))
    seen = time.monotonic() - asked
    until("the job is requeued", lambda: lab.job(gang), 20, lambda job: job.get("Restarts") == "1")
    (event,) = said(lab, "spot-interrupted", TAKEN)
    sys.stdout.write(
        f"\ndrained {event['data']['drained_s']} s after the message came, {seen:.1f} s after EC2 announced it,"
        f" message {event['data']['age_s']} s old\n"
    )
    assert event["data"]["drained_s"] + max(event["data"]["age_s"], 0) <= 10
    assert lab.job(gang)["AdminComment"].startswith(f"asbx:spot-interruption {TAKEN} ({instance})")
    lab.all_gone([instance], 30)
    assert end_of(lab, instance) == "spot reclaimed"
    short = [row["key"] for row in lab.asbx("status")["shortages"]]
    (taken,) = [row for row in lab.instances() if row["id"] == instance]
    assert f"capacity/spot/{taken['type']}/{taken['zone']}" in short
    # Not two minutes, as Slurm itself would have it wait.
    until("it starts again", lambda: lab.job_state(gang), 20, lambda state: state in {"CONFIGURING", "RUNNING"})


def test_without_a_queue_the_node_drains_itself(lab: Cluster, jobs: tuple[int, int]) -> None:
    """Its watcher reads its metadata; the next sweep finds the mark and moves the job."""
    _, alone = jobs
    nodes = until("the gang's nodes are bound", lambda: set(lab.bound()), 20, lambda names: len(names) == 9)
    lab.configure(lambda config: config["interruptions"].update(queue=""))
    until(
        "the daemon says so",
        lambda: lab.asbx("status")["interruptions"],
        10,
        lambda state: state == {**(state or {}), "queue": ""},
    )
    instance = lab.bound()[ALONE]
    began = time.monotonic()
    lab.lab("spot", "interrupt", "--node", ALONE)
    until(f"{ALONE} drains itself", lambda: lab.states(ALONE), 12, lambda states: "DRAIN" in "".join(states))
    sys.stdout.write(f"\ndrained itself after {time.monotonic() - began:.1f} s\n")
    assert f"drained: asbx:spot-interruption {instance}" in lab.console(instance)
    until("the job is requeued", lambda: lab.job(alone), 20, lambda job: job.get("Restarts") == "1")
    lab.all_gone([instance], 30)
    assert end_of(lab, instance) == "spot reclaimed"
    assert nodes - {ALONE} <= set(lab.bound())


def test_the_gang_completes_and_the_books_are_right(lab: Cluster, jobs: tuple[int, int]) -> None:
    """Eight ranks on eight nodes, requeued once; only what was taken was launched anew, and what ended is closed."""
    gang, alone = jobs
    lab.slurm("scancel", str(alone))
    assert lab.ended(gang) == "COMPLETED", lab.output(gang)
    assert "closed, the token was passed on 8 times by 8 ranks" in lab.output(gang)
    ranks = set(re.findall(r"on (aws-cpu-\d+)", lab.output(gang)))
    assert len(ranks) == 8
    assert TAKEN not in ranks
    assert lab.job(gang)["Restarts"] == "1"
    assert len(lab.of_job(gang)) == 8 + 1
    billed = lab.billed()
    assert billed.keys() == {row["id"] for row in lab.instances()}
    assert not any(billed[row["id"]]["running"] for row in lab.instances() if row["state"] == "terminated")
    assert "DRAIN" not in "".join(lab.states(f"{GANG},{ALONE}"))
