"""The sweep on a real Slurm: machines that die or never register, and the truth table of node states, one lab for all.

The daemon sweeps every second and waits three until it acts, so what scontrol does is read right after the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.cluster import Cluster, Row, cluster, until

from asbx.decide.node_state import Condition, condition
from asbx.slurm.parse import parse_nodes_text

pytestmark = pytest.mark.slurm

VICTIM, HUNG = "aws-cpu-000", "aws-cpu-001"
BUSY, IDLE = "aws-cpu-002", "aws-cpu-003"
OFF = "aws-cpu-[004-008]"


@dataclass
class World:
    """The lab, a job whose machine is to die, and one that keeps a node busy."""

    lab: Cluster
    victim: int
    busy: int

    def condition(self, node: str) -> Condition:
        """Return what we make of what Slurm says of a node."""
        (view,) = parse_nodes_text(self.lab.slurm("scontrol", "show", "node", "--oneliner", node))
        return condition(view)

    def update(self, node: str, *words: str) -> Condition:
        """Change a node and return what it is then."""
        self.lab.slurm("scontrol", "update", f"nodename={node}", *words)
        return self.condition(node)

    def lose(self, node: str, wanted: Condition) -> None:
        """Let Slurm hold a node for silent until it is what is wanted; an answered ping takes that back."""

        def again() -> Condition:
            seen = self.condition(node)
            return self.update(node, "state=down", "reason=Not responding") if seen is Condition.DRAINED else seen

        until(f"{node} is {wanted}", again, 30, lambda seen: seen is wanted)

    def reached(self, node: str, wanted: Condition, seconds: float = 30) -> None:
        """Wait until a node is something."""
        until(f"{node} is {wanted}", lambda: self.condition(node), seconds, lambda seen: seen is wanted)


def hasten(config: Row) -> None:
    """Sweep every second, and read no queue: EC2's messages would tell of the death before the sweep sees it."""
    config["reconcile"] = {"interval_seconds": 1, "orphan_grace_seconds": 3}
    config.setdefault("interruptions", {})["queue"] = ""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Keep a lab up in which ResumeFailProgram does nothing: what it would clean up is left to the sweep."""
    with cluster("--nodes", "10", "--boot", "1.5") as lab:
        lab.shorten(SuspendTime="30", SuspendTimeout="3", ResumeTimeout="16", ResumeFailProgram="/bin/true")
        lab.configure(hasten)
        victim = lab.submit("-w", VICTIM, "--requeue", script="echo run $SLURM_RESTART_COUNT; sleep 3; echo end")
        busy = lab.submit("-w", BUSY, "--exclusive", script="sleep 300")
        lab.slurm("scontrol", "update", f"nodename={HUNG},{IDLE}", "state=power_up")
        until("the machine is launched", lambda: lab.of_nodes([HUNG]), 20)
        lab.ask("POST", f"machines/{HUNG}", {"state": "hung"})
        yield World(lab, victim, busy)


def test_a_killed_instances_job_is_requeued_and_finishes_elsewhere(world: World) -> None:
    """The machine dies under a running job: the job waits again within seconds and ends on another instance."""
    lab, job = world.lab, world.victim
    until("the job runs", lambda: lab.output(job), 40, lambda text: "run" in text)
    (first,) = lab.of_nodes([VICTIM])
    lab.lab("instance", "kill", "--node", VICTIM)
    # SlurmdTimeout is 60 s here: without the sweep the job would hold on to the node for so long.
    until("the job waits again", lambda: lab.job_state(job), 20, lambda state: state == "PENDING")
    lab.slurm("scontrol", "update", f"jobid={job}", "starttime=now", "reqnodelist=")
    assert lab.ended(job) == "COMPLETED", lab.output(job)
    assert lab.output(job).count("end") == 1
    machines = [row["id"] for row in lab.of_job(job)]
    assert len(machines) == 2 or lab.job(job)["BatchHost"] == IDLE
    row = lab.billed()[first["id"]]
    assert (row["running"], row["node"]) == (False, VICTIM)
    said = [event for event in lab.events() if event["data"].get("rule") == "instance-ended"]
    assert [event["instance_id"] for event in said] == [first["id"]]


def test_states_of_nodes_that_are_off(world: World) -> None:
    """What scontrol makes of nodes without an instance is read for what it is, and ends where it should."""
    off, drained, down, silent, again = (f"aws-cpu-00{number}" for number in range(4, 9))
    assert world.condition(off) is Condition.OFF
    assert world.update(drained, "state=drain", "reason=admin") is Condition.HELD_OFF
    assert world.update(down, "state=down", "reason=bad rack") is Condition.HELD_OFF
    world.update(silent, "state=down", "reason=x")
    assert world.update(silent, "state=resume") is Condition.OFF_SILENT
    world.update(again, "state=down", "reason=x")
    assert world.update(again, "state=power_down") in (Condition.POWER_DOWN_ASKED, Condition.GOING)
    world.reached(again, Condition.OFF)
    world.reached(silent, Condition.OFF)
    assert world.condition(drained) is Condition.HELD_OFF, "an administrator's word is nobody else's to take back"
    assert world.condition(down) is Condition.HELD_OFF


def test_states_of_nodes_that_run(world: World) -> None:
    """Running, drained, going down under a job and without one: each is read for what it is."""
    world.lab.serving(f"{BUSY},{IDLE}")
    assert world.condition(BUSY) is Condition.UP
    assert world.update(BUSY, "state=drain", "reason=hm") is Condition.DRAINING
    # On 22.05.8 an undrained node is NOT_RESPONDING until the next ping.
    assert world.update(BUSY, "state=undrain") in (Condition.UP, Condition.SILENT)
    assert world.update(BUSY, "state=power_down") is Condition.POWER_DOWN_ASKED
    assert world.update(IDLE, "state=drain", "reason=hm") is Condition.DRAINED
    assert world.update(IDLE, "state=down", "reason=panic") is Condition.HELD_DOWN
    world.update(IDLE, "state=down", "reason=Not responding")
    world.lose(IDLE, Condition.LOST)
    world.lab.slurm("scancel", str(world.busy))
    world.reached(BUSY, Condition.GOING)
    world.lose(IDLE, Condition.GOING)
    world.reached(BUSY, Condition.OFF)
    world.reached(IDLE, Condition.OFF)


def test_a_machine_that_never_registers_is_ended(world: World) -> None:
    """ResumeTimeout is over and nobody was told: the sweep ends the instance, and the node can be used again."""
    lab = world.lab
    world.reached(HUNG, Condition.OFF, 40)
    lab.all_gone(row["id"] for row in lab.of_nodes([HUNG]))
    rules = {event["data"].get("rule") for event in lab.events("--node", HUNG)}
    assert rules & {"boot-timed-out"}, rules


def test_nothing_is_left(world: World) -> None:
    """All of it converges: no instance lives, every row has its end, and a dry run finds nothing more to do."""
    lab = world.lab
    if lab.alive():
        lab.slurm("scontrol", "update", f"nodename={VICTIM}", "state=power_down")
    until("nothing lives", lab.alive, 30, lambda rows: not rows)
    lab.all_gone(row["id"] for row in lab.instances())
    assert [one for one in lab.asbx("reconcile", "--dry-run")["actions"] if one["kind"] != "report"] == []
