"""Tell Slurm and the jobs that nodes will not come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asbx.errors import SlurmError
from asbx.flow.doors import Doors
from asbx.flow.outcome import Failure
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold, unique_sorted
from asbx.model.job import Request


@dataclass(frozen=True)
class Lost:
    """Nodes that will not come. ours: those of them Slurm knows and may be told of. jobs: who waits for them."""

    nodes: tuple[str, ...]
    ours: tuple[str, ...]
    jobs: tuple[int, ...]
    failure: Failure


def fail_many(doors: Doors, request: Request, failures: Sequence[Lost]) -> None:
    """Fail many."""
    for one in failures:
        fail_nodes(doors, request, one.nodes, one.ours, one.jobs, one.failure)


def fail_nodes(
    doors: Doors, request: Request, nodes: Sequence[str], ours: Sequence[str], jobs: Sequence[int], failure: Failure
) -> None:
    """Tell the jobs why, then take `ours` DOWN and off: bare DOWN strands nodes, bare power_down waits for ever.

    Order as slurm-gcp found it (cluster-toolkit PR 5776). Nodes that are not ours, or that Slurm does not know, are
    only reported. Never raises for Slurm: what it does not hear now, ResumeTimeout tells it later.
    """
    text = f"{fold(unique_sorted(nodes))}: {failure.code}: {failure.reason}"
    said = f"asbx:{failure.code} {failure.reason}"
    doors.say(
        Event(
            EventKind.NODE_FAILED,
            text,
            request.request_id,
            job_id=jobs[0] if len(jobs) == 1 else None,
            level="error",
            data={"code": failure.code, "jobs": list(jobs)},
        )
    )
    for job in jobs:
        try:
            doors.scheduler.tell_job(job, said)
        except SlurmError as error:  # it may have left the queue
            doors.say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", request.request_id, job_id=job))
    if not ours:
        return
    try:
        doors.scheduler.fail(unique_sorted(ours), said)
    except SlurmError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", request.request_id, level="warning"))
