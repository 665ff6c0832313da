"""The breaker of a node group, whatever happens in whatever order."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.config.upkeep import Boots
from asbx.decide.breaker import (
    Gate,
    after_boot,
    after_failure,
    claim,
    gate,
    holds,
    opens_at,
    pause,
    release,
    reset,
    streak,
)
from asbx.model.boot import BootFailure, Breaker

LEASE = timedelta(minutes=15)
IDS = st.sampled_from(["a", "b", "c"])


class GroupThatBoots(RuleBasedStateMachine):
    """Launches, failures and registrations of one group, by several programs. Time only moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.breaker: Breaker | None = None
        self.failures: list[BootFailure] = []
        self.flying: dict[str, tuple[datetime, str]] = {}  # instance -> (launch, by whom as a probe or "")
        self.good: datetime | None = None
        self.numbers = 0

    @initialize(most=st.integers(1, 4), first=st.integers(1, 600))
    def site(self, most: int, first: int) -> None:
        """Set the site up."""
        self.settings = Boots(failures_in_a_row=most, first_pause_seconds=first, longest_pause_seconds=first * 6)

    @rule(seconds=st.integers(1, 2000))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    @rule(me=IDS)
    def launch(self, me: str) -> None:
        """Let somebody launch, who asks first."""
        before = gate(self.breaker, self.now)
        probed = before is Gate.PROBING and self.breaker is not None and self.breaker.probe_by != me
        self.breaker = claim(self.breaker, self.now, me, LEASE)
        admitted = holds(self.breaker, self.now, me)
        assert admitted == (before is not Gate.CLOSED and not probed)
        if admitted:
            self.numbers += 1
            self.flying[f"i-{self.numbers}"] = (self.now, "" if before is Gate.OPEN else me)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Let an instance come to nothing."""
        one = data.draw(st.sampled_from(sorted(self.flying)))
        launched, _ = self.flying.pop(one)
        failure = samples.boot_failure(one, launched_at=launched, failed_at=self.now)
        self.failures.append(failure)
        old = self.breaker
        cleared = old.cleared_at if old else None
        in_a_row = streak(self.failures, self.good, self.now - self.settings.window, cleared)
        self.breaker = after_failure(old, failure, in_a_row, self.now, self.settings)
        if gate(old, self.now) is Gate.OPEN:
            closes = len(in_a_row) >= self.settings.failures_in_a_row
            assert (gate(self.breaker, self.now) is Gate.CLOSED) == closes

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        """Let an instance become a node."""
        one = data.draw(st.sampled_from(sorted(self.flying)))
        launched, _ = self.flying.pop(one)
        self.good = launched if self.good is None else max(self.good, launched)
        old = self.breaker
        self.breaker = after_boot(old, self.failures, self.good, self.settings)
        if old is not None and old.closed_at is not None and launched >= old.closed_at:
            later = [f for f in self.failures if f.launched_at > launched]
            if len(later) < self.settings.failures_in_a_row:
                assert gate(self.breaker, self.now) is Gate.OPEN, "a node launched after the closing opens the group"

    @rule(me=IDS)
    def give_back(self, me: str) -> None:
        """Let somebody give a probe back that launched nothing."""
        if not any(by == me for _, by in self.flying.values()):
            self.breaker = release(self.breaker, me)

    @rule()
    def reset_by_hand(self) -> None:
        """Let an administrator open it."""
        self.breaker = reset(self.breaker, self.now)
        assert gate(self.breaker, self.now) is Gate.OPEN

    @invariant()
    def one_probe_at_a_time(self) -> None:
        """While somebody holds the probe nobody else may launch."""
        if gate(self.breaker, self.now) is Gate.PROBING:
            assert sum(holds(claim(self.breaker, self.now, me, LEASE), self.now, me) for me in ("a", "b", "c")) == 1

    @invariant()
    def never_closed_for_ever(self) -> None:
        """With nothing but time, the next launch may be tried, and not later than the longest pause and a lease."""
        if self.breaker is not None and gate(self.breaker, self.now) is not Gate.OPEN:
            opens = opens_at(self.breaker, self.now)
            assert opens - self.now <= timedelta(seconds=self.settings.longest_pause_seconds) + LEASE
            assert holds(claim(self.breaker, opens, "z", LEASE), opens, "z")


TestGroupThatBoots = GroupThatBoots.TestCase


@given(st.integers(1, 10**6), st.integers(1, 86_400), st.integers(1, 604_800))
def test_the_pause_grows_and_is_bounded(closings: int, first: int, longest: int) -> None:
    """It never shrinks with further failures, and never passes the longest."""
    settings = Boots(first_pause_seconds=first, longest_pause_seconds=longest)
    assert pause(settings, closings) <= pause(settings, closings + 1) <= timedelta(seconds=max(first, longest))


@given(st.integers(1, 20), st.integers(0, 40))
def test_nodes_older_than_the_trouble_prove_nothing(most: int, age: int) -> None:
    """A registration of an instance launched before the failed ones leaves a closed group closed."""
    settings = Boots(failures_in_a_row=most)
    failures = [samples.boot_failure(f"i-{n}", launched_at=NOON + timedelta(seconds=n + 1)) for n in range(most)]
    closed = after_failure(None, failures[-1], streak(failures, None, None), NOON, settings)
    assert closed is not None
    assert after_boot(closed, failures, NOON - timedelta(seconds=age), settings) == closed
    assert after_boot(closed, failures, None, settings) == closed


@given(st.integers(1, 20))
def test_a_burst_of_which_some_register_is_not_held_against_the_group(most: int) -> None:
    """Failures of instances launched with, or before, one that registered do not count."""
    failures = [samples.boot_failure(f"i-{n}", launched_at=NOON) for n in range(most)]
    assert streak(failures, NOON, None) == ()
    assert len(streak(failures, NOON - timedelta(seconds=1), None)) == most


def test_a_probe_of_many_nodes_closes_the_group_once() -> None:
    """Eight nodes of a tried gang fail one after the other: the pause doubles, it does not grow by 256."""
    settings = Boots(failures_in_a_row=1, first_pause_seconds=100, longest_pause_seconds=100_000)
    closed = after_failure(None, samples.boot_failure(), [samples.boot_failure()], NOON, settings)
    at = NOON + timedelta(seconds=200)
    for number in range(8):
        probe = samples.boot_failure(f"i-{number}", launched_at=NOON + timedelta(seconds=150), failed_at=at)
        closed = after_failure(closed, probe, [probe], at + timedelta(seconds=number), settings)
    assert closed is not None
    assert (closed.closings, closed.closed_until) == (2, at + timedelta(seconds=200))


def test_stragglers_of_before_the_closing_are_no_news() -> None:
    """An instance launched before the group closed and given up after the pause does not close it again."""
    settings = Boots(failures_in_a_row=1)
    closed = after_failure(None, samples.boot_failure(), [samples.boot_failure()], NOON, settings)
    late = NOON + timedelta(hours=5)
    straggler = samples.boot_failure("i-2", launched_at=NOON - timedelta(seconds=1), failed_at=late)
    after = after_failure(closed, straggler, [straggler], late, settings)
    assert gate(after, late) is Gate.HALF_OPEN
