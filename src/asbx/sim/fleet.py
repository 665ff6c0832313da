"""What a fleet asks of the market, and what it is answered: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from asbx.sim.prices import Lifecycle


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
    quota: which of the quotas in Limits counts it. barred: code and text if the caller knows that this can never
    launch (a type not offered in the zone).
    cluster, spread: id of the placement group of that strategy it launches into.
    reservations: ids of the capacity reservations it may use, in this order; reserved_only: nothing but these.
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
    quota: str = ""
    barred: tuple[str, str] | None = None
    cluster: str = ""
    spread: str = ""
    reservations: tuple[str, ...] = ()
    reserved_only: bool = False

    @property
    def group(self) -> str:
        """The placement group whose room is counted, "" for none."""
        return self.cluster or self.spread


@dataclass(frozen=True)
class FleetSpec:
    """What a fleet asks of one market. target, minimum: in units (instances, unless offers have weights).

    reserved_first: use the reserved places of all pools before other capacity.
    """

    market: Lifecycle
    target: int
    offers: tuple[Offer, ...]
    strategy: Strategy = Strategy.LOWEST_PRICE
    single_type: bool = False
    single_zone: bool = False
    minimum: int = 0
    max_total_price: Decimal | None = None
    reserved_first: bool = False


@dataclass(frozen=True)
class Limits:
    """What else bounds a launch.

    addresses: free ones by subnet; a subnet that is absent has no bound. vcpus: left in the quota of offers that name
    no other; None: no quota. quotas: vCPUs left by quota name; a name that is absent has no bound.
    """

    addresses: Mapping[str, int] = field(default_factory=dict)
    vcpus: int | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """What one override gives: so many instances at this price an hour each.

    reserved: how many of them are in which capacity reservation; the others are not in any.
    """

    offer: Offer
    count: int
    price: Decimal
    reserved: tuple[tuple[str, int], ...] = ()


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
