"""What Slurm's accounting and the ledger measured of a job. Each returns None where that was not measured.

cpu_utilization     = CPU time of all processes / (run time x allocated CPUs)
memory_utilization  = largest step's peak resident memory, summed over its tasks / memory allocated to the job
load_balance        = CPU time of the average task / CPU time of the busiest, of the step with the most CPU time;
a library that polls while it waits hides imbalance
network_throughput  = bytes in and out over the job's fabric / run time (AcctGatherInterconnectType)
provisioning        = from Slurm's request to the registration of the last node
"""

from __future__ import annotations

from datetime import timedelta

from asbx.decide.learn.evidence import Evidence
from asbx.model.account import JobAccount

_BITS = 8
_GIGA = 1e9


def cpu_utilization(account: JobAccount | None) -> float | None:
    """Return the share of the allocated CPUs' time that was used."""
    if account is None or account.cpu_time is None or not account.cpus or not account.elapsed:
        return None
    return account.cpu_time / (account.elapsed * account.cpus)


def memory_utilization(account: JobAccount | None) -> float | None:
    """Return the share of the allocated memory that was resident at the peak."""
    peaks = [step.peak_memory for step in account.steps if step.peak_memory] if account else []
    return max(peaks) / account.memory if account and account.memory and peaks else None


def load_balance(account: JobAccount | None) -> float | None:
    """Return how evenly CPU time was spread over the tasks of the main step; None for a step of one task."""
    steps = [step for step in account.steps if step.cpu_tasks and (step.tasks or 0) > 1] if account else []
    if not steps:
        return None
    main = max(steps, key=lambda step: step.cpu_time or timedelta())
    assert main.cpu_tasks is not None
    average, busiest = main.cpu_tasks
    return average / busiest


def network_gbps(account: JobAccount | None) -> float | None:
    """Return the mean throughput of the job's fabric, in and out, in gigabits a second."""
    moved = [step.fabric for step in account.steps if step.fabric is not None] if account else []
    if account is None or not moved or not account.elapsed:
        return None
    return sum(moved) * _BITS / account.elapsed.total_seconds() / _GIGA


def provisioning(evidence: Evidence) -> timedelta | None:
    """Return how long the job's last node took; None where one never registered."""
    times = [one.took for one in evidence.used]
    known = [took for took in times if took is not None]
    return max(known) if known and len(known) == len(times) else None
