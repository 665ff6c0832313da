"""The learning document: what the advisor is told of a job, measured or null; in upstream's form, PerformanceFeedback.

Beside the documented keys there are three: `schema_version`, `provisional` (something of it can still change, the cost
most of all: idle nodes cost until they are powered down) and `notes`, which says for each null why it is one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from asbx.decide.cost import InstanceCost, total
from asbx.decide.learn import measures, scores
from asbx.decide.learn.evidence import Evidence
from asbx.decide.learn.figures import fraction, go_duration, hours, moment, usd
from asbx.decide.learn.notes import Notes

SCHEMA_VERSION = 1
# What a plan may hold that is nobody's business outside: a boot script, with whatever secrets are in it.
_SECRET = "user_data"  # noqa: S105
_HOUR = timedelta(hours=1)


def document(evidence: Evidence) -> dict[str, Any]:
    """Return it, ready for JSON."""
    notes = Notes()
    parts: dict[str, Any] = {
        "job_metadata": _job(evidence, notes),
        "prediction_validation": _validation(evidence, notes),
        "aws_performance_metrics": _metrics(evidence, notes),
        "mpi_optimization_results": _mpi(evidence, notes),
        "cost_analysis": _cost(evidence, notes),
        "execution_context": _context(evidence, notes),
    }
    told = {name: part for name, part in parts.items() if part is not None}
    return {
        "schema_version": SCHEMA_VERSION,
        "provisional": not evidence.is_final,
        **told,
        "notes": notes.told(told, evidence),
    }


def _job(evidence: Evidence, notes: Notes) -> dict[str, Any]:
    account = evidence.account
    found = {
        "job_id": evidence.label,
        "job_name": account.name if account else None,
        "user_id": evidence.user,
        "project_id": evidence.project,
        "partition": evidence.partition,
        "actual_execution": _execution(evidence),
    }
    notes.why("job_metadata.job_name", notes.no_account(evidence))
    if evidence.plan_data is not None:
        found["original_asba_prediction"] = without_secrets(evidence.plan_data)
    return found


def without_secrets(plan: Any) -> dict[str, Any]:
    """Return a plan's JSON without its boot script."""
    return {
        name: {key: one for key, one in part.items() if key != _SECRET} if isinstance(part, dict) else part
        for name, part in plan.items()
    }


def _execution(evidence: Evidence) -> dict[str, Any]:
    account = evidence.account
    found: dict[str, Any] = {
        "instance_types_used": evidence.types,
        "actual_cost_usd": usd(evidence.usd),
        "execution_duration": go_duration(account.elapsed) if account else None,
        "success": account.is_success if account else None,
        "node_count": account.nodes if account else None,
        "start_time": moment(account.started_at) if account else None,
        "end_time": moment(account.ended_at) if account else None,
    }
    if account and not account.is_success:
        found["error_details"] = f"{account.state}, exit code {account.exit_code}, signal {account.signal}"
    return found


def _validation(evidence: Evidence, notes: Notes) -> dict[str, Any]:
    plan, account, spent = evidence.plan, evidence.account, evidence.usd
    foretold, time = scores.predicted_cost(plan), scores.predicted_runtime(plan)
    cost = scores.accuracy(None if spent is None else float(spent), None if foretold is None else float(foretold))
    runtime = scores.accuracy(account.elapsed / _HOUR if account else None, time / _HOUR if time else None)
    section = "prediction_validation"
    if plan is None or plan.is_guess:
        missing = "the job went by no plan of the advisor's"
        for field in ("cost_accuracy", "runtime_accuracy", "overall_accuracy_score"):
            notes.why(f"{section}.{field}", missing)
    elif foretold is None:
        notes.why(f"{section}.cost_accuracy", "the plan states a limit of cost, or none, and no estimate")
    if time is None:
        notes.why(f"{section}.runtime_accuracy", "the plan foretells no run time")
    notes.why(f"{section}.overall_accuracy_score", "neither cost nor run time can be compared with the plan")
    notes.why(f"{section}.instance_type_optimal", "only runs of the same job on other types could tell")
    notes.why(f"{section}.domain_detection_correct", "nothing that is measured tells a job's domain")
    return {
        "cost_accuracy": fraction(cost),
        "runtime_accuracy": fraction(runtime),
        "instance_type_optimal": None,
        "domain_detection_correct": None,
        "overall_accuracy_score": fraction(scores.overall(cost, runtime)),
    }


def _metrics(evidence: Evidence, notes: Notes) -> dict[str, Any]:
    account, section = evidence.account, "aws_performance_metrics"
    throughput = measures.network_gbps(account)
    notes.why(f"{section}.efa_utilization", "EFA's counters are on the nodes, and nothing gathers them")
    notes.why(f"{section}.placement_group_effectiveness", "only a run of the same job without one could tell")
    notes.why(
        f"{section}.network_throughput_gbps",
        "Slurm gathers no counters of the fabric (AcctGatherInterconnectType), and CloudWatch is not asked",
    )
    notes.why(f"{section}.cpu_utilization", "Slurm gathered no use of the job's steps (JobAcctGatherType)")
    notes.why(
        f"{section}.memory_utilization",
        "Slurm gathered no memory of the job's steps (JobAcctGatherType), or did not allot memory",
    )
    notes.why(f"{section}.provisioning_time", "not every node of the job is known to have registered")
    notes.say(f"{section}.memory_utilization", "the peak as Slurm sampled it, every JobAcctGatherFrequency seconds")
    interrupted = sum(one.was_reclaimed for one in evidence.launches) if evidence.launches is not None else None
    if not evidence.site.hears_interruptions:
        notes.say(f"{section}.spot_interruptions", "no interruption queue is configured: told by how instances ended")
    return {
        "efa_utilization": None,
        "placement_group_effectiveness": None,
        "spot_interruptions": interrupted,
        "network_throughput_gbps": None if throughput is None else round(throughput, 6),
        "cpu_utilization": fraction(measures.cpu_utilization(account)),
        "memory_utilization": fraction(measures.memory_utilization(account)),
        "provisioning_time": go_duration(measures.provisioning(evidence)),
        "availability_zones": evidence.zones,
        "instance_launch_times": [go_duration(one.took) for one in evidence.used],
    }


def _mpi(evidence: Evidence, notes: Notes) -> dict[str, Any] | None:
    """Return what is known of a job of communicating tasks; None for others, and where nothing says that it is one."""
    if not is_parallel(evidence):
        return None
    section = "mpi_optimization_results"
    names = ("communication_overhead", "scaling_efficiency", "load_balance", "mpi_collective_efficiency")
    inside = "only a profiler inside the MPI library sees it: neither Slurm nor PMIx counts it"
    found: dict[str, Any] = dict.fromkeys(
        (*names, "communication_pattern", "message_size_distribution", "synchronization_frequency"),
    )
    found["network_bottlenecks"] = None
    notes.why(f"{section}.scaling_efficiency", "only runs of the same job on other numbers of nodes could tell")
    notes.why(f"{section}.load_balance", "Slurm gathered no CPU time of single tasks, or the steps were too short")
    for name in found:
        notes.why(f"{section}.{name}", inside)
    found["load_balance"] = fraction(measures.load_balance(evidence.account))
    return found


def is_parallel(evidence: Evidence) -> bool:
    """Whether its plan says MPI, or a step of several tasks spread over several nodes."""
    account = evidence.account
    spread = account is not None and account.nodes > 1 and any((step.tasks or 0) > 1 for step in account.steps)
    return spread or (evidence.plan is not None and evidence.plan.is_mpi)


def _cost(evidence: Evidence, notes: Notes) -> dict[str, Any]:
    account, spent, section = evidence.account, evidence.usd, "cost_analysis"
    per_cpu = per_gpu = None
    if account and spent is not None and account.elapsed and account.cpus:
        per_cpu = round(float(spent) / (account.elapsed / _HOUR * account.cpus), 6)
        per_gpu = round(float(spent) / (account.elapsed / _HOUR * account.gpus), 6) if account.gpus else None
    notes.why(f"{section}.storage_cost_usd", "volumes are not on the bill")
    notes.why(f"{section}.network_cost_usd", "data transfer is not on the bill")
    notes.why(f"{section}.spot_savings_usd", "the on-demand price at that time is not known")
    notes.why(f"{section}.cost_per_cpu_hour", "cost, run time or allocated CPUs are not known")
    said = "instances only: neither volumes nor data transfer"
    if evidence.burst_nodes and not evidence.used:
        said += "; the job's nodes were launched for other jobs, which bear their cost"
    notes.say(f"{section}.total_cost_usd", said)
    found = {
        "compute_cost_usd": usd(spent),
        "storage_cost_usd": None,
        "network_cost_usd": None,
        "total_cost_usd": usd(spent),
        "spot_savings_usd": usd(evidence.savings),
        "cost_per_cpu_hour": per_cpu,
    }
    if per_gpu is not None:
        found["cost_per_gpu_hour"] = per_gpu
    return found | {"instance_cost_breakdown": _breakdown(evidence)}


def _breakdown(evidence: Evidence) -> list[dict[str, Any]]:
    reclaimed = {one.row.instance_id for one in evidence.launches or () if one.was_reclaimed}
    costs = evidence.bill.instances if evidence.bill else ()
    return [_line(one, evidence.number, one.instance_id in reclaimed) for one in costs if _bears(one, evidence.number)]


def _bears(cost: InstanceCost, number: int) -> bool:
    return any(share.job_id == number for share in cost.shares)


def _line(cost: InstanceCost, number: int, was_reclaimed: bool) -> dict[str, Any]:
    """Return the job's own part of an instance; the hours are the instance's."""
    mine = [share.usd for share in cost.shares if share.job_id == number]
    return {
        "instance_id": cost.instance_id,
        "instance_type": cost.instance_type,
        "purchase_option": cost.market.value,
        "cost_usd": None if None in mine else usd(total(mine)),
        "duration_hours": hours(timedelta(seconds=cost.seconds)),
        "interrupted": was_reclaimed,
    }


def _context(evidence: Evidence, notes: Notes) -> dict[str, Any]:
    plan = evidence.plan
    by_plan = plan is not None and not plan.is_guess
    found = {
        "aws_region": evidence.site.region,
        "availability_zones": evidence.zones,
        "plugin_version": evidence.site.version,
        "slurm_version": evidence.site.slurm or None,
        "execution_mode": "asba" if by_plan else "standalone",
        "configuration_used": dict(evidence.site.settings),
        "environment_variables": {},
    }
    version = (evidence.plan_data or {}).get("asba_version")
    if isinstance(version, str) and version:
        found["asba_version"] = version
    notes.why("execution_context.slurm_version", "Slurm did not tell its version")
    notes.say("execution_context.environment_variables", "never exported: environments hold secrets")
    return found
