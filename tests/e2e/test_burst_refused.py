"""When it does not work out on a real Slurm: no capacity, machines that never register, names that are another's.

And a second lab without a daemon, whose hooks do all the work themselves. What waits, waits side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import pytest
from tests.e2e.cluster import Cluster, Pinger, Row, cluster, until

from asbx.model.hostlist import expand

pytestmark = pytest.mark.slurm

SHORT = "hpc-efa-[000-003]"
HUNG = "aws-cpu-[000-001]"
SWAPPED = "aws-cpu-[002-003]"
MISLED = "aws-cpu-004"
_TYPES = ("c7i.48xlarge", "c6i.32xlarge")
_ZONE = "us-east-2a"


@dataclass(frozen=True)
class Story:
    """What was started before the first test. hung: (job, the instances launched for it; the first never boots).

    short: a job that finds one instance in each pool where it wants four.
    """

    pinger: Pinger
    short: int
    hung: tuple[int, list[Row]]


@pytest.fixture(scope="module")
def bare() -> Iterator[tuple[Cluster, int]]:
    """Keep a lab without a daemon up, with a 2-node job on its way."""
    with cluster("--nodes", "3", "--boot", "2", "--no-daemon") as one:
        one.shorten(SuspendTime="5", SuspendTimeout="3")
        yield one, one.submit("-N2", script="srun hostname")


@pytest.fixture(scope="module")
def lab(bare: tuple[Cluster, int]) -> Iterator[Cluster]:
    """Keep a lab up whose nodes have 20 seconds to register."""
    del bare  # only to be started first
    with cluster("--nodes", "5", "--boot", "2") as one:
        one.shorten(SuspendTime="5", SuspendTimeout="3", ResumeTimeout="20")
        yield one


@pytest.fixture(scope="module")
def story(lab: Cluster) -> Iterator[Story]:
    """Hang a machine of a 2-node job before it boots; ask slurmctld for signs of life from then on."""
    with Pinger(lab) as pinger:
        _capacity(lab, 1)
        short = lab.submit("-phpc", "-N4", "--no-requeue", script="srun hostname")
        job = lab.submit("-N2", f"-w{HUNG}", script="srun hostname")
        rows = until("both instances are launched and named", lambda: lab.of_job(job), 20, _named_pair)
        rows.sort(key=lambda row: int(row["launch_index"]))
        lab.ask("POST", f"machines/{rows[0]['id']}", {"state": "hung"})
        yield Story(pinger, short, (job, rows))


def _named_pair(rows: list[Row]) -> bool:
    return len(rows) == 2 and all("asbx:node" in row["tags"] for row in rows)


def _is_put_off(kinds: list[str]) -> bool:
    return "job-postponed" in kinds


def _capacity(lab: Cluster, number: int | None) -> None:
    for one in _TYPES:
        lab.ask("POST", "pools", {"type": one, "zone": _ZONE, "market": "on-demand", "capacity": number})


def test_no_capacity_is_told_to_the_job_and_leaves_nothing(lab: Cluster, story: Story) -> None:
    """One instance a pool, four wanted: none is kept, the job waits and says why, the nodes can be tried again.

    It had asked not to be requeued, and is not lost all the same: it has not run. Later it may not be, as it asked.
    """
    job = story.short
    until("the job is told", lambda: lab.job(job).get("AdminComment", ""), 20, lambda t: "InsufficientInstance" in t)
    until("the job is put off", lambda: [one["kind"] for one in lab.events("--job", str(job))], 20, _is_put_off)
    lab.slurm("scontrol", "hold", str(job))  # it would be tried again while we look
    until("the job waits again", lambda: lab.job(job), 20, lambda one: one["JobState"] == "PENDING")
    assert lab.job(job)["Requeue"] == "0"
    nodes = lab.powered_down(SHORT)
    assert {node: fields["NodeAddr"] for node, fields in nodes.items()} == {node: node for node in nodes}
    fields = lab.job(job)
    assert fields["AdminComment"].startswith("asbx:InsufficientInstanceCapacity"), fields
    assert any(one in fields["AdminComment"] for one in _TYPES)
    assert _ZONE in fields["AdminComment"]
    assert re.search(r"; next try [0-9:]{8} UTC \(failed .+\)$", fields["AdminComment"])
    assert [row for row in lab.of_job(job) if row["state"] != "terminated"] == []
    assert not lab.bound().keys() & set(expand(SHORT))
    assert not [one for one in lab.billed().values() if one["running"] and job in one["jobs"]]
    kinds = [event["kind"] for event in lab.events("--job", str(job))]
    assert kinds.count("node-failed") == kinds.count("job-postponed")


def test_the_job_comes_back_by_itself(lab: Cluster, story: Story) -> None:
    """Once there is capacity it is launched without anybody's doing, after the pool was left alone for a while."""
    job = story.short
    _capacity(lab, None)
    lab.slurm("scontrol", "release", str(job))
    until("the job has run", lambda: lab.job_state(job), 150, lambda state: state in ("RUNNING", "COMPLETED"))
    rows = [row for row in lab.of_job(job) if row["state"] != "terminated"]
    assert sorted(row["node"] for row in rows) == list(expand(SHORT))
    assert len({row["zone"] for row in rows}) == 1


def test_a_node_never_serves_under_a_name_slurm_has_elsewhere(lab: Cluster) -> None:
    """Slurm holds the name at another address: slurmd is not started, until the address is the machine's own."""
    lab.slurm("scontrol", "update", f"nodename={MISLED}", "state=power_up")
    row = until("bound", lambda: lab.of_nodes([MISLED]), 20)[0]
    lab.slurm("scontrol", "update", f"nodename={MISLED}", "nodeaddr=127.0.0.9")

    why = f"waiting for node name: Slurm has {MISLED} at 127.0.0.9, we are {row['private_ip']}"
    until("the node says why it waits", lambda: lab.console(row["id"]), 20, lambda text: why in text)
    assert "starting" not in lab.console(row["id"])
    lab.slurm("scontrol", "update", f"nodename={MISLED}", f"nodeaddr={row['private_ip']}")

    lab.serving(MISLED)
    console = lab.console(row["id"])
    assert console.index("Slurm has") < console.index("starting"), console
    lab.slurm("scontrol", "update", f"nodename={MISLED}", "state=power_down")
    lab.all_gone([row["id"]])


def test_swapped_name_tags_start_no_slurmd(lab: Cluster) -> None:
    """Two machines are told each other's names: both refuse; told right, both serve."""
    lab.slurm("scontrol", "update", f"nodename={SWAPPED}", "state=power_up")
    rows = until(
        "bound and named",
        lambda: lab.of_nodes(expand(SWAPPED)),
        20,
        _named_pair,
    )
    _tag(lab, {rows[0]["id"]: rows[1]["node"], rows[1]["id"]: rows[0]["node"]})

    until(
        "both refuse",
        lambda: [lab.console(row["id"]) for row in rows],
        20,
        lambda texts: all("Slurm has" in text for text in texts),
    )
    assert not [row for row in rows if "starting" in lab.console(row["id"])]
    _tag(lab, {row["id"]: row["node"] for row in rows})

    nodes = lab.serving(SWAPPED)
    assert {n: f["NodeAddr"] for n, f in nodes.items()} == {row["node"]: row["private_ip"] for row in rows}
    for row in rows:
        assert f"-N {row['node']} " in lab.console(row["id"])
    lab.slurm("scontrol", "update", f"nodename={SWAPPED}", "state=power_down")
    lab.all_gone(row["id"] for row in rows)


def _tag(lab: Cluster, names: dict[str, str]) -> None:
    """Tag instances as somebody with the account's credentials could."""
    ec2 = boto3.client(
        "ec2",
        endpoint_url=lab.environ["AWS_ENDPOINT_URL"],
        region_name="us-east-2",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    for one, name in names.items():
        ec2.create_tags(Resources=[one], Tags=[{"Key": "asbx:node", "Value": name}])


def test_a_machine_that_never_registers_is_replaced(lab: Cluster, story: Story) -> None:
    """After ResumeTimeout the instance is ended, the node can be used again, and the job runs on it after all."""
    job, (hung, well) = story.hung
    until("its instance is ended", lambda: lab.of_nodes([hung["node"]])[0]["state"], 60, lambda s: s == "terminated")
    ended = [e for e in lab.events() if e["kind"] == "node-failed" and e["instance_id"] == hung["id"]]
    assert ["ResumeTimeout" in event["text"] for event in ended] == [True]
    until("the job waits again", lambda: lab.job_state(job), 20, lambda state: state == "PENDING")
    lab.powered_down(hung["node"], 30)

    lab.slurm("scontrol", "update", f"jobid={job}", "starttime=now")
    lab.serving(HUNG)

    fresh = [row for row in lab.of_nodes([hung["node"]]) if row["id"] != hung["id"]]
    assert [row["state"] for row in fresh] == ["running"], "exactly one new instance for the hung one"
    assert lab.ended(job) == "COMPLETED", lab.output(job)
    assert "serving" not in lab.console(hung["id"])
    assert well["id"] in lab.billed()


def test_the_refused_job_ran_when_there_was_capacity(lab: Cluster, story: Story) -> None:
    """The job that found no capacity has run in the meantime, on the instances of its second try."""
    assert lab.ended(story.short) == "COMPLETED"
    assert len(lab.of_job(story.short)) == 4


def test_without_a_daemon_the_hooks_do_it_all(bare: tuple[Cluster, int]) -> None:
    """A 2-node job runs and ends with no daemon at all, and nothing stays behind."""
    lab, job = bare
    assert lab.ended(job) == "COMPLETED", lab.output(job)
    rows = lab.of_job(job)
    assert sorted(row["node"] for row in rows) == ["aws-cpu-000", "aws-cpu-001"]
    lab.all_gone(row["id"] for row in rows)

    assert lab.bound() == {}
    assert {row["node"] for row in lab.billed().values()} == {"aws-cpu-000", "aws-cpu-001"}
    assert len(lab.instances()) == 2
    assert "daemon-started" not in {event["kind"] for event in lab.events()}


def test_nothing_is_left_and_slurmctld_always_answered(lab: Cluster, story: Story) -> None:
    """All instances end; with nodes that had no machine, a hung one and wrong addresses, no ping took 2 seconds."""
    lab.all_gone((row["id"] for row in lab.instances()), 90)
    assert lab.bound() == {}
    lab.powered_down("aws-cpu-[000-004],hpc-efa-[000-015]")
    assert story.pinger.asked > 50
    assert story.pinger.missed == 0
    assert story.pinger.longest < 2, f"slurmctld was silent for {story.pinger.longest:.1f} s"
