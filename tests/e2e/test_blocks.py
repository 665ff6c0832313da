"""Capacity Blocks and reservations on a real Slurm: jobs wait for a block, and have left it before EC2 ends it.

Everything waits side by side: three groups get a block each when the lab is up, and the tests look at them in the order
of the clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, group_in, until

pytestmark = pytest.mark.slurm

EFA, ENDING, SHORT, ODCR = "c7i.48xlarge", "c6i.32xlarge", "c6i.large", "c6in.32xlarge"
# Seconds: EC2 ends a block's instances so long before its end, and the nodes are drained so long before.
NOTICE, EARLY = 4, 16
# From when the block of group efa runs, until when that of group hpc does.
STARTS, ENDS = 28, 49


@dataclass
class World:
    """The lab, its reservations, and a job for each of them."""

    lab: Cluster
    coming: Row
    ending: Row
    open: Row
    targeted: Row
    jobs: dict[str, int]

    def on(self, reservation: Row) -> list[Row]:
        """Return the instances a reservation ever served."""
        return [row for row in self.lab.instances() if row["capacity_reservation"] == reservation["id"]]

    def left(self, reservation: Row) -> int:
        """Return how many of its places are free."""
        rows = self.lab.ask("GET", "reservations") + self.lab.ask("GET", "blocks")
        return next(int(row["available"]) for row in rows if row["id"] == reservation["id"])


def block(lab: Cluster, kind: str, *, starts: float = 0, ends: float) -> Row:
    """Buy a block of two instances."""
    body = {"type": kind, "zone": "us-east-2a", "count": 2, "starts": starts, "ends": ends}
    row: Row = lab.ask("POST", "blocks", body)
    return row


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Keep a lab up: group efa has a block that is to come, cpu one that is open, hpc one that ends soon."""
    with cluster("--nodes", "4", "--boot", "1.5") as lab:
        lab.shorten(SuspendTime="4", SuspendTimeout="3", SlurmdTimeout="6")
        lab.ask("POST", "knobs", {"block_end_notice": NOTICE, "topology_all": 1, "topology_leaf": 1})
        lab.configure(hasten)
        until("a topology is there", (lab.root / "topology.conf").exists, 20)
        lab.with_topology_tree()
        # From here on the clock runs.
        yield fill(lab)


def hasten(config: Row) -> None:
    """Let the daemon look every second, and write where nodes are."""
    config["slurm"]["topology"] = "conf"
    config["reservations"] = {"drain_before_end_seconds": EARLY}
    config["reconcile"] = {"interval_seconds": 1, "orphan_grace_seconds": 2}


def fill(lab: Cluster) -> World:
    """Buy the blocks and submit the jobs."""
    coming = block(lab, EFA, starts=STARTS, ends=7200)
    ending = block(lab, ENDING, ends=ENDS)
    now_open = block(lab, SHORT, ends=60 + EARLY + 45)
    body = {"type": ODCR, "zone": "us-east-2a", "count": 2, "match": "targeted"}
    targeted: Row = lab.ask("POST", "reservations", body)

    def change(config: Row) -> None:
        group_in(config, "efa").update(capacity_reservations=[coming["id"]], reservations_only=True)
        group_in(config, "cpu").update(capacity_reservations=[now_open["id"]], reservations_only=True)
        group_in(config, "hpc").update(capacity_reservations=[ending["id"], targeted["id"]])

    lab.configure(change)
    until("the fences stand", lambda: lab.asbx("status")["fences"], 10, lambda rows: len(rows) == 3)
    jobs = {
        "waits": lab.submit("-phpc", "-N2", "--exclusive", "-t5", script="srun hostname"),
        "ends": lab.submit("-N2", "--exclusive", "-waws-hpc-[001-002]", "-t60", script="sleep 600"),
        "long": lab.submit("-N1", "-waws-cpu-003", "-t5", script="true"),
        "short": lab.submit("-N2", "--exclusive", "-waws-cpu-[000-001]", "-t1", script="srun hostname"),
    }
    world = World(lab, coming, ending, now_open, targeted, jobs)
    until("the block is full", lambda: world.left(ending), 15, lambda left: left == 0)
    gang = ("-N2", "--exclusive", "-waws-hpc-[003-004]", "-t60")
    jobs["gang"] = lab.submit(*gang, script="srun hostname")
    return world


def moment(text: str) -> datetime:
    """Read a time of the emulator, or of Slurm in this machine's zone."""
    return datetime.fromisoformat(text).astimezone()


def reason(lab: Cluster, job: int) -> str:
    """Return why a job that is pending is not started, once Slurm has looked at it."""
    fields = until("it was looked at", lambda: lab.job(job), 10, lambda one: one["Reason"] != "None")
    return f"{fields['JobState']} {fields['Reason']}"


def places(lab: Cluster) -> dict[str, list[str]]:
    """Return switch -> its nodes, from what slurmctld says, for switches right above nodes."""
    lines = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lab.slurm("scontrol", "show", "topology").splitlines()]
    return {
        one["SwitchName"]: lab.slurm("scontrol", "show", "hostnames", one["Nodes"]).split()
        for one in lines
        if one.get("Level") == "0"
    }


def test_a_job_waits_for_its_block(world: World) -> None:
    """Before the block begins its nodes are reserved; nothing is launched for the job."""
    assert re.fullmatch("PENDING .*[Rr]eserv.*", reason(world.lab, world.jobs["waits"]))
    assert world.on(world.coming) == []


def test_only_jobs_that_end_before_the_block_are_started(world: World) -> None:
    """One minute fits, five do not: the short job is on the block's instances, the long one is not even tried."""
    rows = until("the short job is launched", lambda: world.on(world.open), 10)
    assert [(row["job"], row["market"]) for row in rows] == [(str(world.jobs["short"]), "capacity-block")] * 2
    assert re.fullmatch("PENDING .*[Rr]eserv.*", reason(world.lab, world.jobs["long"]))
    assert world.lab.of_nodes(["aws-cpu-003"]) == []
    world.lab.slurm("scancel", str(world.jobs["long"]))


def test_a_gang_runs_in_a_targeted_reservation(world: World) -> None:
    """The group's block is full, so the next gang is in its on-demand reservation, as EC2 shows."""
    rows = until("it is launched", lambda: world.on(world.targeted), 15)
    assert {row["job"] for row in rows} == {str(world.jobs["gang"])}
    assert [(row["type"], row["market"]) for row in rows] == [(ODCR, "on-demand")] * 2
    assert world.left(world.targeted) == 0
    assert world.left(world.ending) == 0


def test_slurm_knows_where_its_nodes_are(world: World) -> None:
    """The first nodes that came up are below EC2's network nodes, each in its own; all others share a switch."""
    lab = world.lab
    found = until("slurmctld has read it", lambda: places(lab), 20, lambda rows: len(rows) > 1)
    assert all("asbx-l" in name for name in found.keys() - {"asbx-rest"})
    near = [node for name, nodes in found.items() if name != "asbx-rest" for node in nodes]
    assert near
    assert set(near) <= lab.bound().keys()
    everything = [node for nodes in found.values() for node in nodes]
    assert sorted(everything) == sorted(lab.nodes("aws-cpu-[000-003],aws-hpc-[001-016],hpc-efa-[000-015]"))
    assert len([one for one in lab.events() if one["kind"] == "topology-written"]) == 2


def test_the_job_starts_when_its_block_begins(world: World) -> None:
    """Not before, and on the block's instances, at the first try."""
    rows = until("it is launched", lambda: world.on(world.coming), STARTS + 15)
    assert [(row["type"], row["market"]) for row in rows] == [(EFA, "capacity-block")] * 2
    opens = moment(world.coming["starts"])
    assert all(opens <= moment(row["launched_at"]) <= opens + timedelta(seconds=10) for row in rows)
    assert world.lab.job(world.jobs["waits"])["Restarts"] == "0"


def test_nodes_have_no_new_job_when_their_block_ends(world: World) -> None:
    """Nodes that run on the block are drained with the reason, well before EC2 ends its instances."""
    lab, ends = world.lab, moment(world.ending["ends"])
    (event,) = until("drained", lambda: [one for one in lab.events() if one["kind"] == "node-drained"], ENDS)
    assert timedelta(seconds=EARLY - 4) <= ends - moment(event["at"]) <= timedelta(seconds=EARLY + 1)
    rows = lab.nodes("aws-hpc-[001-002]").values()
    assert all("DRAIN" in row["State"] for row in rows)
    assert {row["Reason"] for row in rows} == {"asbx:block-ends"}
    assert {row["state"] for row in world.on(world.ending)} == {"running"}
    assert lab.job_state(world.jobs["ends"]) in ("CONFIGURING", "RUNNING"), "what is there goes on"


def test_what_ec2_ended_with_the_block_is_let_go(world: World) -> None:
    """The instances' rows end, the nodes are free of them and of the drain, and can be powered up again."""
    lab = world.lab
    lab.all_gone([row["id"] for row in world.on(world.ending)], ENDS)
    assert all(moment(row["terminated_at"]) <= moment(world.ending["ends"]) for row in world.on(world.ending))
    lab.slurm("scancel", str(world.jobs["ends"]))
    until("the nodes are let go", lab.bound, 20, lambda bound: not {"aws-hpc-001", "aws-hpc-002"} & bound.keys())
    rows = lab.powered_down("aws-hpc-[001-002]", 40)
    assert all("DRAIN" not in row["State"] and "DOWN" not in row["State"].split("+")[0] for row in rows.values())


@pytest.mark.parametrize("which", ["short", "waits", "gang"])
def test_the_jobs_that_fit_are_done(world: World, which: str) -> None:
    """And the reservation has its places back."""
    assert world.lab.ended(world.jobs[which]) == "COMPLETED"
    until("no place is taken", lambda: world.left(world.targeted), 30, lambda left: left == 2)
