"""Rows of the ledger as values: intents, attempts, instances with price, bindings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from asbx.model.market import FleetAnswer, FleetOrder, Market
from asbx.model.names import GroupName


@dataclass(frozen=True)
class Intent:
    """We mean to launch `nodes`; written before EC2 hears of it. EC2 knows it as the tag `asbx:intent`."""

    intent_id: str
    request_id: str
    gang_id: str
    jobs: tuple[int, ...]
    group: GroupName
    nodes: tuple[str, ...]
    user: str
    account: str
    created_at: datetime


@dataclass(frozen=True)
class Attempt:
    """One CreateFleet call for an intent. answer is None while we do not know what EC2 did.

    The order is kept whole, so an unanswered call can be repeated byte for byte under its token.
    error: code of a call that was refused as a whole, "" otherwise.
    """

    intent_id: str
    number: int
    order: FleetOrder
    asked_at: datetime
    answered_at: datetime | None = None
    answer: FleetAnswer | None = None
    error: str = ""


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
    """A node and the instance behind it. Live while released_at is None."""

    node: str
    instance_id: str
    bound_at: datetime
    released_at: datetime | None = None
