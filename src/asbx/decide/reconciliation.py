"""The document in which the budget service ASBB takes in what a job cost (types ReconcileRequest, ASBXJobCostData).

One builder for whoever writes it. What was not measured is left out: a service that reads Go structs sees its zero
value, and a reader of the file sees that nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

_DIGITS = Decimal("0.0001")


@dataclass(frozen=True)
class JobCost:
    """What is known of a job and its cost. USD; times aware; None and empty texts: not known.

    job: what the service knows it as. breakdown: name -> USD. transaction: of the hold at the service.
    """

    job: str
    job_id: int
    account: str
    partition: str
    user: str
    actual: Decimal
    estimated: Decimal | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    state: str = ""
    exit_code: int | None = None
    requested_nodes: int | None = None
    used_nodes: int | None = None
    requested_cpus: int | None = None
    used_cpus: int | None = None
    requested_gpus: int | None = None
    used_gpus: int | None = None
    requested_memory: str = ""
    used_memory: str = ""
    limit: timedelta | None = None
    wall_time: timedelta | None = None
    breakdown: dict[str, Decimal] = field(default_factory=dict)
    burst: str = "AWS"
    reason: str = ""
    instance_types: tuple[str, ...] = ()
    zone: str = ""
    transaction: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def file_name(job: str) -> str:
    """Return what the file of a job is called in the folder the service reads."""
    return f"job-{job}-asbb-reconciliation.json"


def document(cost: JobCost) -> dict[str, Any]:
    """Return the body of its reconcile request, ready for JSON."""
    return {
        "job_cost_data": _without_unknown(_data(cost)),
        "auto_reconcile": True,
        "update_cost_model": False,
        "generate_report": False,
        "notify_stakeholders": False,
    }


def _data(cost: JobCost) -> dict[str, Any]:
    return {
        "job_id": cost.job,
        "slurm_job_id": str(cost.job_id),
        "account": cost.account,
        "partition": cost.partition,
        "user_id": cost.user,
        "submitted_at": _time(cost.submitted_at),
        "started_at": _time(cost.started_at),
        "completed_at": _time(cost.completed_at),
        "job_state": cost.state,
        "exit_code": cost.exit_code,
        "requested_nodes": cost.requested_nodes,
        "used_nodes": cost.used_nodes,
        "requested_cpus": cost.requested_cpus,
        "used_cpus": cost.used_cpus,
        "requested_gpus": cost.requested_gpus,
        "used_gpus": cost.used_gpus,
        "requested_memory": cost.requested_memory,
        "used_memory": cost.used_memory,
        "wall_time_limit": _span(cost.limit),
        "actual_wall_time": _span(cost.wall_time),
        "estimated_cost": _usd(cost.estimated),
        "actual_cost": _usd(cost.actual),
        "aws_cost": _usd(cost.actual),
        "cost_breakdown": {name: _usd(usd) for name, usd in cost.breakdown.items()} or None,
        "burst_decision": cost.burst,
        "burst_reason": cost.reason,
        "instance_types": list(cost.instance_types) or None,
        "availability_zone": cost.zone,
        "job_metadata": dict(cost.metadata) or None,
        "budget_transaction_id": cost.transaction,
    }


def _without_unknown(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None and value != ""}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _span(span: timedelta | None) -> str | None:
    """Return a duration as hours, minutes, seconds: the only form the service reads right."""
    if span is None:
        return None
    seconds = max(int(span.total_seconds()), 0)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _usd(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount.quantize(_DIGITS, ROUND_HALF_UP))
