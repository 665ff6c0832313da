"""What AWS announces about instances, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """What a message says. The words are part of node reasons (`asbx:spot-interruption ..`)."""

    SPOT_INTERRUPTION = "spot-interruption"
    REBALANCE = "rebalance"
    STATE_CHANGE = "state-change"
    HEALTH = "scheduled-event"  # by AWS Health; `asbx:health` is the mark of nodes whose status checks are polled
    RESERVATION_INTERRUPTION = "reservation-interruption"
    OTHER = "other"  # understood, and nothing to do about it
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Notice:
    """One message.

    detail: the state an instance is in now, the code of a health event, or why a message was not understood.
    sent_at: when AWS says that it happened, None where it does not say. ends_at: when the instance will end, likewise.
    """

    kind: NoticeKind
    instances: tuple[str, ...] = ()
    detail: str = ""
    sent_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True)
class Message:
    """A notice as the queue gave it. handle: names it to the queue. received_at: when it reached us."""

    handle: str
    notice: Notice
    received_at: datetime
