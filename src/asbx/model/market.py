"""What EC2 sells: markets, pools, orders and answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Market(StrEnum):
    """How an instance is paid for."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    CAPACITY_BLOCK = "capacity-block"  # a Capacity Block for ML: bought ahead, for a window of time


class Verdict(StrEnum):
    """What a failure of EC2 means, whatever its code. One table in aws/answers.py fills it."""

    CAPACITY = "capacity"  # this pool is empty now
    NOT_OFFERED = "not-offered"  # this type does not exist there
    PRICE = "price"  # our price limit is below the market
    ADDRESSES = "addresses"  # the subnet is full
    QUOTA = "quota"  # the account's limit of vCPUs for a family of types
    LIMIT = "limit"  # another limit of the account: volumes, interfaces, groups, fleets
    THROTTLED = "throttled"  # asked too fast
    TRANSIENT = "transient"  # server trouble, connection lost
    INVALID = "invalid"  # the request itself is wrong
    PERMISSION = "permission"  # credentials or policy
    NOT_FOUND = "not-found"  # a named thing is not there (yet)
    EXISTS = "exists"  # already there, or in use
    DRY_RUN = "dry-run"  # would have been allowed
    UNKNOWN = "unknown"  # a code not in the table: shown loudly


@dataclass(frozen=True)
class Template:
    """A launch template: id or name, and a version (`$Default` when the site states none)."""

    template_id: str = ""
    name: str = ""
    version: str = "$Default"


@dataclass(frozen=True)
class Pool:
    """A capacity pool to draw from: one type in one subnet (EC2: one override of a fleet).

    max_price: USD an hour and instance as a decimal string, or "" for no limit (spot only).
    template: where instances of this pool need another launch template than the order's (their own network layout).
    """

    instance_type: str
    subnet_id: str
    zone: str = ""
    max_price: str = ""
    template: Template | None = None


@dataclass(frozen=True)
class FleetOrder:
    """Everything one CreateFleet call says; equal orders make equal requests, byte for byte.

    token: ClientToken, at most 64 ASCII characters. minimum: launch at least so many or none (0: any number).
    strategy: EC2's allocation strategy for the market. pools: in our order of preference, which EC2 hears where the
    strategy knows priorities. tags: for instances, volumes and the fleet.
    single_zone, single_type: all instances in one zone, of one type. placement_group: name, "" for none.
    reservation: id of the capacity reservation that the template targets, "" for none.
    open_reservations: use matching open reservations before other capacity.
    """

    token: str
    market: Market
    count: int
    minimum: int
    pools: tuple[Pool, ...]
    template: Template
    tags: tuple[tuple[str, str], ...]
    strategy: str = ""
    single_zone: bool = False
    single_type: bool = False
    placement_group: str = ""
    reservation: str = ""
    open_reservations: bool = False


@dataclass(frozen=True)
class Launched:
    """One instance of a fleet's answer."""

    instance_id: str
    instance_type: str
    zone: str
    subnet_id: str
    market: Market


@dataclass(frozen=True)
class Refusal:
    """One failure of a fleet's answer: code and text of EC2, and the pool it names."""

    code: str
    message: str
    verdict: Verdict
    instance_type: str = ""
    zone: str = ""
    subnet_id: str = ""


@dataclass(frozen=True)
class FleetAnswer:
    """What CreateFleet did: instances and refusals come side by side."""

    fleet_id: str
    launched: tuple[Launched, ...] = ()
    refusals: tuple[Refusal, ...] = ()


class InstanceState(StrEnum):
    """EC2's instance states."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def is_alive(self) -> bool:
        """Whether it may still serve as a node."""
        return self in (InstanceState.PENDING, InstanceState.RUNNING)

    @property
    def is_ended(self) -> bool:
        """Whether it costs nothing any more."""
        return self in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 describes it.

    reservation_id and launch_index together tell the instances of one launch apart.
    private_ip is "" until EC2 has given it one. efa: how many EFA interfaces it has (`efa` and `efa-only`).
    placement_group: name, "" for none. state_reason: EC2's code for why it ended, "" while it has not.
    ended_at: when EC2 says that it ended, None where it does not say.
    """

    instance_id: str
    instance_type: str
    zone: str
    subnet_id: str
    state: InstanceState
    market: Market
    private_ip: str
    private_dns: str
    reservation_id: str
    launch_index: int
    launched_at: datetime
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    placement_group: str = ""
    efa: int = 0
    state_reason: str = ""
    ended_at: datetime | None = None
