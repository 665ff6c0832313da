"""What the budget service is told: the amounts of the bill, digit for digit, as JSON numbers.

Two files: upstream's reconciliation file, and the service's own ASBXJobCostData, which its epilog imports.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from asbx.decide.learn import measures, scores
from asbx.decide.learn.evidence import Evidence
from asbx.decide.learn.figures import fraction, go_duration, hours, moment, usd

# The service knows four states; whatever else ends a job without its doing is a failure there.
_STATES = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


def file_name(evidence: Evidence) -> str:
    """Return what upstream's file is called."""
    return f"job-{evidence.label}-asbb-reconciliation.json"


def reconciliation(evidence: Evidence) -> dict[str, Any]:
    """Return upstream's file. `provisional` is ours: what still runs still costs."""
    account = evidence.account
    return {
        "job_id": evidence.label,
        "account": evidence.project,
        "user_id": evidence.user,
        "partition": evidence.partition,
        "actual_cost": usd(evidence.usd),
        "compute_cost": usd(evidence.usd),
        "storage_cost": None,
        "network_cost": None,
        "spot_savings": usd(evidence.savings),
        "instance_types": evidence.types,
        "duration_hours": hours(account.elapsed) if account else None,
        "success": account.is_success if account else None,
        "export_time": moment(evidence.now),
        "plugin_version": evidence.site.version,
        "provisional": not evidence.is_final,
    }


def job_cost(evidence: Evidence) -> dict[str, Any]:
    """Return the service's ASBXJobCostData; what is not known is left out where it may be, and null elsewhere."""
    account, spent = evidence.account, evidence.usd
    efficiency = {
        "cpu_efficiency": fraction(measures.cpu_utilization(account)),
        "memory_efficiency": fraction(measures.memory_utilization(account)),
    }
    return {
        "job_id": evidence.label,
        "slurm_job_id": str(evidence.number),
        "account": evidence.project,
        "partition": evidence.partition,
        "user_id": evidence.user,
        **_course(evidence),
        "estimated_cost": usd(scores.predicted_cost(evidence.plan)),
        "actual_cost": usd(spent),
        "aws_cost": usd(spent),
        "cost_breakdown": {"compute": usd(spent)},
        **{name: value for name, value in efficiency.items() if value is not None},
        "burst_decision": _where(evidence),
        "instance_types": evidence.types,
        **({"availability_zone": evidence.zones[0]} if len(evidence.zones) == 1 else {}),
    }


def _course(evidence: Evidence) -> dict[str, Any]:
    """Return when and how it ran, and on what."""
    account = evidence.account
    if account is None:
        return dict.fromkeys(("submitted_at", "started_at", "completed_at", "job_state", "exit_code"))
    found = {
        "submitted_at": moment(account.submitted_at),
        "started_at": moment(account.started_at),
        "completed_at": moment(account.ended_at),
        "job_state": account.state if account.state in _STATES else "FAILED",
        "exit_code": account.exit_code,
        "requested_nodes": account.nodes,
        "used_nodes": account.nodes,
        "requested_cpus": account.cpus,
        "used_cpus": account.cpus,
        "wall_time_limit": _clock(account.limit),
        "actual_wall_time": _clock(account.elapsed),
    }
    if account.gpus:
        found |= {"requested_gpus": account.gpus, "used_gpus": account.gpus}
    return found


def _clock(span: timedelta | None) -> str:
    """Return hours:minutes:seconds, the only form the service reads rightly; "" for no limit."""
    if span is None:
        return ""
    seconds = int(span.total_seconds())
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _where(evidence: Evidence) -> str:
    """Return whether its nodes were ours: all, some or none."""
    ours = len(evidence.burst_nodes)
    if not ours:
        return "LOCAL"
    return "HYBRID" if evidence.account and evidence.account.nodes > ours else "AWS"


# -- the comment

MARK = "aws_meta:"


def comment(evidence: Evidence) -> dict[str, Any]:
    """Return what is put behind `aws_meta:`. Nothing measures the efficiency of MPI, so `mpi_eff` is left out."""
    account = evidence.account
    return {
        "cost": usd(evidence.usd),
        "duration": go_duration(account.elapsed) if account else None,
        "instances": evidence.types,
        "success": account.is_success if account else None,
    }


def joined(before: str, text: str) -> str:
    """Return an AdminComment with our part at its end, once: whatever else stands in it stays."""
    kept = before.partition(MARK)[0].rstrip().rstrip(";").rstrip()
    return f"{kept}; {text}" if kept else text
