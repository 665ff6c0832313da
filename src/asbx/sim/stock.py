"""EC2's stock: what is left of each pool, in each placement group and in each capacity reservation.

Pure: holds counts, asks no clock. EC2 keeps its placement to itself; what is bounded here, and how, is a model:
- a pool (type, zone, market) holds so many instances, and one cluster placement group at most so many of them;
- a spread group holds seven in a zone (EC2 user guide, "Placement groups", rules for spread placement groups);
- a reservation's places leave the pool when it is made, and the free ones come back when it ends. Made in a cluster
  placement group it takes places of that group too, and only launches into that group can use it
  (EC2 user guide, "Use Capacity Reservations with cluster placement groups").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from asbx.sim.prices import Lifecycle, PoolKey

# EC2 user guide, "Placement groups": a rack spread group has at most seven running instances in a zone.
SPREAD_LIMIT = 7


@dataclass(frozen=True)
class PoolRow:
    """A pool for display; None: without limit. in_use: instances out, and places reserved. in_group: of one group."""

    key: PoolKey
    capacity: int | None
    in_use: int
    in_group: int | None = None


@dataclass
class Reservation:
    """Places set aside for one account.

    key: the pool they came from; its market is capacity-block for a Capacity Block. is_open: serves every matching
    launch, not only those that name it. group: id of the cluster placement group it was made in, "" for none.
    starts, ends: seconds; it serves from the one until the other. is_held: False once the free places went back.
    """

    reservation_id: str
    key: PoolKey
    total: int
    owner: str = ""
    is_open: bool = True
    group: str = ""
    starts: float = -math.inf
    ends: float = math.inf
    used: int = 0
    is_held: bool = True

    @property
    def free(self) -> int:
        """How many places nobody uses."""
        return self.total - self.used if self.is_held else 0

    def serves(self, at: float) -> bool:
        """Whether it takes launches at a moment."""
        return self.is_held and self.starts <= at < self.ends


class Stock:
    """How many of what are left where. Holds state; uses no clock."""

    def __init__(self) -> None:
        self._capacity: dict[PoolKey, int] = {}
        self._in_group: dict[PoolKey, int] = {}
        self._in_use: dict[PoolKey, int] = {}
        self._placed: dict[str, dict[PoolKey, int]] = {}
        self._reservations: dict[str, Reservation] = {}

    # -- pools

    def set_capacity(self, key: PoolKey, capacity: int | None) -> None:
        """Bound a pool, or with None unbound it. What runs goes on running. Raises ValueError below zero."""
        _bound(self._capacity, key, capacity)

    def capacity(self, key: PoolKey) -> int | None:
        """Return how many a pool holds; None: without limit."""
        return self._capacity.get(key)

    def set_in_group(self, key: PoolKey, count: int | None) -> None:
        """Bound how many of a pool one cluster placement group holds; None: no bound. Raises ValueError below zero."""
        _bound(self._in_group, key, count)

    def in_group(self, key: PoolKey) -> int | None:
        """Return how many instances of a pool one cluster placement group can hold; None: without limit."""
        return self._in_group.get(key)

    def in_use(self, key: PoolKey) -> int:
        """Return how many places of the pool are out, reserved ones included."""
        return self._in_use.get(key, 0)

    def free(self, key: PoolKey) -> int | None:
        """Return how many more the pool can give; None: without limit."""
        if key not in self._capacity:
            return None
        return max(0, self._capacity[key] - self.in_use(key))

    def rows(self) -> tuple[PoolRow, ...]:
        """Return every pool with a bound or with instances out, sorted."""
        used = {key for key, count in self._in_use.items() if count}
        keys = sorted(used | set(self._capacity) | set(self._in_group))
        return tuple(PoolRow(k, self._capacity.get(k), self.in_use(k), self._in_group.get(k)) for k in keys)

    # -- placement groups

    def cluster_room(self, group: str, key: PoolKey) -> int | None:
        """Return how many more of a pool a cluster group takes; None: without limit."""
        if key not in self._in_group:
            return None
        return max(0, self._in_group[key] - self._placed.get(group, {}).get(key, 0))

    def spread_room(self, group: str, zone: str) -> int:
        """Return how many more a spread group takes in a zone."""
        placed = self._placed.get(group, {})
        return max(0, SPREAD_LIMIT - sum(count for key, count in placed.items() if key.zone == zone))

    def group_zones(self, group: str) -> frozenset[str]:
        """Return the zones a group has places in."""
        return frozenset(key.zone for key, count in self._placed.get(group, {}).items() if count)

    # -- taking and giving back

    def take(self, key: PoolKey, count: int, *, group: str = "", reservation: str = "") -> None:
        """Take instances, of a reservation if one is named. Raises ValueError if there are not so many."""
        free = self._reservations[reservation].free if reservation else self.free(key)
        if count < 0 or (free is not None and count > free):
            raise ValueError(f"{reservation or key} cannot give {count}, it has {free}")
        if reservation:
            self._reservations[reservation].used += count
        else:
            self._in_use[key] = self.in_use(key) + count
        if group and not (reservation and self._reservations[reservation].group == group):
            self._place(group, key, count)

    def release(self, key: PoolKey, count: int = 1, *, group: str = "", reservation: str = "") -> None:
        """Give instances back. Raises ValueError if more come back than were taken."""
        source = self._reservations.get(reservation)
        out = source.used if source else self.in_use(key)
        if not 0 <= count <= out:
            raise ValueError(f"{key} cannot take back {count}, {out} are out")
        if source:
            source.used -= count
        held = source is not None and source.is_held
        if not held:
            self._in_use[key] = self.in_use(key) - count
        if group and not (held and source is not None and source.group == group):
            self._place(group, key, -count)

    def _place(self, group: str, key: PoolKey, count: int) -> None:
        placed = self._placed.setdefault(group, {})
        placed[key] = placed.get(key, 0) + count
        if not placed[key]:
            del placed[key]
        if not placed:
            del self._placed[group]

    # -- reservations

    def reserve(self, made: Reservation) -> None:
        """Set places aside. Raises ValueError if the pool, or the group it is made in, has not so many."""
        room = self.cluster_room(made.group, made.key) if made.group else None
        zones = self.group_zones(made.group) if made.group else frozenset()
        if (room is not None and made.total > room) or (zones and made.key.zone not in zones):
            raise ValueError(f"the placement group cannot hold {made.total} of {made.key}")
        self.take(made.key, made.total, group=made.group)
        self._reservations[made.reservation_id] = made

    def end_reservation(self, reservation_id: str) -> None:
        """Give its free places back; what runs in it goes on, as ordinary instances of the pool."""
        made = self._reservations[reservation_id]
        free = made.free
        made.is_held = False
        self._in_use[made.key] = self.in_use(made.key) - free
        if made.group:
            self._place(made.group, made.key, -free)

    def expire(self, at: float) -> None:
        """End what has come to its end date."""
        for made in self._reservations.values():
            if made.is_held and made.ends <= at:
                self.end_reservation(made.reservation_id)

    @property
    def reservations(self) -> Mapping[str, Reservation]:
        """All reservations ever made, by id."""
        return self._reservations

    def open_for(self, key: PoolKey, owner: str, group: str, at: float) -> tuple[str, ...]:
        """Return the ids of the open reservations that serve a launch; group: its cluster placement group."""
        if key.market is not Lifecycle.ON_DEMAND:
            return ()
        return tuple(
            made.reservation_id
            for made in self._reservations.values()
            if made.is_open and made.key == key and (made.owner, made.group) == (owner, group) and made.serves(at)
        )


def _bound(bounds: dict[PoolKey, int], key: PoolKey, count: int | None) -> None:
    if count is None:
        bounds.pop(key, None)
        return
    if count < 0:
        raise ValueError(f"a capacity cannot be below zero: {count}")
    bounds[key] = count
