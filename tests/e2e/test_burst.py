"""From sbatch to billing on a real Slurm: what is launched, for whom, under which name, and that all of it ends.

The jobs of this file run side by side in one lab, each on nodes of its own, so that they wait for boots and for Slurm's
half-minute checks together.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from tests.e2e.cluster import Cluster, Row, cluster, until

from asbx import lab as lab_package
from asbx.model.hostlist import expand

pytestmark = pytest.mark.slurm

RING = "aws-cpu-[000-003]"
ARRAY = "aws-cpu-[004-009]"
SHARED = "aws-cpu-[010-011]"
THREE_UP, FIVE = "aws-cpu-[012-014]", "aws-cpu-[012-016]"
TWO_GROUPS = "aws-cpu-017,aws-hpc-003"
MANUAL = "aws-cpu-[018-019]"
_NODES = 20

_SAMPLE = re.compile(r"(?m)^([a-z0-9_]+)(\{[^}]*\})? (\S+)$")
# Says on which emulated machine and under which node name a task runs: the machine is found among its forefathers.
_WHO = """\
import os, pathlib, re
pid, machine = os.getpid(), ""
while pid > 1 and not machine:
    words = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    found = re.search(r"/machines/(i-[0-9a-f]+)/", words)
    machine = found[1] if found else ""
    pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
print("who", os.environ["SLURMD_NODENAME"], machine, flush=True)
"""


@dataclass(frozen=True)
class Jobs:
    """Ids of the jobs that run side by side. array: that of its first task's array."""

    ring: int
    array: int
    shared: tuple[int, int]
    three: int
    five: int
    groups: int


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    """Keep a lab with a daemon up."""
    with cluster("--nodes", str(_NODES), "--boot", "2") as one:
        one.shorten(SuspendTime="6", SuspendTimeout="3")
        (one.root / "who.py").write_text(_WHO, encoding="utf-8")
        yield one


@pytest.fixture(scope="module")
def jobs(lab: Cluster) -> Jobs:
    """Submit everything at once."""
    ring = lab.submit("-N4", "--ntasks-per-node=1", f"-w{RING}", "--exclusive", "-Aocean", script=_ring_script(lab))
    elsewhere = f"{RING},{SHARED},{FIVE},{TWO_GROUPS},{MANUAL},aws-hpc-[001-016]"
    array = lab.submit("-N1", "-c2", "--array=1-6", f"-x{elsewhere}", script=_who(lab))
    shared = tuple(
        lab.submit("-N2", "-n2", "-c1", f"-w{SHARED}", "--hold", script=f"srun {_who(lab)}") for _ in range(2)
    )
    lab.slurm("scontrol", "release", ",".join(map(str, shared)))
    three = lab.submit("-N3", "-n3", "-c1", f"-w{THREE_UP}", script=f"srun {_who(lab)}")
    groups = lab.submit("-N2", "-n2", f"-w{TWO_GROUPS}", script=f"srun {_who(lab)}")
    # The three nodes are held by a job that is not through yet; a second job takes their other CPUs and two more nodes.
    lab.serving(THREE_UP)
    five = lab.submit("-N5", "-n5", "-c1", f"-w{FIVE}", script=f"srun {_who(lab)}")
    return Jobs(ring, array, (shared[0], shared[1]), three, five, groups)


def _who(lab: Cluster) -> str:
    return f"python3 {shlex.quote(str(lab.root / 'who.py'))}"


def _ring_script(lab: Cluster) -> str:
    source = Path(lab_package.__file__).with_name("ring.c")
    program = lab.root / "ring"
    mpicc = shutil.which("mpicc")
    assert mpicc, "Open MPI's compiler is not installed"
    subprocess.run([mpicc, "-o", str(program), str(source)], check=True)
    return f"srun --mpi=pmix {shlex.quote(str(program))} && srun {_who(lab)}"


def _told(lab: Cluster, job: int) -> dict[str, str]:
    """Return node -> instance id, as the job's own tasks found them."""
    return dict(re.findall(r"who (\S+) (\S+)", lab.output(job)))


def _names(rows: list[Row]) -> list[str]:
    return sorted(row["node"] for row in rows)


def test_mpi_ring_runs_on_instances_that_bear_the_right_names(lab: Cluster, jobs: Jobs) -> None:
    """Four ranks on four nodes; every node name is served by the very instance that Slurm and EC2 hold for it."""
    nodes = lab.serving(RING)
    rows = {row["node"]: row for row in lab.of_job(jobs.ring)}
    assert sorted(rows) == list(expand(RING)), "one instance for each node, and no other"
    bound = lab.bound()

    assert lab.ended(jobs.ring) == "COMPLETED", lab.output(jobs.ring)

    lines = [line for line in lab.output(jobs.ring).splitlines() if line.startswith("ring:")]
    assert [line.split()[-1] for line in lines[:4]] == list(expand(RING)), lines
    assert lines[4].startswith("ring: closed"), lines
    ours = {node: row["id"] for node, row in rows.items()}
    assert _told(lab, jobs.ring) == ours, "the tasks' own view of name and machine"
    assert {node: one for node, one in bound.items() if node in ours} == ours, "the ledger's view"
    assert {n: f["NodeAddr"] for n, f in nodes.items()} == {n: row["private_ip"] for n, row in rows.items()}


def test_every_instance_says_whose_it_is(lab: Cluster, jobs: Jobs) -> None:
    """All tags of the contract are on each instance of the ring, and the fleet was one call."""
    rows = until("tags are set", lambda: lab.of_job(jobs.ring), 30, lambda rows: all("Name" in r["tags"] for r in rows))
    cluster_name = lab.slurm("scontrol", "show", "config").split("ClusterName")[1].split()[1]
    user = lab.job(jobs.ring)["UserId"].split("(")[0]
    for row in rows:
        tags = row["tags"]
        assert tags.pop("asbx:intent")
        assert tags.pop("asbx:gang") == row["gang"] != ""
        assert {key: value for key, value in tags.items() if not key.startswith(("aws:", "asbx:nodes"))} == {
            "asbx:cluster": cluster_name,
            "asbx:partition": "aws",
            "asbx:nodegroup": "cpu",
            "asbx:job": str(jobs.ring),
            "asbx:user": user,
            "asbx:account": "ocean",
            "asbx:node": row["node"],
            "Name": row["node"],
            "ManagedBy": "aws-slurm-burst",
        }
    assert len({row["fleet"] for row in rows}) == 1
    assert len({row["reservation"] for row in rows}) == 1, "one pool, so that MPI ranks are near each other"


def test_array_tasks_get_a_node_each(lab: Cluster, jobs: Jobs) -> None:
    """Six tasks: six instances, and each bears the id of its own task's job."""
    text = until(
        "the array is placed",
        lambda: lab.slurm("squeue", "-h", "--array", f"-j{jobs.array}", "-tall", "-o%A %N"),
        60,
        lambda text: len(re.findall(r"aws-cpu-\d+", text)) == 6,
    )
    task_of = {node: job for job, node in (line.split() for line in text.splitlines())}
    assert sorted(task_of) == list(expand(ARRAY))

    rows = until(
        "each instance names its own task's job",
        lambda: lab.of_nodes(task_of),
        30,
        lambda rows: {row["node"]: row["job"] for row in rows} == task_of,
    )

    assert len(rows) == 6
    for node, job in task_of.items():
        assert lab.ended(int(job)) == "COMPLETED"
        assert _told(lab, jobs.array if not lab.output(int(job)) else int(job)) == {
            node: next(row["id"] for row in rows if row["node"] == node)
        }
    jobs_of = {row["node"]: row["jobs"] for row in lab.asbx("cost")["instances"] if row["node"] in task_of}
    assert jobs_of == {node: [int(job)] for node, job in task_of.items()}, "the ledger's view"


def test_jobs_that_share_nodes_launch_them_once(lab: Cluster, jobs: Jobs) -> None:
    """Two 2-node jobs of one resume call, one CPU a node each: two instances, whose cost both jobs bear."""
    assert [lab.ended(job) for job in jobs.shared] == ["COMPLETED"] * 2

    rows = lab.of_nodes(expand(SHARED))
    assert _names(rows) == list(expand(SHARED))
    here = {row["node"]: row["id"] for row in rows}
    assert _told(lab, jobs.shared[0]) == _told(lab, jobs.shared[1]) == here
    ids = " and ".join(map(str, jobs.shared)), ", ".join(map(str, jobs.shared))
    received = [e for e in lab.events() if e["kind"] == "request-received" and any(two in e["text"] for two in ids)]
    assert received, "Slurm named both jobs in one call"
    charged = {row["id"]: row["jobs"] for row in lab.asbx("cost")["instances"] if row["node"] in here}
    assert charged == {one: list(jobs.shared) for one in here.values()}


def test_nodes_that_are_up_are_not_launched_again(lab: Cluster, jobs: Jobs) -> None:
    """A 5-node job lands on three nodes that are up and two that are down: exactly two are launched for it."""
    assert [lab.ended(jobs.three), lab.ended(jobs.five)] == ["COMPLETED"] * 2

    told = _told(lab, jobs.five)
    assert sorted(told) == list(expand(FIVE))
    for node, instance in _told(lab, jobs.three).items():
        assert told[node] == instance, "the three are the instances that were there"
    assert len(lab.of_nodes(expand(FIVE))) == 5
    assert {row["node"] for row in lab.of_job(jobs.five)} == {"aws-cpu-015", "aws-cpu-016"}


def test_a_job_may_span_two_groups(lab: Cluster, jobs: Jobs) -> None:
    """One job on nodes of two node groups: one instance of each group, one gang."""
    assert lab.ended(jobs.groups) == "COMPLETED"

    rows = lab.of_job(jobs.groups)
    assert {row["node"]: row["tags"]["asbx:nodegroup"] for row in rows} == {"aws-cpu-017": "cpu", "aws-hpc-003": "hpc"}
    assert len(rows) == 2
    assert len({row["gang"] for row in rows}) == 1
    assert _told(lab, jobs.groups) == {row["node"]: row["id"] for row in rows}


def test_power_up_and_down_by_hand(lab: Cluster, jobs: Jobs) -> None:
    """`scontrol update state=power_up` launches without any job, `power_down` ends it; nobody's job pays."""
    del jobs  # only to be submitted first
    lab.slurm("scontrol", "update", f"nodename={MANUAL}", "state=power_up")
    nodes = lab.serving(MANUAL)
    rows = lab.of_nodes(expand(MANUAL))
    assert {row["node"]: row["private_ip"] for row in rows} == {n: f["NodeAddr"] for n, f in nodes.items()}
    assert {row["job"] for row in rows} == {""}

    lab.slurm("scontrol", "update", f"nodename={MANUAL}", "state=power_down")
    lab.all_gone(row["id"] for row in rows)
    down = lab.powered_down(MANUAL)

    assert len(lab.of_nodes(expand(MANUAL))) == 2
    assert {node: fields["NodeAddr"] for node, fields in down.items()} == {node: node for node in down}, (
        "no old address"
    )
    ids = {row["id"] for row in rows}
    shares = [share for one, row in lab.billed().items() if one in ids for share in row["charged_to"]]
    assert {share["bearer"] for share in shares} == {"idle"}


def test_everything_ends_and_is_billed(lab: Cluster, jobs: Jobs) -> None:
    """After the last job every instance is terminated, every node is as before, and ledger and EC2 bill the same."""
    del jobs
    rows = lab.instances()
    lab.all_gone((row["id"] for row in rows), 90)
    lab.powered_down(f"aws-cpu-[000-{_NODES - 1:03d}],aws-hpc-[001-016]")

    assert lab.bound() == {}
    billed = lab.billed()
    assert billed.keys() == {row["id"] for row in rows}
    assert {one: row["node"] for one, row in billed.items()} == {row["id"]: row["node"] for row in rows}
    theirs = {row["id"]: Decimal(row["usd"]) for row in lab.ask("GET", "bill")["instances"]}
    for one, row in billed.items():
        assert abs(Decimal(row["usd"]) - theirs[one]) < Decimal("0.0005"), (one, row, theirs[one])
    bill = lab.asbx("cost")
    parts = [*(job["usd"] for job in bill["jobs"]), bill["idle_usd"], bill["waste_usd"]]
    assert sum(map(Decimal, parts)) == Decimal(bill["total_usd"])
    assert not [e for e in lab.events() if e["level"] == "error"], "nothing of all this was an error"


def test_the_log_tells_the_whole_story_of_a_job(lab: Cluster, jobs: Jobs) -> None:
    """One pattern leads from Slurm's call to the end of the last instance, under the ids the instances bear as tags."""
    log = (lab.root / "log" / "aws-burst.log").read_text(encoding="utf-8").splitlines()
    pattern = re.compile(rf'"jobs": \[[^\]]*\b{jobs.ring}\b')
    told = [json.loads(line) for line in log if pattern.search(line)]
    kinds = [line["event"] for line in told]
    wanted = ["request-received", "ladder-planned", "launch-asked", "launch-answered", "node-bound", "request-done"]
    places = [kinds.index(kind) for kind in [*wanted, "node-released"]]
    assert places == sorted(places), kinds
    assert "node-registered" in kinds
    released = {line["instance_id"] for line in told if line["event"] == "node-released"}
    rows = lab.of_job(jobs.ring)
    assert released == {row["id"] for row in rows}
    others = ("request-received", "request-done", "resource-removed")
    launch = [line for line in told if line["event"] not in others]
    assert {line["intent_id"] for line in launch} == {row["tags"]["asbx:intent"] for row in rows}
    assert {line["gang_id"] for line in launch} == {row["gang"] for row in rows}
    assert [event["kind"] for event in lab.events("--job", str(jobs.ring))] == kinds


def test_prometheus_sees_the_burst(lab: Cluster, jobs: Jobs) -> None:
    """What was counted is what EC2 launched; no label names a job, a node or an instance."""
    del jobs
    page = yaml.safe_load((lab.root / "aws-burst.yaml").read_text(encoding="utf-8"))["telemetry"]["listen"]
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{page}/metrics") as answer:
        text = answer.read().decode()
    found = {(name, labels or ""): float(number) for name, labels, number in _SAMPLE.findall(text)}
    rows = lab.instances()
    launched = sum(number for (name, _), number in found.items() if name == "asbx_instances_launched_total")
    assert launched == len(rows)
    assert found["asbx_launch_bound_seconds_count", ""] == len(rows)
    assert found["asbx_ec2_calls_total", '{action="CreateFleet",code="ok"}'] == len({row["fleet"] for row in rows})
    assert found["asbx_requests_open", '{kind="resume"}'] == 0
    assert ("asbx_nodes", '{nodegroup="cpu",partition="aws",state="powered-down"}') in found
    assert [name for name, _ in found if name == "asbx_instances"] == [], "nothing runs any more"
    labels = {value for _, some in found for value in re.findall(r'="([^"]*)"', some)}
    names = {row["node"] for row in rows} | {row["id"] for row in rows}
    assert labels.isdisjoint(names | {f"job-{row['job']}" for row in rows})
    health = lab.asbx("status")["daemon"]["health"]
    assert (health["status"], health["failing"]) == ("ok", [])
