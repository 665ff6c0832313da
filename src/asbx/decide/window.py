"""When the nodes of Capacity Blocks may be used, and the fences that keep jobs off them at other times.

EC2 ends a block's instances from 30 minutes before its end on (EC2 user guide, "Capacity Blocks for ML"); Karpenter
drains its nodes 10 minutes before that. A job is fenced off where its time limit would reach into this.
Slurm knows whole seconds only, so windows and fences have no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asbx.config.limits import BLOCK_CLOSES_BEFORE_END, FENCE_FOR_GOOD
from asbx.model.fence import FENCE_PREFIX, Fence
from asbx.model.names import GroupName

_NAME = re.compile(rf"{FENCE_PREFIX}(.+)-([A-Za-z0-9]+)-(?:end|until-\d{{8}}T\d{{6}})")


@dataclass(frozen=True)
class Window:
    """The time a block runs. early: how long before its end its nodes are closed."""

    starts: datetime
    ends: datetime
    early: timedelta = BLOCK_CLOSES_BEFORE_END

    @property
    def opens(self) -> datetime:
        """Return when jobs may start on its nodes: the first whole second it runs."""
        return whole(self.starts + timedelta(microseconds=999_999))

    @property
    def closes(self) -> datetime:
        """Return when no job may be on its nodes any more."""
        return whole(self.ends - self.early)

    def is_open(self, now: datetime) -> bool:
        """Whether its nodes may be used."""
        return self.opens <= now < self.closes


def whole(moment: datetime) -> datetime:
    """Return the second a moment is in."""
    return moment.replace(microsecond=0)


def fences(group: GroupName, nodes: Sequence[str], windows: Iterable[Window], now: datetime) -> tuple[Fence, ...]:
    """Return when jobs are to be kept off the nodes of a group that can only be launched in these blocks.

    Blocks that overlap or meet make one time of use. A fence's name stays the same from pass to pass: it is made of
    what comes after it, because the one that is up now has begun at some earlier moment.
    """
    wanted: list[Fence] = []
    closed_from = whole(now)
    for opens, closes in _open(windows, now):
        if opens > closed_from:
            wanted.append(Fence(f"{_prefix(group)}-until-{opens:%Y%m%dT%H%M%S}", tuple(nodes), closed_from, opens))
        closed_from = closes
    wanted.append(Fence(f"{_prefix(group)}-end", tuple(nodes), closed_from, closed_from + FENCE_FOR_GOOD))
    return tuple(wanted)


def _prefix(group: GroupName) -> str:
    return f"{FENCE_PREFIX}{group}"


def _open(windows: Iterable[Window], now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the times of use that are not over, merged, in order."""
    merged: list[tuple[datetime, datetime]] = []
    for window in sorted(windows, key=lambda one: (one.starts, one.ends)):
        if window.closes <= max(window.opens, now):
            continue
        if merged and window.opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], window.closes))
        else:
            merged.append((window.opens, window.closes))
    return merged


@dataclass(frozen=True)
class FenceChange:
    """What is to be done so that the fences that are there become those that are wanted."""

    put_up: tuple[Fence, ...] = ()
    take_down: tuple[str, ...] = ()


def changes(group: GroupName, wanted: Sequence[Fence], there: Iterable[Fence], now: datetime) -> FenceChange:
    """Return the difference for one group. A fence that is up stays as it is when it only began earlier."""
    by_name = {fence.name: fence for fence in there if _is_of(group, fence.name)}
    kept = [_begun(by_name.get(fence.name), fence, now) for fence in wanted]
    put_up = tuple(fence for fence in kept if not _is_same(by_name.get(fence.name), fence, now))
    take_down = sorted(by_name.keys() - {fence.name for fence in wanted})
    return FenceChange(put_up, tuple(take_down))


def _is_of(group: GroupName, name: str) -> bool:
    return group_of(name) == group


def group_of(name: str) -> GroupName | None:
    """Return whose fence a name is, None where it is none of this kind. A group's name holds no dash."""
    match = _NAME.fullmatch(name)
    return GroupName(match[1], match[2]) if match else None


def _begun(old: Fence | None, new: Fence, now: datetime) -> Fence:
    """Return the fence with the beginning it has where both have begun: Slurm does not move that any more."""
    return replace(new, starts=old.starts) if old is not None and max(old.starts, new.starts) <= now else new


def _is_same(old: Fence | None, new: Fence, now: datetime) -> bool:
    if old is None or (old.nodes, old.starts) != (new.nodes, new.starts):
        return False
    # Until further notice: how far away that is does not matter as long as it is far.
    return old.ends == new.ends or (new.name.endswith("-end") and old.ends - now > FENCE_FOR_GOOD / 2)
