"""Keep jobs off nodes of Capacity Blocks outside their time, and empty those nodes before EC2 ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from asbx.decide.blocks import BLOCK_ENDS, Told, fencing, is_drained_here, leaving
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.fence import Fence
from asbx.model.hostlist import fold
from asbx.model.market import Market
from asbx.model.record import InstanceRow


@dataclass
class Blocks:
    """One pass after the other. Remembers which block an instance is in, and what need not be looked at again."""

    doors: Doors
    _in_block: dict[str, str] = field(default_factory=dict)  # instance id -> reservation id
    _has_fences: bool = True
    _has_drained: bool = True
    _trouble: str = ""

    def run(self) -> None:
        """Do what is due. What a side refuses is said once, and tried again by the next pass; nothing is raised."""
        troubles: list[str] = []

        def attempt(step: Callable[[], None]) -> None:
            try:
                step()
            except AsbxError as error:
                troubles.append(str(error))

        guests: dict[str, str] = {}
        attempt(lambda: guests.update(self._guests()))
        told = self._ask(guests.values())
        attempt(lambda: self._fence(told, attempt))
        attempt(lambda: self._drain(told, guests, attempt))
        trouble = "; ".join(dict.fromkeys(troubles))
        if trouble and trouble != self._trouble:
            self.doors.say(Event(EventKind.PASS_FAILED, f"Capacity Blocks: {trouble}", level="error"))
        self._trouble = trouble

    def _wanted(self) -> list[str]:
        return [name for _, group in self.doors.config.groups() for name in group.capacity_reservations]

    def _ask(self, more: Iterable[str]) -> Told:
        """Return what EC2 tells of the reservations of all groups, and of blocks that instances are in."""
        catalogue = self.doors.catalogue
        ids = tuple(dict.fromkeys([*self._wanted(), *more]))
        facts = catalogue.reservations(ids) if ids else {}
        missing = frozenset(one for one in ids if one not in facts and catalogue.missing_reservation(one))
        return Told(facts, missing, self.doors.config.reservations.drain_before_end)

    def _guests(self) -> dict[str, str]:
        """Return node -> the block its instance is in. Raises LedgerError."""
        ledger = self.doors.ledger
        rows = [row for row in ledger.instances(live_only=True) if row.market is Market.CAPACITY_BLOCK]
        nodes = {binding.instance_id: binding.node for binding in ledger.live_bindings()} if rows else {}
        self._in_block = {row.instance_id: self._block(row) for row in rows}
        return {nodes[one]: block for one, block in self._in_block.items() if block and one in nodes}

    def _block(self, row: InstanceRow) -> str:
        """Return the block an instance was ordered in, "" where no order is known."""
        if row.instance_id in self._in_block:
            return self._in_block[row.instance_id]
        for attempt in self.doors.ledger.attempts(row.intent_id):
            launched = attempt.answer.launched if attempt.answer is not None else ()
            if any(one.instance_id == row.instance_id for one in launched):
                return attempt.order.reservation
        return ""

    # -- fences

    def _fence(self, told: Told, attempt: Callable[[Callable[[], None]], None]) -> None:
        """Put up and take down what differs. Raises SlurmError when Slurm does not tell what is there."""
        is_fenced = any(group.reservations_only for _, group in self.doors.config.groups())
        if not (is_fenced or self._has_fences):
            return
        there, now = self.doors.scheduler.fences(), self.doors.clock.now()
        change = fencing(self.doors.config, told, there, now)
        for fence in change.put_up:
            attempt(lambda fence=fence: self._put_up(fence, now))  # type: ignore[misc]
        for name in change.take_down:
            attempt(lambda name=name: self._take_down(name))  # type: ignore[misc]
        self._has_fences = bool(there)

    def _put_up(self, fence: Fence, now: datetime) -> None:
        self.doors.scheduler.fence(fence.name, fence.nodes, fence.starts, fence.ends)
        since = "now" if fence.starts <= now else f"{fence.starts:%Y-%m-%d %H:%M:%S} UTC"
        until = "further notice" if fence.name.endswith("-end") else f"{fence.ends:%Y-%m-%d %H:%M:%S} UTC"
        text = f"{fold(fence.nodes)} get no job from {since} until {until}: no Capacity Block serves them then"
        self.doors.say(Event(EventKind.FENCE_PUT_UP, text, data={"fence": fence.name}))

    def _take_down(self, name: str) -> None:
        self.doors.scheduler.unfence(name)
        self.doors.say(Event(EventKind.FENCE_TAKEN_DOWN, f"fence {name} is taken down", data={"fence": name}))

    # -- nodes

    def _drain(self, told: Told, guests: dict[str, str], attempt: Callable[[Callable[[], None]], None]) -> None:
        """Drain nodes whose block ends, and take back drains of ours. Raises SlurmError without a node table."""
        if not (guests or self._has_drained):
            return
        views, now = self.doors.scheduler.nodes(), self.doors.clock.now()
        due = leaving(guests, views, told, now)
        for block, nodes in due.drain.items():
            attempt(lambda block=block, nodes=nodes: self._leave(told, block, nodes))  # type: ignore[misc]
        if due.undrain:
            attempt(lambda: self._use_again(due.undrain))
        self._has_drained = bool(due.drain) or any(is_drained_here(view) for view in views)

    def _leave(self, told: Told, block: str, nodes: tuple[str, ...]) -> None:
        window = told.window(block)
        ends = f" at {window.ends:%Y-%m-%d %H:%M} UTC" if window is not None else ""
        self.doors.scheduler.drain(nodes, f"{BLOCK_ENDS} {block} ends{ends}")
        text = f"{fold(nodes)} drained: the Capacity Block {block} ends{ends}, and EC2 ends its instances before"
        self.doors.say(Event(EventKind.NODE_DRAINED, text, level="warning", data={"nodes": fold(nodes)}))

    def _use_again(self, nodes: tuple[str, ...]) -> None:
        self.doors.scheduler.undrain(nodes)
        text = f"{fold(nodes)} may be used again"
        self.doors.say(Event(EventKind.NODE_UNDRAINED, text, data={"nodes": fold(nodes)}))
