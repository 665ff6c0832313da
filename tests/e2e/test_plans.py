"""Execution plans in the lab: the advisor's own, those that stop a job, and what a plain MPI script amounts to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, Row, Said, cluster, group_in, run, until

from asbx.model.hostlist import expand

pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent
PLANS = HERE.parent / "recorded" / "plans"
MPI_SCRIPT = """#!/bin/bash
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=2
#SBATCH --exclusive
module load openmpi
mpirun ./ocean input.nml
"""


def best_effort(config: Row) -> None:
    """Launch jobs of several nodes node by node, unless somebody knows better."""
    group_in(config, "cpu")["strategy"] = "best-effort"


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab up whose machines never boot (what is launched is the point), with a stand-in for the advisor."""
    with cluster("--nodes", "8", "--no-machines") as one:
        one.configure(best_effort)
        tools = one.root / "tools"
        tools.mkdir()
        shutil.copy(HERE / "asba", tools / "asba")
        one.environ["PATH"] = f"{tools}:{one.environ['PATH']}"
        (one.out / "job.sbatch").write_text(MPI_SCRIPT, encoding="utf-8")
        yield one


def typed(lab: Cluster, line: str) -> Said:
    """Run a command line in a shell, inside `asbx lab env`."""
    return run(["/bin/bash", "-c", line], lab.environ, cwd=lab.out)


def planned(lab: Cluster, job: int) -> Row:
    """Return what was said when the launch of a job was planned."""
    found = until(f"job {job} is planned", lambda: lab.events("--job", str(job)), 20, _ladder)
    return _ladder(found)[0]


def _ladder(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "ladder-planned"]


def held(lab: Cluster, job: int) -> str:
    """Wait until a job is held and return what it was told."""
    fields = until(
        f"job {job} is held",
        lambda: lab.job(job),
        40,
        lambda one: one["JobState"] == "PENDING" and "AdminComment" in one and one["Priority"] == "0",
    )
    return fields["AdminComment"]


def test_the_advisors_lines_burst(lab: Cluster) -> None:
    """`asba analyze` and the resume that takes its plan: sixteen nodes with EFA in one group, and who said what."""
    lab.environ["ASBA_REPLAYS"] = str(PLANS / "wrf.json")
    said = typed(
        lab,
        "asba analyze job.sbatch --format=execution-plan --output=plan.json && "
        "aws-slurm-burst-resume aws-hpc-[001-016] --execution-plan=plan.json",
    )
    assert said.status == 0, said
    rows = until("launched", lambda: lab.of_nodes(expand("aws-hpc-[001-016]")), 30, lambda rows: len(rows) == 16)
    assert len({(row["type"], row["subnet"], row["placement_group"]) for row in rows}) == 1
    assert {row["market"] for row in rows} == {"on-demand"}
    event = _ladder(lab.events())[-1]
    filled = {row["field"]: row["source"] for row in event["data"]["filled"]["aws-hpc"]}
    assert filled["markets"] == "plan: instance_specification.purchasing_option"
    assert filled["subnets"] == "node group: subnet_ids"
    assert event["data"]["plan"]["dialect"] == "real"


def test_every_recorded_plan_is_executed(lab: Cluster) -> None:
    """What the advisor really wrote is accepted by the dry run, which tells who said what, and by the real one."""
    nodes = {"mpi-job": "[000-003]", "gpu_training": "[004-005]", "single": "006"}
    lines = [f"aws-slurm-burst-resume hpc-efa-{at} --execution-plan={PLANS / n}.json" for n, at in nodes.items()]
    for line in lines:
        dry = typed(lab, f"{line} --dry-run --json")
        assert dry.status == 0, dry
        (launch,) = json.loads(dry.out)["launches"]
        assert {row["source"].partition(":")[0] for row in launch["filled"]} >= {"plan", "node group"}
    for line in lines:
        real = typed(lab, line)
        assert real.status == 0, real
    until("all are launched", lambda: lab.of_nodes(expand("hpc-efa-[000-006]")), 20, lambda rows: len(rows) == 7)


def test_a_plan_not_to_burst_stops_its_job_only(lab: Cluster) -> None:
    """The plan that lies under the job's id: nothing is launched for it, it is held and told, and its node is free."""
    job = lab.submit("-H", "-waws-cpu-000", script="hostname")
    shutil.copy(PLANS / "blast-idle.json", lab.root / "spool" / "plans" / f"{job}.json")
    lab.slurm("scontrol", "release", str(job))
    assert "plan-no-burst" in held(lab, job)
    assert lab.of_job(job) == []


def test_a_plan_that_asks_for_more_is_refused_by_field_value_and_rule(lab: Cluster) -> None:
    """User data in a plan the job names: the job is held, and its comment says what of it is not allowed by what."""
    plan = {"should_burst": True, "instance_specification": {"user_data": "#!/bin/sh", "subnet_ids": ["subnet-evil"]}}
    (lab.root / "spool" / "plans" / "greedy-one.json").write_text(json.dumps(plan), encoding="utf-8")
    job = lab.submit("-waws-cpu-001", "--comment=asbx:plan=greedy-one", script="hostname")
    told = held(lab, job)
    assert "plan-refused" in told
    assert "instance_specification.subnet_ids" in told
    assert "subnet-evil" in told
    assert "node group aws-cpu" in told
    assert lab.of_job(job) == []


def test_a_plain_mpi_script_is_a_gang(lab: Cluster) -> None:
    """No plan, no hint, and a group that launches node by node: the script says MPI, so the nodes come as one."""
    job = int(
        lab.slurm("sbatch", "--parsable", "--chdir", str(lab.out), "-waws-cpu-[002-004]", str(lab.out / "job.sbatch"))
    )
    event = planned(lab, job)
    assert "its script: mpi" in event["text"]
    assert "mpirun starts the program" in event["text"]
    filled = {row["field"]: row for row in event["data"]["filled"]["aws-cpu"]}
    assert filled["launch"] == {
        "field": "launch",
        "value": "all nodes or none, one zone, one type",
        "source": "analyzer",
    }
    assert filled["placement"] == {"field": "placement", "value": "cluster", "source": "analyzer"}
    rows = until("launched", lambda: lab.of_job(job), 20, lambda rows: len(rows) == 3)
    assert len({row["placement_group"] for row in rows} - {None, ""}) == 1
    assert len({row["zone"] for row in rows}) == 1
    page = until(
        "it boots", lambda: typed(lab, f"asbx explain {job}").out, 20, lambda out: "it is booting: 0 of 3" in out
    )
    for said_of_it in ("mpirun starts the program", "placement: cluster (analyzer)", "one zone, "):
        assert said_of_it in page
    lab.slurm("scancel", str(job))
    ended = until("it is over", lambda: lab.asbx("explain", str(job)), 20, lambda one: one["now"]["word"] == "over")
    assert ended["job"]["state"] == "CANCELLED"
    farm = lab.submit("-N2", "--exclusive", "-waws-cpu-[005-006]", script="srun -n1 ./one & srun -n1 ./two & wait")
    said = planned(lab, farm)
    assert "mpi" not in said["text"]
    sources = {row["field"]: row["source"] for row in said["data"]["filled"]["aws-cpu"]}
    assert sources["launch"] == "node group: strategy"
