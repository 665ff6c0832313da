"""Turn values into rows and rows into values. Nothing here touches the database."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from asbx.model.event import Event, EventKind
from asbx.model.job import JobAsk, Request, RequestKind
from asbx.model.market import FleetAnswer, FleetOrder, Market
from asbx.model.names import GroupName
from asbx.model.record import Attempt, Binding, InstanceRow, Intent

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

NEW, DONE, FAILED = "new", "done", "failed"


@cache
def _orders() -> TypeAdapter[FleetOrder]:
    return TypeAdapter(FleetOrder)


@cache
def _answers() -> TypeAdapter[FleetAnswer]:
    return TypeAdapter(FleetAnswer)


@cache
def _jobs() -> TypeAdapter[tuple[JobAsk, ...]]:
    return TypeAdapter(tuple[JobAsk, ...])


def request_row(request: Request) -> dict[str, Any]:
    """Return the row of a request nobody has worked on."""
    return {
        "request_id": request.request_id,
        "kind": request.kind.value,
        "nodes": request.nodes,
        "received_at": request.received_at,
        "jobs": _jobs().dump_json(request.jobs).decode(),
        "notes": request.notes,
        "plan_text": request.plan_text,
        "by_hand": request.by_hand,
        "status": NEW,
        "note": "",
    }


def request_of(row: RowMapping) -> Request:
    """Read a request back."""
    return Request(
        request_id=row["request_id"],
        kind=RequestKind(row["kind"]),
        nodes=row["nodes"],
        received_at=row["received_at"],
        jobs=_jobs().validate_json(row["jobs"]),
        notes=row["notes"],
        plan_text=row["plan_text"],
        by_hand=row["by_hand"],
    )


def _flat(value: Intent | InstanceRow) -> dict[str, Any]:
    row = {name: getattr(value, name) for name in value.__dataclass_fields__ if name != "group"}
    return row | {"partition": value.group.partition, "node_group": value.group.group}


def _nested(row: RowMapping) -> dict[str, Any]:
    fields = dict(row)
    fields["group"] = GroupName(fields.pop("partition"), fields.pop("node_group"))
    return fields


def intent_row(intent: Intent) -> dict[str, Any]:
    """Return the row of an intent."""
    return _flat(intent)


def intent_of(row: RowMapping) -> Intent:
    """Read an intent back."""
    return Intent(**_nested(row))


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """Return the row of an attempt; order and answer become JSON."""
    return {
        "intent_id": attempt.intent_id,
        "number": attempt.number,
        "order": _orders().dump_json(attempt.order).decode(),
        "asked_at": attempt.asked_at,
        "answered_at": attempt.answered_at,
        "answer": None if attempt.answer is None else _answers().dump_json(attempt.answer).decode(),
        "error": attempt.error,
    }


def attempt_of(row: RowMapping) -> Attempt:
    """Read an attempt back, order and answer equal to what was put in."""
    answer = row["answer"]
    return Attempt(
        intent_id=row["intent_id"],
        number=row["number"],
        order=_orders().validate_json(row["order"]),
        asked_at=row["asked_at"],
        answered_at=row["answered_at"],
        answer=None if answer is None else _answers().validate_json(answer),
        error=row["error"],
    )


def instance_row(instance: InstanceRow) -> dict[str, Any]:
    """Return the row of an instance."""
    return _flat(instance) | {"market": instance.market.value}


def instance_of(row: RowMapping) -> InstanceRow:
    """Read an instance back."""
    return InstanceRow(**_nested(row) | {"market": Market(row["market"])})


def binding_of(row: RowMapping) -> Binding:
    """Read a binding back."""
    return Binding(row["node"], row["instance_id"], row["bound_at"], row["released_at"])


def event_row(event: Event) -> dict[str, Any]:
    """Return the row of an event, without its time."""
    row = {name: getattr(event, name) for name in event.__dataclass_fields__}
    return row | {"kind": event.kind.value}


def event_of(row: RowMapping) -> Event:
    """Read an event back."""
    fields = {name: value for name, value in row.items() if name not in ("id", "at")}
    return Event(**fields | {"kind": EventKind(row["kind"])})
