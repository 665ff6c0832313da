"""Gather what is known of a job that is over: from Slurm's accounting, the ledger, and the plan it went by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from asbx.config.schema import Config
from asbx.decide.cost import Bill, bill
from asbx.decide.intake import refusal
from asbx.decide.learn.evidence import Evidence, Site
from asbx.errors import AsbxError, LedgerError, PlanError, SlurmError, UsageError
from asbx.flow.lives import Lives, job_bill
from asbx.model.account import JobAccount
from asbx.model.hostlist import expand
from asbx.model.job_instance import JobInstance
from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan, parse_plan
from asbx.ports import Accounting, Clock, Launches, Scheduler
from asbx.ports.usage import CostBook

_NO_ACCOUNTING = "this cluster keeps no accounting"
_UNACCOUNTED = "Slurm's accounting does not know the job, or does not show it to this user"
# States of the queue in which a job has its end before it (squeue(1)).
_UNDER_WAY = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "REQUEUED", "RESIZING", "SIGNALING")


OnDemand = Callable[[str, datetime], Decimal | None]


@dataclass(frozen=True)
class PastDoors:
    """launches: None where the ledger cannot be opened, no_ledger is why.

    costs: None where who used instances is not known.
    on_demand: USD an hour of an instance type on demand at a moment, None where that is not known.
    """

    config: Config
    accounting: Accounting
    scheduler: Scheduler
    launches: Launches | None
    clock: Clock
    version: str
    slurm: str = ""
    no_ledger: LedgerError | None = None
    on_demand: OnDemand = lambda _, __: None
    costs: CostBook | None = None


def gather(doors: PastDoors, job: str) -> Evidence:
    """Return all that is known of a job.

    Raises UsageError: `job-unknown`, or `job-not-over` for one that has not ended; SlurmError, LedgerError.
    """
    account, absent = _account(doors, job)
    if account is not None and not account.is_over:
        raise _not_over(job, account.state)
    number = account.job_id if account else _number(doors, job)
    launches = None if doors.launches is None else doors.launches.job_launches(number)
    if account is None:
        if not launches:
            raise _unknown(job, absent, doors.no_ledger)
        _refuse_under_way(doors, number, job)
    found = None if launches is None else _bill(doors, launches, number)
    plan, data = _plan(doors, number)
    used = tuple(one for one in launches or () if one.row.bound_at)
    return Evidence(
        job=job,
        number=number,
        site=_site(doors, used),
        now=doors.clock.now(),
        account=account,
        no_account=absent,
        launches=launches,
        bill=found,
        no_ledger="the ledger cannot be read here" if doors.no_ledger else "",
        plan=plan,
        plan_data=data,
        on_demand=_on_demand(doors, used),
        burst_nodes=_ours(doors.config, account, used),
    )


def _account(doors: PastDoors, job: str) -> tuple[JobAccount | None, str]:
    """Return what accounting says, and why it says nothing."""
    try:
        found = doors.accounting.account(job)
    except SlurmError as error:
        if error.code not in ("slurm-no-accounting", "slurm-conf", "slurm-missing"):
            raise
        return None, _NO_ACCOUNTING if error.code == "slurm-no-accounting" else "Slurm's commands cannot be run here"
    return found, "" if found else _UNACCOUNTED


def _bill(doors: PastDoors, launches: tuple[JobInstance, ...], number: int) -> Bill:
    """Return the bill of one job, by the rules every bill goes by."""
    rows, now = [one.row for one in launches], doors.clock.now()
    if doors.costs is not None:
        return job_bill(Lives(doors.costs, doors.config, now), rows, number)
    return bill(rows, now, job_id=number, minimum_s=doors.config.cost.minimum_seconds)


def _refuse_under_way(doors: PastDoors, number: int, job: str) -> None:
    """Where there is no accounting the queue tells what is not over; without an answer nobody does."""
    try:
        states = [fact.state for fact in doors.scheduler.jobs([number])]
    except SlurmError:
        return
    if states and states[0] in _UNDER_WAY:
        raise _not_over(job, states[0])


def _plan(doors: PastDoors, number: int) -> tuple[ExecutionPlan | None, Mapping[str, Any] | None]:
    """Return the plan its last launch went by; None where there was none, or it was the analyzer's."""
    kept = doors.launches.job_plans(number) if doors.launches else ()
    text = next((one.plan for one in kept if not one.refusal), "")
    if not text:
        return None, None
    try:
        plan = parse_plan(text)
        data = json.loads(text, parse_float=_finite) if text.lstrip().startswith("{") else None
    except (PlanError, ValueError, RecursionError):
        return None, None  # a plan nobody could read was not gone by
    return plan, data


def _finite(text: str) -> float | None:
    """Return a number; 1e999 is none that JSON could say again."""
    number = float(text)
    return number if isfinite(number) else None


def _on_demand(doors: PastDoors, used: tuple[JobInstance, ...]) -> dict[str, Decimal]:
    """Return what each spot instance would have cost an hour on demand, as of its launch, where that is known."""
    spot = [one.row for one in used if one.row.market is Market.SPOT]
    found = {row.instance_id: doors.on_demand(row.instance_type, row.launched_at) for row in spot}
    return {name: price for name, price in found.items() if price is not None}


def _site(doors: PastDoors, used: tuple[JobInstance, ...]) -> Site:
    settings: dict[str, str] = {}
    for name in sorted({one.row.group for one in used}, key=str):
        group = doors.config.group(name)
        if group is not None:
            told: dict[str, str] = {"strategy": group.strategy, "purchasing_option": group.purchasing_option}
            told |= {"placement": group.placement, "efa": group.efa or doors.config.mpi.efa_default}
            settings |= {f"{name}.{key}": value for key, value in told.items()}
    config = doors.config
    return Site(config.aws.region, doors.version, doors.slurm, settings, bool(config.interruptions.queue))


def _ours(config: Config, account: JobAccount | None, used: tuple[JobInstance, ...]) -> tuple[str, ...]:
    """Return the job's nodes that burst: by the names Slurm gave it, else those launched for it."""
    if account is None or not account.node_list:
        return tuple(sorted({one.row.node for one in used}))
    try:
        nodes = expand(account.node_list)
    except AsbxError:  # a node list in words we do not know
        return ()
    return tuple(node for node in nodes if refusal(config, node) is None)


def _number(doors: PastDoors, job: str) -> int:
    """Return a job's own number, of a label as the ledger has it. Raises UsageError where only accounting knows it."""
    if job.isascii() and job.isdigit():
        return int(job)
    known = doors.launches.labelled_job(job) if doors.launches else None
    if known is not None:
        return known
    raise UsageError(
        "job-unknown",
        f"job {job} is not known",
        "neither Slurm's accounting nor the ledger knows a job by this name",
        "name it by its own number, SLURM_JOB_ID",
    )


def _unknown(job: str, absent: str, no_ledger: LedgerError | None) -> AsbxError:
    if no_ledger is not None:
        return no_ledger
    return UsageError(
        "job-unknown",
        f"job {job} is not known",
        f"{absent}; the ledger has launched nothing for it",
        "check the number; `sacct -X` and `asbx cost` list jobs",
    )


def _not_over(job: str, state: str) -> UsageError:
    return UsageError(
        "job-not-over", f"job {job} is not over", f"it is {state}", "half a job teaches nothing: ask when it has ended"
    )
