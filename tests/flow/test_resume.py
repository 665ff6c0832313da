"""The resume flow over behaving fakes: what is launched, bound, given back, and said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site, config

from asbx.daemon.engine import Engine
from asbx.errors import ExitCode, LedgerError, SlurmError
from asbx.flow.resume import Resume
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts
from asbx.model.market import Market, Verdict

SILENT = SlurmError("slurm-silent", "no answer")


@pytest.fixture
def site() -> Site:
    """Return a fresh site."""
    return Site()


def room(
    site: Site,
    left: dict[str, int],
    market: Market = Market.ON_DEMAND,
    zones: tuple[str, ...] = ("us-east-2a", "us-east-2b"),
) -> None:
    """Limit what EC2 has of each type in each of these zones."""
    site.cloud.capacity.update({(kind, zone, market): count for kind, count in left.items() for zone in zones})


def test_a_job_of_four_nodes_costs_one_call_of_each_kind(site: Site) -> None:
    """One CreateFleet, one DescribeInstances once they run, one tag call for the names, one update of Slurm."""
    site.cloud.boot_after = timedelta(0)
    site.scheduler.add_job(JobFacts(7, "ada", "physics", "ring"))
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.DONE
    assert outcome.bound == list(expand("aws-cpu-[000-003]"))
    assert (site.cloud.calls["CreateFleet"], site.cloud.calls["DescribeInstances"]) == (1, 1)
    assert site.scheduler.calls["bind"] == 1
    order = site.cloud.orders[0]
    assert (order.count, order.minimum, order.single_zone, len(order.pools)) == (4, 4, True, 4)
    tags = dict(order.tags)
    assert (tags["asbx:job"], tags["asbx:user"], tags["asbx:account"]) == ("7", "ada", "physics")
    assert (tags["asbx:gang"], tags["asbx:cluster"], tags["ManagedBy"]) == ("job-7", "lab", "aws-slurm-burst")


def test_nodes_learn_their_names_from_one_tag_call(site: Site) -> None:
    """All instances of a reservation share the list; the launch index picks the name the ledger bound."""
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    bound = site.bound()
    for instance in site.cloud.alive():
        reservation, _, names = instance.tags["asbx:nodes"].partition("=")
        assert reservation == instance.reservation_id
        assert bound[expand(names)[instance.launch_index]] == instance.instance_id


def test_single_node_jobs_of_one_user_share_a_launch(site: Site) -> None:
    """A job array is one CreateFleet, and each instance knows its own job."""
    for job in range(10, 15):
        site.scheduler.add_job(JobFacts(job, "ada", "physics"))
    site.resume("aws-cpu-[000-004]", *[(10 + n, f"aws-cpu-00{n}") for n in range(5)])
    assert site.cloud.calls["CreateFleet"] == 1
    assert site.cloud.orders[0].minimum == 0
    assert sorted((row.node, row.jobs) for row in site.ledger.instances()) == [
        (f"aws-cpu-00{n}", (10 + n,)) for n in range(5)
    ]


def test_jobs_that_share_nodes_launch_them_once(site: Site) -> None:
    """Two jobs on the same three nodes need three instances."""
    outcome = site.resume("aws-cpu-[000-002]", (1, "aws-cpu-[000-002]"), (2, "aws-cpu-[000-002]"))
    assert len(site.cloud.alive()) == 3
    assert len(outcome.bound) == 3
    assert {row.jobs for row in site.ledger.instances()} == {(1, 2)}


def test_nodes_already_up_are_not_launched_again(site: Site) -> None:
    """Of five nodes of a job only the two to resume are launched."""
    outcome = site.resume("aws-cpu-[003-004]", (1, "aws-cpu-[000-004]", "aws-cpu-[003-004]"))
    assert outcome.bound == ["aws-cpu-003", "aws-cpu-004"]
    assert len(site.cloud.alive()) == 2


def test_groups_are_launched_apart(site: Site) -> None:
    """A list over two groups makes one launch for each, with exactly its nodes."""
    outcome = site.resume("aws-cpu-[001-004,009],aws-gpu-7")
    assert sorted(outcome.bound) == sorted(expand("aws-cpu-[001-004,009],aws-gpu-7"))
    assert sorted(order.count for order in site.cloud.orders) == [1, 5]


def test_the_same_request_twice_launches_once(site: Site) -> None:
    """A second call for nodes that have a live instance only tells Slurm their addresses again."""
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"), request_id="r-2")
    assert len(outcome.bound) == 4
    assert site.cloud.calls["CreateFleet"] == 1
    assert site.scheduler.calls["bind"] == 2


def test_a_node_whose_instance_died_gets_a_new_one(site: Site) -> None:
    """A binding to a dead instance does not count as served."""
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    site.cloud.kill(site.bound()["aws-cpu-000"])
    site.clock.advance(seconds=60)
    outcome = site.resume("aws-cpu-000", (7, "aws-cpu-000"), request_id="r-2")
    assert outcome.bound == ["aws-cpu-000"]
    assert len(site.cloud.all()) == 2
    assert len(site.cloud.alive()) == 1


def test_a_gang_without_room_is_given_up_whole(site: Site) -> None:
    """Three of four are none: nothing stays, the job is told EC2's code, the nodes go DOWN and off."""
    room(site, {"c7i.large": 1, "m7i.large": 1})
    site.scheduler.add_job(JobFacts(7, "ada"))
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.NO_CAPACITY
    assert site.cloud.alive() == ()
    assert site.bound() == {}
    assert "InsufficientInstanceCapacity" in site.scheduler.told[7][0]
    assert site.scheduler.node("aws-cpu-000").state == "DOWN"


def test_loose_nodes_take_what_there_is(site: Site) -> None:
    """Of five single-node jobs and room for three, three run and two are told why."""
    room(site, {"c7i.large": 3, "m7i.large": 0}, zones=("us-east-2a",))
    room(site, {"c7i.large": 0, "m7i.large": 0}, zones=("us-east-2b",))
    outcome = site.resume("aws-cpu-[000-004]", *[(10 + n, f"aws-cpu-00{n}") for n in range(5)])
    assert outcome.exit_code == ExitCode.PARTLY
    assert outcome.bound == list(expand("aws-cpu-[000-002]"))
    assert sorted(outcome.failed) == ["aws-cpu-003", "aws-cpu-004"]
    assert len(site.cloud.alive()) == 3


def test_mixed_pricing_falls_back_to_on_demand() -> None:
    """A group that may buy both asks for spot first and on-demand after its refusal."""
    site = Site(config(purchasing_option="mixed"))
    room(site, {"c7i.large": 0, "m7i.large": 0}, Market.SPOT)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.DONE
    assert [order.market for order in site.cloud.orders] == [Market.SPOT, Market.ON_DEMAND]
    assert {row.market for row in site.ledger.instances()} == {Market.ON_DEMAND}


def test_throttling_is_waited_out_under_the_same_token(site: Site) -> None:
    """A refused call is repeated as it stands after a pause; nothing is launched twice."""
    site.cloud.fail_next("launch", cloud_error("RequestLimitExceeded", Verdict.THROTTLED), times=2)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.DONE
    assert len({order.token for order in site.cloud.orders}) == 1
    assert len(site.cloud.all()) == 4


def test_a_lost_answer_launches_nothing_twice(site: Site) -> None:
    """EC2 launched and the answer was lost: the same token brings the same instances."""
    site.cloud.fail_next("launch", cloud_error("aws-unreachable", Verdict.TRANSIENT), after=True)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.DONE
    assert len(site.cloud.all()) == 4


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize(
    ("door", "method", "after"),
    [
        ("ledger", "add_attempt", False),
        ("ledger", "add_attempt", True), ("cloud", "launch", False), ("cloud", "launch", True),
        ("ledger", "answer_attempt", False), ("ledger", "answer_attempt", True),
        ("cloud", "describe", True), ("ledger", "bind", False), ("ledger", "bind", True),
        ("scheduler", "bind", False), ("scheduler", "bind", True), ("cloud", "tag", False), ("cloud", "tag", True),
    ],
)  # fmt: skip
def test_a_crash_anywhere_is_picked_up(site: Site, door: str, method: str, after: bool) -> None:
    """Killed before or after any step, the same request run again ends with four nodes and four instances."""
    getattr(site, door).fail_next(method, Killed(), after=after)
    request = site.ask("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    with pytest.raises(Killed):
        Resume(site.doors, request).run()
    site.clock.advance(seconds=20)
    outcome = Resume(site.doors, request).run()
    assert sorted(outcome.bound) == list(expand("aws-cpu-[000-003]"))
    assert len(site.cloud.all()) == 4
    assert {i.instance_id for i in site.cloud.alive()} == set(site.bound().values())


@pytest.mark.parametrize("known_first", [True, False])
def test_a_crash_is_picked_up_though_the_queue_says_otherwise(site: Site, known_first: bool) -> None:
    """Users known before the crash and not after it, or the reverse: nothing is launched twice."""
    for job in (10, 11):
        site.scheduler.add_job(JobFacts(job, f"user{job}", "physics"))
    if not known_first:
        site.scheduler.fail_next("jobs", SILENT)
    site.cloud.fail_next("launch", Killed(), after=True)  # type: ignore[arg-type]
    request = site.ask("aws-cpu-[000-001]", (10, "aws-cpu-000"), (11, "aws-cpu-001"))
    with pytest.raises(Killed):
        Resume(site.doors, request).run()
    if known_first:
        site.scheduler.fail_next("jobs", SILENT)
    Resume(site.doors, request).run()
    assert len(site.cloud.all()) == 2
    assert {i.instance_id for i in site.cloud.alive()} == set(site.bound().values())


def test_a_crash_is_settled_by_tag_when_the_deadline_has_passed(site: Site) -> None:
    """Long after the crash nothing new is launched: what EC2 launched then is found by its tag."""
    site.cloud.fail_next("launch", Killed(), after=True)  # type: ignore[arg-type]
    request = site.ask("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    with pytest.raises(Killed):
        Resume(site.doors, request).run()
    site.clock.advance(hours=2)
    Resume(site.doors, request).run()
    assert len(site.cloud.all()) == 4
    assert {i.instance_id for i in site.cloud.alive()} == set(site.bound().values())


def test_one_name_slurm_does_not_know_costs_only_itself(site: Site) -> None:
    """The configuration has the node, slurm.conf does not: the others serve, nothing is launched for it."""
    site.scheduler._table.pop("aws-cpu-002")
    outcome = site.resume("aws-cpu-[000-003]")
    assert outcome.exit_code == ExitCode.PARTLY
    assert sorted(outcome.bound) == ["aws-cpu-000", "aws-cpu-001", "aws-cpu-003"]
    assert len(site.cloud.all()) == 3
    assert set(site.bound()) == {"aws-cpu-000", "aws-cpu-001", "aws-cpu-003"}


def test_a_node_slurm_forgets_after_the_launch_is_given_back(site: Site) -> None:
    """slurm.conf changed in between: the others serve, the instance of the lost one ends."""
    site.cloud.show_after = timedelta(seconds=1)
    slept = site.clock.sleep

    def sleep(duration: timedelta) -> None:
        site.scheduler._table.pop("aws-cpu-002", None)
        slept(duration)

    site.clock.sleep = sleep  # type: ignore[method-assign]
    outcome = site.resume("aws-cpu-[000-003]")
    assert outcome.exit_code == ExitCode.PARTLY
    assert len(site.cloud.alive()) == 3
    assert set(site.bound()) == {"aws-cpu-000", "aws-cpu-001", "aws-cpu-003"}


def test_nodes_are_parked_before_anything_is_launched(site: Site) -> None:
    """While EC2 works, a message of slurmctld to the nodes fails at once instead of waiting for the resolver."""
    site.cloud.fail_next("launch", cloud_error("aws-credentials", Verdict.PERMISSION))
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert site.scheduler.node("aws-cpu-000").address == "255.255.255.255"


def test_unknown_names_among_good_ones(site: Site) -> None:
    """A node of no group, a number beyond the group and a strange name are refused; the good ones start."""
    outcome = site.resume("aws-cpu-000,aws-tpu-1,aws-gpu-99,login")
    assert outcome.bound == ["aws-cpu-000"]
    assert sorted(outcome.failed) == ["aws-gpu-99", "aws-tpu-1", "login"]
    assert outcome.exit_code == ExitCode.PARTLY


def test_only_unknown_names_is_a_usage_error(site: Site) -> None:
    """Nothing to do at all is told by the exit status."""
    assert site.resume("aws-tpu-1").exit_code == ExitCode.USAGE
    assert site.cloud.orders == []


def test_without_slurm_nothing_is_launched(site: Site) -> None:
    """Nodes that could not be told an address are not paid for."""
    site.scheduler.fail_next("park", SILENT, times=99)
    site.scheduler.fail_next("fail", SILENT, times=9)
    outcome = site.resume("aws-cpu-[000-003]")
    assert outcome.exit_code == ExitCode.SLURM
    assert site.cloud.orders == []


def test_slurm_gone_at_the_bind_gives_everything_back(site: Site) -> None:
    """An update that gets no answer leaves no instance and no binding."""
    site.scheduler.fail_next("bind", SILENT, times=99)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.SLURM
    assert site.cloud.alive() == ()
    assert site.bound() == {}
    assert all(row.ended_at is not None for row in site.ledger.instances())


def test_without_the_ledger_nothing_is_launched(site: Site) -> None:
    """An intent that cannot be written is not acted on."""
    site.ledger.fail_next("add_attempt", LedgerError("ledger-locked", "locked"), times=9)
    with pytest.raises(LedgerError):
        site.resume("aws-cpu-[000-003]")
    assert site.cloud.orders == []


def test_missing_credentials_end_the_request(site: Site) -> None:
    """No second try, the true code, exit status 7, nothing left."""
    site.cloud.fail_next("launch", cloud_error("aws-credentials", Verdict.PERMISSION), times=9)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert (outcome.exit_code, outcome.codes) == (ExitCode.AWS_ACCESS, ["aws-credentials"])
    assert len(site.cloud.orders) <= 1


def test_late_ids_and_addresses_are_waited_for(site: Site) -> None:
    """EC2 shows ids and addresses late; the poll grows its pauses and ends with all nodes."""
    site.cloud.show_after = timedelta(seconds=3)
    site.cloud.address_after = timedelta(seconds=8)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.DONE
    assert site.cloud.calls["DescribeInstances"] <= 12


def test_an_instance_without_address_is_given_back(site: Site) -> None:
    """Addresses that never come end the gang within the poll's deadline, and its instances."""
    site.cloud.address_after = timedelta(hours=1)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.NO_CAPACITY
    assert site.cloud.alive() == ()


def test_more_than_a_thousand_nodes_are_several_launches_of_one_gang(site: Site) -> None:
    """2,500 nodes are three calls; one short call costs the whole gang."""
    outcome = site.resume("aws-big-[0000-2499]", (7, "aws-big-[0000-2499]"))
    assert len(outcome.bound) == 2500
    assert [order.count for order in site.cloud.orders] == [834, 834, 832]
    assert len(set(site.bound().values())) == 2500


def test_the_event_of_a_failure_names_the_code(site: Site) -> None:
    """Whoever reads the log finds EC2's own code."""
    site.cloud.fail_next("launch", cloud_error("VcpuLimitExceeded", Verdict.QUOTA, "limit is 32"), times=9)
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    assert [event.data["code"] for event in site.recorder.of(EventKind.NODE_FAILED)] == ["VcpuLimitExceeded"]


# -- what must never happen to nodes that serve


def test_a_ledger_hiccup_after_the_bind_takes_no_node_down(site: Site) -> None:
    """The outcome cannot be written: the request stays open, and the bound nodes keep running."""
    site.ledger.fail_next("finish_request", LedgerError("ledger-busy", "busy"))
    site.ask("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    Engine(site.doors).drain(timedelta(minutes=10))
    assert len(site.bound()) == 4
    assert site.scheduler.calls["fail"] == 0
    assert site.cloud.calls["CreateFleet"] == 1
    assert site.ledger.open_requests() == ()


def test_a_repeated_call_in_bad_times_takes_no_node_down(site: Site) -> None:
    """EC2 does not answer while a duplicate call is looked at: the nodes that serve stay as they are."""
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    site.cloud.fail_next("describe", cloud_error("Unavailable", Verdict.TRANSIENT), times=99)
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"), request_id="r-2")
    assert site.scheduler.calls["fail"] == 0
    assert len(site.bound()) == 4


def test_a_plan_not_to_burst_leaves_running_nodes_alone(site: Site) -> None:
    """should_burst=false for nodes that are up changes nothing about them."""
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    plan = '{"should_burst": false, "job_metadata": {}}'
    Resume(site.doors, replace(site.ask("aws-cpu-000", request_id="r-2"), plan_text=plan)).run()
    assert site.scheduler.calls["fail"] == 0


def test_an_instance_ec2_does_not_show_yet_is_not_ended(site: Site) -> None:
    """A duplicate call seconds after the launch: unseen is not gone."""
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    site.cloud.show_after = timedelta(hours=1)
    site.resume("aws-cpu-000", (7, "aws-cpu-000"), request_id="r-2")
    assert site.cloud.calls["TerminateInstances"] == 0
    assert set(site.bound()) == {"aws-cpu-000"}


def test_a_refused_describe_gives_the_launch_back(site: Site) -> None:
    """CreateFleet allowed, DescribeInstances not: nothing is left running."""
    site.cloud.fail_next("describe", cloud_error("UnauthorizedOperation", Verdict.PERMISSION), times=99)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert outcome.exit_code == ExitCode.AWS_ACCESS
    assert site.cloud.alive() == ()


def test_tags_are_tried_again(site: Site) -> None:
    """An id CreateTags does not know yet costs a pause, not the gang."""
    site.cloud.fail_next("tag", cloud_error("InvalidInstanceID.NotFound", Verdict.NOT_FOUND), times=2)
    assert site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]")).exit_code == ExitCode.DONE


def test_nodes_that_are_not_ours_are_never_changed(site: Site) -> None:
    """A name of no group is reported and never goes to scontrol."""
    site.resume("login")
    assert site.scheduler.calls["fail"] == 0


def test_a_restart_of_slurmctld_is_waited_out(site: Site) -> None:
    """Seconds without an answer cost seconds, not the job."""
    site.scheduler.fail_next("park", SILENT, times=3)
    site.scheduler.fail_next("bind", SILENT, times=3)
    assert site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]")).exit_code == ExitCode.DONE


def test_a_node_slurm_forgot_after_a_crash_leaves_nothing_running(site: Site) -> None:
    """Launched, crashed, one node gone from slurm.conf: the gang cannot be whole any more, all of it is given back."""
    site.cloud.fail_next("launch", Killed(), after=True)  # type: ignore[arg-type]
    request = site.ask("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    with pytest.raises(Killed):
        Resume(site.doors, request).run()
    site.scheduler._table.pop("aws-cpu-002")
    Resume(site.doors, request).run()
    assert site.cloud.alive() == ()


def test_a_person_s_call_has_slurm_power_the_nodes_up(site: Site) -> None:
    """Slurm did not ask, so it is told; otherwise the sweep would find instances behind powered-down nodes."""
    Resume(site.doors, replace(site.ask("aws-cpu-000"), by_hand=True)).run()
    assert "POWERING_UP" in site.scheduler.node("aws-cpu-000").flags


def test_prices_are_learned_after_the_launch(site: Site) -> None:
    """A price list that does not answer delays no launch; later the instances have their price."""
    resume = Resume(site.doors, site.ask("aws-cpu-000", (7, "aws-cpu-000")))
    resume.run()
    assert site.prices.asked == 0
    resume.tidy()
    assert {row.price for row in site.ledger.instances()} == {site.prices.default}
