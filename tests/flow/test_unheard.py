"""Calls of ResumeProgram that were lost: harmless at first sight, and never in the way of a request that comes late."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.fakes.site import Site

from asbx.daemon.engine import Engine
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts, Request, RequestKind
from asbx.slurm.scontrol import PARKED

NODES = expand("aws-cpu-[000-001]")


@pytest.fixture
def site() -> Site:
    """Return a site where Slurm waits for two nodes, for a job that forbids requeues, and nobody was asked."""
    site = Site()
    site.scheduler.add_job(JobFacts(1, "ada", "physics", state="CONFIGURING"), NODES, requeue=False)
    site.scheduler.power_up(NODES)
    return site


@pytest.mark.parametrize("address", ["its own name", "parked before"])
def test_one_look_saves_the_job(site: Site, address: str) -> None:
    """ResumeTimeout finds nodes that cost slurmctld no time, and a job that waits again."""
    if address == "parked before":
        site.scheduler.park(NODES)
    Engine(site.doors).reconcile()
    assert {site.scheduler.node(node).address for node in NODES} == {PARKED}
    site.scheduler.fail(NODES, "ResumeTimeout reached")
    (job,) = site.scheduler.jobs([1])
    assert job.state == "PENDING"


def test_a_job_that_waits_again_forbids_requeues_again(site: Site) -> None:
    """What was lifted for the sake of a job that had not run is not lifted for one that runs."""
    engine = Engine(site.doors)
    engine.reconcile()
    assert site.scheduler.no_requeue == set()
    site.scheduler.fail(NODES, "ResumeTimeout reached")
    engine.reconcile()
    assert site.scheduler.no_requeue == {1}


def test_it_is_done_once(site: Site) -> None:
    """A second look parks nothing again; nodes that went and come once more are new."""
    engine = Engine(site.doors)
    for _ in range(3):
        engine.reconcile()
    assert site.scheduler.calls["park"] == 1


def test_a_request_that_comes_in_the_meantime_is_not_overwritten(site: Site) -> None:
    """Between the look and the parking a request begins: its nodes are left alone, and keep their addresses."""
    engine = Engine(site.doors)
    request = Request("r-1", RequestKind.RESUME, NODES, site.clock.now())
    nodes = site.scheduler.nodes

    def late() -> object:
        seen = nodes()
        site.ledger.add_request(request)
        return seen

    site.scheduler.nodes = late  # type: ignore[method-assign, assignment]
    engine.reconcile()
    site.scheduler.nodes = nodes  # type: ignore[method-assign]
    assert site.scheduler.calls["park"] == 0
    engine.drain(timedelta(minutes=5))
    assert set(site.bound()) == set(NODES)
    assert PARKED not in {site.scheduler.node(node).address for node in NODES}


def test_no_request_begins_while_its_nodes_are_parked(site: Site) -> None:
    """What comes during the parking waits for its end, and is served then."""
    engine = Engine(site.doors)
    park, begun = site.scheduler.park, []

    def slow(nodes: tuple[str, ...]) -> None:
        site.ledger.add_request(Request("r-1", RequestKind.RESUME, NODES, site.clock.now()))
        begun.append(engine.dispatch())
        park(nodes)

    site.scheduler.park = slow  # type: ignore[method-assign, assignment]
    engine.reconcile()
    site.scheduler.park = park  # type: ignore[method-assign]
    assert begun == [0]
    engine.drain(timedelta(minutes=5))
    assert set(site.bound()) == set(NODES)
    assert PARKED not in {site.scheduler.node(node).address for node in NODES}


def test_prices_a_crash_has_left_out_come_with_the_next_pass() -> None:
    """A daemon that died between a launch and its prices: what it launched is on the bill all the same."""
    site = Site()
    known = site.prices.known
    site.prices.known = lambda *_: None  # type: ignore[method-assign]
    site.resume("aws-cpu-[000-001]")
    site.prices.known = known  # type: ignore[method-assign]
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    ended = min(site.bound().values())
    site.cloud.terminate([ended])
    site.ledger.end_instances([ended], "for the test", site.clock.now())
    site.ledger.release(["aws-cpu-000"], site.clock.now())
    assert {row.price for row in site.ledger.instances()} == {None}
    Engine(site.doors).reconcile()
    assert None not in {row.price for row in site.ledger.instances()}
