"""Capacity Blocks over behaving fakes: fences around their time, nodes left before their end, nothing without facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.site import Site, config

from asbx.errors import SlurmError
from asbx.flow.blocks import Blocks
from asbx.flow.reconcile import Sweep
from asbx.model.catalogue import ReservationFacts
from asbx.model.event import EventKind
from asbx.model.fence import Fence
from asbx.model.hostlist import expand
from asbx.model.market import Market

HOUR = timedelta(hours=1)
EARLY = timedelta(minutes=40)
NODES = expand("aws-cpu-[000-003]")


def site_of(**cpu: Any) -> Site:
    """Return a site whose group cpu has Capacity Block cr-1 and nothing else, unless told otherwise."""
    fields: dict[str, Any] = {"max_nodes": 4, "capacity_reservations": ["cr-1"], "reservations_only": True}
    return Site(config(**(fields | cpu)))


def buy(site: Site, name: str = "cr-1", *, starts: float = 0, ends: float = 24, **fields: Any) -> None:
    """Buy a block of four, from and to so many hours from now."""
    now = site.clock.now()
    facts = ReservationFacts(name, "c7i.large", "us-east-2a", 4, 4, is_active=True, is_block=True)
    facts = replace(facts, starts=now + starts * HOUR, ends=now + ends * HOUR)
    site.catalogue.reservation_facts[name] = replace(facts, **fields)
    site.cloud.reserved[name] = 4


def fences(site: Site) -> list[str]:
    """Return the names of all fences."""
    return [fence.name for fence in site.scheduler.fences()]


def come_up(site: Site, nodes: str = "aws-cpu-[000-003]") -> None:
    """Launch nodes, and let their slurmd register."""
    assert len(site.resume(nodes, (7, nodes)).bound) == len(expand(nodes))
    site.scheduler.power_up(expand(nodes))
    site.scheduler.register(expand(nodes))


def drained(site: Site) -> list[str]:
    """Return the nodes that get no new job."""
    return [view.name for view in site.scheduler.nodes() if "DRAIN" in view.flags]


def test_fences_stand_around_the_block_and_are_left_alone() -> None:
    """One until it begins, one from 40 minutes before its end; later passes change nothing and ask little."""
    site = site_of()
    buy(site, starts=2, ends=26)
    now, blocks = site.clock.now().replace(microsecond=0), Blocks(site.doors)
    blocks.run()
    end, until = site.scheduler.fences()
    assert (until.nodes, until.starts, until.ends) == (NODES, now, now + 2 * HOUR)
    assert (end.name, end.starts) == ("asbx-aws-cpu-end", now + 26 * HOUR - EARLY)
    for _ in range(5):
        site.clock.advance(minutes=10)
        blocks.run()
    assert site.scheduler.calls["fence"] == 2
    assert len(site.recorder.of(EventKind.FENCE_PUT_UP)) == 2
    site.clock.advance(hours=2)
    blocks.run()
    assert fences(site) == ["asbx-aws-cpu-end"]
    assert len(site.recorder.of(EventKind.FENCE_TAKEN_DOWN)) == 1


def test_nothing_is_done_while_nobody_knows() -> None:
    """EC2 is silent: neither are fences put up or down, nor nodes drained, even at the time of the end."""
    site = site_of()
    buy(site)
    come_up(site)
    Blocks(site.doors).run()
    before = fences(site)
    site.clock.advance(hours=24)
    site.catalogue.is_silent = True
    Blocks(site.doors).run()
    assert (fences(site), drained(site)) == (before, [])
    site.catalogue.is_silent = False
    del site.catalogue.reservation_facts["cr-1"]  # EC2 has forgotten the only one: that it was a block nobody knows
    Blocks(site.doors).run()
    assert fences(site) == before


def test_a_block_that_is_long_over_holds_nothing_up() -> None:
    """EC2 does not know the first any more; the second has its fence all the same."""
    site = site_of(capacity_reservations=["cr-1", "cr-2"])
    buy(site, "cr-2", starts=1)
    Blocks(site.doors).run()
    assert len(fences(site)) == 2


@pytest.mark.parametrize(
    "cpu",
    [{"reservations_only": False}, {"capacity_reservations": ["cr-1", "cr-2"]}, {"capacity_reservations": ["cr-2"]}],
)
def test_groups_with_other_capacity_have_no_fence(cpu: dict[str, Any]) -> None:
    """And one from before, when the group had none, is taken down; others' reservations stay."""
    site = site_of(**cpu)
    buy(site, starts=2)
    buy(site, "cr-2", is_block=False)
    ends = site.clock.now() + 500 * HOUR
    for name in ("asbx-aws-cpu-end", "asbx-gone-gpu-end", "asbx-maintenance"):
        site.scheduler.fence(name, NODES[:1], site.clock.now(), ends)
    Blocks(site.doors).run()
    assert fences(site) == ["asbx-maintenance"]


def test_a_site_without_blocks_is_asked_once() -> None:
    """Whether fences or drains are left from earlier; then nothing more."""
    site = Site()
    blocks = Blocks(site.doors)
    for _ in range(3):
        blocks.run()
    assert (site.scheduler.calls["fences"], site.scheduler.calls["nodes"]) == (1, 1)
    assert site.catalogue.calls["reservations"] == 0


def test_nodes_are_left_before_ec2_ends_them() -> None:
    """Drained once 40 minutes before the end, with the reason; after the power-down they are as any other."""
    site = site_of()
    buy(site)
    come_up(site)
    blocks = Blocks(site.doors)
    site.clock.advance(hours=23, minutes=19)
    blocks.run()
    assert drained(site) == []
    site.clock.advance(minutes=1)
    for _ in range(3):
        blocks.run()
    assert drained(site) == list(NODES)
    assert site.scheduler.calls["drain"] == 1
    assert site.scheduler.node(NODES[0]).reason.startswith("asbx:block-ends cr-1 ends at ")
    (event,) = site.recorder.of(EventKind.NODE_DRAINED)
    assert "aws-cpu-[000-003] drained" in event.text


def test_what_the_block_took_with_it_is_forgotten() -> None:
    """EC2 ended the instances: rows and bindings end; a drain that Slurm keeps over the power-down is taken back."""
    site = site_of()
    buy(site)
    come_up(site)
    blocks, sweep = Blocks(site.doors), Sweep(site.doors)
    site.clock.advance(hours=23, minutes=30)
    blocks.run()
    for instance in site.cloud.alive():
        assert instance.market is Market.CAPACITY_BLOCK
        site.cloud.kill(instance.instance_id, "Server.ScheduledStop")
    for _ in range(2):
        site.clock.advance(minutes=5)
        sweep.run()
    assert (site.bound(), site.ledger.instances(live_only=True)) == ({}, ())
    site.scheduler.drain(["aws-gpu-0"], "asbx:block-ends cr-9")
    blocks.run()
    assert "aws-gpu-0" not in drained(site), "it is off"
    assert drained(site) == [], "the power-down of nodes whose instance is gone drops theirs"
    assert site.ledger.shortages() == (), "that a block ends says nothing of spot"


def test_only_nodes_on_a_block_are_drained() -> None:
    """In a group with other capacity each node goes by its own instance, and somebody else's drain is let be."""
    site = site_of(reservations_only=False, max_nodes=8)
    buy(site, ends=2)
    come_up(site)
    come_up(site, "aws-cpu-[004-005]")
    site.scheduler.drain(["aws-cpu-000"], "fan broken")
    site.clock.advance(hours=1, minutes=30)
    blocks = Blocks(site.doors)
    blocks.run()
    assert drained(site) == list(NODES)
    assert site.scheduler.node("aws-cpu-000").reason == "fan broken"
    buy(site, starts=-1, ends=20)  # extended
    blocks.run()
    assert drained(site) == ["aws-cpu-000"]
    assert len(site.recorder.of(EventKind.NODE_UNDRAINED)) == 1


def test_another_block_does_not_save_the_instances_of_this_one() -> None:
    """A second block carries the group on, so there is no fence; nodes of the first are left all the same."""
    site = site_of(capacity_reservations=["cr-1", "cr-2"])
    buy(site, ends=2)
    come_up(site, "aws-cpu-[000-001]")
    buy(site, "cr-2", starts=1, ends=30)
    site.clock.advance(hours=1, minutes=30)
    Blocks(site.doors).run()
    assert drained(site) == ["aws-cpu-000", "aws-cpu-001"]
    assert fences(site) == ["asbx-aws-cpu-end"]


def test_a_site_chooses_how_early() -> None:
    """Fences, drains and launches go by the same number."""
    site = site_of()
    section = site.config.reservations.model_copy(update={"drain_before_end_seconds": 7200})
    site.config = site.config.model_copy(update={"reservations": section})
    buy(site)
    come_up(site, "aws-cpu-[000-001]")
    site.clock.advance(hours=22)
    Blocks(site.doors).run()
    assert drained(site) == ["aws-cpu-000", "aws-cpu-001"]
    assert site.scheduler.fences()[0].starts == site.clock.now().replace(microsecond=0)
    assert site.resume("aws-cpu-002", (8, "aws-cpu-002"), request_id="r-2").bound == []


def test_one_refusal_is_said_once_and_stops_nothing_else() -> None:
    """The fence is refused, the nodes are drained; the next pass tries again and says nothing new."""
    site = site_of()
    buy(site)
    come_up(site)
    site.clock.advance(hours=23, minutes=30)
    blocks = Blocks(site.doors)
    refused = SlurmError("slurm-refused", "scontrol failed", "Invalid node name", "")
    site.scheduler.fail_next("fence", refused, times=2)
    blocks.run()
    blocks.run()
    assert drained(site) == list(NODES)
    assert fences(site) == []
    (event,) = site.recorder.of(EventKind.PASS_FAILED)
    assert "Invalid node name" in event.text
    blocks.run()
    assert fences(site) == ["asbx-aws-cpu-end"]


def test_fences_survive_a_slurm_that_is_silent() -> None:
    """Nothing is raised into the daemon's pass, and nothing is changed on half a picture."""
    site = site_of()
    buy(site, starts=1)
    there = Fence("asbx-gone-gpu-end", NODES[:1], site.clock.now(), site.clock.now() + HOUR)
    site.scheduler.fence(there.name, there.nodes, there.starts, there.ends)
    site.scheduler.fail_next("fences", SlurmError("slurm-silent", "no answer"))
    blocks = Blocks(site.doors)
    blocks.run()
    assert fences(site) == [there.name]
    blocks.run()
    assert len(fences(site)) == 2
