"""When nodes will not come: the failure recipe over the fakes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.fakes.scheduler import REQUEUE_DELAY
from tests.fakes.site import Site

from asbx.errors import ExitCode, LedgerError, SlurmError
from asbx.flow.failing import Lost, fail_many, fail_nodes
from asbx.flow.outcome import Failure
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts

EMPTY = Failure("InsufficientInstanceCapacity", "no c7i.large in us-east-2a")
INVALID = Failure("InvalidParameterValue", "the template is wrong", ExitCode.CONFIG, hopeless=True)
SILENT = SlurmError("slurm-silent", "no answer", "slurmctld is down")
PAIR = "aws-cpu-[000-001]"


@pytest.fixture
def site() -> Site:
    """Return a site with job 12 on its way to two nodes."""
    one = Site()
    add(one, 12, PAIR)
    return one


def add(site: Site, job: int, nodes: str, *, requeue: bool = True, leader: int = 0) -> None:
    """Put a job into the queue whose nodes are powering up."""
    site.scheduler.add_job(JobFacts(job, "ada", state="CONFIGURING", leader=leader), expand(nodes), requeue=requeue)
    site.scheduler.power_up(expand(nodes))


def fail(site: Site, failure: Failure = EMPTY, request_id: str = "r-1") -> None:
    """Fail job 12."""
    request = site.ask(PAIR, (12, PAIR), request_id=request_id)
    fail_nodes(site.doors, request, request.nodes, request.nodes, [12], failure)


def again(site: Site, failure: Failure = EMPTY, *, request_id: str) -> None:
    """Let Slurm start job 12 again and fail it again."""
    site.clock.sleep(timedelta(hours=1))
    add(site, 12, PAIR)
    fail(site, failure, request_id)


def state(site: Site, job: int = 12) -> str:
    """Return a job's state."""
    return site.scheduler.job_table[job].state


def test_the_job_waits_and_is_told_why_and_until_when(site: Site) -> None:
    """It is PENDING, later than Slurm's own delay has it, and AdminComment, terminal, node and ledger say why."""
    fail(site)
    setback = site.ledger.setbacks([12])[12]
    assert setback.next_at is not None
    assert (setback.count, setback.code, setback.reason) == (1, EMPTY.code, EMPTY.reason)
    assert state(site) == "PENDING"
    told = f"asbx:{EMPTY.code} {EMPTY.reason}; next try {setback.next_at:%H:%M:%S} UTC (failed once)"
    assert site.scheduler.told[12] == [told]
    ((job, shown),) = site.scheduler.notified
    assert (job, shown) == (12, f"asbx:{EMPTY.code} {EMPTY.reason}; Slurm ends this job, ask for it again later")
    assert site.scheduler.begin[12] == setback.next_at - site.clock.now()
    assert site.scheduler.begin[12] != REQUEUE_DELAY
    node = site.scheduler.node("aws-cpu-000")
    assert node.reason == f"asbx:{EMPTY.code} {EMPTY.reason}"
    assert node.is_powered_down
    kinds = [event.kind for event in site.recorder.events]
    assert kinds == [EventKind.NODE_FAILED, EventKind.JOB_POSTPONED]


def test_pauses_grow_with_each_failure_in_a_row(site: Site) -> None:
    """The second time the pause is about twice as long, and the text says how often it failed."""
    fail(site)
    first = site.scheduler.begin[12]
    again(site, request_id="r-2")
    assert site.scheduler.begin[12] > 1.3 * first
    assert site.scheduler.told[12][-1].endswith("(failed 2 times in a row)")
    site.ledger.clear_setbacks([12])
    again(site, request_id="r-3")
    assert site.scheduler.told[12][-1].endswith("(failed once)")


def test_running_it_again_counts_once(site: Site) -> None:
    """A restart in the middle fails the same nodes once more: the count stays."""
    request = site.ask(PAIR, (12, PAIR))
    for _ in range(3):
        site.clock.sleep(timedelta(seconds=1))
        fail_nodes(site.doors, request, request.nodes, request.nodes, [12], EMPTY)
    assert site.ledger.setbacks([12])[12].count == 1
    assert state(site) == "PENDING"


def test_a_hopeless_job_is_held(site: Site) -> None:
    """It is not tried again; its owner is told how to release it."""
    fail(site, INVALID)
    assert 12 in site.scheduler.held
    assert site.scheduler.told[12][-1].endswith(
        "; held, waiting does not help: change what is wrong, then scontrol release 12"
    )
    assert site.ledger.setbacks([12])[12].next_at is None


def test_a_missing_permission_is_not_the_job_s_fault(site: Site) -> None:
    """It is not held, and tried again after the longest pause only."""
    fail(site, Failure("UnauthorizedOperation", "no", ExitCode.AWS_ACCESS))
    assert 12 not in site.scheduler.held
    assert site.scheduler.begin[12] > timedelta(minutes=20)


def test_a_job_that_forbids_requeues_is_not_lost(site: Site) -> None:
    """It waits like any other, and forbids requeues as before once it does."""
    add(site, 13, "aws-cpu-[002-003]", requeue=False)
    nodes = expand("aws-cpu-[002-003]")
    fail_nodes(site.doors, site.ask("aws-cpu-[002-003]"), nodes, nodes, [13], EMPTY)
    assert state(site, 13) == "PENDING"
    assert site.scheduler.no_requeue == {13}


def test_a_slow_requeue_is_waited_for(site: Site) -> None:
    """Nothing is set on a job before it is PENDING: Slurm would overwrite it."""
    site.scheduler.slow_requeue = 4
    fail(site)
    assert state(site) == "PENDING"
    assert site.scheduler.begin[12] < REQUEUE_DELAY * 1.3
    assert site.scheduler.begin[12] != REQUEUE_DELAY


def test_a_job_that_does_not_come_back_holds_nobody_up(site: Site) -> None:
    """After ten seconds it is left to Slurm; one that had forbidden requeues may then still be requeued."""
    add(site, 13, "aws-cpu-[002-003]", requeue=False)
    site.scheduler.slow_requeue = 99
    request = site.ask("aws-cpu-[000-003]")
    began = site.clock.now()
    lost = [Lost(expand(n), expand(n), [j], EMPTY) for j, n in ((12, PAIR), (13, "aws-cpu-[002-003]"))]
    fail_many(site.doors, request, lost)
    assert site.clock.now() - began < timedelta(seconds=15)
    assert set(site.ledger.setbacks([12, 13])) == {12, 13}
    assert 13 not in site.scheduler.no_requeue
    assert [e.text for e in site.recorder.events if e.kind is EventKind.REQUEST_ODD] == [
        "2 job(s) from 12 on: still COMPLETING, so not put off; Slurm tries again by itself"
    ]


def test_a_job_that_is_gone_leaves_nothing_behind(site: Site) -> None:
    """Cancelled while its launch was tried: the nodes go down, nothing is remembered of it."""
    del site.scheduler.job_table[12]
    site.scheduler.add_job(JobFacts(99, state="RUNNING"))
    site.scheduler.job_nodes[12] = ()
    fail(site)
    assert site.ledger.setbacks([12]) == {}
    assert site.scheduler.node("aws-cpu-000").is_powered_down


@pytest.mark.parametrize("method", ["jobs", "make_requeueable", "tell_job", "notify", "fail", "postpone"])
def test_slurm_s_errors_are_never_raised(site: Site, method: str) -> None:
    """Whatever step Slurm refuses or does not answer, the others are done; the refusal is recorded."""
    site.scheduler.fail_next(method, SILENT)
    fail(site)
    assert any(event.kind is EventKind.REQUEST_ODD for event in site.recorder.events)
    if method != "fail":
        assert site.scheduler.node("aws-cpu-000").is_powered_down
        assert state(site) == "PENDING"


def test_a_silent_slurm_is_not_asked_for_every_job() -> None:
    """Once slurmctld does not answer a ping, no further job is told; the nodes are tried all the same."""
    site = Site()
    lost = []
    for job in range(100):
        name = f"aws-cpu-{job:03d}"
        add(site, job + 1, name)
        lost.append(Lost([name], [name], [job + 1], EMPTY))
    for method in ("jobs", "make_requeueable", "tell_job", "fail", "ping", "postpone"):
        site.scheduler.fail_next(method, SILENT, times=999)
    fail_many(site.doors, site.ask("aws-cpu-[000-099]"), lost)
    assert site.scheduler.calls["tell_job"] == 0
    assert site.scheduler.calls["fail_each"] == 1
    assert len(site.ledger.setbacks(range(1, 101))) == 100


def test_a_silent_ledger_is_heard_before_anything_is_done(site: Site) -> None:
    """Without the count of failures nothing is begun; whoever runs it again does it all."""
    site.ledger.fail_next("setbacks", LedgerError("ledger-busy", "no", "", ""))
    with pytest.raises(LedgerError):
        fail(site)
    assert state(site) == "CONFIGURING"


def test_many_gangs_are_failed_together() -> None:
    """250 gangs with two reasons: two updates DOWN and one off; two processes a job and a handful for all."""
    site = Site()
    lost = []
    for number in range(250):
        nodes = [f"aws-cpu-{2 * number:03d}", f"aws-cpu-{2 * number + 1:03d}"]
        add(site, number + 1, ",".join(nodes), requeue=number % 5 > 0)
        lost.append(Lost(nodes, nodes, [number + 1], EMPTY if number % 2 else INVALID))
    fail_many(site.doors, site.ask("aws-cpu-[000-499]"), lost)
    scheduler = site.scheduler
    assert scheduler.calls["fail_each"] == 1
    assert scheduler.calls["jobs"] <= 3
    assert scheduler.processes - scheduler.calls["notify"] <= 2 * 250 + 10
    assert {state(site, job + 1) for job in range(250)} == {"PENDING"}
    assert len(scheduler.held) == 125
    assert len(scheduler.no_requeue) == 50
    assert len(site.ledger.setbacks(range(1, 251))) == 250


def test_components_of_a_heterogeneous_job_are_put_off_alike() -> None:
    """They start together, so they get the same time, and the leader is what the owner releases."""
    site = Site()
    add(site, 4, "aws-cpu-000", leader=4)
    add(site, 5, "aws-cpu-001", leader=4)
    nodes = expand(PAIR)
    fail_many(
        site.doors, site.ask(PAIR), [Lost(nodes[:1], nodes[:1], [4], EMPTY), Lost(nodes[1:], nodes[1:], [5], EMPTY)]
    )
    assert site.scheduler.begin[4] == site.scheduler.begin[5]


def test_nodes_that_are_not_ours_are_only_reported(site: Site) -> None:
    """The job is told; its nodes are left to Slurm, so nothing is promised or waited for."""
    fail_nodes(site.doors, site.ask(PAIR), expand(PAIR), [], [12], EMPTY)
    assert state(site) == "CONFIGURING"
    assert site.scheduler.told[12] == [f"asbx:{EMPTY.code} {EMPTY.reason}"]
    assert site.ledger.setbacks([12]) == {}


def test_a_long_reason_leaves_room_for_what_comes_next(site: Site) -> None:
    """AdminComment holds at most 500 characters, and always the time of the next try."""
    fail(site, Failure("X", "y " * 1000))
    (told,) = site.scheduler.told[12]
    assert len(told) <= 500
    assert told.endswith("(failed once)")
