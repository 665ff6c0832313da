"""Instances that come to nothing: noted once, told, and their group launches one try at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.cloud import cloud_error
from tests.fakes.site import Site, config

from asbx.config.upkeep import Boots as Settings
from asbx.decide.breaker import Gate, gate
from asbx.flow.boots import Boots
from asbx.flow.reconcile import Sweep
from asbx.flow.suspend import suspend
from asbx.model.boot import BootTrouble
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts, Request, RequestKind
from asbx.model.market import Market, Verdict
from asbx.model.names import GroupName

CPU = GroupName("aws", "cpu")
MOST = 3


@pytest.fixture
def site() -> Site:
    """Return a site where three failures in a row close a group for five minutes."""
    one = Site(config(Path("/nonexistent")))
    one.config = one.config.model_copy(update={"boots": Settings(failures_in_a_row=MOST)})
    return one


def up(site: Site, nodes: str, job: int, request_id: str) -> None:
    """Let Slurm resume nodes for a job; they have instances afterwards, or not."""
    site.clock.advance(seconds=1)
    site.scheduler.add_job(JobFacts(job, "ada", state="CONFIGURING"), expand(nodes))
    site.scheduler.power_up(expand(nodes))
    site.resume(nodes, (job, nodes), request_id=request_id)
    site.ledger.finish_request(request_id, failed=False, note="", at=site.clock.now())


def time_out(site: Site, nodes: str, boots: Boots | None = None) -> None:
    """Let ResumeTimeout pass for nodes, and Slurm say so."""
    site.clock.advance(seconds=601)
    site.scheduler.time_out(expand(nodes))
    request = Request(f"f-{site.clock.now():%H%M%S}", RequestKind.RESUME_FAIL, expand(nodes), site.clock.now())
    suspend(site.doors, request, boots)
    site.scheduler.settle()


def register(site: Site, nodes: str) -> None:
    """Let nodes register, and the sweep see it."""
    site.scheduler.register(expand(nodes))
    Sweep(site.doors).run()


def kinds(site: Site) -> list[EventKind]:
    """Return the kinds of all events."""
    return [event.kind for event in site.recorder.events]


def close(site: Site) -> None:
    """Let as many instances fail as close the group."""
    for number in range(MOST):
        up(site, f"aws-cpu-00{number}", 100 + number, f"c-{number}")
        time_out(site, f"aws-cpu-00{number}")
    (breaker,) = site.ledger.breakers()
    assert gate(breaker, site.clock.now()) is Gate.CLOSED


def test_a_node_that_never_registers_is_counted_once_and_its_console_kept(site: Site) -> None:
    """The instance is ended, its console is asked for before, and telling it again is no news."""
    up(site, "aws-cpu-000", 12, "r-1")
    instance = site.bound()["aws-cpu-000"]
    site.cloud.consoles[instance] = "kernel panic\nAWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI\x1b[31m\n"
    time_out(site, "aws-cpu-000")
    (failure,) = site.ledger.boot_failures(limit=10)
    assert (failure.instance_id, failure.trouble, failure.jobs) == (instance, BootTrouble.NEVER_REGISTERED, (12,))
    console = site.ledger.console(instance)
    assert console is not None
    assert console.text == "kernel panic\nAWS_SECRET_ACCESS_KEY=[removed]\n"
    assert site.cloud.alive() == ()
    suspend(site.doors, Request("f-2", RequestKind.RESUME_FAIL, ("aws-cpu-000",), site.clock.now()))
    assert len(site.ledger.boot_failures(limit=10)) == 1
    assert kinds(site).count(EventKind.BOOT_FAILED) == 1


def test_a_node_that_has_registered_has_booted(site: Site) -> None:
    """Whatever Slurm says of it later: its boot has not failed."""
    up(site, "aws-cpu-000", 12, "r-1")
    register(site, "aws-cpu-000")
    time_out(site, "aws-cpu-000")
    assert site.ledger.boot_failures(limit=10) == ()


def test_what_ec2_refuses_is_no_boot_failure(site: Site) -> None:
    """Nothing was launched, so nothing has failed to boot."""
    for kind in ("c7i.large", "m7i.large"):
        for zone in ("us-east-2a", "us-east-2b"):
            site.cloud.refusing[kind, zone, Market.ON_DEMAND] = ("InsufficientInstanceCapacity", Verdict.CAPACITY)
    up(site, "aws-cpu-000", 12, "r-1")
    time_out(site, "aws-cpu-000")
    assert site.ledger.boot_failures(limit=10) == ()


def test_a_machine_that_powers_itself_off_is_given_up_at_once(site: Site) -> None:
    """Its job does not wait for ResumeTimeout: it is told and tried again, and the node is free."""
    up(site, "aws-cpu-[000-001]", 12, "r-1")
    site.cloud.kill(site.bound()["aws-cpu-001"], "Client.InstanceInitiatedShutdown")
    Boots(site.doors).run()
    (failure,) = site.ledger.boot_failures(limit=10)
    assert (failure.node, failure.trouble) == ("aws-cpu-001", BootTrouble.ENDED_ITSELF)
    assert set(site.bound()) == {"aws-cpu-000"}
    assert site.scheduler.job_table[12].state == "PENDING"
    assert "asbx:boot-failed" in site.scheduler.told[12][0]
    assert site.scheduler.node("aws-cpu-001").reason.startswith("asbx:boot-failed")


@pytest.mark.parametrize("reason", ["Server.SpotInstanceTermination", "Client.UserInitiatedShutdown"])
def test_what_was_taken_away_has_not_failed(site: Site, reason: str) -> None:
    """A reclaim and somebody's terminate say nothing about the image."""
    up(site, "aws-cpu-000", 12, "r-1")
    site.cloud.kill(site.bound()["aws-cpu-000"], reason)
    Boots(site.doors).run()
    assert site.ledger.boot_failures(limit=10) == ()
    assert set(site.bound()) == {"aws-cpu-000"}, "that is the sweep's business"


def test_a_bad_registration_is_given_up_on_two_looks(site: Site) -> None:
    """It is never held for registered; its instance ends and its job is tried again."""
    up(site, "aws-cpu-000", 12, "r-1")
    site.scheduler.register(["aws-cpu-000"])
    view = site.scheduler.node("aws-cpu-000")
    site.scheduler._change("aws-cpu-000", flags=view.flags | {"INVALID_REG", "DRAIN"}, reason="Low RealMemory")
    Sweep(site.doors).run()
    boots = Boots(site.doors)
    boots.run()
    assert len(site.cloud.alive()) == 1
    site.clock.advance(seconds=60)
    boots.run()
    (failure,) = site.ledger.boot_failures(limit=10)
    assert (failure.trouble, failure.detail) == (BootTrouble.BAD_REGISTRATION, "Low RealMemory")
    assert site.cloud.alive() == ()
    assert site.bound() == {}


def test_a_time_out_nobody_told_of_is_counted_by_the_pass(site: Site) -> None:
    """ResumeFailProgram may be missing from slurm.conf, or its call lost."""
    up(site, "aws-cpu-000", 12, "r-1")
    site.clock.advance(seconds=601)
    site.scheduler.time_out(["aws-cpu-000"])
    boots = Boots(site.doors)
    boots.run()
    boots.run()
    assert [one.trouble for one in site.ledger.boot_failures(limit=10)] == [BootTrouble.NEVER_REGISTERED]


def test_a_closed_group_launches_nothing_and_tells_why(site: Site) -> None:
    """EC2 is not asked; the job is put off until the group is tried again, with a code of its own."""
    close(site)
    launches = site.cloud.calls["CreateFleet"]
    up(site, "aws-cpu-[010-012]", 50, "r-50")
    assert site.cloud.calls["CreateFleet"] == launches
    (breaker,) = site.ledger.breakers()
    assert breaker.closed_until is not None
    setback = site.ledger.setbacks([50])[50]
    assert setback.code == "boot-failures"
    assert setback.next_at is not None
    assert setback.next_at >= breaker.closed_until
    assert site.scheduler.told[50][0].startswith(
        "asbx:boot-failures the last 3 instances of aws-cpu never became nodes"
    )
    assert kinds(site).count(EventKind.GROUP_CLOSED) == 1
    assert site.scheduler.node("aws-cpu-010").is_powered_down


def test_other_groups_go_on(site: Site) -> None:
    """A breaker is of one group."""
    close(site)
    up(site, "aws-gpu-[0-1]", 50, "r-50")
    assert sorted(site.bound()) == ["aws-gpu-0", "aws-gpu-1"]


def test_after_the_pause_one_gang_tries_and_a_registration_opens(site: Site) -> None:
    """The second gang waits for the first; when a node of that registers, everything goes again by itself."""
    close(site)
    site.clock.advance(seconds=301)
    up(site, "aws-cpu-[010-011]", 50, "r-50")
    up(site, "aws-cpu-[020-021]", 51, "r-51")
    assert sorted(site.bound()) == ["aws-cpu-010", "aws-cpu-011"]
    assert "is trying it" in site.scheduler.told[51][0]
    register(site, "aws-cpu-[010-011]")
    Boots(site.doors).run()
    assert site.ledger.breakers() == ()
    assert kinds(site)[-1] is EventKind.GROUP_OPENED
    up(site, "aws-cpu-[020-021]", 51, "r-52")
    assert len(site.bound()) == 4


def test_of_loose_nodes_one_tries(site: Site) -> None:
    """Of five single-node jobs one node is launched, the others are put off."""
    close(site)
    site.clock.advance(seconds=301)
    nodes = expand("aws-cpu-[030-034]")
    for number, node in enumerate(nodes):
        site.scheduler.add_job(JobFacts(60 + number, "ada", state="CONFIGURING"), [node])
    site.scheduler.power_up(nodes)
    site.resume("aws-cpu-[030-034]", *((60 + n, node) for n, node in enumerate(nodes)), request_id="r-60")
    assert list(site.bound()) == ["aws-cpu-030"]
    assert sorted(site.ledger.setbacks(range(60, 65))) == [61, 62, 63, 64]
    (row,) = site.ledger.instances(live_only=True)
    assert row.jobs == (60,)


def test_a_try_that_fails_doubles_the_pause(site: Site) -> None:
    """Nodes of it that fail one after the other count as one try."""
    close(site)
    site.clock.advance(seconds=301)
    up(site, "aws-cpu-[010-011]", 50, "r-50")
    time_out(site, "aws-cpu-010")
    time_out(site, "aws-cpu-011")
    (breaker,) = site.ledger.breakers()
    assert breaker.closings == 2
    assert breaker.closed_at is not None
    assert breaker.closed_until is not None
    assert breaker.closed_until - breaker.closed_at == timedelta(seconds=600)


def test_a_try_that_gets_no_capacity_leaves_the_turn_to_the_next(site: Site) -> None:
    """It has learned nothing about booting, so it does not keep the probe."""
    close(site)
    site.clock.advance(seconds=301)
    site.cloud.fail_next("launch", cloud_error("UnauthorizedOperation", Verdict.PERMISSION), times=4)
    up(site, "aws-cpu-[010-011]", 50, "r-50")
    assert site.bound() == {}
    (breaker,) = site.ledger.breakers()
    assert gate(breaker, site.clock.now()) is Gate.HALF_OPEN


def test_a_try_is_gone_on_with_after_a_crash(site: Site) -> None:
    """The same request, run again, is the one that holds the probe; nothing is launched twice."""
    close(site)
    site.clock.advance(seconds=301)
    up(site, "aws-cpu-[010-011]", 50, "r-50")
    bound = site.bound()
    site.resume("aws-cpu-[010-011]", (50, "aws-cpu-[010-011]"), request_id="r-50")
    assert site.bound() == bound


def test_a_node_that_runs_since_before_proves_nothing(site: Site) -> None:
    """Registered instances launched before the failures leave the group closed, whatever runs on them."""
    up(site, "aws-cpu-[040-043]", 70, "r-70")
    register(site, "aws-cpu-[040-043]")
    close(site)
    boots = Boots(site.doors)
    for _ in range(3):
        site.clock.advance(hours=1)
        Sweep(site.doors).run()
        boots.run()
    (breaker,) = site.ledger.breakers()
    assert gate(breaker, site.clock.now()) is Gate.HALF_OPEN


def test_a_burst_with_a_few_bad_nodes_closes_nothing(site: Site) -> None:
    """Three of eight never register: the image is not what is wrong."""
    up(site, "aws-cpu-[000-007]", 12, "r-1")
    register(site, "aws-cpu-[003-007]")
    time_out(site, "aws-cpu-[000-002]")
    assert len(site.ledger.boot_failures(limit=10)) == 3
    assert site.ledger.breakers() == ()


def test_no_permission_for_consoles_is_said_once(site: Site) -> None:
    """Everything else goes on without them."""
    boots = Boots(site.doors)
    site.cloud.fail_next("console", cloud_error("UnauthorizedOperation", Verdict.PERMISSION, "no"), times=9)
    for number in range(2):
        up(site, f"aws-cpu-00{number}", 12 + number, f"r-{number}")
        time_out(site, f"aws-cpu-00{number}", boots)
    said = [event for event in site.recorder.events if "console output cannot be kept" in event.text]
    assert len(said) == 1
    assert boots.troubles == {"GetConsoleOutput": "UnauthorizedOperation: no"}
    assert len(site.ledger.boot_failures(limit=10)) == 2
    assert site.cloud.alive() == ()


def test_few_consoles_of_many_are_asked_for(site: Site) -> None:
    """A hundred nodes that fail together fail alike, and their instances cost money meanwhile."""
    up(site, "aws-cpu-[100-199]", 12, "r-1")
    time_out(site, "aws-cpu-[100-199]")
    assert len(site.ledger.boot_failures(limit=1000)) == 100
    assert site.cloud.calls["GetConsoleOutput"] == 3
