"""One instance: what it was launched as, and what state it is in at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from asbx.sim.market import Lifecycle, PoolKey

# EC2 API reference, InstanceState: the low byte of the code.
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}


LAB_ACCOUNT = "123456789012"


class Owner(NamedTuple):
    """Whose it is: ids of one account and region are unknown in another."""

    account: str
    region: str


class State(NamedTuple):
    """EC2's instance state."""

    code: int
    name: str


class StateReason(NamedTuple):
    """Why an instance ended, in EC2's code and words."""

    code: str
    message: str


BY_USER = StateReason("Client.UserInitiatedShutdown", "User initiated shutdown")
BY_ITSELF = StateReason("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
BY_SPOT = StateReason("Server.SpotInstanceTermination", "Spot instance termination")
# EC2 documents no code for the end of a Capacity Block; this is its code for a stop it had scheduled.
BY_BLOCK_END = StateReason("Server.ScheduledStop", "The Capacity Block is about to end")
BY_FAILURE = StateReason("Server.InternalError", "Internal error on the host")


@dataclass(frozen=True)
class Interface:
    """A network interface; address is "" for efa-only, which has none. kind: interface, efa or efa-only."""

    interface_id: str
    kind: str
    device_index: int
    card_index: int
    address: str
    mac: str
    groups: tuple[str, ...]


class Disk(NamedTuple):
    """An EBS volume as a launch makes it. gib: size; mibs: throughput, 0 for kinds that have none."""

    device: str
    kind: str
    gib: int
    iops: int = 0
    mibs: int = 0


@dataclass(frozen=True)
class Launch:
    """What all instances of one pool of one launch share.

    metadata_options: as EC2 names them. user_data: base64. price: USD an hour at launch.
    """

    owner: Owner
    reservation_id: str
    fleet_id: str
    pool: PoolKey
    subnet_id: str
    vpc_id: str
    price: Decimal
    image_id: str
    architecture: str
    launched_at: float
    user_data: str = ""
    key_name: str = ""
    profile_arn: str = ""
    groups: tuple[str, ...] = ()
    group_names: dict[str, str] = field(default_factory=dict, hash=False)
    placement_group: str = ""
    placement_group_id: str = ""
    client_token: str = ""
    ebs_optimized: bool = False
    metadata_options: dict[str, Any] = field(default_factory=dict, hash=False)
    disks: tuple[Disk, ...] = (Disk("/dev/xvda", "gp3", 8, 3000, 125),)
    vcpus: int = 0

    @property
    def is_spot(self) -> bool:
        """Whether it is a Spot instance."""
        return self.pool.market is Lifecycle.SPOT


@dataclass
class Scheduled:
    """An event AWS has announced for an instance."""

    event_id: str
    code: str
    description: str
    not_before: float


@dataclass
class Machine:
    """An instance. Times are seconds since the epoch.

    runs_at: when `pending` ends. known_at, address_at: when Describe begins to show it, and its address.
    ended_at: when it begins to shut down, which is when AWS stops billing; None while nobody has asked for it.
    ending: seconds between shutting-down and terminated.
    notice_at: when a Spot reclaim was announced. capacity_reservation: id of the one it is in.
    impaired_at, host_impaired_at: since when the instance's and the host's status check fail.
    seat: its number among its neighbours in the network, by launch.
    xml: the part of its description that never changes.
    """

    instance_id: str
    launch: Launch
    index: int
    interfaces: tuple[Interface, ...]
    volumes: tuple[str, ...]
    tags: dict[str, str]
    runs_at: float
    boot_at: float
    known_at: float
    address_at: float
    spot_request_id: str = ""
    capacity_reservation: str = ""
    ended_at: float | None = None
    ending: float = 0.0
    reason: StateReason | None = None
    notice_at: float | None = None
    rebalance_at: float | None = None
    impaired_at: float | None = None
    host_impaired_at: float | None = None
    scheduled: list[Scheduled] = field(default_factory=list)
    hang: bool = False
    released: bool = False
    seat: int = 0
    xml: str = ""

    @property
    def address(self) -> str:
        """The primary private address."""
        return self.interfaces[0].address

    @property
    def private_dns(self) -> str:
        """The host name EC2 derives from the address (its `ip-name` kind)."""
        region = self.launch.owner.region
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return f"ip-{self.address.replace('.', '-')}.{domain}"

    @property
    def terminated_at(self) -> float | None:
        """When `shutting-down` becomes `terminated`."""
        return None if self.ended_at is None else self.ended_at + self.ending

    def state(self, now: float) -> State:
        """Return the state at a moment; it moves by time alone."""
        if self.ended_at is not None and now >= self.ended_at:
            name = "terminated" if now >= self.ended_at + self.ending else "shutting-down"
        else:
            name = "running" if now >= self.runs_at else "pending"
        return State(_CODES[name], name)

    def has_ended(self, now: float) -> bool:
        """Whether it is shutting down or gone."""
        return self.ended_at is not None and now >= self.ended_at

    def seconds(self, now: float) -> float:
        """Return how long it has lived so far, in seconds."""
        end = now if self.ended_at is None else min(self.ended_at, now)
        return round(max(0.0, end - self.launch.launched_at), 6)


def iso(seconds: float) -> str:
    """Return an instant as ISO 8601 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def iso_z(seconds: float) -> str:
    """Return an instant as EC2 writes it: milliseconds and a Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(seconds % 1 * 1000):03d}Z"
