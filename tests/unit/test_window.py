"""When the nodes of Capacity Blocks may be used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from asbx.decide.window import FenceChange, Window, changes, fences, group_of
from asbx.model.fence import Fence
from asbx.model.names import GroupName

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GPU = GroupName("aws", "gpu")
NODES = ("aws-gpu-0", "aws-gpu-1")
HOUR = timedelta(hours=1)
EARLY = timedelta(minutes=40)


def window(starts: int, ends: int) -> Window:
    """Return a block from and to so many hours after noon."""
    return Window(NOON + starts * HOUR, NOON + ends * HOUR)


def spans(*windows: Window, now: datetime = NOON) -> list[tuple[float, float]]:
    """Return the fences as hours after noon."""
    return [((f.starts - NOON) / HOUR, (f.ends - NOON) / HOUR) for f in fences(GPU, NODES, windows, now)]


def test_closed_before_the_start_and_from_forty_minutes_before_the_end() -> None:
    """Two fences stand around a block that is to come; once it runs only the later one."""
    before, after = fences(GPU, NODES, [window(2, 26)], NOON)
    assert before == Fence("asbx-aws-gpu-until-20260301T140000", NODES, NOON, NOON + 2 * HOUR)
    assert (after.name, after.starts) == ("asbx-aws-gpu-end", NOON + 26 * HOUR - EARLY)
    assert after.ends - after.starts == timedelta(days=365)
    (only,) = fences(GPU, NODES, [window(-1, 23)], NOON)
    assert only.starts == NOON + 23 * HOUR - EARLY


def test_blocks_that_follow_each_other_have_a_fence_between() -> None:
    """Blocks that overlap carry on without one; one that is over counts no more."""
    between = fences(GPU, NODES, [window(48, 72), window(0, 24), window(-48, -24)], NOON)
    assert [(f.starts, f.ends) for f in between[:1]] == [(NOON + 24 * HOUR - EARLY, NOON + 48 * HOUR)]
    assert len(between) == 2
    assert len(fences(GPU, NODES, [window(0, 24), window(23, 48)], NOON)) == 1


def test_without_a_block_the_nodes_are_closed() -> None:
    """Nothing can be launched there; the same once the last block is over."""
    assert [fence.starts for fence in fences(GPU, NODES, [], NOON)] == [NOON]
    assert [fence.starts for fence in fences(GPU, NODES, [window(-24, 0)], NOON)] == [NOON]


def test_fences_that_stand_are_left_alone() -> None:
    """Passes later the same fences are wanted, though those that have begun did so earlier."""
    there = fences(GPU, NODES, [window(2, 26)], NOON)
    for later in (NOON + HOUR, NOON + timedelta(minutes=119)):
        assert changes(GPU, fences(GPU, NODES, [window(2, 26)], later), there, later) == FenceChange()
    at_end = NOON + 27 * HOUR
    change = changes(GPU, fences(GPU, NODES, [window(2, 26)], at_end), there, at_end)
    assert change == FenceChange((), ("asbx-aws-gpu-until-20260301T140000",))


def test_a_block_that_is_extended_moves_its_fence() -> None:
    """And a fence that is up keeps its beginning when its nodes change."""
    there = fences(GPU, NODES, [window(0, 24)], NOON)
    wanted = fences(GPU, NODES, [window(0, 48)], NOON)
    assert changes(GPU, wanted, there, NOON) == FenceChange(wanted)
    later = NOON + HOUR
    up = fences(GPU, NODES, [], NOON)
    (moved,) = changes(GPU, fences(GPU, NODES[:1], [], later), up, later).put_up
    assert (moved.nodes, moved.starts) == (NODES[:1], NOON)


def test_other_groups_fences_are_not_touched() -> None:
    """Not even of a group whose name begins alike."""
    others = [Fence(name, NODES, NOON, NOON + HOUR) for name in ("asbx-aws-gpu2-end", "asbx-aws-gpu", "asbx-aws-gpu-x")]
    assert changes(GPU, (), others, NOON).take_down == ()


def test_a_window_begins_and_ends_on_whole_seconds() -> None:
    """No job starts before the block does, and none stays longer; Slurm's times have no fractions."""
    half = timedelta(milliseconds=500)
    one = Window(NOON + half, NOON + HOUR + half, timedelta(seconds=10))
    assert (one.opens, one.closes) == (NOON + timedelta(seconds=1), NOON + HOUR - timedelta(seconds=10))
    fenced = fences(GPU, NODES, [one], NOON - HOUR + half)
    assert all(moment.microsecond == 0 for fence in fenced for moment in (fence.starts, fence.ends))
    assert not one.is_open(NOON + half)
    assert one.is_open(one.opens)
    assert not one.is_open(one.closes)


def test_whose_fence_a_name_is() -> None:
    """The last parts tell it; a partition may hold dashes and look like an end itself."""
    assert group_of("asbx-aws-dev-gpu-end") == GroupName("aws-dev", "gpu")
    assert group_of("asbx-x-end-until-20260301T140000") == GroupName("x", "end")
    assert group_of("asbx-aws-gpu-until-later") is None
    assert group_of("maintenance") is None


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 60))), st.integers(-60, 120))
def test_fences_are_exactly_what_no_block_covers(blocks: list[tuple[int, int]], at: int) -> None:
    """Any moment from now on is fenced if and only if no block is in its time of use then."""
    windows = [window(start, start + length) for start, length in blocks]
    found = fences(GPU, NODES, windows, NOON)
    moment = NOON + abs(at) * HOUR + timedelta(minutes=7)
    fenced = any(fence.starts <= moment < fence.ends for fence in found)
    usable = any(one.starts <= moment < one.closes for one in windows)
    assert fenced == (not usable)
    assert len({fence.name for fence in found}) == len(found)
    assert all(a.ends <= b.starts for a, b in pairwise(found))
