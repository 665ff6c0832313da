"""What EC2 says about what it sells and about what the site has there: facts, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asbx.model.market import Market, Template


@dataclass(frozen=True)
class Card:
    """A network card of an instance type (DescribeInstanceTypes, NetworkInfo.NetworkCards).

    kinds: what an interface on it may be: interface, efa, efa-only. slots: how many interfaces it takes.
    """

    index: int
    kinds: tuple[str, ...]
    slots: int = 1


@dataclass(frozen=True)
class TypeFacts:
    """One instance type.

    efa: how many EFA interfaces it takes, 0 for none. arch: x86_64 or arm64, first first. cores: physical ones.
    placement: strategies of placement groups it may be in. cards: by index. gpu_name: `A100`; gpu_memory_mib: of one.
    """

    name: str
    vcpus: int
    memory_mib: int
    efa: int
    gpus: int
    markets: tuple[Market, ...]
    arch: tuple[str, ...]
    cores: int = 0
    placement: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    gpu_name: str = ""
    gpu_memory_mib: int = 0


@dataclass(frozen=True)
class SubnetFacts:
    """A subnet. free: addresses left, as EC2 last said."""

    subnet_id: str
    zone: str
    zone_id: str
    free: int
    vpc_id: str = ""


@dataclass(frozen=True)
class InterfaceSpec:
    """One network interface of a launch template.

    kind: interface, efa or efa-only. public: whether it gets a public address; None leaves that to the subnet.
    """

    card: int
    device: int
    kind: str
    groups: tuple[str, ...] = ()
    public: bool | None = None


@dataclass(frozen=True)
class TemplateFacts:
    """A launch template version, as far as decisions need it; `fixed` names it by number.

    groups: security groups of the primary interface. arch: of its image, "" where EC2 was not asked or did not say.
    fingerprint: changes with the content of the version. reservation: id it targets, "" for none.
    """

    fixed: Template
    image_id: str
    groups: tuple[str, ...] = ()
    interfaces: tuple[InterfaceSpec, ...] = ()
    placement_group: str = ""
    arch: str = ""
    fingerprint: str = ""
    reservation: str = ""


@dataclass(frozen=True)
class ReservationFacts:
    """A capacity reservation (DescribeCapacityReservations). available: places not in use.

    is_block: a Capacity Block for ML. is_open: used by any matching launch. placement_group: name, "" for none.
    ends: None where it has no end.
    """

    reservation_id: str
    instance_type: str
    zone: str
    available: int
    total: int
    is_active: bool
    is_block: bool = False
    is_open: bool = False
    starts: datetime | None = None
    ends: datetime | None = None
    placement_group: str = ""


@dataclass(frozen=True)
class TemplateChange:
    """What a derived launch template says differently from its base. interfaces: all of them, () leaves the base's."""

    interfaces: tuple[InterfaceSpec, ...] = ()
    reservation: str = ""
    is_block: bool = False
