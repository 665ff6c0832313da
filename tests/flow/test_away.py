"""EC2 is away for an hour, and clocks are set: nothing is lost, nobody storms, nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import cloud_error
from tests.fakes.serial import AtOnce, Serial
from tests.fakes.site import Site

from asbx.config.limits import LONGEST_REST, REST
from asbx.daemon.engine import Engine
from asbx.decide.backoff import rest
from asbx.decide.shortage import Phase, after_refusal, claim, holds, phase
from asbx.errors import AsbxError, LedgerError
from asbx.flow.steady import Steady
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobAsk, JobFacts, Request, RequestKind
from asbx.model.market import Market, Verdict

HOUR = timedelta(hours=1)
AWAY = cloud_error("aws-unreachable", Verdict.TRANSIENT, "connection refused")
DOOR = ("launch", "describe", "owned", "launched_for", "terminate", "tag", "make_group", "remove_group")


@dataclass
class Cluster:
    """A site with an engine, and Slurm's side of the story."""

    site: Site
    engine: Engine
    number: int = 0

    def ask(self, kind: RequestKind, nodes: str, *jobs: JobAsk) -> None:
        """Let a request come."""
        self.number += 1
        now = self.site.clock.now()
        self.site.ledger.add_request(Request(f"r-{self.number}", kind, expand(nodes), now, jobs))

    def resume(self, job: int, nodes: str) -> None:
        """Let Slurm start a job on nodes that are off."""
        names = expand(nodes)
        self.site.scheduler.add_job(JobFacts(job, "ada", "physics", state="CONFIGURING"), names)
        self.site.scheduler.power_up(names)
        self.ask(RequestKind.RESUME, nodes, JobAsk(job, names, names))

    def turn(self) -> None:
        """Let the daemon make a turn."""
        with suppress(AsbxError):
            self.engine.dispatch()
        for _, task in list(self.engine._running.values()):
            task.result()

    def work(self, patience: timedelta, each: Callable[[], None] = lambda: None) -> None:
        """Let it work until nothing is open, or for so long; it sweeps once a minute."""
        ends, swept = self.site.clock.elapsed() + patience, self.site.clock.elapsed()
        while self.site.clock.elapsed() < ends:
            self.turn()
            each()
            if self.site.clock.elapsed() - swept >= timedelta(minutes=1):
                swept = self.site.clock.elapsed()
                self.engine.reconcile()
            self.site.clock.advance(seconds=2)


def cluster() -> Cluster:
    """Return one over fresh fakes."""
    site = Site(workers=Serial(AtOnce))
    site.cloud.boot_after = timedelta(seconds=2)
    return Cluster(site, Engine(site.doors))


def test_an_hour_without_ec2() -> None:
    """Jobs wait, nodes powered down are ended when EC2 is back; calls, words and log lines are few all the while."""
    here = cluster()
    site = here.site
    here.resume(1, "aws-cpu-[000-019]")
    here.work(timedelta(seconds=30))
    assert len(site.bound()) == 20
    site.scheduler.register(expand("aws-cpu-[000-019]"), state="IDLE")
    for method in DOOR:
        site.cloud.fail_next(method, AWAY, times=10_000)
    site.cloud.calls.clear()
    before = len(site.recorder.events)
    for number in range(10):  # ten suspends of two nodes each, and five gangs that come again when they may
        nodes = f"aws-cpu-[{2 * number:03d}-{2 * number + 1:03d}]"
        site.scheduler.power_down(expand(nodes))
        here.ask(RequestKind.SUSPEND, nodes)
    jobs = {job: f"aws-cpu-[{100 + 10 * job}-{103 + 10 * job}]" for job in range(2, 7)}
    due = dict.fromkeys(jobs, site.clock.elapsed())
    asked: set[int] = set()

    def requeue() -> None:
        """Start each job again as soon as it may; let what has come up register."""
        site.scheduler.register([node for node in site.bound() if node >= "aws-cpu-120"])
        under_way = {job.job_id for request in site.ledger.open_requests() for job in request.jobs}
        for job, nodes in jobs.items():
            if job in asked and job not in under_way and not site.bound().keys() & set(expand(nodes)):
                asked.remove(job)
                due[job] = site.clock.elapsed() + site.scheduler.begin[job]
            if job not in asked and due[job] <= site.clock.elapsed():
                asked.add(job)
                here.resume(job, nodes)

    here.work(HOUR, requeue)
    calls = sum(site.cloud.calls.values())
    assert calls <= 1_000, f"{calls} calls in an hour without EC2: {site.cloud.calls}"
    assert site.cloud.calls["TerminateInstances"] <= 10 * 40
    assert len(site.recorder.events) - before <= 1_200
    assert all(1 <= len(site.scheduler.told[job]) <= 15 for job in jobs)
    assert len(site.cloud.alive()) == 20
    assert len([r for r in site.ledger.open_requests() if r.kind is RequestKind.SUSPEND]) == 10

    site.cloud._faults._waiting.clear()
    here.work(2 * LONGEST_REST)
    assert site.ledger.open_requests() == ()
    assert site.cloud.alive() == ()
    assert not site.ledger.instances(live_only=True)
    here.work(HOUR, requeue)
    assert set(site.bound()) == {node for nodes in jobs.values() for node in expand(nodes)}


def test_rests_grow_and_differ() -> None:
    """From seconds to two minutes, and not all requests at the same moment."""
    rests = [rest("r-1", count) for count in range(1, 40)]
    assert REST * 0.8 <= rests[0] <= REST * 1.2
    assert all(one <= LONGEST_REST * 1.2 for one in rests)
    assert rests[10] >= LONGEST_REST * 0.8
    assert len({rest(f"r-{number}", 5) for number in range(20)}) == 20
    assert timedelta(minutes=50) <= sum(rests[:31], timedelta(0)), "an hour is some thirty tries"


def test_a_request_that_rests_is_said_now_and_then() -> None:
    """An hour in which the ledger cannot be written is a few lines, not seven hundred."""
    here = cluster()
    here.resume(1, "aws-cpu-[000-001]")
    here.site.ledger.fail_next("add_attempt", LedgerError("ledger-busy", "busy"), times=10_000)
    here.work(HOUR)
    said = [e for e in here.site.recorder.of(EventKind.REQUEST_ODD) if "tried again" in e.text]
    assert 3 <= len(said) <= 7
    here.site.ledger._faults._waiting.clear()
    here.work(2 * LONGEST_REST)
    assert here.site.ledger.open_requests() == ()
    assert here.site.cloud.all() == (), "ResumeTimeout is over: Slurm asks anew"
    assert "ResumeTimeout" in here.site.scheduler.told[1][-1]


# -- clocks that are set


class SetClock(FakeClock):
    """A clock somebody sets during the at-th pause."""

    def __init__(self, at: int, by: timedelta) -> None:
        super().__init__()
        self._at, self._by = at, by

    def sleep(self, duration: timedelta) -> None:
        """Let time pass, and somebody set the clock."""
        super().sleep(duration)
        if len(self.slept) == self._at:
            self.step(seconds=self._by.total_seconds())


def launch(clock: FakeClock) -> tuple[Site, timedelta]:
    """Launch a gang of four that meets throttling, an empty market and late addresses; return how long it took."""
    site = Site(clock=clock)
    site.cloud.clock = Steady(clock)  # EC2 has a clock of its own
    site.cloud.show_after, site.cloud.address_after = timedelta(seconds=4), timedelta(seconds=20)
    site.cloud.boot_after = timedelta(seconds=40)
    throttled = cloud_error("RequestLimitExceeded", Verdict.THROTTLED)
    site.cloud.fail_next("launch", throttled, times=3)
    site.cloud.fail_next("tag", throttled, times=2)
    for kind in ("c7i.large", "m7i.large"):
        site.cloud.capacity[kind, "us-east-2a", Market.ON_DEMAND] = 0
    began = clock.elapsed()
    site.resume("aws-cpu-[000-003]", (1, "aws-cpu-[000-003]"))
    return site, clock.elapsed() - began


PAUSES = len(launch(FakeClock())[0].clock.slept)


@pytest.mark.parametrize("by", [HOUR, -HOUR, timedelta(days=30), timedelta(seconds=-30)], ids=str)
def test_a_clock_that_is_set_changes_no_launch(by: timedelta) -> None:
    """At any pause, by an hour or a month, forth or back: the same instances serve after the same time."""
    site, usual = launch(FakeClock())
    assert len(site.bound()) == 4
    assert PAUSES > 10
    for at in range(1, PAUSES + 1):
        site, took = launch(SetClock(at, by))
        assert len(site.bound()) == 4, f"set at pause {at}"
        assert len(site.cloud.all()) == 4, f"set at pause {at}: launched again"
        assert took <= usual + timedelta(seconds=15), f"set at pause {at}: {took}, not {usual}"


def test_a_clock_set_back_keeps_no_request_resting() -> None:
    """A request rests for seconds; an hour on the clock is none of its business."""
    here = cluster()
    here.resume(1, "aws-cpu-000")
    here.site.ledger.fail_next("add_attempt", LedgerError("ledger-busy", "busy"))
    here.turn()
    here.site.clock.step(hours=-1)
    here.work(timedelta(seconds=10))
    assert len(here.site.bound()) == 1


def test_a_clock_set_back_keeps_no_pool_closed() -> None:
    """What was learned in the future is tried again; what somebody probes for an hour, too."""
    now = FakeClock().now()
    row = after_refusal(None, "k", "InsufficientInstanceCapacity", Verdict.CAPACITY, 4, now)
    assert row is not None
    assert phase(row, now) is Phase.CLOSED
    early = now - HOUR
    assert phase(row, early) is Phase.HALF_OPEN
    mine = claim(row, early, "me")
    assert mine is not None
    assert holds(mine, early, "me")
    assert phase(mine, early - HOUR) is Phase.HALF_OPEN
    anew = after_refusal(mine, "k", "InsufficientInstanceCapacity", Verdict.CAPACITY, 4, early)
    assert anew is not None
    assert phase(anew, early) is Phase.CLOSED
    assert anew.closed_until < now


def test_a_steady_clock_goes_evenly() -> None:
    """It begins with the host's time, and time that passes is all that moves it."""
    clock = FakeClock()
    steady = Steady(clock)
    began = clock.now()
    clock.advance(minutes=1)
    clock.step(hours=-1)
    steady.sleep(timedelta(seconds=5))
    assert steady.now() == began + timedelta(seconds=65)
    assert Steady(clock).now() == clock.now()
