"""Turn values into rows and rows into values. Nothing here touches the database."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from asbx.model.boot import BootFailure, BootTrouble, Breaker, Console, Service
from asbx.model.event import Event, EventKind
from asbx.model.job import JobAsk, Request, RequestKind
from asbx.model.job_plan import FilledValue, JobPlan, PlannedRung
from asbx.model.market import FleetAnswer, FleetOrder, Market
from asbx.model.names import GroupName
from asbx.model.price import PriceChange, PriceSource
from asbx.model.record import Attempt, Binding, InstanceRow, Intent, Resource, ResourceKind, Setback, Shortage
from asbx.model.usage import JobRun, Volume

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

NEW, DONE, FAILED = "new", "done", "failed"
_IN_DATA = ("intent_id", "jobs")


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


_Value = (
    Intent
    | InstanceRow
    | Shortage
    | Resource
    | Setback
    | Event
    | BootFailure
    | Breaker
    | Console
    | JobPlan
    | FilledValue
    | PlannedRung
    | PriceChange
    | JobRun
    | Volume
)


def _plain(value: _Value) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _flat(value: Intent | InstanceRow | BootFailure | Breaker) -> dict[str, Any]:
    row = _plain(value)
    del row["group"]
    return row | {"partition": value.group.partition, "node_group": value.group.group}


def _nested(row: RowMapping | dict[str, Any]) -> dict[str, Any]:
    fields = dict(row)
    fields["group"] = GroupName(fields.pop("partition"), fields.pop("node_group"))
    return fields


def intent_row(intent: Intent) -> dict[str, Any]:
    """Return the row of an intent."""
    return _flat(intent)


def intent_of(row: RowMapping | dict[str, Any]) -> Intent:
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
        "rung": attempt.rung,
        "leg": attempt.leg,
    }


def attempt_of(row: RowMapping | dict[str, Any]) -> Attempt:
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
        rung=row["rung"],
        leg=row["leg"],
    )


def instance_row(instance: InstanceRow) -> dict[str, Any]:
    """Return the row of an instance."""
    return _flat(instance) | {"market": instance.market.value}


def instance_of(row: RowMapping) -> InstanceRow:
    """Read an instance back."""
    return instance_of_fields(dict(row))


def instance_of_fields(fields: dict[str, Any]) -> InstanceRow:
    """Read an instance back from just its own columns."""
    return InstanceRow(**_nested(fields) | {"market": Market(fields["market"])})


def binding_of(row: RowMapping) -> Binding:
    """Read a binding back."""
    return Binding(row["node"], row["instance_id"], row["bound_at"], row["released_at"], row["registered_at"])


def shortage_row(shortage: Shortage) -> dict[str, Any]:
    """Return the row of a shortage."""
    return _plain(shortage)


def shortage_of(row: RowMapping) -> Shortage:
    """Read a shortage back."""
    return Shortage(**row)


def resource_row(resource: Resource) -> dict[str, Any]:
    """Return the row of something made in EC2."""
    return _plain(resource) | {"kind": resource.kind.value}


def resource_of(row: RowMapping) -> Resource:
    """Read it back."""
    return Resource(**dict(row) | {"kind": ResourceKind(row["kind"])})


def setback_row(setback: Setback) -> dict[str, Any]:
    """Return the row of a job's setback."""
    return _plain(setback)


def setback_of(row: RowMapping) -> Setback:
    """Read a setback back."""
    return Setback(**row)


@lru_cache(maxsize=16)
def _lists(values: tuple[FilledValue, ...] | tuple[PlannedRung, ...]) -> str:
    """Return values as JSON, their fields in order; the jobs of a request mostly share one tuple."""
    return json.dumps([list(_plain(one).values()) for one in values])


def job_plan_row(plan: JobPlan) -> dict[str, Any]:
    """Return the row of the plan a job went by."""
    row = _plain(plan) | {"filled": _lists(plan.filled), "rungs": _lists(plan.rungs)}
    limit = row.pop("time_limit")
    return row | {"time_limit_s": None if limit is None else round(limit.total_seconds())}


def job_plan_of(row: RowMapping) -> JobPlan:
    """Read one back."""
    fields = dict(row)
    limit = fields.pop("time_limit_s")
    fields["filled"] = tuple(FilledValue(*one) for one in json.loads(fields["filled"]))
    fields["rungs"] = tuple(PlannedRung(*one) for one in json.loads(fields["rungs"]))
    return JobPlan(**fields, time_limit=None if limit is None else timedelta(seconds=limit))


def boot_failure_row(failure: BootFailure) -> dict[str, Any]:
    """Return the row of a boot that failed."""
    return _flat(failure) | {"trouble": failure.trouble.value}


def boot_failure_of(row: RowMapping) -> BootFailure:
    """Read one back."""
    return BootFailure(**_nested(row) | {"trouble": BootTrouble(row["trouble"])})


def breaker_row(breaker: Breaker) -> dict[str, Any]:
    """Return the row of a group's breaker."""
    return _flat(breaker)


def breaker_of(row: RowMapping) -> Breaker:
    """Read one back."""
    return Breaker(**_nested(row))


def console_row(console: Console) -> dict[str, Any]:
    """Return the row of a console."""
    return _plain(console)


def console_of(row: RowMapping) -> Console:
    """Read one back."""
    return Console(**row)


def service_of(row: RowMapping) -> Service:
    """Read one; of an instance that is not recorded little is known."""
    texts = {name: row[name] or "" for name in ("instance_type", "zone", "market", "end_reason")}
    return Service(**dict(row) | texts)


def price_change_row(change: PriceChange) -> dict[str, Any]:
    """Return the row of a price."""
    return _plain(change) | {"market": change.market.value, "source": change.source.value}


def price_change_of(row: RowMapping) -> PriceChange:
    """Read one back."""
    return PriceChange(**dict(row) | {"market": Market(row["market"]), "source": PriceSource(row["source"])})


def job_run_row(run: JobRun) -> dict[str, Any]:
    """Return the row of a run."""
    return _plain(run)


def volume_row(volume: Volume) -> dict[str, Any]:
    """Return the row of a volume."""
    return _plain(volume)


def volume_of(row: RowMapping) -> Volume:
    """Read one back."""
    return Volume(**row)


def event_row(event: Event) -> dict[str, Any]:
    """Return the row of an event, without its time. Intent and further jobs have no columns: they lie in its data."""
    row = _plain(event) | {"kind": event.kind.value}
    more = {name: value for name in _IN_DATA if (value := row.pop(name))}
    return row | {"data": event.data | more}


def event_of(row: RowMapping) -> Event:
    """Read an event back."""
    fields = {name: value for name, value in row.items() if name not in ("id", "at")}
    data = dict(fields["data"])
    intent, jobs = data.get("intent_id"), data.get("jobs")
    if isinstance(intent, str):
        fields["intent_id"] = data.pop("intent_id")
    if isinstance(jobs, list) and all(isinstance(job, int) for job in jobs):
        fields["jobs"] = tuple(data.pop("jobs"))
    return Event(**fields | {"kind": EventKind(row["kind"]), "data": data})
