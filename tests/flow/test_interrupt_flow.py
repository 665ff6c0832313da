"""Interruptions over behaving fakes: drained first, jobs moved whole and once, whatever the queue brings and when."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.cloud import cloud_error
from tests.fakes.notices import REBALANCE, RESERVATION, SPOT, STATE, FakeNotices, event, health
from tests.fakes.site import Site, config

from asbx.errors import AsbxError, LedgerError, SlurmError
from asbx.flow.interrupt import Interruptions
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobAsk, JobFacts, Request, RequestKind
from asbx.model.market import Verdict

GANG = expand("aws-cpu-[000-003]")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class World:
    """A site with a spot gang of four under job 7, and its queue."""

    def __init__(self, **policy: Any) -> None:
        self.site = Site(config(purchasing_option="spot"))
        settings = self.site.config.interruptions.model_copy(update={"queue": "notices", **policy})
        self.site.config = self.site.config.model_copy(update={"interruptions": settings})
        self.queue = FakeNotices(self.site.clock)
        self.site.notices = self.queue
        self.up("aws-cpu-[000-003]", 7)
        self.flow = Interruptions(self.site.doors)

    def up(self, nodes: str, job: int, *, requeue: bool = True) -> None:
        """Let a job run on nodes of its own."""
        site = self.site
        site.resume(nodes, (job, nodes), request_id=f"r-{job}-{site.clock.now()}")
        for request in site.ledger.open_requests():
            site.ledger.finish_request(request.request_id, failed=False, note="", at=site.clock.now())
        site.scheduler.power_up(expand(nodes))
        site.scheduler.register(expand(nodes))
        site.scheduler.add_job(JobFacts(job, state="RUNNING"), expand(nodes), requeue=requeue)

    def id(self, node: str = "aws-cpu-001") -> str:
        """Return the instance of a node."""
        return self.site.bound()[node]

    def put(self, kind: str, node: str = "aws-cpu-001", **detail: Any) -> str:
        """Let EC2 announce something about a node's instance."""
        return self.queue.put(event(kind, self.id(node), self.site.clock.now(), **detail))

    def turns(self, count: int = 3) -> None:
        """Read the queue and look after the jobs, a second apart."""
        for _ in range(count):
            self.flow.turn()
            self.flow.evacuation.step()
            self.site.clock.advance(seconds=1)

    def of(self, kind: EventKind) -> list[Any]:
        """Return events of a kind."""
        return self.site.recorder.of(kind)


@pytest.fixture
def world() -> World:
    """Return the world with the policy as it is by default."""
    return World()


def test_a_warning_drains_first_and_moves_the_gang_whole(world: World) -> None:
    """Node drained with a reason that names the instance, pool short, job requeued once and started at once."""
    site, instance = world.site, world.id()
    world.put(SPOT, **{"instance-action": "terminate"})
    world.flow.turn()
    view = site.scheduler.node("aws-cpu-001")
    assert "DRAIN" in view.flags
    assert view.reason.startswith(f"asbx:spot-interruption {instance} ")
    assert world.queue.waiting == {}
    (row,) = site.ledger.shortages()
    assert row.key.startswith("capacity/spot/c7i.large/")
    assert [one.instance_id for one in site.ledger.interruptions(LONG_AGO)] == [instance], (
        "its pool is restless from now on"
    )
    (said,) = world.of(EventKind.SPOT_INTERRUPTED)
    assert said.data["drained_s"] <= 10
    assert site.scheduler.restarts[7] == 0
    world.turns()
    assert site.scheduler.restarts[7] == 1
    assert site.scheduler.job_table[7].state == "PENDING"
    assert site.scheduler.begin[7] == timedelta(seconds=1)
    assert "spot reclaimed" in site.scheduler.told[7][-1]
    assert set(site.bound()) == set(GANG) - {"aws-cpu-001"}
    ended = {row.instance_id: row for row in site.ledger.instances() if row.ended_at}
    assert {key: row.end_reason for key, row in ended.items()} == {instance: "spot reclaimed"}
    assert "POWERING_DOWN" in site.scheduler.node("aws-cpu-001").flags
    assert len(site.cloud.alive()) == 3
    assert not world.flow.evacuation.nodes()


def test_the_same_message_again_does_nothing(world: World) -> None:
    """At least once is once: before, during and after."""
    body = event(SPOT, world.id(), world.site.clock.now())
    for _ in range(3):
        world.queue.put(body)
        world.queue.put(body)
        world.turns()
    assert world.site.scheduler.restarts[7] == 1
    assert world.site.scheduler.calls["drain"] == 1
    assert len(world.of(EventKind.SPOT_INTERRUPTED)) == 1
    assert world.queue.waiting == {}


def test_a_warning_for_an_earlier_instance_of_a_node_changes_nothing(world: World) -> None:
    """The message is late: the node has another instance by now."""
    site, old = world.site, world.id()
    world.put(SPOT)
    world.turns()
    site.scheduler.settle()
    world.up("aws-cpu-001", 8)
    world.queue.put(event(SPOT, old, site.clock.now() - timedelta(minutes=4)))
    world.turns()
    assert site.scheduler.restarts[8] == 0
    assert "DRAIN" not in site.scheduler.node("aws-cpu-001").flags
    assert world.flow.seen["foreign"] == 1


def test_foreign_and_odd_messages_are_deleted(world: World) -> None:
    """The queue has the whole account's messages, and whatever else somebody wrote into it."""
    now = world.site.clock.now()
    calls = dict(world.site.scheduler.calls)
    for body in (
        event(SPOT, "i-ffffffffffffffff0", now),
        event(STATE, "i-ffffffffffffffff0", now, state="terminated"),
        event("EC2 Fleet Error", world.id(), now),
        "not json",
        "[" * 50_000,
        json.dumps({"version": "0"}),
    ):
        world.queue.put(body)
    world.turns(1)
    assert world.queue.waiting == {}
    assert world.flow.seen["unknown"] == 4
    assert world.flow.seen["foreign"] == 2
    assert dict(world.site.scheduler.calls) == calls
    assert len(world.of(EventKind.NOTICE_UNKNOWN)) == 1


def test_a_warning_before_the_node_has_its_instance_comes_again(world: World) -> None:
    """An instance of ours that is not bound yet: the message is kept until it is, or too old."""
    site = world.site
    instance = world.id()
    site.ledger.release(["aws-cpu-001"], site.clock.now())
    world.queue.put(event(SPOT, instance, site.clock.now()))
    world.turns(1)
    assert len(world.queue.waiting) == 1
    site.clock.advance(minutes=6)
    world.turns(1)
    assert world.queue.waiting == {}


@pytest.mark.parametrize(
    ("door", "method", "error"),
    [
        ("scheduler", "drain", SlurmError("slurm-silent", "no answer")),
        ("ledger", "change_shortage", LedgerError("ledger-busy", "busy")),
    ],
)
def test_a_message_is_deleted_only_after_success(world: World, door: str, method: str, error: AsbxError) -> None:
    """Slurm or the ledger is away: the message comes again and is done then."""
    getattr(world.site, door).fail_next(method, error)
    world.put(SPOT)
    world.turns(1)
    assert len(world.queue.waiting) == 1
    world.turns()
    assert world.queue.waiting == {}
    assert world.site.scheduler.restarts[7] == 1
    assert len(world.site.ledger.shortages()) == 1


def test_what_fails_between_the_steps_is_done_later(world: World) -> None:
    """Requeue, StartTime, EC2: each is away once, and the gang is moved once all the same."""
    silent = SlurmError("slurm-silent", "no answer")
    for method in ("tenants", "requeue", "tell_job", "jobs", "power_down"):
        world.site.scheduler.fail_next(method, silent)
    world.site.cloud.fail_next("terminate", cloud_error("Unavailable", Verdict.TRANSIENT))
    world.put(SPOT)
    world.turns(10)
    assert world.site.scheduler.restarts[7] == 1
    assert world.site.scheduler.begin[7] == timedelta(seconds=1)
    assert "POWERING_DOWN" in world.site.scheduler.node("aws-cpu-001").flags


def test_several_nodes_of_one_gang_are_one_requeue(world: World) -> None:
    """EC2 takes half a gang: each node is drained, the job moves once, all these instances end."""
    for node in GANG[:3]:
        world.put(SPOT, node)
    world.site.scheduler.slow_requeue = 2
    world.turns(6)
    assert world.site.scheduler.restarts[7] == 1
    assert set(world.site.bound()) == {GANG[3]}
    (row,) = world.site.ledger.shortages()
    assert row.failures == 1, "one cool-down, however many instances"


def test_a_job_gets_its_signal_and_its_time() -> None:
    """Signalled at once, requeued after the pause, drained all the while."""
    world = World(signal="USR1", signal_target="all", checkpoint_seconds=30)
    world.put(SPOT)
    world.turns(29)
    assert world.site.scheduler.signals == [(7, "USR1", "all")]
    assert world.site.scheduler.restarts[7] == 0
    world.turns(4)
    assert world.site.scheduler.restarts[7] == 1
    assert world.site.scheduler.signals == [(7, "USR1", "all")]
    assert [e.kind for e in world.site.recorder.events].count(EventKind.JOB_SIGNALLED) == 1


def test_a_job_that_may_not_be_requeued_runs_to_the_end(world: World) -> None:
    """It is told, not touched; when EC2 takes the instance, the node is DOWN at once."""
    site = world.site
    world.up("aws-cpu-010", 9, requeue=False)
    instance = world.id("aws-cpu-010")
    world.put(SPOT, "aws-cpu-010")
    world.turns(5)
    assert site.scheduler.job_table[9].state == "RUNNING"
    assert site.scheduler.told[9][0].startswith("asbx:spot-interruption aws-cpu-010")
    assert [job for job, _ in site.scheduler.notified] == [9]
    assert instance in {one.instance_id for one in site.cloud.alive()}
    site.cloud.kill(instance)
    world.put(STATE, "aws-cpu-010", state="shutting-down")
    world.turns(1)
    assert site.scheduler.node("aws-cpu-010").state == "DOWN"
    assert next(r.end_reason for r in site.ledger.instances() if r.instance_id == instance) == "spot reclaimed"
    assert not world.flow.evacuation.nodes()


def test_without_replace_slurms_own_pause_holds() -> None:
    """The job waits the two minutes of a requeue."""
    world = World(replace=False)
    world.put(SPOT)
    world.turns(4)
    assert world.site.scheduler.begin[7] > timedelta(minutes=2)


@pytest.mark.parametrize(
    ("policy", "drained", "restarts"), [("ignore", False, 0), ("no-new-jobs", True, 0), ("drain", True, 1)]
)
def test_a_recommendation_does_what_the_site_wants(policy: str, drained: bool, restarts: int) -> None:
    """Recorded in any case; the pool is not held for short by it."""
    world = World(rebalance=policy)
    world.put(REBALANCE)
    world.flow.turn()
    assert ("DRAIN" in world.site.scheduler.node("aws-cpu-001").flags) is drained
    world.turns()
    assert world.site.scheduler.restarts[7] == restarts
    assert len(world.of(EventKind.REBALANCE_RECOMMENDED)) == 1
    assert world.site.ledger.shortages() == ()


def test_a_warning_after_a_recommendation_counts(world: World) -> None:
    """No new jobs at first; then the jobs are moved. The other way round nothing is taken back."""
    world.put(REBALANCE)
    world.turns(1)
    world.put(SPOT)
    world.put(REBALANCE)
    world.flow.turn()
    assert "spot-interruption" in world.site.scheduler.node("aws-cpu-001").reason
    world.turns()
    assert world.site.scheduler.restarts[7] == 1


def test_a_health_event_lets_jobs_end(world: World) -> None:
    """Drained; the instance ends when the sweep finds the node without a job."""
    site = world.site
    world.queue.put(health([world.id(), "i-ffffffffffffffff0"], site.clock.now()))
    world.turns(2)
    assert site.scheduler.node("aws-cpu-001").reason.startswith("asbx:scheduled-event ")
    world.flow.run()
    assert len(site.cloud.alive()) == 4
    site.scheduler.job_nodes[7] = ()
    world.flow.run()
    assert len(site.cloud.alive()) == 3
    assert len(world.of(EventKind.HEALTH_SCHEDULED)) == 1


def test_a_node_somebody_undrains_is_kept(world: World) -> None:
    """The administrator knows better: the event is over, say. Its instance is not ended when it is idle."""
    site = world.site
    world.queue.put(health([world.id()], site.clock.now()))
    world.turns(1)
    site.scheduler.undrain(["aws-cpu-001"])
    site.scheduler.job_nodes[7] = ()
    world.flow.run()
    assert len(site.cloud.alive()) == 4
    assert not world.flow.evacuation.nodes()


def test_a_reservation_that_is_taken_back_is_a_warning(world: World) -> None:
    """Its instances end in two minutes: jobs are moved, but no spot pool is short by that."""
    world.put(RESERVATION, **{"instance-termination-time": "2026-03-01T12:02:00Z"})
    world.turns()
    assert world.site.scheduler.restarts[7] == 1
    assert world.site.ledger.shortages() == ()
    assert len(world.of(EventKind.RESERVATION_INTERRUPTED)) == 1


def test_an_instance_ended_behind_our_back_takes_its_node_down(world: World) -> None:
    """Jobs are requeued at once, the books are closed, and nothing is done a second time."""
    site, instance = world.site, world.id()
    site.cloud.kill(instance)
    for state in ("shutting-down", "terminated"):
        world.queue.put(event(STATE, instance, site.clock.now(), state=state))
    world.turns(2)
    assert site.scheduler.node("aws-cpu-001").state == "DOWN"
    assert "aws-cpu-001" not in site.bound()
    assert [e.level for e in world.of(EventKind.INSTANCE_LOST)] == ["warning"]
    assert world.queue.waiting == {}


def test_a_state_that_ec2_does_not_confirm_takes_nothing_down(world: World) -> None:
    """It may be old (stopped and started again), early or false: it comes again until it is late; EC2's word counts."""
    site, instance = world.site, world.id()
    world.put(STATE, state="stopped")
    world.turns(2)
    assert site.scheduler.node("aws-cpu-001").state == "ALLOCATED"
    assert site.bound()["aws-cpu-001"] == instance
    assert len(world.queue.waiting) == 1
    world.site.clock.advance(minutes=6)
    world.turns(1)
    assert world.queue.waiting == {}
    assert site.scheduler.node("aws-cpu-001").state == "ALLOCATED"


def test_what_we_end_ourselves_is_no_loss(world: World) -> None:
    """A node that is powered down, or that a request works on, is left alone."""
    site, instance = world.site, world.id()
    site.scheduler.power_down(["aws-cpu-001"])
    world.queue.put(event(STATE, instance, site.clock.now(), state="terminated"))
    world.turns(1)
    assert world.queue.waiting == {}
    request = Request("r-9", RequestKind.SUSPEND, ("aws-cpu-002",), site.clock.now(), (JobAsk(7, GANG, GANG),))
    site.ledger.add_request(request)
    world.put(STATE, "aws-cpu-002", state="terminated")
    world.turns(1)
    assert len(world.queue.waiting) == 1, "it comes again, when the request is over"
    assert world.of(EventKind.INSTANCE_LOST) == []


def test_an_instance_that_ends_while_it_boots_is_no_loss(world: World) -> None:
    """It never was a node: that is a failed boot, which is found, counted and told elsewhere."""
    world.site.scheduler.power_up(["aws-cpu-001"])
    world.put(STATE, state="shutting-down")
    world.turns(1)
    assert world.queue.waiting == {}
    assert "aws-cpu-001" in world.site.bound()
    assert world.of(EventKind.INSTANCE_LOST) == []


def test_a_restarted_daemon_goes_on(world: World) -> None:
    """Killed between drain and requeue, the message deleted: the drain reason tells the next one."""
    world.put(SPOT)
    world.flow.turn()
    world.flow = Interruptions(world.site.doors)
    world.flow.run()
    world.turns()
    assert world.site.scheduler.restarts[7] == 1
    assert "aws-cpu-001" not in world.site.bound()


def test_a_restarted_daemon_lets_requeued_jobs_go(world: World) -> None:
    """Killed between the requeue and the job's return to the queue: it does not wait Slurm's two minutes."""
    site = world.site
    site.scheduler.slow_requeue = 3
    world.put(SPOT)
    world.turns(1)
    assert site.scheduler.restarts[7] == 1
    for one in world.of(EventKind.JOB_REQUEUED):
        site.ledger.add_event(one, site.clock.now())
    world.flow = Interruptions(site.doors)
    world.flow.begin()
    world.turns(4)
    assert site.scheduler.begin[7] == timedelta(seconds=1)


def test_a_job_put_off_since_is_left_alone(world: World) -> None:
    """Requeued, and its launch found no capacity: a restart of the daemon does not send it there again."""
    site, now = world.site, world.site.clock.now()
    site.scheduler.add_job(JobFacts(9, state="PENDING"))
    site.ledger.add_event(Event(EventKind.JOB_REQUEUED, "job 9 requeued", job_id=9), now)
    site.ledger.set_setback(samples.setback(9, next_at=now + timedelta(minutes=5)))
    world.flow.begin()
    world.turns(2)
    assert 9 not in site.scheduler.begin


def test_a_spot_instance_gone_without_a_word_is_known_by_ec2s_reason(world: World) -> None:
    """The warning was lost: node DOWN, pool short, and the job does not wait for two minutes."""
    site, instance = world.site, world.id()
    site.cloud.kill(instance, reason="Server.SpotInstanceTermination")
    world.queue.put(event(STATE, instance, site.clock.now(), state="shutting-down"))
    world.turns(3)
    assert site.scheduler.node("aws-cpu-001").state == "DOWN"
    assert [row.end_reason for row in site.ledger.instances() if row.instance_id == instance] == ["spot reclaimed"]
    assert len(site.ledger.shortages()) == 1
    assert [one.instance_id for one in site.ledger.interruptions(LONG_AGO)] == [instance]
    assert site.scheduler.begin[7] == timedelta(seconds=1)


def test_a_node_that_drained_itself_is_a_warning(world: World) -> None:
    """Its own watcher heard of it: pool, job and instance are treated as by a message."""
    site = world.site
    site.scheduler.drain(["aws-cpu-001"], f"asbx:spot-interruption {world.id()} EC2 takes its spot instance back")
    world.flow.run()
    world.turns()
    assert site.scheduler.restarts[7] == 1
    assert len(site.ledger.shortages()) == 1
    assert len(world.of(EventKind.SPOT_INTERRUPTED)) == 1


def test_a_mark_on_what_is_no_spot_instance_moves_nothing() -> None:
    """Somebody wrote the words by hand."""
    world = World()
    world.site = Site()
    world.up("aws-cpu-[000-003]", 7)
    world.flow = Interruptions(world.site.doors)
    world.site.scheduler.drain(["aws-cpu-001"], f"asbx:spot-interruption {world.id()} EC2 takes it")
    world.flow.run()
    assert world.site.scheduler.restarts[7] == 0
    assert len(world.site.cloud.alive()) == 4


def test_a_node_that_is_off_may_be_used_again(world: World) -> None:
    """A Slurm that keeps DRAIN through a power-down: the mark is taken back, somebody else's drain is not."""
    site = world.site
    site.scheduler.drain(["aws-cpu-020"], "asbx:spot-interruption i-00000000000000001 EC2 takes it back")
    site.scheduler.drain(["aws-cpu-021"], "broken fan")
    world.flow.run()
    assert "DRAIN" not in site.scheduler.node("aws-cpu-020").flags
    assert "DRAIN" in site.scheduler.node("aws-cpu-021").flags


def test_the_state_is_told(world: World) -> None:
    """For `asbx status`: the queue, what came, and which nodes are being emptied."""
    world.put(SPOT)
    world.flow.turn()
    assert world.flow.state() == {"queue": "notices", "messages": {"spot-interruption": 1}, "nodes": ["aws-cpu-001"]}


def test_an_administrators_drain_stands_where_a_notice_would_only_drain_too() -> None:
    """Its reason is not replaced by one that is undrained, or powered down, when the notice is over."""
    world = World(rebalance="no-new-jobs")
    world.site.scheduler.drain(["aws-cpu-001"], "disk looks bad")
    world.put(REBALANCE)
    world.turns()
    view = world.site.scheduler.node("aws-cpu-001")
    assert view.reason == "disk looks bad"
    assert world.flow.evacuation.case("aws-cpu-001") is None
    assert [e.node for e in world.of(EventKind.REBALANCE_RECOMMENDED)] == ["aws-cpu-001"]
    world.put(SPOT, **{"instance-action": "terminate"})
    world.flow.turn()
    assert world.site.scheduler.node("aws-cpu-001").reason.startswith("asbx:spot-interruption")
