"""What every Slurm promises behind its door. A real one joins by another `world`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from tests.fakes import samples
from tests.fakes.scheduler import FakeScheduler

from asbx.errors import AsbxError, SlurmError
from asbx.model.fence import Fence
from asbx.model.job import JobFacts
from asbx.model.node import NodeView
from asbx.ports import Scheduler

NODES = samples.node_names(4)


@dataclass
class World:
    """A scheduler, a job it knows, and what slurmctld does by itself."""

    scheduler: Scheduler
    job: JobFacts
    power_up: Callable[[tuple[str, ...]], None]
    settle: Callable[[], None]  # let SuspendTimeout pass

    def node(self, name: str) -> NodeView:
        """Look a node up in the table."""
        return {view.name: view for view in self.scheduler.nodes()}[name]

    def job_state(self) -> str:
        """Return the job's state, "" when it has left the queue."""
        found = self.scheduler.jobs([self.job.job_id])
        return found[0].state if found else ""


@pytest.fixture
def world() -> World:
    """Make the scheduler in memory."""
    fake = FakeScheduler(NODES)
    job = JobFacts(12, "ada", "physics", "wrf", "CONFIGURING", 7, "efa", "asbx:market=spot")
    fake.add_job(job, NODES[2:], requeue=False)
    return World(fake, job, fake.power_up, fake.settle)


def test_nodes_begin_powered_down(world: World) -> None:
    """Every node of slurm.conf is in the table, off, under its own name."""
    table = world.scheduler.nodes()
    assert {view.name for view in table} == set(NODES)
    assert all(view.is_powered_down and view.address == view.hostname == view.name for view in table)


def test_binding_sets_the_address(world: World) -> None:
    """Each node gets the address and host name of its own instance, in whatever order they come."""
    world.power_up(NODES[:2])
    rows = [(NODES[1], samples.instance("i-2", launch_index=7)), (NODES[0], samples.instance("i-1"))]
    world.scheduler.bind(rows)
    for node, instance in rows:
        view = world.node(node)
        assert (view.address, view.hostname) == (instance.private_ip, instance.private_dns.split(".")[0])
        assert not view.is_powered_down


def test_an_unknown_node_is_refused_and_the_others_are_set(world: World) -> None:
    """Slurm applies what it can and says what it cannot."""
    with pytest.raises(SlurmError):
        world.scheduler.bind([("aws-cpu-999", samples.instance("i-9")), (NODES[0], samples.instance("i-1"))])
    assert world.node(NODES[0]).address == samples.instance("i-1").private_ip


def test_release_gives_the_name_back(world: World) -> None:
    """Address and host name are the node's own again; released twice is released."""
    world.scheduler.bind([(NODES[0], samples.instance("i-1"))])
    world.scheduler.release(NODES[:1])
    world.scheduler.release(NODES[:1])
    assert (world.node(NODES[0]).address, world.node(NODES[0]).hostname) == (NODES[0], NODES[0])


def test_a_failed_node_says_why_and_can_be_used_again(world: World) -> None:
    """It goes down with our reason, powers down, and is idle and off afterwards."""
    world.power_up(NODES[:1])
    world.scheduler.fail(NODES[:1], "asbx:no-capacity no room anywhere")
    assert "asbx:no-capacity" in world.node(NODES[0]).reason
    assert world.node(NODES[0]).is_powered_down
    world.settle()
    assert world.node(NODES[0]).state == "IDLE"
    assert "POWERED_DOWN" in world.node(NODES[0]).flags


def test_jobs_unknown_to_the_queue_are_left_out(world: World) -> None:
    """What the queue knows is returned; asking for nothing asks nobody."""
    (found,) = world.scheduler.jobs([world.job.job_id, 999_999])
    assert found == world.job
    assert world.scheduler.jobs([]) == ()


def test_a_job_is_told(world: World) -> None:
    """A sentence can be left with a job of the queue, and with no other."""
    world.scheduler.tell_job(world.job.job_id, "no room, tried again in 5 minutes")
    with pytest.raises(SlurmError):
        world.scheduler.tell_job(999_999, "nobody")


def test_a_job_that_would_be_lost_is_requeued(world: World) -> None:
    """Asked not to be requeued, made requeueable, its nodes fail: it waits again, and forbids requeues as before."""
    job, scheduler = world.job.job_id, world.scheduler
    assert scheduler.make_requeueable([job, 999_999]) == (job,)
    assert scheduler.make_requeueable([job]) == ()
    scheduler.fail(NODES[2:], "asbx:no-capacity no room anywhere")
    assert world.job_state() == "PENDING"
    scheduler.undo_requeueable([job, 999_999])
    assert scheduler.make_requeueable([job]) == (job,)


def test_a_job_that_may_not_be_requeued_is_lost_with_its_nodes(world: World) -> None:
    """Without that, it is over."""
    world.scheduler.fail(NODES[2:3], "asbx:no-capacity no room anywhere")
    assert world.job_state() in ("NODE_FAIL", "")


def test_a_waiting_job_is_postponed_or_held(world: World) -> None:
    """Both can be said of a job of the queue, and of no other; a line to its terminal hurts nobody."""
    job, scheduler = world.job.job_id, world.scheduler
    scheduler.make_requeueable([job])
    scheduler.fail(NODES[2:], "asbx:no-capacity no room anywhere")
    scheduler.postpone(job, timedelta(minutes=5))
    scheduler.hold(job)
    (facts,) = scheduler.jobs([job])
    assert facts.priority == 0
    scheduler.notify(job, "held")
    scheduler.notify(999_999, "nobody")
    with pytest.raises(SlurmError):
        scheduler.postpone(999_999, timedelta(minutes=5))
    with pytest.raises(SlurmError):
        scheduler.hold(999_999)


def test_fences_are_put_up_moved_and_taken_down(world: World) -> None:
    """A fence of the same name is changed; one that is gone may be taken down again; names are ours only."""
    scheduler, starts = world.scheduler, datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    ends = starts + timedelta(hours=2)
    assert scheduler.fences() == ()
    for _ in range(2):
        scheduler.fence("asbx-aws-cpu-end", NODES[1::-1], starts, ends)
        assert scheduler.fences() == (Fence("asbx-aws-cpu-end", NODES[:2], starts, ends),)
    scheduler.fence("asbx-aws-cpu-end", NODES[1:3], starts, ends + timedelta(hours=1))
    assert scheduler.fences() == (Fence("asbx-aws-cpu-end", NODES[1:3], starts, ends + timedelta(hours=1)),)
    with pytest.raises(AsbxError):
        scheduler.fence("maintenance", NODES, starts, ends)
    with pytest.raises(SlurmError):
        scheduler.fence("asbx-other", ["aws-cpu-999"], starts, ends)
    for _ in range(2):
        scheduler.unfence("asbx-aws-cpu-end")
    assert scheduler.fences() == ()


def test_nodes_are_drained_and_taken_back(world: World) -> None:
    """A drained node says why and keeps its state; taken back it is as before, and twice is once."""
    world.power_up(NODES[:2])
    before = world.node(NODES[0])
    for _ in range(2):
        world.scheduler.drain(NODES[:1], "asbx:block-ends cr-1 ends at noon")
    view = world.node(NODES[0])
    assert (view.state, view.flags) == (before.state, before.flags | {"DRAIN"})
    assert view.reason.startswith("asbx:block-ends cr-1")
    assert "DRAIN" not in world.node(NODES[1]).flags
    for _ in range(2):
        world.scheduler.undrain(NODES[:1])
    assert world.node(NODES[0]).flags == before.flags
    with pytest.raises(SlurmError):
        world.scheduler.drain(["aws-cpu-999"], "nobody")


def test_a_retired_node_goes_when_it_is_idle(world: World) -> None:
    """One with a job takes no more and keeps the one it has; one without goes down; both say why."""
    world.power_up(NODES[:2])
    world.scheduler.retire(NODES[:1], "asbx:drift another type")
    view = world.node(NODES[0])
    assert view.state == "ALLOCATED"
    assert view.flags >= {"DRAIN", "POWER_DOWN"}
    assert view.reason.startswith("asbx:drift")
    world.scheduler.retire(NODES[3:], "asbx:drift another type")
    assert world.node(NODES[3]).is_powered_down
    with pytest.raises(SlurmError):
        world.scheduler.retire(["aws-cpu-999"], "nobody")


def test_a_topology_is_news_once(world: World) -> None:
    """The same places told again change nothing."""
    paths = dict.fromkeys(NODES, ()) | {NODES[0]: ("nn-1", "nn-2")}
    assert world.scheduler.write_topology(paths)
    assert not world.scheduler.write_topology(paths)
    assert world.scheduler.write_topology(dict.fromkeys(NODES, ()))


def test_a_running_slurmctld_answers(world: World) -> None:
    """Ping says nothing when all is well."""
    world.scheduler.ping()


def test_a_thousand_nodes_take_one_process() -> None:
    """The fake counts processes as the adapter starts them: per batch, not per node; failing takes two."""
    fake = FakeScheduler(samples.node_names(1000))
    fake.bind([(node, samples.instance(f"i-{n}")) for n, node in enumerate(fake.names)])
    assert fake.processes == 1
    fake.fail(fake.names, "x")
    assert fake.processes == 3
    fake.bind([])
    assert fake.processes == 3


def test_injected_failures_come_before_or_after_the_work() -> None:
    """A lost answer leaves the work done; a refusal leaves it undone; then all is well again."""
    fake = FakeScheduler(NODES)
    lost = SlurmError("slurm-timeout", "no answer", "", "")
    rows = [(NODES[0], samples.instance("i-1"))]
    fake.fail_next("bind", lost)
    with pytest.raises(SlurmError):
        fake.bind(rows)
    assert fake.node(NODES[0]).address == NODES[0]
    fake.fail_next("bind", lost, after=True)
    with pytest.raises(SlurmError):
        fake.bind(rows)
    assert fake.node(NODES[0]).address == samples.instance("i-1").private_ip
    fake.bind(rows)


def test_a_script_is_there_while_its_job_is() -> None:
    """A batch job's script can be read; other jobs and jobs that are gone have none, and that is no error."""
    fake = FakeScheduler(NODES)
    fake.add_job(JobFacts(12, state="PENDING"))
    fake.add_job(JobFacts(13, state="PENDING"))
    fake.scripts[12] = "#!/bin/sh\n"
    fake.scripts[14] = "#!/bin/sh\n"
    assert fake.script(12) == "#!/bin/sh\n"
    assert fake.script(13) is None
    assert fake.script(14) is None
