"""Reconcile passes over behaving fakes: two looks, a grace, and only what is ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.samples import order
from tests.fakes.site import Site

from asbx.decide.reconcile import ActionKind
from asbx.errors import AsbxError, SlurmError
from asbx.flow.reconcile import Sweep
from asbx.model.market import Verdict


@pytest.fixture
def site() -> Site:
    """Return a site with four nodes up and registered."""
    site = Site()
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    site.scheduler.power_up(["aws-cpu-000", "aws-cpu-001", "aws-cpu-002", "aws-cpu-003"])
    site.scheduler.register(["aws-cpu-000", "aws-cpu-001", "aws-cpu-002", "aws-cpu-003"])
    return site


def twice(site: Site, sweep: Sweep | None = None) -> list[tuple[ActionKind, str]]:
    """Do two passes with more than the grace between and return what the second did."""
    sweep = sweep or Sweep(site.doors)
    sweep.run()
    site.clock.advance(seconds=site.config.reconcile.orphan_grace_seconds + 1)
    return [(action.kind, action.target) for action in sweep.run()]


def test_a_healthy_cluster_is_left_alone(site: Site) -> None:
    """Nodes that are up keep their instances."""
    assert twice(site) == []
    assert len(site.cloud.alive()) == 4


def test_an_instance_whose_node_is_off_ends_after_the_grace(site: Site) -> None:
    """One sighting does nothing, the second after the grace ends it and resets the node."""
    site.scheduler.power_down(["aws-cpu-001"])
    site.scheduler.settle()
    instance = site.bound()["aws-cpu-001"]
    sweep = Sweep(site.doors)
    assert sweep.run() == ()
    site.clock.advance(seconds=10)
    assert sweep.run() == ()
    assert twice(site, sweep) == [(ActionKind.TERMINATE, instance)]
    assert len(site.cloud.alive()) == 3
    assert "aws-cpu-001" not in site.bound()


def test_an_instance_of_a_crashed_launch_ends(site: Site) -> None:
    """Launched, in the ledger, bound to nothing: nobody will ever use it."""
    site.ledger.release(["aws-cpu-003"], site.clock.now())
    site.scheduler.power_down(["aws-cpu-003"])
    site.scheduler.release(["aws-cpu-003"])
    assert len(twice(site)) == 1
    assert len(site.cloud.alive()) == 3


def test_a_node_in_work_is_left_alone(site: Site) -> None:
    """What a running request works on is not judged."""
    site.ledger.release(["aws-cpu-003"], site.clock.now())
    intent = next(row.intent_id for row in site.ledger.instances())
    sweep = Sweep(site.doors)
    sweep.run(busy_intents={intent})
    site.clock.advance(hours=1)
    assert sweep.run(busy_intents={intent}) == ()


def test_strangers_are_never_touched(site: Site) -> None:
    """An instance with our cluster's tag but an intent we never wrote belongs to somebody else."""
    stranger = replace(order("t"), tags=(("asbx:cluster", "lab"), ("asbx:intent", "not-ours")))
    site.cloud.launch(stranger)
    assert twice(site) == [(ActionKind.REPORT, "strangers")]
    assert len(site.cloud.alive()) == 4 + stranger.count


def test_an_instance_gone_behind_our_back_is_forgotten(site: Site) -> None:
    """EC2 lists it no more: its row gets an end and its node is free."""
    instance = site.bound()["aws-cpu-002"]
    site.cloud.kill(instance)
    site.clock.advance(minutes=5)
    assert twice(site) == [(ActionKind.FORGET, instance)]
    assert "aws-cpu-002" not in site.bound()
    assert all(row.ended_at for row in site.ledger.instances() if row.instance_id == instance)


@pytest.mark.parametrize(
    ("door", "method", "error"),
    [
        ("cloud", "owned", cloud_error("Unavailable", Verdict.TRANSIENT)),
        ("scheduler", "nodes", SlurmError("slurm-silent", "no answer")),
    ],
)
def test_half_a_picture_is_no_picture(site: Site, door: str, method: str, error: AsbxError) -> None:
    """A side that does not answer ends the pass before anything is done."""
    site.scheduler.power_down(["aws-cpu-001"])
    sweep = Sweep(site.doors)
    sweep.run()
    site.clock.advance(hours=1)
    getattr(site, door).fail_next(method, error)
    with pytest.raises(type(error)):
        sweep.run()
    assert len(site.cloud.alive()) == 4


def test_an_empty_node_table_ends_nothing_at_once(site: Site) -> None:
    """A finding that is gone on the second look is forgotten."""
    sweep = Sweep(site.doors)
    site.scheduler.power_down(["aws-cpu-001"])
    sweep.run()
    site.scheduler.power_up(["aws-cpu-001"])
    site.scheduler.register(["aws-cpu-001"])
    site.clock.advance(seconds=100)
    assert sweep.run() == ()
    site.scheduler.power_down(["aws-cpu-001"])
    site.clock.advance(seconds=100)
    assert sweep.run() == ()
    assert timedelta(seconds=site.config.reconcile.orphan_grace_seconds) > timedelta(seconds=100)


def test_a_changed_cluster_name_makes_no_node_look_gone(site: Site) -> None:
    """The listing by name is empty; asked by id, EC2 still has them: nothing is forgotten, nothing ended."""
    cluster = site.config.cluster.model_copy(update={"name": "other"})
    site.config = site.config.model_copy(update={"cluster": cluster})
    assert twice(site) == []
    assert len(site.bound()) == 4


def test_a_foreign_node_table_ends_nothing(site: Site) -> None:
    """Another slurm.conf knows none of the nodes: that is reported once, and no instance ends."""
    site.scheduler._table.clear()
    sweep = Sweep(site.doors)
    assert {kind for kind, _ in twice(site, sweep)} == {ActionKind.REPORT}
    site.clock.advance(hours=1)
    assert sweep.run() == ()
    assert len(site.cloud.alive()) == 4


def test_a_binding_to_an_ended_instance_is_released(site: Site) -> None:
    """A crash between two rows of the ledger is found and mended."""
    instance = site.bound()["aws-cpu-001"]
    site.cloud.kill(instance)
    site.clock.advance(minutes=5)
    site.ledger.end_instances([instance], "test", site.clock.now())
    assert twice(site) == [(ActionKind.RELEASE, "aws-cpu-001")]
    assert "aws-cpu-001" not in site.bound()


def test_a_launch_whose_answer_never_came_is_billed(site: Site) -> None:
    """EC2 launched, the answer was lost for good, nobody could look: the sweep ends the instances and counts them."""
    lost = cloud_error("Unavailable", Verdict.TRANSIENT)
    site.cloud.fail_next("launch", lost, times=99, after=True)
    site.cloud.fail_next("launched_for", lost, times=99)
    site.resume("aws-cpu-[010-013]", (8, "aws-cpu-[010-013]"), request_id="r-2")
    assert len(site.cloud.alive()) == 8
    assert len(twice(site)) == 4
    rows = {row.instance_id: row for row in site.ledger.instances()}
    assert len(rows) == 8
    assert sum(1 for row in rows.values() if row.ended_at is not None and row.price is not None) == 4


def test_names_a_crash_left_out_are_set(site: Site) -> None:
    """Killed before the courtesy tags: the sweep sets Name and node, once."""
    assert all("Name" not in instance.tags for instance in site.cloud.alive())
    Sweep(site.doors).run()
    assert {i.tags["Name"]: i.instance_id for i in site.cloud.alive()} == site.bound()
    calls = site.cloud.calls["CreateTags"]
    Sweep(site.doors).run()
    assert site.cloud.calls["CreateTags"] == calls
