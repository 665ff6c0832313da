"""`asbx submit` and contrib/job_submit.lua on a real slurmctld: as an ordinary user, from the line to the nodes."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.cluster import Cluster, Row, Said, cluster, run, until

pytestmark = pytest.mark.slurm

ASBX = Path(sys.executable).parent / "asbx"
LUA = Path(__file__).parents[2] / "contrib" / "job_submit.lua"
NOBODY = 65534
MPI = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --exclusive --time=10 --output=%j.out
srun --mpi=pmix ./ocean
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up whose slurmctld looks at hints, with a folder any user may work in; no machine boots."""
    with cluster("--nodes", "6", "--no-machines") as one:
        file = one.root / "aws-burst.yaml"  # the policy matters to those who submit; the daemon need not read it again
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        config["policy"] = {"rules": [{"name": "three", "max_nodes": 3}]}
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        shutil.copy(LUA, one.root / "job_submit.lua")
        conf = one.root / "slurm.conf"
        conf.write_text(f"JobSubmitPlugins=lua\n{conf.read_text(encoding='utf-8')}", encoding="utf-8")
        one.slurm("scontrol", "reconfigure")
        one.root.chmod(0o755)
        one.out.chmod(0o777)
        (one.out / "job.sh").write_text(MPI, encoding="utf-8")
        yield one


@pytest.fixture(scope="module")
def submitted(lab: Cluster) -> Row:
    """Submit the MPI job, which is launched while other tests look at what is refused."""
    said = submit(lab, "--json", "-w", "aws-cpu-[000-001]", "job.sh")
    assert said.status == 0, said
    found: Row = json.loads(said.out)
    return found


def become() -> tuple[list[str], str]:
    """Return (words that make one an ordinary user, their name); no words where that one cannot run our programs."""
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    if (
        os.geteuid() == 0
        and not subprocess.run([*words, ASBX, "--version"], capture_output=True, check=False).returncode
    ):
        return words, pwd.getpwuid(NOBODY).pw_name
    return [], pwd.getpwuid(os.geteuid()).pw_name


def submit(lab: Cluster, *words: str) -> Said:
    """Run `asbx submit` as an ordinary user."""
    return run([*become()[0], ASBX, "submit", *words], lab.environ, cwd=lab.out)


def jobs(lab: Cluster) -> list[str]:
    """Return the ids of the jobs there are."""
    return lab.slurm("squeue", "--noheader", "--states=all", "--format=%i").split()


def test_nothing_is_submitted_that_should_not_be(lab: Cluster, submitted: Row) -> None:
    """A dry run, a job the policy refuses, a limit below the estimate, and a hint that slurmctld's plugin refuses."""
    dry = submit(lab, "--dry-run", "job.sh")
    assert dry.status == 0, dry
    assert "mpi" in dry.out
    assert "USD/h x (0.025 h boot + 0.167 h time limit + 0.00278 h idle) = " in dry.out
    assert dry.out.endswith("nothing was submitted\n")
    many = submit(lab, "-N", "4", "job.sh")
    assert many.status == 4, many
    assert "nodes '4' is not allowed by rule 'three': max_nodes 3" in many.err
    dear = submit(lab, "--comment=asbx:max-cost=0.01", "job.sh")
    assert dear.status == 6, dear
    assert "0.01 of the job's hint asbx:max-cost: 2 node(s) x " in dear.err
    slip = submit(lab, "--comment=asbx:market=spott", "job.sh")
    assert slip.status == 1, slip
    assert "asbx: market=spott is not understood; market is one of: spot, on-demand" in slip.err
    assert jobs(lab) == [str(submitted["job_id"])]
    assert [one.stem for one in (lab.root / "spool" / "plans").iterdir()] == [submitted["plan"]["name"]]


def test_a_job_bursts_by_the_plan_that_was_attached(lab: Cluster, submitted: Row) -> None:
    """An ordinary user's MPI job: its launch names the plan's file and whose it is, and its nodes come as one."""
    job, name = submitted["job_id"], submitted["plan"]["name"]
    assert lab.job(job)["Comment"] == f"asbx:plan={name}"
    user = become()[1]
    whose = f"of user {user}" if become()[0] else "of an administrator"
    (event,) = until(
        f"job {job} is planned",
        lambda: [row for row in lab.events("--job", str(job)) if row["kind"] == "ladder-planned"],
        30,
    )
    assert event["data"]["plan"]["origin"] == f"plan file {name}.json {whose}"
    sources = {row["field"]: row["source"] for row in event["data"]["filled"]["aws-cpu"]}
    assert sources["launch"] == "plan: mpi_configuration.requires_gang_scheduling"
    assert sources["markets"] == "plan: instance_specification.purchasing_option"
    rows = until(
        "its nodes are bound", lambda: lab.of_job(job), 20, lambda rows: [row["node"] for row in rows if row["node"]]
    )
    assert {row["node"] for row in rows} == {"aws-cpu-000", "aws-cpu-001"}
    assert len({row["placement_group"] for row in rows} - {None, ""}) == 1


def test_hints_are_spelled_by_the_controller(lab: Cluster) -> None:
    """What a user wrote with sbatch itself is in the queue as the product reads it."""
    job = lab.submit("--hold", "--comment=mine ASBX:Market=OnDemand,efa=no", script="hostname")
    comment = lab.slurm("squeue", "--noheader", "--jobs", str(job), "--Format=comment:80").strip()
    assert comment == "mine asbx:market=on-demand,efa=disabled"
    log = (lab.root / "log" / "slurmctld.log").read_text(encoding="utf-8", errors="replace")
    assert "job_submit/lua" not in "\n".join(line for line in log.splitlines() if "error" in line)
    lab.slurm("scancel", str(job))
