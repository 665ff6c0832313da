"""The place of nodes in EC2's network, told to Slurm: only news, seldom, and never without all nodes."""

from __future__ import annotations

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import NODES, Site

from asbx.config.limits import TOPOLOGY_TRIES
from asbx.errors import SlurmError
from asbx.flow.network import Network
from asbx.flow.reconcile import Sweep
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.market import Verdict


@pytest.fixture
def site() -> Site:
    """Return a site with topology on and four nodes up, of which EC2 tells the place of all but the last."""
    site = Site()
    site.config = site.config.model_copy(update={"slurm": site.config.slurm.model_copy(update={"topology": "conf"})})
    come_up(site, "aws-cpu-[000-003]", "r-1")
    for node, instance in site.bound().items():
        if node != "aws-cpu-003":
            site.cloud.networks[instance] = ("nn-1", "nn-2", f"nn-3{node[-1]}")
    return site


def come_up(site: Site, nodes: str, request: str) -> None:
    """Launch nodes, and let a sweep see that their slurmd has registered."""
    site.resume(nodes, (len(request), nodes), request_id=request)
    site.scheduler.power_up(expand(nodes))
    site.scheduler.register(expand(nodes))
    site.clock.advance(minutes=1)
    Sweep(site.doors).run()


def test_all_nodes_are_told_with_the_places_that_are_known(site: Site) -> None:
    """Nodes that are off, or of which EC2 tells nothing, are there without a place."""
    Network(site.doors).run()
    told = site.scheduler.topology
    assert told is not None
    assert sorted(told) == sorted(NODES)
    assert told["aws-cpu-001"] == ("nn-1", "nn-2", "nn-31")
    assert {node for node, path in told.items() if path} == {"aws-cpu-000", "aws-cpu-001", "aws-cpu-002"}
    assert len(site.recorder.of(EventKind.TOPOLOGY_WRITTEN)) == 1


def test_off_is_off(site: Site) -> None:
    """Without the setting neither EC2 nor Slurm is asked for anything."""
    site.config = site.config.model_copy(update={"slurm": site.config.slurm.model_copy(update={"topology": "none"})})
    calls = site.cloud.calls["DescribeInstanceTopology"]
    Network(site.doors).run()
    assert site.scheduler.topology is None
    assert site.cloud.calls["DescribeInstanceTopology"] == calls


def test_what_is_known_is_not_asked_again(site: Site) -> None:
    """An instance's place is asked once, one EC2 tells nothing of a few times; Slurm hears nothing old."""
    network = Network(site.doors)
    for _ in range(TOPOLOGY_TRIES + 4):
        site.clock.advance(minutes=6)
        network.run()
    assert site.cloud.calls["DescribeInstanceTopology"] == TOPOLOGY_TRIES
    assert site.scheduler.calls["write_topology"] == 1


def test_news_waits_until_the_last_is_five_minutes_old(site: Site) -> None:
    """A burst of nodes makes one change; nodes that went off make none, and are dropped with the next."""
    network = Network(site.doors)
    network.run()
    come_up(site, "aws-cpu-[010-011]", "r-22")
    for node in ("aws-cpu-010", "aws-cpu-011"):
        site.cloud.networks[site.bound()[node]] = ("nn-1", "nn-9", "nn-4")
    network.run()
    assert site.scheduler.calls["write_topology"] == 1
    site.ledger.release(["aws-cpu-000"], site.clock.now())
    site.clock.advance(minutes=5)
    network.run()
    told = site.scheduler.topology
    assert told is not None
    assert told["aws-cpu-010"] == ("nn-1", "nn-9", "nn-4")
    assert told["aws-cpu-000"] == ()
    site.ledger.release(["aws-cpu-001"], site.clock.now())
    site.clock.advance(minutes=30)
    network.run()
    assert site.scheduler.calls["write_topology"] == 2


def test_a_first_file_without_places_does_not_keep_the_first_places_waiting() -> None:
    """Nothing is up when the daemon starts: the file is there at once, and the first nodes' places right after them."""
    site = Site()
    site.config = site.config.model_copy(update={"slurm": site.config.slurm.model_copy(update={"topology": "yaml"})})
    network = Network(site.doors)
    network.run()
    assert site.scheduler.topology == dict.fromkeys(NODES, ())
    come_up(site, "aws-cpu-000", "r-1")
    site.cloud.networks[site.bound()["aws-cpu-000"]] = ("nn-1",)
    network.run()
    assert site.scheduler.topology["aws-cpu-000"] == ("nn-1",)


@pytest.mark.parametrize("side", ["cloud", "scheduler"])
def test_what_fails_is_said_once_and_tried_again(site: Site, side: str) -> None:
    """No permission, or a Slurm that does not answer: nothing is raised, and the next pass makes up for it."""
    if side == "cloud":
        site.cloud.fail_next("topology", cloud_error("UnauthorizedOperation", Verdict.PERMISSION), times=2)
    else:
        site.scheduler.fail_next("write_topology", SlurmError("slurm-silent", "no answer"), times=2)
    network = Network(site.doors)
    for _ in range(3):
        network.run()
    assert len(site.recorder.of(EventKind.PASS_FAILED)) == 1
    assert site.scheduler.topology is not None
