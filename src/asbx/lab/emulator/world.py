"""The state of the pretend EC2, and the few moves that change it. Every use holds `lock`."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from asbx.lab.emulator.addresses import AddressPool
from asbx.lab.emulator.catalogue import vcpus as vcpus_of
from asbx.lab.emulator.knobs import Knobs
from asbx.lab.emulator.machine import Launch, Machine, Owner, StateReason
from asbx.lab.emulator.quotas import QUOTAS, family_class
from asbx.sim.market import Lifecycle, Market


@dataclass
class Group:
    """A placement group. strategy: cluster, spread or partition."""

    group_id: str
    name: str
    strategy: str
    owner: Owner
    partitions: int = 0


@dataclass
class Fleet:
    """A fleet request and what it launched. request, answer: in EC2's own shapes."""

    fleet_id: str
    owner: Owner
    created_at: float
    request: dict[str, Any]
    answer: dict[str, Any]
    instance_ids: tuple[str, ...] = ()


@dataclass
class Booking:
    """A capacity reservation beside its places, which are the market's. group: name of its placement group."""

    reservation_id: str
    owner: Owner
    created_at: float
    platform: str
    group: str = ""
    is_cancelled: bool = False


@dataclass
class World:
    """Everything there is. now: seconds since the epoch. console: what a machine has written so far, by id.

    on_end: hears of each machine whose end is set.
    """

    now: Callable[[], float]
    region: str
    console: Callable[[str], bytes] = lambda _: b""
    knobs: Knobs = field(default_factory=Knobs)
    market: Market = field(default_factory=Market)
    lock: threading.RLock = field(default_factory=threading.RLock)
    machines: dict[str, Machine] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    groups: dict[tuple[Owner, str], Group] = field(default_factory=dict)
    fleets: dict[str, Fleet] = field(default_factory=dict)
    bookings: dict[str, Booking] = field(default_factory=dict)
    tokens: dict[tuple[Owner, str, str], tuple[str, Any]] = field(default_factory=dict)
    addresses: dict[str, AddressPool] = field(default_factory=dict)
    on_end: Callable[[Machine], None] | None = None

    def __post_init__(self) -> None:
        self._random = random.Random()
        self._ending: list[tuple[float, int, Machine]] = []
        self._order = itertools.count()
        self._seats: Counter[tuple[str, str]] = Counter()
        self._launch_tokens = (0.0, math.inf)

    def new_id(self, prefix: str, digits: int = 17) -> str:
        """Return a fresh id such as i-0123456789abcdef0."""
        return f"{prefix}-{self._random.getrandbits(4 * digits):0{digits}x}"

    def new_mac(self) -> str:
        """Return a hardware address out of the locally administered range."""
        return "02:" + ":".join(f"{byte:02x}" for byte in self._random.randbytes(5))

    # -- what there is

    def known(self, owner: Owner) -> Iterable[Machine]:
        """Return the machines Describe would show to an account in a region, oldest first."""
        now = self.now()
        return [m for m in self.machines.values() if m.launch.owner == owner and self._shown(m, now)]

    def find(self, owner: Owner, instance_id: str) -> Machine | None:
        """Return one machine if Describe would show it."""
        machine = self.machines.get(instance_id)
        if machine is None or machine.launch.owner != owner or not self._shown(machine, self.now()):
            return None
        return machine

    def _shown(self, machine: Machine, now: float) -> bool:
        gone = machine.terminated_at
        return now >= machine.known_at and (gone is None or now < gone + self.knobs.visible)

    def quotas_left(self, owner: Owner, market: Lifecycle) -> dict[str, int]:
        """Return what the account's quotas of a market leave, in vCPUs by class; classes without a quota are absent."""
        left = {
            quota.family: limit
            for quota in QUOTAS
            if quota.market is market and (limit := self.knobs.vcpus(quota)) is not None
        }
        if left:
            for family, vcpus in self._vcpus_used(owner, market):
                if family in left:
                    left[family] = max(0, left[family] - vcpus)
        return left

    def _vcpus_used(self, owner: Owner, market: Lifecycle) -> Iterator[tuple[str, int]]:
        """Yield class and vCPUs of what counts: live instances, and reserved places whether used or not.

        EC2 API reference, "Error codes", InstanceLimitExceeded: reservations count towards the On-Demand limits.
        """
        now = self.now()
        held = {r.reservation_id for r in self.market.reservations.values() if r.is_held}
        for machine in self.machines.values():
            launch = machine.launch
            if launch.pool.market is not market or launch.owner != owner or machine.has_ended(now):
                continue
            if machine.capacity_reservation not in held:
                yield family_class(launch.pool.instance_type, market), launch.vcpus
        for made in self.market.reservations.values():
            if made.is_held and made.key.market is market and made.owner == owner.account:
                kind = made.key.instance_type
                yield family_class(kind, market), made.total * vcpus_of(kind)

    def group_members(self, group: Group) -> list[Machine]:
        """Return the machines in a placement group that are not terminated."""
        now = self.now()
        return [
            m
            for m in self.machines.values()
            if m.launch.placement_group_id == group.group_id and m.state(now).name != "terminated"
        ]

    # -- what changes it

    def allows_launches(self, count: int) -> bool:
        """Whether the bucket of instance launches holds so many; takes none (see `spend_launches`)."""
        return self.knobs.launch_bucket <= 0 or count <= self._launches_left()

    def spend_launches(self, count: int) -> None:
        """Take launched instances out of the bucket."""
        if self.knobs.launch_bucket > 0:
            self._launch_tokens = (self.now(), self._launches_left() - count)

    def _launches_left(self) -> float:
        since, left = self._launch_tokens
        return min(self.knobs.launch_bucket, left + (self.now() - since) * self.knobs.launch_refill)

    def take_seats(self, launch: Launch, count: int) -> int:
        """Return the first of so many seats in the network, in order beside the group's or the zone's others."""
        beside = (launch.pool.zone, launch.placement_group_id)
        first = self._seats[beside]
        self._seats[beside] += count
        return first

    def add(self, machine: Machine) -> None:
        """Take in a new machine, with its tags."""
        self.machines[machine.instance_id] = machine
        self.tags[machine.instance_id] = machine.tags

    def end(
        self, machine: Machine, reason: StateReason, *, at: float | None = None, ending: float | None = None
    ) -> None:
        """End a machine, now or at a moment to come. Ending twice changes nothing; the earlier moment holds."""
        when = self.now() if at is None else at
        if machine.ended_at is not None and machine.ended_at <= when:
            return
        machine.ended_at = when
        machine.ending = self.knobs.ending if ending is None else ending
        machine.reason = reason
        heapq.heappush(self._ending, (when + machine.ending, next(self._order), machine))
        if self.on_end is not None:
            self.on_end(machine)

    def settle(self) -> None:
        """Give back the capacity and the addresses of machines that became terminated since the last call."""
        now = self.now()
        self.market.expire(now)
        while self._ending and self._ending[0][0] <= now:
            machine = heapq.heappop(self._ending)[2]
            if machine.released:
                continue
            machine.released = True
            launch = machine.launch
            group, reservation = launch.placement_group_id, machine.capacity_reservation
            self.market.release(launch.pool, group=group, reservation=reservation)
            pool = self.addresses[launch.subnet_id]
            for interface in machine.interfaces:
                if interface.address:
                    pool.give_back(interface.address)
