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
- On-demand launches use the open capacity reservations that match before other capacity of the same pool; with
  `use-capacity-reservations-first` all reserved places are used before any other pool is drawn on.
- What a placement group cannot hold is refused as InsufficientInstanceCapacity, as a full pool is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from asbx.sim.fleet import Allocation, FleetSpec, Limits, Offer, Refusal, Share, Strategy
from asbx.sim.prices import Lifecycle, PoolKey, PriceBook, PriceChange, default_price
from asbx.sim.refusals import group_elsewhere, group_full, not_sold, over_quota, pool_full, reserved_out
from asbx.sim.stock import PoolRow, Reservation, Stock

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
    "Reservation",
    "Share",
    "Strategy",
    "default_price",
]

_UNBOUNDED = 1 << 30


class Market(Stock):
    """The stock of EC2, what it costs, and what a fleet gets of it. Holds state; uses no clock."""

    def __init__(self) -> None:
        super().__init__()
        self.prices = PriceBook()

    def quote(self, spec: FleetSpec, at: float, limits: Limits | None = None) -> Allocation:
        """Work out what a fleet would get, and take nothing."""
        return _Quote(self, spec, at, limits or Limits()).allocation()

    def launch(self, spec: FleetSpec, at: float, limits: Limits | None = None) -> Allocation:
        """Work out what a fleet gets, and take it."""
        allocation = self.quote(spec, at, limits)
        for share in allocation.shares:
            offer = share.offer
            key = PoolKey(offer.instance_type, offer.zone, spec.market)
            for reservation, count in share.reserved:
                self.take(key, count, group=offer.group, reservation=reservation)
            self.take(key, share.count - sum(count for _, count in share.reserved), group=offer.group)
        return allocation


@dataclass
class _Room:
    """What is left while a request is being filled: a working copy, dropped when the set of pools loses.

    places: by pool, and by id of reservation. groups: by placement group and pool, or zone for a spread group.
    """

    places: dict[PoolKey | str, int]
    addresses: dict[str, int]
    groups: dict[tuple[str, PoolKey | str], int]
    quotas: dict[str, int]
    usd: Decimal | None

    def copy(self) -> _Room:
        return _Room(dict(self.places), dict(self.addresses), dict(self.groups), dict(self.quotas), self.usd)


@dataclass
class _Filling:
    """What one set of pools gives. reserved: by position of the override and reservation."""

    counts: dict[int, int] = field(default_factory=dict)
    reserved: dict[tuple[int, str], int] = field(default_factory=dict)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    units: Decimal = Decimal(0)


class _Quote:
    """One request on one stock at one moment."""

    def __init__(self, market: Market, spec: FleetSpec, at: float, limits: Limits) -> None:
        self._market = market
        self._spec = spec
        self._limits = limits
        self._at = at
        # A cluster placement group is in one zone, so what launches into one is.
        self._single_zone = spec.single_zone or any(offer.cluster for offer in spec.offers)
        self._price = {o.position: market.prices.price(self._key(o), at) for o in spec.offers}
        self._free = {o.position: self._free_places(o) for o in spec.offers}

    def allocation(self) -> Allocation:
        spec = self._spec
        if spec.target <= 0:
            return Allocation()
        room = self._room()
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

    def _room(self) -> _Room:
        offers, limits, market = self._spec.offers, self._limits, self._market
        places: dict[PoolKey | str, int] = {self._key(o): self._pool_places(o) for o in offers}
        ids = {reservation for o in offers for reservation in o.reservations}
        places |= {id_: market.reservations[id_].free for id_ in ids if self._serves(id_)}
        groups: dict[tuple[str, PoolKey | str], int] = {
            (o.spread, o.zone): market.spread_room(o.spread, o.zone) for o in offers if o.spread
        }
        for offer in offers:
            room = market.cluster_room(offer.cluster, self._key(offer)) if offer.cluster else None
            if room is not None:
                groups[offer.cluster, self._key(offer)] = room
        quotas = dict(limits.quotas) | ({} if limits.vcpus is None else {"": limits.vcpus})
        return _Room(places, dict(limits.addresses), groups, quotas, self._spec.max_total_price)

    def _serves(self, reservation_id: str) -> bool:
        made = self._market.reservations.get(reservation_id)
        return made is not None and made.serves(self._at)

    # -- which pools, in which order

    def _sets(self) -> list[list[Offer]]:
        """Return the sets of pools that may serve together, in the strategy's order."""
        ordered = sorted(self._spec.offers, key=self._rank())
        sets: dict[tuple[str, str], list[Offer]] = {}
        for offer in ordered:
            kind = offer.instance_type if self._spec.single_type else ""
            zone = offer.zone if self._single_zone else ""
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
        """Return what the pool and the reservations together have."""
        reserved = sum(self._market.reservations[id_].free for id_ in offer.reservations if self._serves(id_))
        return reserved + (0 if offer.reserved_only else self._pool_places(offer))

    def _pool_places(self, offer: Offer) -> int:
        free = self._market.free(self._key(offer))
        return _UNBOUNDED if free is None else free

    def _key(self, offer: Offer) -> PoolKey:
        return PoolKey(offer.instance_type, offer.zone, self._spec.market)

    # -- how many of each

    def _fill(self, offers: Sequence[Offer], room: _Room) -> _Filling:
        filling = _Filling()
        if self._spec.strategy is Strategy.DIVERSIFIED:
            self._spread(offers, room, filling)
            return filling
        if self._spec.reserved_first:
            for offer in offers:
                self._draw_reserved(offer, room, filling)
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

    def _draw_reserved(self, offer: Offer, room: _Room, filling: _Filling) -> None:
        """Take what reserved places give; what they lack is asked of the pools later."""
        price = self._price[offer.position]
        if price is None or offer.barred or self._group_bar(offer):
            return
        for source in offer.reservations:
            self._take(offer, source, self._wanted(offer, filling), room, filling)

    def _draw(self, offer: Offer, want: int, room: _Room, filling: _Filling) -> None:
        """Take up to so many of one override; leave a refusal if it gives fewer."""
        if want <= 0:
            return
        price = self._price[offer.position]
        barred = offer.barred or self._group_bar(offer) or self._price_bar(offer, price)
        if barred or price is None:
            filling.refusals[offer.position] = Refusal(offer, *(barred or not_sold(offer)))
            return
        why = reserved_out(self._spec.market, offer)
        for source in self._sources(offer):
            got, code, text = self._take(offer, source, want, room, filling)
            why = code, text
            want -= got
            if not want:
                return
        filling.refusals[offer.position] = Refusal(offer, *why)

    def _sources(self, offer: Offer) -> list[PoolKey | str]:
        """Return where the override's places come from: reservations, then the pool."""
        return [*offer.reservations, *([] if offer.reserved_only else [self._key(offer)])]

    def _take(
        self, offer: Offer, source: PoolKey | str, want: int, room: _Room, filling: _Filling
    ) -> tuple[int, str, str]:
        """Take up to so many out of one source; return how many it gave, and why not more."""
        price = self._price[offer.position] or Decimal(0)
        bounds = self._bounds(offer, price, room, source)
        got, code, message = min((want, "", ""), *bounds, key=lambda bound: bound[0])
        if got:
            self._book(offer, price, got, room, source)
            filling.counts[offer.position] = filling.counts.get(offer.position, 0) + got
            filling.units += got * offer.weight
            if isinstance(source, str):
                drawn = filling.reserved.get((offer.position, source), 0)
                filling.reserved[offer.position, source] = drawn + got
        return got, code, message

    def _bounds(self, offer: Offer, price: Decimal, room: _Room, source: PoolKey | str) -> list[tuple[int, str, str]]:
        """Return each bound on this override as (instances, code, text)."""
        market = self._spec.market
        if isinstance(source, str):
            bounds = [(room.places.get(source, 0), *reserved_out(market, offer))]
        else:
            bounds = [(room.places[source], *pool_full(market, offer))]
            if offer.quota in room.quotas and offer.vcpus and market is not Lifecycle.CAPACITY_BLOCK:
                bounds.append((room.quotas[offer.quota] // offer.vcpus, *over_quota(market)))
        for key in self._group_keys(offer, source):
            if key in room.groups:
                bounds.append((room.groups[key], *group_full(offer)))
        if offer.subnet_id in room.addresses and offer.addresses:
            text = f"Not enough free addresses in subnet {offer.subnet_id} for the requested number of instances."
            count = room.addresses[offer.subnet_id] // offer.addresses
            bounds.append((count, "InsufficientFreeAddressesInSubnet", text))
        if room.usd is not None and price:
            text = "Unable to fulfill capacity within MaxTotalPrice."
            bounds.append((int(room.usd // price), "UnfulfillableCapacity", text))
        return bounds

    def _group_keys(self, offer: Offer, source: PoolKey | str) -> list[tuple[str, PoolKey | str]]:
        """Return which group's room a launch takes; places reserved in the group have been counted already."""
        if isinstance(source, str) and offer.cluster:
            return []
        keys: list[tuple[str, PoolKey | str]] = [(offer.cluster, self._key(offer))] if offer.cluster else []
        return [*keys, (offer.spread, offer.zone)] if offer.spread else keys

    def _book(self, offer: Offer, price: Decimal, count: int, room: _Room, source: PoolKey | str) -> None:
        room.places[source] -= count
        if not isinstance(source, str) and offer.quota in room.quotas:
            room.quotas[offer.quota] -= count * offer.vcpus
        for key in self._group_keys(offer, source):
            if key in room.groups:
                room.groups[key] -= count
        if offer.subnet_id in room.addresses:
            room.addresses[offer.subnet_id] -= count * offer.addresses
        if room.usd is not None:
            room.usd -= count * price

    def _group_bar(self, offer: Offer) -> tuple[str, str] | None:
        """Hold a cluster group to the zone of what is in it."""
        zones = self._market.group_zones(offer.cluster) if offer.cluster else frozenset()
        if not zones or offer.zone in zones:
            return None
        return group_elsewhere(offer, zones)

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
                reserved = tuple((id_, n) for (at, id_), n in filling.reserved.items() if at == offer.position)
                shares.append(Share(offer, filling.counts[offer.position], price, reserved))
        return tuple(shares)


def _priority(offer: Offer) -> float:
    return math.inf if offer.priority is None else offer.priority
