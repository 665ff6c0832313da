"""Decide what a fleet request gets: capacity, prices and EC2's fleet rules, without clock, network or chance.

The lab's emulator and the simulator both ask this module, so they cannot disagree. Equal requests on equal stock
get equal answers. All prices are pretend figures (see asbx.sim.prices).

What EC2 documents is followed (CreateFleet, EC2 API reference): the strategies, SingleInstanceType,
SingleAvailabilityZone, MinTargetCapacity as all or nothing, WeightedCapacity rounded up, one refusal for each
override that was asked and could not give. What EC2 keeps to itself is decided here, the same way each time:
- `capacity-optimized` prefers the pool with the most free places; `price-capacity-optimized` the cheapest of the
  pools that could serve the whole target alone, then the fullest.
- With Single*, the first set of pools (in the strategy's order) that reaches the target wins, else the one that
  gives most.
- A pool with room that MaxTotalPrice forbids is refused with UnfulfillableCapacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from asbx.sim.prices import Lifecycle, PoolKey, PriceBook, PriceChange, default_price

__all__ = [
    "Allocation",
    "FleetSpec",
    "Lifecycle",
    "Limits",
    "Market",
    "Offer",
    "PoolKey",
    "PoolRow",
    "PriceBook",
    "PriceChange",
    "Refusal",
    "Share",
    "Strategy",
    "default_price",
]

_FULL = "InsufficientInstanceCapacity"
_UNBOUNDED = 1 << 30


class Strategy(StrEnum):
    """EC2's allocation strategies."""

    LOWEST_PRICE = "lowest-price"
    PRIORITIZED = "prioritized"
    DIVERSIFIED = "diversified"
    CAPACITY = "capacity-optimized"
    CAPACITY_PRIORITIZED = "capacity-optimized-prioritized"
    PRICE_CAPACITY = "price-capacity-optimized"


@dataclass(frozen=True)
class Offer:
    """One override: where the fleet may draw from.

    position: place in the request, which breaks ties. priority: lower goes first, None goes last.
    max_price: USD an hour and unit. weight: units of target one instance counts for.
    addresses, vcpus: what one instance takes of the subnet's addresses and of the account's quota.
    barred: code and text if the caller knows that this can never launch (a type not offered in the zone).
    """

    position: int
    instance_type: str
    zone: str
    subnet_id: str = ""
    priority: float | None = None
    max_price: Decimal | None = None
    weight: Decimal = Decimal(1)
    addresses: int = 1
    vcpus: int = 0
    barred: tuple[str, str] | None = None


@dataclass(frozen=True)
class FleetSpec:
    """What a fleet asks of one market. target, minimum: in units (instances, unless offers have weights)."""

    market: Lifecycle
    target: int
    offers: tuple[Offer, ...]
    strategy: Strategy = Strategy.LOWEST_PRICE
    single_type: bool = False
    single_zone: bool = False
    minimum: int = 0
    max_total_price: Decimal | None = None


@dataclass(frozen=True)
class Limits:
    """What else bounds a launch.

    addresses: free ones by subnet; a subnet that is absent has no bound. vcpus: left in the quota; None: no quota.
    """

    addresses: Mapping[str, int] = field(default_factory=dict)
    vcpus: int | None = None


@dataclass(frozen=True)
class Share:
    """What one override gives: so many instances at this price an hour each."""

    offer: Offer
    count: int
    price: Decimal


@dataclass(frozen=True)
class Refusal:
    """Why one override did not give all it was asked for."""

    offer: Offer
    code: str
    message: str


@dataclass(frozen=True)
class Allocation:
    """The answer: shares and refusals come side by side; no shares if the minimum was out of reach."""

    shares: tuple[Share, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def instances(self) -> int:
        """How many instances launch."""
        return sum(share.count for share in self.shares)

    @property
    def units(self) -> Decimal:
        """How much of the target is met."""
        return sum((share.count * share.offer.weight for share in self.shares), Decimal(0))


@dataclass(frozen=True)
class PoolRow:
    """A pool for display; capacity None: without limit."""

    key: PoolKey
    capacity: int | None
    in_use: int


class Market:
    """The stock of EC2: how many of what are left where, and what they cost. Holds state; uses no clock."""

    def __init__(self) -> None:
        self.prices = PriceBook()
        self._capacity: dict[PoolKey, int] = {}
        self._in_use: dict[PoolKey, int] = {}

    def set_capacity(self, key: PoolKey, capacity: int | None) -> None:
        """Bound a pool, or with None unbound it. What runs goes on running. Raises ValueError below zero."""
        if capacity is None:
            self._capacity.pop(key, None)
            return
        if capacity < 0:
            raise ValueError(f"a capacity cannot be below zero: {capacity}")
        self._capacity[key] = capacity

    def in_use(self, key: PoolKey) -> int:
        """Return how many instances of the pool are out."""
        return self._in_use.get(key, 0)

    def free(self, key: PoolKey) -> int | None:
        """Return how many more the pool can give; None: without limit."""
        if key not in self._capacity:
            return None
        return max(0, self._capacity[key] - self.in_use(key))

    def take(self, key: PoolKey, count: int) -> None:
        """Take instances out of a pool. Raises ValueError if it has not so many."""
        free = self.free(key)
        if count < 0 or (free is not None and count > free):
            raise ValueError(f"{key} cannot give {count}, it has {free}")
        self._in_use[key] = self.in_use(key) + count

    def release(self, key: PoolKey, count: int = 1) -> None:
        """Give instances back. Raises ValueError if more come back than were taken."""
        if not 0 <= count <= self.in_use(key):
            raise ValueError(f"{key} cannot take back {count}, {self.in_use(key)} are out")
        self._in_use[key] = self.in_use(key) - count

    def rows(self) -> tuple[PoolRow, ...]:
        """Return every pool with a bound or with instances out, sorted."""
        used = {key for key, count in self._in_use.items() if count}
        return tuple(
            PoolRow(key, self._capacity.get(key), self.in_use(key)) for key in sorted(used | set(self._capacity))
        )

    def quote(self, spec: FleetSpec, at: float, limits: Limits | None = None) -> Allocation:
        """Work out what a fleet would get, and take nothing."""
        return _Quote(self, spec, at, limits or Limits()).allocation()

    def launch(self, spec: FleetSpec, at: float, limits: Limits | None = None) -> Allocation:
        """Work out what a fleet gets, and take it."""
        allocation = self.quote(spec, at, limits)
        for share in allocation.shares:
            self.take(PoolKey(share.offer.instance_type, share.offer.zone, spec.market), share.count)
        return allocation


@dataclass
class _Room:
    """What is left while a request is being filled: a working copy, dropped when the set of pools loses."""

    pools: dict[PoolKey, int]
    addresses: dict[str, int]
    vcpus: int | None
    usd: Decimal | None

    def copy(self) -> _Room:
        return _Room(dict(self.pools), dict(self.addresses), self.vcpus, self.usd)


@dataclass
class _Filling:
    """What one set of pools gives."""

    counts: dict[int, int] = field(default_factory=dict)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    units: Decimal = Decimal(0)


class _Quote:
    """One request on one stock at one moment."""

    def __init__(self, market: Market, spec: FleetSpec, at: float, limits: Limits) -> None:
        self._market = market
        self._spec = spec
        self._limits = limits
        self._price = {o.position: market.prices.price(self._key(o), at) for o in spec.offers}
        self._free = {o.position: self._free_places(o) for o in spec.offers}

    def allocation(self) -> Allocation:
        spec = self._spec
        if spec.target <= 0:
            return Allocation()
        room = _Room(
            {self._key(o): self._free[o.position] for o in spec.offers},
            dict(self._limits.addresses),
            self._limits.vcpus,
            spec.max_total_price,
        )
        best = _Filling()
        refusals: dict[int, Refusal] = {}
        for offers in self._sets():
            filling = self._fill(offers, room.copy())
            refusals |= filling.refusals
            if filling.units > best.units:
                best = filling
            if best.units >= spec.target:
                break
        shares = () if best.units < spec.minimum else self._shares(best)
        return Allocation(shares, tuple(refusals[position] for position in sorted(refusals)))

    # -- which pools, in which order

    def _sets(self) -> list[list[Offer]]:
        """Return the sets of pools that may serve together, in the strategy's order."""
        ordered = sorted(self._spec.offers, key=self._rank())
        sets: dict[tuple[str, str], list[Offer]] = {}
        for offer in ordered:
            kind = offer.instance_type if self._spec.single_type else ""
            zone = offer.zone if self._spec.single_zone else ""
            sets.setdefault((kind, zone), []).append(offer)
        return list(sets.values())

    def _rank(self) -> Callable[[Offer], tuple[float, ...]]:
        ranks: dict[Strategy, Callable[[Offer], tuple[float, ...]]] = {
            Strategy.LOWEST_PRICE: lambda o: (self._unit_price(o),),
            Strategy.PRIORITIZED: lambda o: (_priority(o),),
            Strategy.DIVERSIFIED: lambda _: (),
            Strategy.CAPACITY: lambda o: (-self._free[o.position],),
            Strategy.CAPACITY_PRIORITIZED: lambda o: (*self._depth(o), _priority(o)),
            Strategy.PRICE_CAPACITY: lambda o: (*self._depth(o), self._unit_price(o)),
        }
        rank = ranks[self._spec.strategy]
        return lambda offer: (*rank(offer), offer.position)

    def _depth(self, offer: Offer) -> tuple[float, float]:
        """Rank pools that could serve the whole target alone first and alike, the others by what they have."""
        free = self._free[offer.position]
        enough = free * offer.weight >= self._spec.target
        return (0, 0) if enough else (1, -free)

    def _unit_price(self, offer: Offer) -> float:
        price = self._price[offer.position]
        return math.inf if price is None else float(price / offer.weight)

    def _free_places(self, offer: Offer) -> int:
        free = self._market.free(self._key(offer))
        return _UNBOUNDED if free is None else free

    def _key(self, offer: Offer) -> PoolKey:
        return PoolKey(offer.instance_type, offer.zone, self._spec.market)

    # -- how many of each

    def _fill(self, offers: Sequence[Offer], room: _Room) -> _Filling:
        filling = _Filling()
        if self._spec.strategy is Strategy.DIVERSIFIED:
            self._spread(offers, room, filling)
        else:
            for offer in offers:
                self._draw(offer, self._wanted(offer, filling), room, filling)
        return filling

    def _spread(self, offers: Sequence[Offer], room: _Room, filling: _Filling) -> None:
        """Give each pool an equal part; what one cannot give goes to the others in the next round."""
        willing = list(offers)
        while willing and filling.units < self._spec.target:
            part = (Decimal(self._spec.target) - filling.units) / len(willing)
            for offer in willing:
                want = min(math.ceil(part / offer.weight), self._wanted(offer, filling))
                self._draw(offer, want, room, filling)
            willing = [offer for offer in willing if offer.position not in filling.refusals]

    def _wanted(self, offer: Offer, filling: _Filling) -> int:
        return max(0, math.ceil((Decimal(self._spec.target) - filling.units) / offer.weight))

    def _draw(self, offer: Offer, want: int, room: _Room, filling: _Filling) -> None:
        """Take up to so many of one override; leave a refusal if it gives fewer."""
        if want <= 0:
            return
        price = self._price[offer.position]
        barred = offer.barred or self._price_bar(offer, price)
        if barred or price is None:
            filling.refusals[offer.position] = Refusal(offer, *(barred or _not_sold(offer)))
            return
        got, code, message = min((want, "", ""), *self._bounds(offer, price, room), key=lambda bound: bound[0])
        if got < want:
            filling.refusals[offer.position] = Refusal(offer, code, message)
        if got:
            self._book(offer, price, got, room)
            filling.counts[offer.position] = filling.counts.get(offer.position, 0) + got
            filling.units += got * offer.weight

    def _bounds(self, offer: Offer, price: Decimal, room: _Room) -> list[tuple[int, str, str]]:
        """Return each bound on this override as (instances, code, text)."""
        kind, zone = offer.instance_type, offer.zone
        bounds = [(room.pools[self._key(offer)], _FULL, _full_text(self._spec.market, kind, zone))]
        if offer.subnet_id in room.addresses and offer.addresses:
            text = f"Not enough free addresses in subnet {offer.subnet_id} for the requested number of instances."
            count = room.addresses[offer.subnet_id] // offer.addresses
            bounds.append((count, "InsufficientFreeAddressesInSubnet", text))
        if room.vcpus is not None and offer.vcpus:
            text = "You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket."
            spot = self._spec.market is Lifecycle.SPOT
            code = "MaxSpotInstanceCountExceeded" if spot else "VcpuLimitExceeded"
            bounds.append((room.vcpus // offer.vcpus, code, "Max spot instance count exceeded" if spot else text))
        if room.usd is not None and price:
            text = "Unable to fulfill capacity within MaxTotalPrice."
            bounds.append((int(room.usd // price), "UnfulfillableCapacity", text))
        return bounds

    def _book(self, offer: Offer, price: Decimal, count: int, room: _Room) -> None:
        room.pools[self._key(offer)] -= count
        if offer.subnet_id in room.addresses:
            room.addresses[offer.subnet_id] -= count * offer.addresses
        if room.vcpus is not None:
            room.vcpus -= count * offer.vcpus
        if room.usd is not None:
            room.usd -= count * price

    def _price_bar(self, offer: Offer, price: Decimal | None) -> tuple[str, str] | None:
        if self._spec.market is not Lifecycle.SPOT or offer.max_price is None or price is None:
            return None
        if offer.max_price * offer.weight >= price:
            return None
        text = f"Your Spot request price of {offer.max_price} is lower than the current Spot price of {price}."
        return "SpotMaxPriceTooLow", text

    def _shares(self, filling: _Filling) -> tuple[Share, ...]:
        shares = []
        for offer in self._spec.offers:
            price = self._price[offer.position]
            if offer.position in filling.counts and price is not None:
                shares.append(Share(offer, filling.counts[offer.position], price))
        return tuple(shares)


def _priority(offer: Offer) -> float:
    return math.inf if offer.priority is None else offer.priority


def _not_sold(offer: Offer) -> tuple[str, str]:
    text = f"The requested configuration is currently not supported: {offer.instance_type} is not sold on this market."
    return "Unsupported", text


def _full_text(market: Lifecycle, instance_type: str, zone: str) -> str:
    if market is Lifecycle.SPOT:
        return f"There is no Spot capacity available that matches your request ({instance_type} in {zone})."
    return (
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone})."
    )
