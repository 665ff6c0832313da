"""Gangs over behaving fakes: whole or nothing, in one place, in their order, with few calls, and told why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from threading import Event
from typing import Any

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.ledger import FakeLedger
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import NODES, Site, config

from asbx.config.limits import LAUNCH_SHARE_OF_RESUME_TIMEOUT, PROBE_LEASE
from asbx.config.schema import Config, Mpi
from asbx.decide.shortage_key import capacity_key
from asbx.errors import ExitCode
from asbx.flow.making import tidy
from asbx.flow.reconcile import Sweep
from asbx.model.catalogue import ReservationFacts
from asbx.model.event import EventKind
from asbx.model.hostlist import expand, fold
from asbx.model.job import JobFacts
from asbx.model.market import InstanceState, Market, Verdict
from asbx.model.record import Binding, ResourceKind, Shortage

KINDS = ("c7i.large", "m7i.large")
ZONES = ("us-east-2a", "us-east-2b")
ICE = "InsufficientInstanceCapacity"


def room(site: Site, left: dict[tuple[str, str], int], market: Market = Market.ON_DEMAND) -> None:
    """Say what EC2 has: (type, zone) -> instances; every other pool of the market is empty."""
    for kind in KINDS:
        for zone in ZONES:
            site.cloud.capacity[kind, zone, market] = left.get((kind, zone), 0)


def site_of(**cpu: Any) -> Site:
    """Return a site whose group cpu has these fields."""
    return Site(config=config(**cpu))


def gangs(sizes: Sequence[int], first: int = 0) -> tuple[str, list[tuple[int, str]]]:
    """Return (all nodes, jobs) of gangs of these sizes on the nodes aws-cpu-[first-...]."""
    jobs, at = [], first
    for number, size in enumerate(sizes):
        jobs.append((number + 1, fold(f"aws-cpu-{n:03d}" for n in range(at, at + size))))
        at += size
    return fold(f"aws-cpu-{n:03d}" for n in range(first, at)), jobs


# -- whole or nothing, in one place


def test_a_gang_goes_where_there_is_room_for_all(site: Site) -> None:
    """Seven in zone a, eight in zone b: all eight are in b, and nothing is left in a."""
    room(site, {("c7i.large", "us-east-2a"): 7, ("c7i.large", "us-east-2b"): 8})
    outcome = site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
    assert outcome.exit_code == ExitCode.DONE
    assert {i.zone for i in site.cloud.all()} == {"us-east-2b"}
    assert len(site.cloud.alive()) == 8


def test_no_room_for_all_anywhere_launches_nothing_and_tells_the_job(site: Site) -> None:
    """Seven everywhere for a gang of eight: nothing runs, and the job hears EC2's own code."""
    site.scheduler.add_job(JobFacts(1, "ada", "physics"))
    room(site, {(kind, zone): 7 for kind in KINDS for zone in ZONES})
    outcome = site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
    assert outcome.exit_code == ExitCode.NO_CAPACITY
    assert site.cloud.all() == ()
    assert ICE in site.scheduler.told[1][0]
    assert site.ledger.setbacks([1])[1].count == 1


def test_a_zone_with_two_subnets_is_asked_one_subnet_at_a_time() -> None:
    """EC2 takes one subnet of a zone in a fleet. The second is asked where the first has no address left."""
    site = site_of(subnet_ids=["subnet-a", "subnet-aa", "subnet-b"])
    site.cloud.fail_next("launch", cloud_error("InsufficientFreeAddressesInSubnet", Verdict.ADDRESSES))
    assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == 4
    asked = [{pool.subnet_id for pool in order.pools} for order in site.cloud.orders]
    assert asked == [{"subnet-a", "subnet-b"}, {"subnet-aa"}]
    assert {i.subnet_id for i in site.cloud.alive()} == {"subnet-aa"}


def test_types_are_not_mixed_unless_the_group_allows_it() -> None:
    """Four of one type and four of another are no gang of eight; with equal cores and memory they may be."""
    for mixed, launched in ((False, 0), (True, 8)):
        site = site_of(mixed_types=mixed)
        facts = site.catalogue.types(["c7i.large"])["c7i.large"]
        site.catalogue.type_facts["m7i.large"] = replace(facts, name="m7i.large")
        room(site, {(kind, "us-east-2a"): 4 for kind in KINDS})
        site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
        assert len(site.cloud.alive()) == launched
        assert len({i.subnet_id for i in site.cloud.alive()}) <= 1


def test_unequal_types_are_never_mixed() -> None:
    """A group that allows mixed types still keeps those of other memory apart."""
    site = site_of(mixed_types=True)
    room(site, {(kind, "us-east-2a"): 4 for kind in KINDS})
    site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
    assert site.cloud.alive() == ()


def test_spot_is_left_for_on_demand_within_one_resume() -> None:
    """No spot anywhere, room on demand: the gang runs on demand, where the group buys both."""
    site = site_of(purchasing_option="mixed")
    room(site, {}, Market.SPOT)
    outcome = site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
    assert outcome.exit_code == ExitCode.DONE
    assert {i.market for i in site.cloud.alive()} == {Market.ON_DEMAND}
    assert [order.market for order in site.cloud.orders] == [Market.SPOT, Market.ON_DEMAND]


def test_a_gang_of_two_groups_is_in_one_market() -> None:
    """Four on spot in one zone and two on demand are no gang: all are on demand where there is room for all."""
    for elsewhere, bound in ((5, 0), (6, 6)):
        site = site_of(purchasing_option="mixed")
        room(site, {("c7i.large", "us-east-2a"): 2, ("c7i.large", "us-east-2b"): elsewhere})
        room(site, {("c7i.large", "us-east-2a"): 4}, Market.SPOT)
        nodes = "aws-cpu-[000-001],aws-gpu-[0-3]"
        outcome = site.resume(nodes, (1, nodes))
        assert len(outcome.bound) == bound
        assert {(i.market, i.zone) for i in site.cloud.alive()} == (
            {(Market.ON_DEMAND, "us-east-2b")} if bound else set()
        )


def test_a_second_group_does_not_leave_the_placement_group() -> None:
    """Where it could come only outside of the group its gang is in, all go elsewhere, or come to nothing."""
    site = site_of(placement_fallback=True)
    room(site, {("c7i.large", "us-east-2a"): 6})
    for kind, zone in product(KINDS, ZONES):
        site.cloud.group_capacity[kind, zone, Market.ON_DEMAND] = 4
    nodes = "aws-cpu-[000-001],aws-gpu-[0-3]"
    outcome = site.resume(nodes, (1, nodes))
    assert outcome.bound == []
    assert site.cloud.alive() == ()


def test_fifteen_hundred_are_one_gang_in_one_place() -> None:
    """1,400 places: nothing runs afterwards. 1,500: all are bound, in one zone and one placement group."""
    for places, bound in ((1400, 0), (1500, 1500)):
        site = Site()
        room(site, {("c7i.large", "us-east-2b"): places})
        outcome = site.resume("aws-big-[0000-1499]", (1, "aws-big-[0000-1499]"))
        assert len(outcome.bound) == bound
        alive = site.cloud.alive()
        assert len(alive) == bound
        assert len({(i.zone, i.placement_group, i.instance_type) for i in alive}) == min(bound, 1)
        assert all(row.ended_at is not None for row in site.ledger.instances()) is (bound == 0)


def test_a_greedy_job_takes_its_nodes_where_they_are() -> None:
    """All of its nodes or none, but from both zones and both types."""
    for each, bound in ((2, 8), (1, 0)):
        site = site_of(strategy="greedy")
        room(site, {(kind, zone): each for kind in KINDS for zone in ZONES})
        outcome = site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
        assert len(outcome.bound) == bound
        assert len(site.cloud.alive()) == bound


def test_a_best_effort_job_keeps_what_comes() -> None:
    """Five of eight come: five serve, three are given back to Slurm."""
    site = site_of(strategy="best-effort")
    room(site, {("c7i.large", "us-east-2a"): 5})
    outcome = site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
    assert (len(outcome.bound), len(outcome.failed)) == (5, 3)
    assert outcome.exit_code == ExitCode.PARTLY


def test_a_jobs_own_word_counts(site: Site) -> None:
    """`--constraint=greedy` takes both zones where the group's default would take none."""
    site.scheduler.add_job(JobFacts(1, "ada", "physics", features="greedy"))
    room(site, {("c7i.large", zone): 4 for zone in ZONES})
    outcome = site.resume("aws-cpu-[000-007]", (1, "aws-cpu-[000-007]"))
    assert len(outcome.bound) == 8


def test_a_gang_of_two_groups_is_in_one_zone(site: Site) -> None:
    """The part of the other group follows into the zone of the first, or both go elsewhere."""
    room(site, {("c7i.large", "us-east-2a"): 8, ("m7i.large", "us-east-2b"): 8, ("c7i.large", "us-east-2b"): 5})
    nodes = "aws-cpu-[000-007],aws-gpu-[0-3]"
    outcome = site.resume(nodes, (1, nodes))
    assert len(outcome.bound) == 12
    assert {i.zone for i in site.cloud.alive()} == {"us-east-2b"}


def two_groups(cpu: dict[str, Any], gpu: dict[str, Any]) -> Site:
    """Return a site whose groups cpu and gpu have these fields."""
    raw = config(**cpu).model_dump()
    raw["slurm"]["partitions"][0]["node_groups"][1].update(gpu)
    return Site(config=Config.model_validate(raw))


@pytest.mark.parametrize(
    ("cpu", "gpu", "code"),
    [
        ({}, {"subnet_ids": ["subnet-c"]}, "no-pool"),
        ({"placement": "cluster"}, {"placement": "none"}, "placement-differs"),
        ({}, {"launch_template_overrides": [{"instance_type": "x9.large"}]}, "type-not-offered"),
    ],
)
def test_no_part_of_a_gang_is_launched_where_another_cannot_follow(
    cpu: dict[str, Any], gpu: dict[str, Any], code: str
) -> None:
    """No subnet in common, one in a placement group and one not, a type that is not sold: known before the launch."""
    site = two_groups(cpu, gpu)
    site.catalogue.offers["x9.large"] = frozenset()
    nodes = "aws-cpu-[000-003],aws-gpu-[0-1]"
    assert site.resume(nodes, (1, nodes)).codes == [code]
    assert site.cloud.all() == ()


@pytest.mark.parametrize(("asked", "there"), [("none", ""), ("cluster", "asbx-lab-job-1")])
def test_a_gang_over_two_groups_goes_where_one_of_them_says(asked: str, there: str) -> None:
    """A group that leaves placement to us follows one that does not: a gang is in one placement group, or in none."""
    site = two_groups({}, {"placement": asked})
    nodes = "aws-cpu-[000-003],aws-gpu-[0-1]"
    assert site.resume(nodes, (1, nodes)).codes == []
    assert {
        i.placement_group.startswith(there) and bool(i.placement_group) == bool(there) for i in site.cloud.alive()
    } == {True}


def test_a_greedy_gang_launches_no_part_when_another_is_not_to_be_had() -> None:
    """The larger part finds no room: the smaller one is not launched in vain."""
    greedy = {"strategy": "greedy"}
    site = two_groups(greedy, greedy | {"launch_template_overrides": [{"instance_type": "x9.large"}]})
    for zone in ZONES:
        site.cloud.capacity["x9.large", zone, Market.ON_DEMAND] = 0
    nodes = "aws-cpu-[000-003],aws-gpu-[0-9]"
    assert site.resume(nodes, (1, nodes)).codes == [ICE]
    assert site.cloud.all() == ()


def test_a_place_left_inside_a_group_is_tried_outside_of_it() -> None:
    """1,500 nodes, 1,000 places in a placement group: where the group allows it, the gang is in that zone without."""
    raw = config().model_dump()
    big = {"placement_fallback": True, "subnet_ids": ["subnet-a"]}
    raw["slurm"]["partitions"][0]["node_groups"][2].update(big)
    site = Site(config=Config.model_validate(raw))
    for kind in KINDS:
        site.cloud.group_capacity[kind, ZONES[0], Market.ON_DEMAND] = 1000
    assert len(site.resume("aws-big-[0000-1499]", (1, "aws-big-[0000-1499]")).bound) == 1500
    assert {i.placement_group for i in site.cloud.alive()} == {""}


def test_nodes_join_those_of_their_job_that_are_up(site: Site) -> None:
    """Two of a job's four nodes run in zone b: the others come up there, or not at all."""
    room(site, {("c7i.large", "us-east-2b"): 2})
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    site.scheduler.register(expand("aws-cpu-[000-001]"))
    room(site, {("c7i.large", "us-east-2a"): 8})
    site.clock.advance(hours=3)
    job = (2, "aws-cpu-[000-003]", "aws-cpu-[002-003]")
    assert site.resume("aws-cpu-[002-003]", job, request_id="r-2").exit_code == ExitCode.NO_CAPACITY
    room(site, {("c7i.large", "us-east-2a"): 8, ("c7i.large", "us-east-2b"): 8})
    site.clock.advance(hours=3)
    assert len(site.resume("aws-cpu-[002-003]", job, request_id="r-3").bound) == 2
    assert {i.zone for i in site.cloud.alive()} == {"us-east-2b"}


def test_nodes_join_the_placement_group_of_their_job(site: Site) -> None:
    """The two new nodes are in the group of the two that run; a job that began outside of groups stays outside."""
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    site.resume("aws-cpu-004", (3, "aws-cpu-004"), request_id="r-2")
    site.resume("aws-cpu-[002-003]", (2, "aws-cpu-[000-003]", "aws-cpu-[002-003]"), request_id="r-3")
    site.resume("aws-cpu-005", (4, "aws-cpu-[004-005]", "aws-cpu-005"), request_id="r-4")
    group_of = {i.instance_id: i.placement_group for i in site.cloud.alive()}
    groups = {node: group_of[instance] for node, instance in site.bound().items()}
    assert len({groups[f"aws-cpu-00{n}"] for n in range(4)}) == 1
    assert groups["aws-cpu-000"]
    assert (groups["aws-cpu-004"], groups["aws-cpu-005"]) == ("", "")


def test_single_nodes_that_ask_for_different_things_are_launched_apart() -> None:
    """One job's market is not another's: the same user's jobs share a launch only where they ask for the same."""
    site = site_of(purchasing_option="mixed")
    site.scheduler.add_job(JobFacts(1, "ada", "physics", comment="asbx:market=on-demand"))
    site.scheduler.add_job(JobFacts(2, "ada", "physics"))
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-000"), (2, "aws-cpu-001"))
    market = {i.instance_id: i.market for i in site.cloud.alive()}
    bound = site.bound()
    assert market[bound["aws-cpu-000"]] is Market.ON_DEMAND
    assert market[bound["aws-cpu-001"]] is Market.SPOT


def test_one_gang_probes_for_all(site: Site) -> None:
    """After the cool-down a single gang tries the pool; the others of the call wait for its answer and then follow."""
    room(site, {})
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    site.clock.advance(minutes=3)
    room(site, {("c7i.large", "us-east-2a"): 40})
    calls = site.cloud.calls["CreateFleet"]
    nodes, jobs = gangs([2] * 20, first=100)
    outcome = site.resume(nodes, *jobs, request_id="r-2")
    assert len(outcome.bound) == 40
    assert site.cloud.calls["CreateFleet"] - calls <= 21


def test_a_gang_that_waits_for_a_probe_lets_others_pass() -> None:
    """Its only pool is being tried by somebody else; the gang behind it has a pool of its own, and is not kept."""
    one_type = {"launch_template_overrides": [{"instance_type": "m7i.large"}], "subnet_ids": ["subnet-a"]}
    site = two_groups(one_type | {"placement": "none"}, {"placement": "none"})
    now = site.clock.now()
    key = capacity_key(Market.ON_DEMAND, "m7i.large", "us-east-2a", placed=False)
    hour = timedelta(hours=1)
    probed = Shortage(key, ICE, 1, 1, now - hour, now, now + PROBE_LEASE, "somebody")
    site.ledger.change_shortage(key, lambda _: probed)
    site.cloud.capacity["m7i.large", "us-east-2b", Market.ON_DEMAND] = 0
    outcome = site.resume("aws-cpu-[000-001],aws-gpu-[0-1]", (1, "aws-cpu-[000-001]"), (2, "aws-gpu-[0-1]"))
    assert len(outcome.bound) == 4
    first, second = site.cloud.orders
    assert "c7i.large" in {pool.instance_type for pool in first.pools}
    assert {pool.instance_type for pool in second.pools} == {"m7i.large"}
    (waited,) = [one for one in site.ledger.intents("r-1") if one.gang_id == "job-1"]
    (attempt,) = site.ledger.attempts(waited.intent_id)
    assert attempt.asked_at - now >= PROBE_LEASE


# -- the order between jobs, and what one teaches the others


def test_ten_gangs_of_ten_on_fifty_five() -> None:
    """Five run, nothing is wasted, at most eight calls - wherever the room is, and whatever else is empty."""
    for market in Market.ON_DEMAND, Market.SPOT:
        for kind in KINDS:
            for zone in ZONES:
                site = site_of(purchasing_option="mixed")
                room(site, {})
                room(site, {}, Market.SPOT)
                room(site, {(kind, zone): 55}, market)
                nodes, jobs = gangs([10] * 10)
                outcome = site.resume(nodes, *jobs)
                assert len(outcome.bound) == 50
                assert (len(site.cloud.all()), len(site.cloud.alive())) == (50, 50)
                assert site.cloud.calls["CreateFleet"] <= 8, (market, kind, zone)


def test_a_gang_goes_before_single_nodes() -> None:
    """Twenty single-node jobs and a gang of forty on fifty places: the gang runs, and ten of the others."""
    for first in (0, 20):  # the gang first in the file, and last
        site = Site()
        room(site, {("c7i.large", "us-east-2a"): 50})
        singles = [(100 + n, f"aws-cpu-{40 + n:03d}") for n in range(20)]
        gang = (1, "aws-cpu-[000-039]")
        jobs = [gang, *singles] if not first else [*singles, gang]
        outcome = site.resume("aws-cpu-[000-059]", *jobs)
        assert {f"aws-cpu-{n:03d}" for n in range(40)} <= set(outcome.bound)
        assert len(outcome.bound) == 50


def test_single_nodes_that_outrank_a_gang_go_first() -> None:
    """Slurm's priority counts: twenty singles of higher priority leave thirty places, and the gang of forty waits."""
    site = Site()
    room(site, {("c7i.large", "us-east-2a"): 50})
    site.scheduler.add_job(JobFacts(1, "ada", "physics", priority=10))
    for n in range(20):
        site.scheduler.add_job(JobFacts(100 + n, "ada", "physics", priority=20))
    singles = [(100 + n, f"aws-cpu-{40 + n:03d}") for n in range(20)]
    outcome = site.resume("aws-cpu-[000-059]", (1, "aws-cpu-[000-039]"), *singles)
    assert set(outcome.bound) == {f"aws-cpu-{40 + n:03d}" for n in range(20)}


def test_gangs_ask_in_the_order_of_their_priority() -> None:
    """With room for one of two gangs the one of higher priority runs, wherever it stands in the file."""
    site = Site()
    room(site, {("c7i.large", "us-east-2a"): 10})
    site.scheduler.add_job(JobFacts(1, "ada", "physics", priority=10))
    site.scheduler.add_job(JobFacts(2, "bob", "physics", priority=20))
    nodes, jobs = gangs([10, 10])
    assert site.resume(nodes, *jobs).bound == list(expand(jobs[1][1]))


def test_250_gangs_on_nothing_make_few_calls() -> None:
    """One learned shortage serves all jobs of the call."""
    site = site_of(purchasing_option="mixed")
    room(site, {})
    room(site, {}, Market.SPOT)
    nodes, jobs = gangs([2] * 250)
    outcome = site.resume(nodes, *jobs)
    assert outcome.bound == []
    assert site.cloud.calls["CreateFleet"] <= 5
    assert len(outcome.failed) == 500
    assert all(ICE in site.scheduler.told[job][0] for job, _ in jobs)


class SlowToTell(FakeScheduler):
    """Takes as long to fail the first nodes as the other gangs take to come to nothing."""

    def fail_each(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Wait for the others, the first time."""
        if not self.calls["fail_each"]:
            assert self.others.wait(20), "the other gangs wait to be told"
        super().fail_each(reasons)

    others = Event()


class Watched(FakeLedger):
    """Says when somebody has looked for the instances of the last gang: it has come to nothing, then."""

    def live_bindings(self, nodes: Sequence[str] | None = None) -> tuple[Binding, ...]:
        """Look, and say so."""
        if nodes is not None and "aws-cpu-199" in nodes and len(nodes) == 2:
            SlowToTell.others.set()
        return super().live_bindings(nodes)


def test_gangs_that_fail_while_others_are_told_are_told_together() -> None:
    """A hundred gangs come to nothing one after another: three batches of Slurm's commands, not a hundred."""
    site = Site(ledger=Watched(), scheduler=SlowToTell(NODES))
    room(site, {})
    nodes, jobs = gangs([2] * 100)
    for job, _ in jobs:
        site.scheduler.add_job(JobFacts(job))
    outcome = site.resume(nodes, *jobs)
    assert len(outcome.failed) == 200
    assert set(site.scheduler.told) == {job for job, _ in jobs}
    assert site.scheduler.calls["fail_each"] <= 3


def test_the_next_request_knows_it_too() -> None:
    """What one request learned is not asked again by the next, until the cool-down is over; then one launch probes."""
    site = site_of()
    room(site, {})
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    calls = site.cloud.calls["CreateFleet"]
    site.resume("aws-cpu-[002-003]", (2, "aws-cpu-[002-003]"), request_id="r-2")
    assert site.cloud.calls["CreateFleet"] == calls
    assert "next" in site.scheduler.told[2][0] or ICE in site.scheduler.told[2][0]
    site.clock.advance(minutes=3)
    nodes, jobs = gangs([2] * 50, first=100)
    site.resume(nodes, *jobs, request_id="r-3")
    assert site.cloud.calls["CreateFleet"] == calls + 1
    first = {row.key: row.failures for row in site.ledger.shortages()}
    assert set(first.values()) == {2}
    room(site, {(kind, zone): 100 for kind in KINDS for zone in ZONES})
    site.clock.advance(minutes=5)
    nodes, jobs = gangs([2] * 10, first=300)
    outcome = site.resume(nodes, *jobs, request_id="r-4")
    assert len(outcome.bound) == 20
    # The pool that gave is forgotten as short at once.
    used = {(i.instance_type, i.zone) for i in site.cloud.alive()}
    assert not [row for row in site.ledger.shortages() if tuple(row.key.split("/")[2:4]) in used]


def test_a_success_is_remembered_where_zones_are_not_known() -> None:
    """Without a word on the subnets a shortage is kept by subnet, and what is launched there ends it all the same."""
    site = site_of(subnet_ids=["subnet-a"])
    site.catalogue.subnet_facts["subnet-a"] = None
    room(site, {})
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    assert len(site.ledger.shortages()) == 2
    site.clock.advance(minutes=3)
    room(site, {(kind, ZONES[0]): 10 for kind in KINDS})
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"), request_id="r-2")
    used = {i.instance_type for i in site.cloud.alive()}
    assert not used & {row.key.split("/")[2] for row in site.ledger.shortages()}


def test_a_smaller_gang_may_still_try(site: Site) -> None:
    """Five places: a gang of ten is refused, one of five runs all the same."""
    room(site, {("c7i.large", "us-east-2a"): 5})
    nodes, jobs = gangs([10, 5])
    assert site.resume(nodes, *jobs).bound == list(expand(jobs[1][1]))


def test_a_quota_is_told_apart_from_capacity(site: Site) -> None:
    """A used-up quota closes the family, not the pools: the other zone is not asked in vain, and the job hears it."""
    site.cloud.fail_next("launch", cloud_error("VcpuLimitExceeded", Verdict.QUOTA, "vCPU limit"), times=9)
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    assert [row.key for row in site.ledger.shortages()] == ["quota/on-demand/standard"]
    assert site.cloud.calls["CreateFleet"] == 1
    assert "VcpuLimitExceeded" in site.scheduler.told[1][0]


def test_many_gangs_with_room_go_side_by_side(site: Site) -> None:
    """While nothing is short the gangs are launched more and more at a time, and all of them run."""
    nodes, jobs = gangs([2] * 60)
    outcome = site.resume(nodes, *jobs)
    assert len(outcome.bound) == 120
    assert site.cloud.calls["CreateFleet"] == 60
    assert len({i.placement_group for i in site.cloud.alive()}) == 60


# -- placement groups


def test_each_gang_has_a_placement_group_of_its_own_for_its_life(site: Site) -> None:
    """Made before the launch, removed when the last instance is gone."""
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    (name,) = site.cloud.groups
    assert name.startswith("asbx-lab-job-1-")
    assert {i.placement_group for i in site.cloud.alive()} == {name}
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    tidy(site.doors, site.clock.now())
    assert name in site.cloud.groups, "its gang lives"
    ids = [i.instance_id for i in site.cloud.alive()]
    site.cloud.terminate(ids)
    site.ledger.end_instances(ids, "over", site.clock.now())
    tidy(site.doors, site.clock.now())
    assert name in site.cloud.groups, "the instances are still ending"
    site.clock.advance(minutes=5)
    tidy(site.doors, site.clock.now())
    assert site.cloud.groups == {}
    assert site.ledger.resources(ResourceKind.PLACEMENT_GROUP) == ()


def test_a_gang_that_came_to_nothing_leaves_no_group(site: Site) -> None:
    """The group made for it is removed in the same flow."""
    room(site, {})
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.groups == {}


def test_no_room_in_a_group_says_nothing_of_the_outside() -> None:
    """Where the group allows a fallback the gang runs outside; the memory keeps the two apart."""
    for fallback, bound in ((False, 0), (True, 4)):
        site = site_of(placement_fallback=fallback)
        for kind in KINDS:
            for zone in ZONES:
                site.cloud.group_capacity[kind, zone, Market.ON_DEMAND] = 2
        outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
        assert len(outcome.bound) == bound
        assert {i.placement_group for i in site.cloud.alive()} <= {""}
        assert all(row.key.endswith("/placed") for row in site.ledger.shortages())


def test_a_job_cannot_leave_the_group_a_site_demands() -> None:
    """`--constraint=pg-none` where the site forces cluster groups: the gang is in one, and the job hears it."""
    forced = config()
    site = Site(config=forced.model_copy(update={"mpi": Mpi(force_cluster_placement_group=True)}))
    site.scheduler.add_job(JobFacts(1, "ada", "physics", features="pg-none"))
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert {i.placement_group for i in site.cloud.alive()} == set(site.cloud.groups) != {""}
    assert any("cluster placement groups only" in event.text for event in site.recorder.events)


def test_a_single_node_has_no_group(site: Site) -> None:
    """One node gains nothing from a group, and may find less capacity in it."""
    site.resume("aws-cpu-000", (1, "aws-cpu-000"))
    assert site.cloud.groups == {}


def test_a_full_account_of_groups_is_told(site: Site) -> None:
    """No group can be made: the gang hears why, and nothing is launched outside of one."""
    site.cloud.group_limit = 0
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert outcome.bound == []
    assert site.cloud.all() == ()
    assert "PlacementGroupLimitExceeded" in site.scheduler.told[1][0]


# -- before the call


def dropped(site: Site) -> str:
    """Return what was considered, in one text."""
    events = [event for event in site.recorder.events if event.kind is EventKind.LADDER_PLANNED]
    return "\n".join(str(event.data["considered"]) for event in events)


def test_what_cannot_launch_is_dropped_with_one_sentence_each(site: Site) -> None:
    """Not offered, wrong architecture, a full subnet: each pool is dropped with its reason and never asked."""
    site.catalogue.offers["m7i.large"] = frozenset({"us-east-2a"})
    facts = site.catalogue.types(["c7i.large"])["c7i.large"]
    site.catalogue.type_facts["c7i.large"] = replace(facts, arch=("arm64",))
    subnet = site.catalogue.subnets(["subnet-a"])["subnet-a"]
    site.catalogue.subnet_facts["subnet-a"] = replace(subnet, free=3)
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.calls["CreateFleet"] == 0
    assert outcome.exit_code == ExitCode.CONFIG, "an image for another architecture is the graver reason"
    said = dropped(site)
    assert "m7i.large in us-east-2b: EC2 offers it in us-east-2a only" in said
    assert "c7i.large: the template's image ami-1 is for x86_64, the type is arm64" in said
    assert "subnet-a: 4 address(es) are needed and 3 are free" in said


def test_a_quota_below_the_request_is_hopeless(site: Site) -> None:
    """No wait makes a quota of 4 vCPUs hold four nodes of two: the job is held, not retried."""
    site.scheduler.add_job(JobFacts(1, "ada", "physics"))
    site.catalogue.quotas |= {(Market.ON_DEMAND, kind): 4 for kind in KINDS}
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.calls["CreateFleet"] == 0
    assert "quota of 4" in site.scheduler.told[1][0]
    assert site.ledger.setbacks([1])[1].next_at is None


def test_each_type_counts_against_its_own_quota() -> None:
    """Spot has one quota for P4 and another for P5: that none of the first is left holds no job that may have P5."""
    kinds = ("p4d.24xlarge", "p5.48xlarge")
    fields = {"launch_template_overrides": [{"instance_type": kind} for kind in kinds]}
    site = site_of(**fields, purchasing_option="spot", efa="disabled")
    site.catalogue.quotas |= {(Market.SPOT, kinds[0]): 0, (Market.SPOT, kinds[1]): 10_000}
    assert len(site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]")).bound) == 2
    assert {i.instance_type for i in site.cloud.alive()} == {"p5.48xlarge"}


def test_facts_that_cannot_be_read_stop_nothing(site: Site) -> None:
    """Without permission to describe anything the launch goes on as it did before there were facts."""
    site.catalogue.is_silent = True
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert len(outcome.bound) == 4


# -- EFA


EFA_KINDS = [{"instance_type": "c7i.large"}, {"instance_type": "c6in.32xlarge"}]


def test_efa_comes_from_what_ec2_says_of_a_type() -> None:
    """Preferred: the type with EFA first, with an interface for each card; the other only when that is empty."""
    site = site_of(launch_template_overrides=EFA_KINDS)
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert {(i.instance_type, i.efa) for i in site.cloud.alive()} == {("c6in.32xlarge", 2)}
    ((base, change),) = site.cloud.templates.values()
    assert (base.name, base.version) == ("asbx", "1")
    assert [(s.card, s.device, s.kind, s.groups) for s in change.interfaces] == [
        (0, 0, "efa", ("sg-1",)),
        (1, 1, "efa-only", ("sg-1",)),
    ]
    for zone in ZONES:
        site.cloud.capacity["c6in.32xlarge", zone, Market.ON_DEMAND] = 0
    site.resume("aws-cpu-[004-007]", (2, "aws-cpu-[004-007]"), request_id="r-2")
    assert [i.instance_type for i in site.cloud.alive()].count("c7i.large") == 4


def test_required_efa_is_never_done_without() -> None:
    """No type with EFA, or a security group that would not let it pass: refused with the reason, nothing launched."""
    site = site_of(efa="required")
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.all() == ()
    assert "no EFA" in site.scheduler.told[1][0]
    site = site_of(efa="required", launch_template_overrides=EFA_KINDS)
    site.catalogue.closed = frozenset({"sg-1"})
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.all() == ()
    assert "sg-1 must allow all traffic to and from itself" in site.scheduler.told[1][0]


def test_efa_that_nothing_is_known_of_holds_no_job() -> None:
    """EC2 does not say what the types have: the job is told so and tried again, for the answer may come."""
    site = site_of(efa="required", launch_template_overrides=EFA_KINDS)
    site.scheduler.add_job(JobFacts(1, "ada", "physics"))
    site.catalogue.is_silent = True
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.all() == ()
    assert "efa-unknown" in site.scheduler.told[1][0]
    assert site.ledger.setbacks([1])[1].next_at is not None


def test_a_template_that_could_not_be_made_is_not_launched_from() -> None:
    """EC2 refuses to make it: the gang hears that, and neither this try nor the next takes it for made."""
    site = site_of(efa="required", launch_template_overrides=EFA_KINDS[1:], purchasing_option="mixed")
    for request in "r-1", "r-2":
        refusal = cloud_error("UnauthorizedOperation", Verdict.PERMISSION, "not allowed")
        site.cloud.fail_next("make_template", refusal, times=9)
        site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"), request_id=request)
        assert site.cloud.calls["CreateFleet"] == 0
        assert "no launch template could be made" in site.scheduler.told[1][-1]


def test_a_job_may_do_without_efa() -> None:
    """`--constraint=no-efa`: the base template as it is."""
    site = site_of(launch_template_overrides=EFA_KINDS[1:])
    site.scheduler.add_job(JobFacts(1, "ada", "physics", features="no-efa"))
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.templates == {}
    assert {i.efa for i in site.cloud.alive()} == {0}


def test_a_derived_template_is_made_once() -> None:
    """The same base and layout is one template, for all gangs and after a restart."""
    site = site_of(launch_template_overrides=EFA_KINDS[1:])
    nodes, jobs = gangs([2] * 5)
    site.resume(nodes, *jobs)
    assert len(site.cloud.templates) == 1
    assert site.cloud.calls["CreateLaunchTemplate"] == 1


def test_each_node_group_of_a_gang_launches_from_its_own_template() -> None:
    """Two groups with the same EFA type and other base templates: no node gets the image of the other group."""
    efa = {"launch_template_overrides": EFA_KINDS[1:]}
    site = two_groups(efa, efa | {"launch_template_specification": {"launch_template_name": "other"}})
    nodes = "aws-cpu-[000-003],aws-gpu-[0-1]"
    assert len(site.resume(nodes, (1, nodes)).bound) == 6
    for order in site.cloud.orders:
        made = {pool.template.name for pool in order.pools if pool.template is not None}
        assert {site.cloud.templates[name][0].name for name in made} == {order.template.name}
    assert len(site.cloud.templates) == 2


def test_a_template_another_request_is_just_making_is_not_taken_for_made() -> None:
    """It is in the ledger before EC2 hears of it: who finds it there makes it too, and both launch from the same."""
    site = site_of(launch_template_overrides=EFA_KINDS[1:])
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    (row,) = site.ledger.resources(ResourceKind.TEMPLATE)
    assert row.used_at > row.created_at
    other = site_of(launch_template_overrides=EFA_KINDS[1:])
    now = other.clock.now()
    other.ledger.add_resource(replace(row, created_at=now, used_at=now))
    assert len(other.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]")).bound) == 2
    assert list(other.cloud.templates) == [row.name]


def test_an_unused_template_goes_after_a_while() -> None:
    """Derived templates nobody has used for a week are removed."""
    site = site_of(launch_template_overrides=EFA_KINDS[1:])
    site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    tidy(site.doors, site.clock.now())
    assert len(site.cloud.templates) == 1
    site.clock.advance(days=8)
    tidy(site.doors, site.clock.now())
    assert site.cloud.templates == {}


# -- reservations


def reserve(site: Site, **fields: Any) -> None:
    """Reserve four places of c7i.large in zone a."""
    facts = ReservationFacts("cr-1", "c7i.large", "us-east-2a", available=4, total=4, is_active=True)
    site.catalogue.reservation_facts["cr-1"] = replace(facts, **fields)
    site.cloud.reserved["cr-1"] = site.catalogue.reservation_facts["cr-1"].available


def test_a_reservation_comes_first_and_in_no_group_of_ours() -> None:
    """The gang is in the reservation, targeted by a derived template, without a placement group made for it."""
    site = site_of(capacity_reservations=["cr-1"])
    reserve(site)
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert len(outcome.bound) == 4
    order = site.cloud.orders[0]
    assert (order.reservation, order.placement_group, site.cloud.groups) == ("cr-1", "", {})
    ((_, change),) = site.cloud.templates.values()
    assert change.reservation == "cr-1"


def test_a_reservation_made_in_a_group_is_used_in_it() -> None:
    """Then, and only then, the launch names a group."""
    site = site_of(capacity_reservations=["cr-1"])
    reserve(site, placement_group="ours")
    site.cloud.make_group("ours", "cluster", {})
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert site.cloud.orders[0].placement_group == "ours"


def test_a_reservation_too_small_is_left_out() -> None:
    """Three free places are none for a gang of four; other capacity serves, unless the group has only reservations."""
    for only, bound in ((False, 4), (True, 0)):
        site = site_of(capacity_reservations=["cr-1"], reservations_only=only)
        reserve(site, available=3)
        outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
        assert len(outcome.bound) == bound
        assert "3 of its 4 places are free and 4 are needed" in dropped(site)


def test_a_block_is_used_only_in_its_window() -> None:
    """Before its start and in its last forty minutes nothing is launched into a Capacity Block."""
    for begins, ends, bound in ((60, 600, 0), (-60, 600, 4), (-600, 30, 0)):
        site = site_of(capacity_reservations=["cr-1"], reservations_only=True)
        now = site.clock.now()
        window = {"starts": now + timedelta(minutes=begins), "ends": now + timedelta(minutes=ends)}
        reserve(site, is_block=True, **window)
        outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
        assert len(outcome.bound) == bound, (begins, ends)
        assert {i.market for i in site.cloud.alive()} <= {Market.CAPACITY_BLOCK}


def test_a_block_that_has_just_begun_is_asked() -> None:
    """EC2's answer from a moment before says `scheduled`: the launch finds out. A minute later its word counts."""
    for late, bound in ((1, 4), (61, 0)):
        site = site_of(capacity_reservations=["cr-1"], reservations_only=True)
        now = site.clock.now()
        window = {"starts": now - timedelta(seconds=late), "ends": now + timedelta(hours=9)}
        reserve(site, is_block=True, is_active=False, available=0, **window)
        site.cloud.reserved["cr-1"] = 4
        assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == bound, late


# -- after the call


def test_nothing_is_handed_to_slurm_before_it_runs(site: Site) -> None:
    """A gang of which one instance dies while pending is given back whole; Slurm hears of no address."""
    launch = site.cloud.launch

    def dying(order: Any) -> Any:
        answer = launch(order)
        site.cloud.kill(answer.launched[0].instance_id)
        return answer

    site.cloud.launch = dying  # type: ignore[method-assign]
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert outcome.bound == []
    assert site.cloud.alive() == ()
    assert site.scheduler.calls["bind"] == 0


def test_instances_outside_their_group_are_not_served(site: Site) -> None:
    """What EC2 shows is compared with what was ordered: another placement group is not what the job asked for."""
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    describe = site.cloud.describe

    def elsewhere(ids: Sequence[str]) -> Any:
        return tuple(replace(i, placement_group="") for i in describe(ids))

    site.cloud.describe = elsewhere  # type: ignore[method-assign, assignment]
    outcome = site.resume("aws-cpu-[004-007]", (2, "aws-cpu-[004-007]"), request_id="r-2")
    assert outcome.bound == []
    assert "no placement group" in site.scheduler.told[2][0]
    assert len(site.cloud.alive()) == 4


def test_extra_nodes_keep_the_best_connected() -> None:
    """Of six instances the four below one switch stay, and two are given back."""
    site = site_of(most_extra_nodes=2)
    site.scheduler.add_job(JobFacts(1, "ada", "physics", comment="asbx:extra-nodes=2"))
    for n in range(1, 7):
        site.cloud.networks[f"i-{n:017x}"] = ("top", "left" if n in (1, 4) else "right", f"leaf-{n % 2}")
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert len(outcome.bound) == 4
    assert (site.cloud.orders[0].count, site.cloud.orders[0].minimum) == (6, 4)
    alive = {i.instance_id for i in site.cloud.alive()}
    assert {site.cloud.networks[one][1] for one in alive} == {"right"}
    assert len(site.cloud.all()) == 6


def test_neighbours_in_the_network_get_neighbouring_names() -> None:
    """Node names follow the network's layers, where the site wants it."""
    site = Site(config=_with_topology(config()))
    for n in range(1, 5):
        site.cloud.networks[f"i-{n:017x}"] = ("top", "a" if n in (1, 3) else "b")
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    order = [site.cloud.networks[site.bound()[node]][1] for node in expand("aws-cpu-[000-003]")]
    assert order == ["a", "a", "b", "b"]


def _with_topology(settings: Config) -> Config:
    return settings.model_copy(update={"mpi": settings.mpi.model_copy(update={"topology_order": "always"})})


def test_the_ladder_ends_in_time(site: Site) -> None:
    """However long EC2 throttles, the gang is given up within the launch's share of ResumeTimeout."""
    began = site.clock.now()
    site.cloud.fail_next("launch", cloud_error("RequestLimitExceeded", Verdict.THROTTLED), times=1000)
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.NO_CAPACITY
    took = site.clock.now() - began
    share = site.config.resume_deadline * LAUNCH_SHARE_OF_RESUME_TIMEOUT
    assert took <= share + timedelta(seconds=15)


@pytest.fixture
def site() -> Site:
    """Return a fresh site."""
    return Site()


def test_a_slow_gang_holds_up_no_other(site: Site) -> None:
    """One gang's instances take minutes to run: the other is served long before."""
    site.cloud.capacity["c7i.large", "us-east-2a", Market.ON_DEMAND] = 2
    describe = site.cloud.describe
    began = site.clock.now()

    def slow(ids: Sequence[str]) -> Any:
        rows = describe(ids)
        late = site.clock.now() - began < timedelta(minutes=4)
        return tuple(replace(i, state=InstanceState.PENDING) if late and i.tags["asbx:job"] == "1" else i for i in rows)

    site.cloud.describe = slow  # type: ignore[method-assign, assignment]
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-001]"), (2, "aws-cpu-[002-003]"))
    assert len(outcome.bound) == 4
    at = {binding.node: binding.bound_at for binding in site.ledger.live_bindings()}
    assert at["aws-cpu-002"] - began < timedelta(minutes=1)
    assert at["aws-cpu-000"] - began >= timedelta(minutes=4)


def test_a_dead_instance_costs_its_own_gang_only(site: Site) -> None:
    """Two gangs come up together, an instance of one dies: the other is served."""
    launch = site.cloud.launch

    def dying(order: Any) -> Any:
        answer = launch(order)
        if dict(order.tags)["asbx:job"] == "1":
            site.cloud.kill(answer.launched[0].instance_id)
        return answer

    site.cloud.launch = dying  # type: ignore[method-assign]
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-001]"), (2, "aws-cpu-[002-003]"))
    assert outcome.bound == list(expand("aws-cpu-[002-003]"))
    assert len(site.cloud.alive()) == 2


def test_a_throttled_group_is_made_a_little_later(site: Site) -> None:
    """Throttling of CreatePlacementGroup is waited out, as that of a launch is."""
    site.cloud.fail_next("make_group", cloud_error("RequestLimitExceeded", Verdict.THROTTLED), times=2)
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert len(outcome.bound) == 4


def test_a_spot_reclaim_is_remembered(site: Site) -> None:
    """An instance EC2 took back makes its pool short, as a refused launch does."""
    site = site_of(purchasing_option="spot")
    site.resume("aws-cpu-000", (1, "aws-cpu-000"))
    (instance,) = site.cloud.alive()
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    site.cloud.kill(instance.instance_id, "Server.SpotInstanceTermination")
    sweep = Sweep(site.doors)
    sweep.run()
    site.clock.advance(minutes=5)
    sweep.run()
    (row,) = site.ledger.shortages()
    assert row.key == f"capacity/spot/{instance.instance_type}/{instance.zone}"
    assert row.code == "spot-reclaim"


def test_a_job_is_not_tried_again_before_a_pool_may_be_asked(site: Site) -> None:
    """The memory closes every pool for a minute: the job waits longer than its own pause, so no try is in vain."""
    settings = site.config.backoff.model_copy(update={"first_seconds": 5, "longest_seconds": 10})
    site.config = site.config.model_copy(update={"backoff": settings})
    site.scheduler.add_job(JobFacts(1, "ada", "physics"))
    room(site, {})
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    opens = max(row.closed_until for row in site.ledger.shortages())
    next_at = site.ledger.setbacks([1])[1].next_at
    assert next_at is not None
    assert opens <= next_at <= opens + timedelta(seconds=15)
