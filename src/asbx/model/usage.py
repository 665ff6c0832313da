"""Who used a node when, and what else an instance has that costs: what the cost meter goes by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class JobRun:
    """One job on one node, from its start there to its end; a job that is requeued has several. Never a step.

    restarts: Slurm's count of requeues, which tells runs apart. array_job_id, array_task_id: of a task of an array.
    leader: job id of the heterogeneous job it is a component of, 0 for none. cpus, memory_mib, gpus: what is allocated
    to it on this node; 0 where that is not known. ended_at: None while it runs. state: as Slurm has it, one word.
    """

    job_id: int
    restarts: int
    node: str
    started_at: datetime
    ended_at: datetime | None = None
    user: str = ""
    account: str = ""
    partition: str = ""
    name: str = ""
    array_job_id: int | None = None
    array_task_id: int | None = None
    leader: int = 0
    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    state: str = ""


@dataclass(frozen=True)
class Volume:
    """An EBS volume of an instance. gib: size. kind: gp3, io2 .. iops, throughput_mibs: as made, 0: not told."""

    instance_id: str
    volume_id: str
    kind: str
    gib: int
    iops: int = 0
    throughput_mibs: int = 0


@dataclass(frozen=True)
class Allocation:
    """What a job has of one node; 0 where that is not known."""

    node: str
    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0


@dataclass(frozen=True)
class JobSighting:
    """A job as Slurm shows it at a moment, with the nodes it has or had. state: one word of Slurm's.

    started_at: of its present or last run; slurmctld moves it while the job waits for nodes to boot. ended_at: as told,
    which of a job that is not over may be the end its time limit will bring. submitted_at: of a job that was requeued,
    when it came back into the queue.
    """

    job_id: int
    restarts: int
    state: str
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    allocations: tuple[Allocation, ...] = ()
    user: str = ""
    account: str = ""
    partition: str = ""
    name: str = ""
    array_job_id: int | None = None
    array_task_id: int | None = None
    leader: int = 0


@dataclass(frozen=True)
class Watch:
    """A time of which all runs of jobs are known, both ends included."""

    begin: datetime
    end: datetime

    def covers(self, begin: datetime, end: datetime) -> bool:
        """Return whether a whole time is within it."""
        return self.begin <= begin and end <= self.end
