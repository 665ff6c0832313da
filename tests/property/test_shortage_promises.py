"""What holds of the memory of empty pools whatever happens, in any order."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import NOON

from asbx.config.limits import CAPACITY_COOLDOWN, NOT_OFFERED_COOLDOWN, PROBE_LEASE
from asbx.decide import shortage as memory
from asbx.decide import shortage_key as keys
from asbx.decide.shortage import Closed, Open, Phase, Probe
from asbx.model.market import Market, Verdict
from asbx.model.record import Shortage

KEY = "capacity/on-demand/c7i.large/us-east-2a"
POOL_VERDICTS = [Verdict.CAPACITY, Verdict.QUOTA, Verdict.LIMIT, Verdict.NOT_OFFERED, Verdict.ADDRESSES]
WHO = st.sampled_from(["job-1", "job-2", "job-3"])
COUNTS = st.integers(1, 1000)
PAUSES = st.integers(0, 3 * 3600).map(lambda seconds: timedelta(seconds=seconds))
# What may happen to a pool: refused, launched, claimed, given back; after a pause, for a number, by somebody.
HAPPENINGS = st.lists(
    st.tuples(st.sampled_from(["refused", "launched", "claimed", "released"]), PAUSES, COUNTS, WHO), max_size=30
)


def happen(old: Shortage | None, what: str, count: int, who: str, now: datetime) -> Shortage | None:
    """Let one thing happen to a pool short of capacity."""
    match what:
        case "refused":
            return memory.after_refusal(old, KEY, "ICE", Verdict.CAPACITY, count, now)
        case "launched":
            return memory.after_success(old, count, now, who)
        case "claimed":
            return memory.claim(old, now, who)
        case _:
            return memory.release(old, who)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Shortage | None, datetime]:
    """Return the memory of a pool after anything, and the time it is then."""
    now, kept = NOON, None
    for what, pause, count, who in draw(HAPPENINGS):
        now += pause
        kept = happen(kept, what, count, who, now)
    return kept, now + draw(PAUSES)


@given(verdict=st.sampled_from(POOL_VERDICTS), failures=st.integers(-3, 10**9))
def test_a_cool_down_grows_and_is_bounded(verdict: Verdict, failures: int) -> None:
    """Never negative or nothing, never shorter after more refusals, never longer than the longest."""
    first, longest = memory.cooldown(verdict, 1), memory.cooldown(verdict, 10**9)
    assert timedelta(0) < first <= memory.cooldown(verdict, failures) <= memory.cooldown(verdict, failures + 1)
    assert memory.cooldown(verdict, failures + 1) <= longest <= NOT_OFFERED_COOLDOWN[1]


@given(history=histories(), count=COUNTS)
def test_a_refusal_always_closes_and_never_for_long(history: tuple[Shortage | None, datetime], count: int) -> None:
    """Right after a refusal nobody asks for as many, and the wait is at most the longest cool-down."""
    old, now = history
    new = memory.after_refusal(old, KEY, "ICE", Verdict.CAPACITY, count, now)
    assert new is not None
    assert now < new.closed_until <= now + CAPACITY_COOLDOWN[1]
    assert new.least <= count
    assert isinstance(memory.state(new, count, now, "job-1"), Closed)
    assert memory.describe(new, now)


@given(history=histories(), count=COUNTS, who=WHO)
def test_small_requests_are_never_closed(history: tuple[Shortage | None, datetime], count: int, who: str) -> None:
    """Whatever larger numbers were refused, at most half of the smallest of them may be tried, at any time."""
    kept, now = history
    found = memory.state(kept, count, now, who)
    if kept is None or 2 * count <= kept.least:
        assert isinstance(found, Open)
    if isinstance(found, Closed):
        assert found.until > now


@given(history=histories(), pauses=st.lists(st.tuples(WHO, st.integers(0, 30)), max_size=20))
def test_one_probe_at_a_time(history: tuple[Shortage | None, datetime], pauses: list[tuple[str, int]]) -> None:
    """However many claim a half-open pool, one holds it until its lease is over."""
    kept, now = history
    for who, seconds in pauses:
        now += timedelta(seconds=seconds)
        before = kept
        kept = memory.claim(kept, now, who)
        if kept is None:
            return
        holders = [one for one in ("job-1", "job-2", "job-3") if memory.holds(kept, now, one)]
        assert len(holders) <= 1
        if before is not None and memory.phase(before, now) is Phase.PROBING:
            assert kept == before
        if holders:
            assert all(
                isinstance(memory.state(kept, kept.least, now, other), Closed)
                for other in {"job-1", "job-2", "job-3"} - set(holders)
            )


@given(history=histories(), count=COUNTS, who=WHO)
def test_success_reopens(history: tuple[Shortage | None, datetime], count: int, who: str) -> None:
    """A launch of as many as were refused, or a probe that got anything, leaves the pool open to all."""
    kept, now = history
    held = kept is not None and memory.holds(kept, now, who)
    after = memory.after_success(kept, count, now, who)
    if kept is None or count >= kept.least or held:
        assert after is None
        assert isinstance(memory.state(after, 1000, now, "anybody"), Open)
    else:
        assert after in (None, kept)


@given(history=histories(), count=COUNTS)
def test_every_closed_pool_opens_again(history: tuple[Shortage | None, datetime], count: int) -> None:
    """Nobody waits for ever: after what it was told to wait, a launch may ask or probe, or waits for one probe."""
    kept, now = history
    for _ in range(2):
        found = memory.state(kept, count, now, "me")
        if not isinstance(found, Closed):
            assert isinstance(found, Open | Probe)
            return
        assert found.until - now <= max(CAPACITY_COOLDOWN[1], PROBE_LEASE)
        now = found.until
    assert not isinstance(memory.state(kept, count, now, "me"), Closed)


@given(
    market=st.sampled_from(Market),
    instance_type=st.from_regex(r"[a-z]{1,3}[0-9][a-z]{0,3}\.[0-9a-z]{2,8}", fullmatch=True),
    zone=st.from_regex(r"[a-z]{2}-[a-z]{4}-[1-3][a-f]|subnet-[0-9a-f]{8}", fullmatch=True),
    placed=st.booleans(),
)
def test_a_key_says_what_it_is_about(market: Market, instance_type: str, zone: str, placed: bool) -> None:
    """Keys of different pools differ, and each is read back; every type has a family."""
    key = keys.capacity_key(market, instance_type, zone, placed=placed)
    assert keys.place_of(key) == keys.Place("capacity", market, instance_type, zone, placed)
    assert keys.family(instance_type)


@given(least=st.integers(1, 1000))
def test_halving_bounds_the_tries(least: int) -> None:
    """In one cool-down a pool that gives nothing is asked at most ten times for a thousand instances."""
    kept = memory.after_refusal(None, KEY, "ICE", Verdict.CAPACITY, least, NOON)
    tries, count = 1, least // 2
    while count and isinstance(memory.state(kept, count, NOON, "me"), Open):
        kept = memory.after_refusal(kept, KEY, "ICE", Verdict.CAPACITY, count, NOON)
        tries, count = tries + 1, count // 2
    assert tries <= 10
    assert isinstance(memory.state(kept, 1, NOON, "me"), Closed)
