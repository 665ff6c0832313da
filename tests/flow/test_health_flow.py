"""Unwell instances over the fakes: their nodes are left, replaced when idle, and used again."""

from __future__ import annotations

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site

from asbx.errors import AsbxError, SlurmError
from asbx.flow.health import Health
from asbx.flow.reconcile import Sweep
from asbx.flow.suspend import suspend
from asbx.model.event import EventKind
from asbx.model.health import InstanceHealth, ScheduledEvent
from asbx.model.job import Request, RequestKind
from asbx.model.market import Verdict

ONE = "aws-cpu-000"
PAIR = [ONE, "aws-cpu-001"]


@pytest.fixture
def site() -> Site:
    """Return a site with two nodes that have registered an hour ago; a job is on them."""
    one = Site()
    one.resume("aws-cpu-[000-001]", (7, "aws-cpu-[000-001]"))
    one.scheduler.power_up(PAIR)
    one.scheduler.register(PAIR)
    Sweep(one.doors).run()
    one.clock.advance(hours=1)
    return one


def ail(site: Site, node: str = ONE, *, event: str = "") -> str:
    """Let the instance of a node be impaired, or have an event; return its id."""
    instance = site.bound()[node]
    events = (ScheduledEvent("e-1", event, "It is scheduled", site.clock.now()),) if event else ()
    site.cloud.health[instance] = InstanceHealth(instance, system_impaired=not event, events=events)
    return instance


def flags(site: Site, node: str = ONE) -> frozenset[str]:
    """Return a node's flags."""
    return site.scheduler.node(node).flags


def test_an_impaired_node_is_drained_after_the_grace_and_replaced_when_idle(site: Site) -> None:
    """Its job ends as it likes; then the instance goes, and the node may get another."""
    instance, health = ail(site), Health(site.doors)
    health.run()
    site.clock.advance(seconds=100)
    health.run()
    assert "DRAIN" not in flags(site)
    site.clock.advance(seconds=100)
    health.run()
    assert "DRAIN" in flags(site)
    assert site.scheduler.node(ONE).state == "ALLOCATED"
    health.run()
    assert "POWERING_DOWN" not in flags(site), "a job is on it"
    reason = site.scheduler.node(ONE).reason
    site.scheduler._change(ONE, state="IDLE")
    health.run()
    assert "POWERING_DOWN" in flags(site)
    suspend(site.doors, Request("s-1", RequestKind.SUSPEND, (ONE,), site.clock.now()))
    assert [one.instance_id for one in site.cloud.alive() if one.instance_id == instance] == []
    # Without idle_on_node_suspend a drain outlives the power-down.
    site.scheduler._change(ONE, flags=frozenset({"CLOUD", "DRAIN", "POWERED_DOWN"}), reason=reason)
    health.run()
    assert flags(site) == {"CLOUD", "POWERED_DOWN"}
    kinds = [event.kind for event in site.recorder.events][-4:]
    wanted = [EventKind.NODE_DRAINED, EventKind.NODE_REPLACED, EventKind.NODE_RELEASED, EventKind.NODE_UNDRAINED]
    assert kinds == wanted
    assert flags(site, "aws-cpu-001") == {"CLOUD"}


def test_a_scheduled_event_drains_at_once(site: Site) -> None:
    """What AWS announces need not be seen twice."""
    ail(site, event="instance-retirement")
    Health(site.doors).run()
    assert "DRAIN" in flags(site)
    assert "instance-retirement" in site.scheduler.node(ONE).reason


def test_a_node_that_recovers_before_it_is_replaced_is_used_again(site: Site) -> None:
    """On the second look without trouble, and the reason goes with the drain."""
    instance, health = ail(site, event="system-reboot"), Health(site.doors)
    health.run()
    del site.cloud.health[instance]
    health.run()
    assert "DRAIN" in flags(site)
    site.clock.advance(seconds=60)
    health.run()
    assert flags(site) == {"CLOUD"}
    assert len(site.cloud.alive()) == 2


def test_strangers_and_other_drains_are_left_alone(site: Site) -> None:
    """EC2 tells of the whole region; an administrator's drain stays his."""
    site.cloud.health["i-stranger"] = InstanceHealth("i-stranger", instance_impaired=True)
    ail(site, event="instance-stop")
    site.scheduler.drain([ONE], "new memory")
    site.scheduler._change(ONE, state="IDLE")
    health = Health(site.doors)
    for _ in range(3):
        health.run()
        site.clock.advance(seconds=200)
    assert site.scheduler.node(ONE).reason == "new memory"
    assert flags(site) == {"CLOUD", "DRAIN"}


def test_no_permission_is_said_once_and_tried_again_later(site: Site) -> None:
    """Nothing is drained, the trouble can be seen, and a permission granted later is noticed."""
    ail(site, event="instance-stop")
    site.cloud.fail_next("unwell", cloud_error("UnauthorizedOperation", Verdict.PERMISSION, "no"))
    health = Health(site.doors)
    for _ in range(3):
        health.run()
        site.clock.advance(seconds=60)
    assert health.troubles == {"DescribeInstanceStatus": "UnauthorizedOperation: no"}
    assert [event.kind for event in site.recorder.events].count(EventKind.RECONCILE_SKIPPED) == 1
    assert "DRAIN" not in flags(site)
    site.clock.advance(hours=1)
    health.run()
    assert health.troubles == {}
    assert "DRAIN" in flags(site)


def test_a_silent_ec2_drains_nobody_and_frees_nobody(site: Site) -> None:
    """Without an answer there is neither good news nor bad."""
    instance, health = ail(site, event="instance-stop"), Health(site.doors)
    health.run()
    del site.cloud.health[instance]
    health.run()
    site.cloud.fail_next("unwell", cloud_error("RequestLimitExceeded", Verdict.THROTTLED))
    with pytest.raises(AsbxError):
        health.run()
    assert "DRAIN" in flags(site)


def test_what_slurm_refuses_is_tried_again(site: Site) -> None:
    """One refusal stops no other node, and the next pass drains it."""
    ail(site, event="instance-stop")
    ail(site, "aws-cpu-001", event="instance-stop")
    site.scheduler.fail_next("drain", SlurmError("slurm-refused", "no", "busy"))
    health = Health(site.doors)
    health.run()
    assert [("DRAIN" in flags(site, node)) for node in PAIR] == [False, True]
    health.run()
    assert "DRAIN" in flags(site)


def test_where_all_is_well_slurm_is_not_asked(site: Site) -> None:
    """A pass costs three calls to EC2 and no process."""
    health = Health(site.doors)
    health.run()
    before, calls = site.scheduler.calls["nodes"], site.cloud.calls["DescribeInstanceStatus"]
    health.run()
    assert site.scheduler.calls["nodes"] == before
    assert site.cloud.calls["DescribeInstanceStatus"] == calls + 3
