"""Gangs that met trouble on their way: each test is a story the random ones have found (tests/property)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Event

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.samples import POOLS, order
from tests.fakes.site import Site, config

from asbx.config.limits import RETRY_MOST
from asbx.decide.bind import name_of
from asbx.decide.ladder import Aim, Leg
from asbx.decide.rungs import Rung
from asbx.errors import ExitCode, LedgerError, SlurmError
from asbx.flow.making import tidy
from asbx.flow.memory import Memory
from asbx.flow.reconcile import Sweep
from asbx.flow.resume import Resume
from asbx.model.job import JobFacts
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Market, Refusal, Template, Verdict

ICE = "InsufficientInstanceCapacity"
EFA = "c6in.32xlarge"


@pytest.fixture
def site() -> Site:
    """Return a fresh site."""
    return Site()


def test_a_group_that_a_living_gang_has_left_is_removed() -> None:
    """Refused in its group, a gang runs outside: the empty group goes, though the gang lives."""
    site = Site(config=config(placement_fallback=True))
    site.cloud.fail_next("launch", cloud_error(ICE, Verdict.CAPACITY))
    assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == 4
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    tidy(site.doors, site.clock.now())
    assert site.cloud.groups == {}


def test_what_a_refused_call_launched_all_the_same_is_in_the_books() -> None:
    """EC2 refuses a spot call and launches for it: on demand serves, the sweep ends the rest, and its cost is known."""
    site = Site(config=config(purchasing_option="mixed"))
    site.cloud.fail_next("launch", cloud_error(ICE, Verdict.CAPACITY), after=True)
    assert len(site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]")).bound) == 2
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    sweep = Sweep(site.doors)
    for _ in range(2):
        sweep.run()
        site.clock.advance(minutes=5)
    rows = {row.instance_id: row for row in site.ledger.instances()}
    assert set(rows) == {one.instance_id for one in site.cloud.all()}
    assert {row.instance_id for row in rows.values() if row.ended_at is None} == set(site.bound().values())


def test_nodes_that_could_not_be_looked_at_are_reported(site: Site) -> None:
    """Asked for again while EC2 may not be asked: the nodes keep their instances, and nobody hears that all is well."""
    job = (1, "aws-cpu-[000-001]")
    site.resume("aws-cpu-[000-001]", job)
    site.cloud.fail_next("describe", cloud_error("UnauthorizedOperation", Verdict.PERMISSION))
    outcome = site.resume("aws-cpu-[000-001]", job, request_id="r-2")
    assert set(outcome.failed) == {"aws-cpu-000", "aws-cpu-001"}
    assert outcome.exit_code == ExitCode.AWS_ACCESS
    assert len(site.bound()) == len(site.cloud.alive()) == 2
    assert "DOWN" not in {site.scheduler.node(node).state for node in site.bound()}


def test_a_node_that_cannot_be_told_its_name_after_a_crash_is_launched_again(site: Site) -> None:
    """Bound before the crash and nameless after it, an instance never becomes a node: it is replaced, not reported."""
    job = (1, "aws-cpu-[000-001]")
    site.ledger.fail_next("bind", LedgerError("ledger-busy", "as in a crash", "", ""), after=True)
    with pytest.raises(LedgerError):
        site.resume("aws-cpu-[000-001]", job)
    site.cloud.fail_next("tag", cloud_error("UnauthorizedOperation", Verdict.PERMISSION))
    (request,) = site.ledger.open_requests()
    assert set(Resume(site.doors, request).run().bound) == {"aws-cpu-000", "aws-cpu-001"}
    names = {one.instance_id: name_of(one) for one in site.cloud.alive()}
    assert {node: names[one] for node, one in site.bound().items()} == {node: node for node in site.bound()}
    assert len(names) == 2


def test_a_node_slurm_refuses_after_a_crash_is_not_reported_as_served(site: Site) -> None:
    """Slurm does not take the address of a node that was bound before: that is said."""
    job = (1, "aws-cpu-[000-001]")
    site.resume("aws-cpu-[000-001]", job)
    site.scheduler.fail_next("bind", SlurmError("slurm-refused", "no such node", "Invalid node name"), times=2)
    outcome = site.resume("aws-cpu-[000-001]", job, request_id="r-2")
    assert (outcome.bound, list(outcome.failed)) == (["aws-cpu-001"], ["aws-cpu-000"])


def test_what_a_dead_run_launched_is_in_the_books_before_it_is_given_back(site: Site) -> None:
    """A crash after the launch, and Slurm forgets the node: the instance ends, and its cost is known."""
    site.ledger.fail_next("answer_attempt", LedgerError("ledger-busy", "as in a crash", "", ""))
    with pytest.raises(LedgerError):
        site.resume("aws-cpu-[000-001]", (1, "aws-cpu-[000-001]"))
    (request,) = site.ledger.open_requests()
    site.scheduler._table.pop("aws-cpu-001")
    Resume(site.doors, request).run()
    rows = {row.instance_id: row.ended_at for row in site.ledger.instances()}
    assert set(rows) == {one.instance_id for one in site.cloud.all()}
    assert None not in rows.values()
    assert site.cloud.alive() == ()


def test_server_trouble_of_one_type_does_not_cost_the_gang_the_others() -> None:
    """EC2 has an internal error for the type with EFA, every time: after some tries the gang runs on the other type."""
    site = Site(config=config(launch_template_overrides=[{"instance_type": kind} for kind in ("c7i.large", EFA)]))
    for zone in ("us-east-2a", "us-east-2b"):
        site.cloud.refusing[EFA, zone, Market.ON_DEMAND] = ("InternalError", Verdict.TRANSIENT)
    assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == 4
    assert {one.instance_type for one in site.cloud.all()} == {"c7i.large"}
    assert site.cloud.calls["CreateFleet"] == RETRY_MOST + 2


def test_a_group_of_the_sites_own_is_never_removed() -> None:
    """Whatever it is called: a gang that came to nothing is gone over again after a crash, and the group stays."""
    site = Site(config=config(placement_group_name="asbx-hpc", placement="cluster"))
    site.cloud.make_group("asbx-hpc", "cluster", {})
    site.cloud.fail_next("launch", cloud_error(ICE, Verdict.CAPACITY), times=9)
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    (request,) = site.ledger.open_requests()
    Resume(site.doors, request).run()
    assert site.cloud.groups == {"asbx-hpc": "cluster"}


def test_what_cannot_be_bound_is_not_launched_any_further(site: Site) -> None:
    """EC2 may not be asked for instances: the gangs that are launched by then are given back, the others never are."""
    site.cloud.fail_next("describe", cloud_error("UnauthorizedOperation", Verdict.PERMISSION), times=999)
    make_group = site.cloud.make_group

    def slow(name: str, strategy: str, tags: Mapping[str, str]) -> None:
        if site.cloud.calls["CreateFleet"]:
            failed.wait(20)
        make_group(name, strategy, tags)

    def describe(ids: Sequence[str]) -> tuple[Instance, ...]:
        failed.set()
        return look(ids)

    failed, look = Event(), site.cloud.describe
    site.cloud.make_group, site.cloud.describe = slow, describe  # type: ignore[method-assign, assignment]
    jobs = [(n + 1, f"aws-cpu-[{2 * n:03d}-{2 * n + 1:03d}]") for n in range(400)]
    outcome = site.resume("aws-cpu-[000-799]", *jobs)
    assert outcome.exit_code == ExitCode.AWS_ACCESS
    assert len(outcome.failed) == 800
    assert site.cloud.calls["CreateFleet"] < 200
    assert site.cloud.alive() == ()


def test_what_a_gang_learns_while_another_gives_back_is_heeded(site: Site) -> None:
    """A pool that has closed between a gang's decision and its call is not asked."""
    rung = Rung("on-demand", Market.ON_DEMAND, POOLS, Template(name="t"), single_zone=True, single_type=True)
    leg = Leg(0, (rung,), 4)
    memory = Memory(site.doors, {})
    closed = Refusal(ICE, "no", Verdict.CAPACITY, POOLS[0].instance_type, POOLS[0].zone, POOLS[0].subnet_id)
    memory.learn("another", order(minimum=4), FleetAnswer("f", (), (closed,)))
    pools, _ = memory.claim("me", Aim((leg,), whole=True, together=True), leg, rung, POOLS)
    assert pools == POOLS[1:]


def test_an_extra_instance_makes_up_for_one_that_dies(site: Site) -> None:
    """Two more than the nodes were launched, and one dies before it runs: the gang is served all the same."""
    site = Site(config=config(most_extra_nodes=2))
    site.scheduler.add_job(JobFacts(1, "ada", "physics", comment="asbx:extra-nodes=2"))
    launch = site.cloud.launch

    def dying(order: FleetOrder) -> FleetAnswer:
        answer = launch(order)
        site.cloud.kill(answer.launched[0].instance_id)
        return answer

    site.cloud.launch = dying  # type: ignore[method-assign]
    assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == 4
    assert len(site.cloud.alive()) == 4


def test_a_template_somebody_removed_is_made_again() -> None:
    """EC2 does not know a derived template any more: the launch that meets that makes it again and comes up."""
    site = Site(config=config(launch_template_overrides=[{"instance_type": EFA}], efa="required"))
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    (name,) = site.cloud.templates
    site.cloud.remove_template(name)
    assert len(site.resume("aws-cpu-[004-007]", (2, "aws-cpu-[004-007]"), request_id="r-2").bound) == 4
    assert list(site.cloud.templates) == [name]


def test_a_group_that_ec2_does_not_know_yet_is_waited_for(site: Site) -> None:
    """Just made, and unknown to the call that launches into it (eventual consistency): the gang comes up in it."""
    site.cloud.fail_next("launch", cloud_error("InvalidPlacementGroup.Unknown", Verdict.NOT_FOUND), times=2)
    assert len(site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]")).bound) == 4
    assert {one.placement_group for one in site.cloud.alive()} == set(site.cloud.groups)
    assert len(site.cloud.groups) == 1


def test_a_group_of_the_sites_that_is_missing_is_told_at_once() -> None:
    """What the configuration names and EC2 does not know is nobody's to make: one call, and EC2's words."""
    site = Site(config=config(placement_group_name="ours", placement="cluster"))
    site.cloud.fail_next("launch", cloud_error("InvalidPlacementGroup.Unknown", Verdict.NOT_FOUND), times=9)
    outcome = site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    assert outcome.codes == ["InvalidPlacementGroup.Unknown"]
    assert site.cloud.calls["CreateFleet"] == 1
