"""A pass whose look has grown old, or which one side hinders: what serves stays, nothing is lost, nothing sticks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.clock import FakeClock
from tests.fakes.notices import SPOT, STATE, FakeNotices, event
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import NODES, Site, config

from asbx.cli.reconcile import _Work
from asbx.daemon.engine import Engine
from asbx.daemon.lock import worker_lock
from asbx.errors import LedgerError, SlurmError
from asbx.flow.interrupt import Interruptions
from asbx.flow.reconcile import Sweep
from asbx.hooks import spool
from asbx.model.event import EventKind
from asbx.model.job import JobFacts

N0, N5 = NODES[0], NODES[5]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with a node that serves job 7; nothing is asked for."""
    site = Site(config(tmp_path))
    site.scheduler.add_job(JobFacts(7, state="RUNNING"), [N0])
    site.resume(N0, (7, N0))
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    site.scheduler.power_up([N0])
    site.scheduler.register([N0])
    return site


def off_with_instance(site: Site) -> None:
    """Power a node down whose suspend was lost."""
    site.scheduler.power_down([N0])
    site.scheduler.settle()


def second_look(site: Site, sweep: Sweep) -> None:
    """Look once, and let the grace pass."""
    sweep.run()
    site.clock.advance(seconds=200)


def test_a_node_that_is_asked_for_since_the_look_keeps_its_instance(site: Site) -> None:
    """The request found the instance alive and kept it: it is not ended behind its back."""
    off_with_instance(site)
    sweep = Sweep(site.doors)
    second_look(site, sweep)
    look = sweep.look()
    site.scheduler.power_up([N0])
    site.resume(N0, (8, N0), request_id="r-2")
    sweep.act(look)
    assert site.bound()[N0] in {instance.instance_id for instance in site.cloud.alive()}
    assert site.scheduler.calls["fail"] == 0


def test_who_is_relieved_between_look_and_act_does_nothing(site: Site) -> None:
    """A controller that wakes up in the middle of a pass takes no node DOWN that may serve for the other again."""
    sweep = Sweep(site.doors)
    sweep.run()
    site.cloud.terminate([site.bound()[N0]])
    second_look(site, sweep)
    look = sweep.look()
    for method in ("open_requests", "live_bindings", "end_instances", "release", "instances"):
        site.ledger.fail_next(method, LedgerError("ledger-relieved", "this controller works no more"), times=9)
    with pytest.raises(LedgerError):
        sweep.act(look)
    assert site.scheduler.calls["fail_each"] == 0


def test_an_instance_without_a_row_is_not_ended_before_it_has_one(site: Site) -> None:
    """EC2 forgets it soon: a ledger that was full for a moment must not lose what it cost."""
    off_with_instance(site)
    (instance,) = site.cloud.alive()
    site.ledger.lose_instance(instance.instance_id)
    sweep = Sweep(site.doors)
    second_look(site, sweep)
    site.ledger.fail_next("answer_attempt", LedgerError("ledger-full", "the disk is full"))
    sweep.run()
    assert len(site.cloud.alive()) == 1
    for _ in range(4):
        site.clock.advance(seconds=200)
        sweep.run()
    assert not site.cloud.alive()
    (row,) = site.ledger.instances()
    assert row.instance_id == instance.instance_id
    assert row.ended_at is not None


def test_a_job_that_slurm_refuses_to_change_keeps_nobody_from_being_put_right(site: Site) -> None:
    """What is done at first sight for nodes nobody works on is a courtesy."""
    off_with_instance(site)
    site.scheduler.power_up([N5])
    site.scheduler.add_job(JobFacts(8, state="CONFIGURING"), [N5], requeue=False)
    refusal = SlurmError("slurm-refused", "job 8 cannot be changed", "Access/permission denied")
    site.scheduler.fail_next("make_requeueable", refusal, times=100)
    engine = Engine(site.doors)
    for _ in range(4):
        engine.reconcile()
        site.clock.advance(seconds=120)
    engine.close()
    assert not site.cloud.alive()
    assert site.recorder.of(EventKind.PASS_FAILED)


def test_a_request_in_the_spool_is_not_lost_while_reconcile_keeps_the_workers_out(site: Site) -> None:
    """`asbx reconcile` holds the lock that a hook's worker waits for."""
    site.scheduler.power_up([N5])
    folder = site.config.paths.requests
    spool.write(str(folder), spool.request("resume", [N5], {}))
    _Work(site.doors, is_dry=False, as_json=True).once()
    assert "POWERING_UP" in site.scheduler.node(N5).flags
    (request,) = site.ledger.open_requests()
    assert request.nodes == (N5,)


class Obstinate(FakeScheduler):
    """Slurm that refuses to change job 8."""

    def make_requeueable(self, job_ids: Sequence[int]) -> tuple[int, ...]:
        """Refuse it, however many others are asked for with it."""
        if 8 in job_ids:
            raise SlurmError("slurm-refused", "job 8 cannot be changed", "Access/permission denied")
        return super().make_requeueable(job_ids)


def test_of_nodes_to_be_failed_only_that_of_an_obstinate_job_stays() -> None:
    """The others' jobs are requeued; that job is not lost, and waits until Slurm gives its node up."""
    site = Site(scheduler=Obstinate(NODES))
    for job, node in ((8, N0), (9, N5)):
        site.scheduler.add_job(JobFacts(job, state="CONFIGURING"), [node], requeue=False)
    site.scheduler.power_up([N0, N5])
    sweep = Sweep(site.doors)
    second_look(site, sweep)
    sweep.run()
    assert site.scheduler.job_table[9].state == "PENDING"
    assert site.scheduler.job_table[8].state == "CONFIGURING"


@pytest.mark.parametrize("reason", ["instance-lost i-1 is terminated", "health its host fails", "drift-drain type"])
def test_a_drain_of_ours_is_over_when_the_node_is_off(site: Site, reason: str) -> None:
    """Whatever it says by now: setting a drained node DOWN writes another reason over that of the drain."""
    site.scheduler.show(N5, "IDLE", "DRAIN", "POWERED_DOWN", reason=f"asbx:{reason}")
    site.scheduler.show(NODES[6], "IDLE", "DRAIN", "POWERED_DOWN", reason="bad fan")
    sweep = Sweep(site.doors)
    second_look(site, sweep)
    sweep.run()
    assert "DRAIN" not in site.scheduler.node(N5).flags
    assert "DRAIN" in site.scheduler.node(NODES[6]).flags


def test_a_case_ends_with_its_instance_not_with_the_next_one_of_the_node(site: Site) -> None:
    """Slurm did the power-down, and its answer was lost: the node's next job is none of that case's."""
    queue = site.notices = FakeNotices(site.clock)
    flow = Interruptions(site.doors)
    queue.put(event(SPOT, site.bound()[N0], site.clock.now(), **{"instance-action": "terminate"}))
    flow.turn()
    flow.evacuation.step()
    site.scheduler.fail_next("power_down", SlurmError("slurm-timeout", "no answer"), after=True)
    flow.evacuation.step()
    site.scheduler.settle()
    site.scheduler.add_job(JobFacts(8, state="RUNNING"), [N0])
    site.resume(N0, (8, N0), request_id="r-2")
    site.scheduler.power_up([N0])
    site.scheduler.register([N0])
    for _ in range(3):
        flow.evacuation.step()
    assert site.scheduler.restarts[8] == 0
    assert site.bound()[N0] in {instance.instance_id for instance in site.cloud.alive()}
    assert not flow.evacuation.nodes()


@pytest.mark.parametrize(("state", "after"), [("CONFIGURING", "PENDING"), ("RUNNING", "NODE_FAIL")])
def test_a_job_that_waits_for_its_other_nodes_outlives_a_lost_instance(site: Site, state: str, after: str) -> None:
    """It forbids requeues, and has not run yet; one that has run is lost, as it asked. The daemon's own parts."""
    queue = site.notices = FakeNotices(site.clock)
    site.scheduler.add_job(JobFacts(7, state=state), [N0], requeue=False)
    engine = Engine(site.doors)
    instance = site.bound()[N0]
    site.cloud.kill(instance)
    queue.put(event(STATE, instance, site.clock.now(), state="terminated"))
    engine.interruptions.turn()
    assert site.scheduler.job_table[7].state == after
    engine.reconcile()
    engine.close()
    assert (7 in site.scheduler.no_requeue) is True


def test_reconcile_lets_workers_in_between_its_looks(tmp_path: Path) -> None:
    """A hook's worker must not wait two minutes for the lock, nor a burst for the hook."""
    free: list[bool] = []

    class Pause(FakeClock):
        def sleep(self, duration: timedelta) -> None:
            with worker_lock(tmp_path / "run", timedelta(0)) as held:
                free.append(held)
            super().sleep(duration)

    site = Site(config(tmp_path), clock=Pause())
    site.scheduler.show(N5, "IDLE", "DRAIN", "POWERED_DOWN", reason="asbx:drift-drain its type")
    _Work(site.doors, is_dry=False, as_json=True).once()
    assert free == [True]
    assert "DRAIN" not in site.scheduler.node(N5).flags
