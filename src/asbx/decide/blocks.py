"""What the sweep does about Capacity Blocks: fences for groups that live off them, and nodes that must be left.

A node is left by the clock of the block its own instance is in: EC2 ends that instance with its block, whatever other
block may have begun since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from asbx.config.schema import Config, NodeGroup
from asbx.decide.window import FenceChange, Window, changes, fences, group_of
from asbx.model.catalogue import ReservationFacts
from asbx.model.fence import Fence
from asbx.model.hostlist import expand
from asbx.model.names import GroupName
from asbx.model.node import NodeView

# What the reasons of nodes drained here begin with; others' drains are never taken back.
BLOCK_ENDS = "asbx:block-ends"


@dataclass(frozen=True)
class Told:
    """What EC2 told of capacity reservations. missing: those it says do not exist. early: see Window."""

    facts: Mapping[str, ReservationFacts]
    missing: Collection[str]
    early: timedelta

    def window(self, reservation: str) -> Window | None:
        """Return when a block runs, None where that is not known or it is no block."""
        facts = self.facts.get(reservation)
        if facts is None or not facts.is_block or facts.starts is None or facts.ends is None:
            return None
        return Window(facts.starts, facts.ends, self.early)


def windows_of(group: NodeGroup, told: Told) -> tuple[Window, ...] | None:
    """Return the windows of a group that has nothing but Capacity Blocks, () for any other, None where nobody knows."""
    ids = group.capacity_reservations
    if not (group.reservations_only and ids):
        return ()
    if any(one in told.facts and not told.facts[one].is_block for one in ids):
        return ()  # capacity that is there at any time
    windows = [told.window(one) for one in ids if one not in told.missing]
    known = tuple(window for window in windows if window is not None)
    return known if known and len(known) == len(windows) else None


def fencing(config: Config, told: Told, there: Sequence[Fence], now: datetime) -> FenceChange:
    """Return what is to be done about all fences; those of a group of which nothing is known stay as they are.

    Fences of groups that are gone, or that may launch elsewhere now, are taken down.
    """
    put_up: list[Fence] = []
    names = {GroupName(partition.partition_name, group.node_group_name) for partition, group in config.groups()}
    take_down = [fence.name for fence in there if (owner := group_of(fence.name)) and owner not in names]
    for partition, group in config.groups():
        windows = windows_of(group, told)
        if windows is None:
            continue
        name = GroupName(partition.partition_name, group.node_group_name)
        wanted = fences(name, expand(partition.node_range(group)), windows, now) if windows else ()
        change = changes(name, wanted, there, now)
        put_up += change.put_up
        take_down += change.take_down
    return FenceChange(tuple(put_up), tuple(take_down))


@dataclass(frozen=True)
class Leaving:
    """drain: nodes by the block that ends. undrain: nodes that may be used again."""

    drain: Mapping[str, tuple[str, ...]]
    undrain: tuple[str, ...]


def leaving(guests: Mapping[str, str], views: Iterable[NodeView], told: Told, now: datetime) -> Leaving:
    """Return which nodes must be left, and which drained ones need not be any more.

    guests: node -> the block its instance is in. A node that is off, down or drained by somebody is left as it is; one
    we drained is taken back when its block was extended, or when it is off: Slurm does that itself only with
    idle_on_node_suspend (slurm.conf(5); seen on 22.05.8).
    """
    drain: dict[str, list[str]] = {}
    undrain: list[str] = []
    for view in views:
        block = guests.get(view.name, "")
        window = told.window(block)
        if "DRAIN" in view.flags:
            is_off = "POWERED_DOWN" in view.flags and view.is_powered_down
            may_stay = window is not None and window.is_open(now)
            if is_drained_here(view) and (may_stay or (is_off and not block)):
                undrain.append(view.name)
        elif window is not None and now >= window.closes and not view.is_powered_down and view.state != "DOWN":
            drain.setdefault(block, []).append(view.name)
    return Leaving({block: tuple(nodes) for block, nodes in drain.items()}, tuple(undrain))


def is_drained_here(view: NodeView) -> bool:
    """Whether a node is drained because its block ends."""
    return "DRAIN" in view.flags and view.reason.startswith(BLOCK_ENDS)
