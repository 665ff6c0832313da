"""What EventBridge's messages say, as values: strict about the envelope, bounded, tolerant of what AWS adds.

Sources: Amazon EC2 user guide, "Spot Instance interruption notices", "EC2 instance rebalance recommendations",
"Instance state change events" and "Monitor interruptible Capacity Reservations"; AWS Health user guide, event schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from asbx.config.limits import NOTICE_MAX_BYTES, NOTICE_MOST_INSTANCES
from asbx.model.notice import Notice, NoticeKind

# Health names an instance by its id; in resources and elsewhere it is the end of an ARN.
_INSTANCE = re.compile(r"(?:^|/)(i-[0-9a-f]{8,17})$")
_LONGEST_WORD = 120
_GONE = ("stopping", "stopped", "shutting-down", "terminated")
_Read = Callable[[Mapping[str, Any]], tuple[NoticeKind, tuple[str, ...], str]]


def read_notice(body: str) -> Notice:
    """Return what a message says. Never raises: what is no message of AWS's is UNKNOWN, and `detail` says why."""
    if len(body) > NOTICE_MAX_BYTES:
        return _unknown(f"it has {len(body)} characters")
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return _unknown("it is not JSON")
    if not isinstance(event, dict) or event.get("version") != "0":
        return _unknown("it is no event of version 0")
    return _read_event(event)


def _read_event(event: Mapping[str, Any]) -> Notice:
    source, kind, detail = event.get("source"), event.get("detail-type"), event.get("detail")
    read = _READERS.get((source, kind)) if isinstance(source, str) and isinstance(kind, str) else None
    if read is None:
        return _unknown(f"{_word(source)}: {_word(kind)}")
    if not isinstance(detail, dict):
        return _unknown(f"{_word(kind)} without a detail")
    what, instances, said = read(detail)
    if not instances and what is not NoticeKind.OTHER:
        return _unknown(f"{_word(kind)} without an instance")
    return Notice(what, instances, said, _time(event.get("time")), _time(detail.get("instance-termination-time")))


def _unknown(why: str) -> Notice:
    return Notice(NoticeKind.UNKNOWN, detail=why)


def _warning(kind: NoticeKind) -> _Read:
    def read(detail: Mapping[str, Any]) -> tuple[NoticeKind, tuple[str, ...], str]:
        return kind, _instances([detail.get("instance-id")]), _word(detail.get("instance-action", ""))

    return read


def _state(detail: Mapping[str, Any]) -> tuple[NoticeKind, tuple[str, ...], str]:
    state = _word(detail.get("state"))
    kind = NoticeKind.STATE_CHANGE if state in _GONE else NoticeKind.OTHER
    return kind, _instances([detail.get("instance-id")]), state


def _health(detail: Mapping[str, Any]) -> tuple[NoticeKind, tuple[str, ...], str]:
    code = _word(detail.get("eventTypeCode"))
    if detail.get("service") != "EC2" or detail.get("eventTypeCategory") != "scheduledChange":
        return NoticeKind.OTHER, (), code
    entities = detail.get("affectedEntities")
    rows = entities[:NOTICE_MOST_INSTANCES] if isinstance(entities, list) else []
    named = _instances(row.get("entityValue") for row in rows if isinstance(row, dict))
    # One about volumes, or about an account as a whole, names no instance.
    return (NoticeKind.HEALTH if named else NoticeKind.OTHER), named, code


_READERS: Mapping[tuple[str, str], _Read] = {
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"): _warning(NoticeKind.SPOT_INTERRUPTION),
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"): _warning(NoticeKind.REBALANCE),
    ("aws.ec2", "EC2 Instance State-change Notification"): _state,
    ("aws.health", "AWS Health Event"): _health,
    # AWS's own pages spell this one in both ways.
    ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"): _warning(
        NoticeKind.RESERVATION_INTERRUPTION
    ),
    ("aws.ec2", "EC2 Interruptible Capacity Reservation Instance Interruption Warning"): _warning(
        NoticeKind.RESERVATION_INTERRUPTION
    ),
}


def event_patterns() -> dict[str, dict[str, Any]]:
    """Return the event patterns of the EventBridge rules that fill the queue, by a name for each rule.

    Patterns know no instance tags: each rule lets through what concerns the whole account and region.
    """
    of_ec2 = [kind for (source, kind), read in _READERS.items() if source == "aws.ec2" and read is not _state]
    return {
        "warnings": {"source": ["aws.ec2"], "detail-type": of_ec2},
        "states": {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {"state": list(_GONE)},
        },
        "health": {
            "source": ["aws.health"],
            "detail-type": ["AWS Health Event"],
            "detail": {"service": ["EC2"], "eventTypeCategory": ["scheduledChange"]},
        },
    }


def _instances(names: Iterable[object]) -> tuple[str, ...]:
    found = (_INSTANCE.search(name) for name in names if isinstance(name, str) and len(name) < _LONGEST_WORD * 2)
    return tuple(dict.fromkeys(match[1] for match in found if match))


def _word(value: object) -> str:
    """Return something AWS, or whoever may write to the queue, said: one short line."""
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_WORD])


def _time(value: object) -> datetime | None:
    """Return a time as EventBridge writes it (2026-01-02T03:04:05Z); None for anything else."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None
