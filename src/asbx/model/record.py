"""Rows of the ledger as values: intents, attempts, instances with price, bindings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from asbx.model.market import FleetAnswer, FleetOrder, Market
from asbx.model.names import GroupName


@dataclass(frozen=True)
class Intent:
    """We mean to launch `nodes`; written before EC2 hears of it. EC2 knows it as the tag `asbx:intent`.

    considered: a sentence for each rung in its order, and for each pool that was dropped, why.
    """

    intent_id: str
    request_id: str
    gang_id: str
    jobs: tuple[int, ...]
    group: GroupName
    nodes: tuple[str, ...]
    user: str
    account: str
    created_at: datetime
    considered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One CreateFleet call for an intent. answer is None while we do not know what EC2 did.

    The order is kept whole, so an unanswered call can be repeated byte for byte under its token.
    number counts the calls of the whole gang. rung: key of the rung it stood on. leg: which part of the gang it is for.
    error: code of a call that was refused as a whole, "" otherwise.
    """

    intent_id: str
    number: int
    order: FleetOrder
    asked_at: datetime
    answered_at: datetime | None = None
    answer: FleetAnswer | None = None
    error: str = ""
    rung: str = ""
    leg: int = 0


@dataclass(frozen=True)
class InstanceRow:
    """An instance we launched, from launch to end. price: USD an hour, None while unknown."""

    instance_id: str
    intent_id: str
    gang_id: str
    jobs: tuple[int, ...]
    group: GroupName
    user: str
    account: str
    instance_type: str
    zone: str
    subnet_id: str
    market: Market
    launched_at: datetime
    price: Decimal | None = None
    private_ip: str = ""
    reservation_id: str = ""
    launch_index: int = 0
    node: str = ""  # the node it was bound to, last
    bound_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str = ""


@dataclass(frozen=True)
class Binding:
    """A node and the instance behind it. Live while released_at is None.

    registered_at: when its slurmd was first seen by slurmctld; None: not yet.
    """

    node: str
    instance_id: str
    bound_at: datetime
    released_at: datetime | None = None
    registered_at: datetime | None = None


@dataclass(frozen=True)
class Shortage:
    """What we remember of a pool that refused (or of a quota that is used up).

    key: `capacity/MARKET/TYPE/ZONE[/placed]`, `quota/MARKET/FAMILY` or `addresses/SUBNET`, made in decide/shortage_key.
    least: the smallest number that was refused: instances, of a quota vCPUs.
    failures: refusals in a row, which set the cool-down.
    closed_until: nobody asks before. probe_until: one launch is trying it, so nobody else does before this moment.
    """

    key: str
    code: str
    least: int
    failures: int
    since: datetime
    closed_until: datetime
    probe_until: datetime | None = None
    probe_by: str = ""


class ResourceKind(StrEnum):
    """What we make in EC2 besides instances, and must clean up."""

    PLACEMENT_GROUP = "placement-group"
    TEMPLATE = "launch-template"


@dataclass(frozen=True)
class Resource:
    """Something we made in EC2; written before EC2 hears of it. gang_id: whose it is, "" for nobody's in particular."""

    kind: ResourceKind
    name: str
    gang_id: str
    created_at: datetime
    used_at: datetime
    removed_at: datetime | None = None


@dataclass(frozen=True)
class Setback:
    """How often in a row a job's launch has failed. next_at: when Slurm may try again; None: it is held."""

    job_id: int
    count: int
    code: str
    reason: str
    at: datetime
    next_at: datetime | None = None
