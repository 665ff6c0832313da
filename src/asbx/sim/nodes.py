"""The node table of the pretend Slurm, and which nodes a job may be given.

States and flags follow slurm.conf(5) and scontrol(1) as Slurm 23.02 and later show them. Free nodes are kept in heaps,
so that placing a job costs what it takes and not what there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from asbx.model.hostlist import expand
from asbx.model.node import NodeView


class Power(StrEnum):
    """Where a node is between off and on."""

    OFF = "POWERED_DOWN"
    ASKED = "asked"  # it has a job, and ResumeProgram was not called yet: shown as POWERED_DOWN
    RISING = "POWERING_UP"
    UP = ""
    GOING = "POWERING_DOWN"


_FLAGS = {
    Power.OFF: frozenset({"CLOUD", "POWERED_DOWN"}),
    Power.ASKED: frozenset({"CLOUD", "POWERED_DOWN"}),
    Power.RISING: frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"}),
    Power.UP: frozenset({"CLOUD"}),
    Power.GOING: frozenset({"CLOUD", "POWERING_DOWN"}),
}


class Kind(StrEnum):
    """What a node is to the scheduler."""

    ON = "on"  # up or coming up, and empty
    OFF = "off"  # can be powered up
    PART = "part"  # shared, with free CPUs
    NONE = "none"


@dataclass(eq=False)
class Node:
    """One node. turn: changes with every change of power, so that what was planned for it before is void."""

    name: str
    number: int
    group: str
    cpus: int
    free: int
    address: str
    hostname: str
    power: Power = Power.OFF
    is_down: bool = False
    is_silent: bool = False
    is_drained: bool = False
    is_leaving: bool = False
    reason: str = ""
    instance_id: str = ""
    jobs: set[int] = field(default_factory=set)
    turn: int = 0
    idle_us: int = 0
    kind: Kind = Kind.NONE
    view: NodeView | None = None

    @property
    def state(self) -> str:
        """Return the base state."""
        if self.is_down:
            return "DOWN"
        if not self.jobs:
            return "IDLE"
        return "ALLOCATED" if self.free <= 0 else "MIXED"

    def shown(self) -> NodeView:
        """Return the row of the node table; made anew only when something changed."""
        if self.view is None:
            flags = _FLAGS[self.power]
            if self.is_drained:
                flags |= {"DRAIN"}
            if self.is_silent:
                flags |= {"NOT_RESPONDING"}
            self.view = NodeView(
                self.name, self.state, flags, self.address, self.hostname, self.reason, self.instance_id
            )
        return self.view


class Table:
    """All nodes, and those that are free by group."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._heaps: dict[tuple[str, Kind], list[tuple[int, str]]] = {}
        self.count: dict[tuple[str, Kind], int] = {}
        self._views: tuple[NodeView, ...] | None = None

    def add(self, group: str, names: str, cpus: int) -> None:
        """Add the nodes of a group, all off."""
        for number, name in enumerate(expand(names)):
            node = Node(name, number, group, cpus, cpus, name, name)
            self.nodes[name] = node
            self.file(node)

    def views(self) -> tuple[NodeView, ...]:
        """Return the whole node table."""
        if self._views is None:
            self._views = tuple([node.view or node.shown() for node in self.nodes.values()])
        return self._views

    def changed(self, node: Node) -> None:
        """Note that a row looks different."""
        node.view = None
        self._views = None

    def file(self, node: Node) -> None:
        """Put a node where its state belongs. To be called after every change of it."""
        self.changed(node)
        kind = _kind(node)
        if kind is node.kind:
            return
        self._count(node, -1)
        node.kind = kind
        self._count(node, 1)
        if kind is not Kind.NONE:
            heapq.heappush(self._heaps.setdefault((node.group, kind), []), (node.number, node.name))

    def _count(self, node: Node, step: int) -> None:
        key = (node.group, node.kind)
        self.count[key] = self.count.get(key, 0) + step

    def room(self, group: str) -> int:
        """Return how many whole nodes of a group could be had."""
        return self.count.get((group, Kind.ON), 0) + self.count.get((group, Kind.OFF), 0)

    def take(self, group: str, count: int) -> list[Node]:
        """Return so many whole nodes, those that are on first. There must be as many, and each must be filed then."""
        found = [*self._pop(group, Kind.ON, count)]
        return [*found, *self._pop(group, Kind.OFF, count - len(found))]

    def take_part(self, group: str, cpus: int) -> Node | None:
        """Return a shared node with so many free CPUs, None where there is none."""
        heap = self._heaps.get((group, Kind.PART), [])
        passed = []
        found = None
        while heap and found is None:
            entry = heapq.heappop(heap)
            node = self.nodes[entry[1]]
            if node.kind is Kind.PART:
                passed.append(entry)
                found = node if node.free >= cpus else None
        for entry in passed:
            heapq.heappush(heap, entry)
        return found

    def _pop(self, group: str, kind: Kind, count: int) -> Iterable[Node]:
        heap = self._heaps.get((group, kind), [])
        seen: set[str] = set()
        while heap and len(seen) < count:
            _, name = heapq.heappop(heap)
            if name not in seen and self.nodes[name].kind is kind:
                seen.add(name)
                yield self.nodes[name]


def _kind(node: Node) -> Kind:
    if node.is_down or node.is_silent or node.is_drained or node.power is Power.GOING:
        return Kind.NONE
    if not node.jobs:
        return Kind.OFF if node.power is Power.OFF else Kind.ON
    return Kind.PART if 0 < node.free < node.cpus else Kind.NONE
