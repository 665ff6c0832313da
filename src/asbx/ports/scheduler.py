"""Slurm: nodes and jobs, and its controllers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from asbx.model.control import Controller
from asbx.model.fence import Fence
from asbx.model.job import JobFacts, JobView, PastRun, Tenant
from asbx.model.market import Instance
from asbx.model.node import NodeView


class Scheduler(Protocol):
    """Slurm. Every method raises SlurmError when slurmctld cannot be reached or refuses."""

    def park(self, nodes: Sequence[str]) -> None:
        """Give nodes an address that fails at once, until they have a real one.

        slurmctld resolves the name of a node it has a message for, under its locks, ten times a second apart.
        """

    def bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Tell Slurm the address and host name of each node, in one call however many there are."""

    def release(self, nodes: Sequence[str]) -> None:
        """Set address and host name back to the node name, in one call."""

    def fail(self, nodes: Sequence[str], reason: str) -> None:
        """Set nodes DOWN with the reason (their jobs are requeued), then power them down."""

    def fail_each(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Do as `fail` for several sets of nodes with a reason each; what Slurm refuses of one stops no other."""

    def tell_job(self, job_id: int, text: str) -> None:
        """Put a sentence where the job's owner sees it (AdminComment)."""

    def notify(self, job_id: int, text: str) -> None:
        """Write a line to the terminal of whoever waits for the job (salloc, srun); nothing happens for others."""

    def make_requeueable(self, job_ids: Sequence[int]) -> tuple[int, ...]:
        """Let Slurm requeue these jobs, whatever they asked for; return those that had asked not to be.

        Batch jobs only: Slurm requeues no other.

        A job whose nodes never came has not run: losing it would serve nobody.
        """

    def undo_requeueable(self, job_ids: Sequence[int]) -> None:
        """Take that back: from now on they are lost with a node, as they asked."""

    def postpone(self, job_id: int, delay: timedelta) -> None:
        """Let Slurm start the job no sooner than so much later (StartTime)."""

    def hold(self, job_id: int) -> None:
        """Hold a job so that its user can release it (uhold)."""

    def drain(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes; those that run go on."""

    def undrain(self, nodes: Sequence[str]) -> None:
        """Take that back."""

    def power_down(self, nodes: Sequence[str]) -> None:
        """Have Slurm power nodes down now, or when their jobs are gone; it calls SuspendProgram for them."""

    def tenants(self, nodes: Sequence[str]) -> tuple[Tenant, ...]:
        """Return the jobs that have one of these nodes, those that are leaving it too."""

    def signal(self, job_ids: Sequence[int], name: str, target: str) -> None:
        """Send jobs a signal. target: `batch` (the script), `steps` or `all`. Jobs that are gone are no error."""

    def requeue(self, job_id: int) -> bool:
        """Take a job's nodes away and let it wait again; False where Slurm does not let it be requeued."""

    def cancel(self, job_ids: Sequence[int]) -> None:
        """End jobs for good. Jobs that are gone are no error."""

    def comment(self, job_id: int) -> str:
        """Return what stands in a job's AdminComment, "" for a job that is gone."""

    def retire(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes, and power each down once its last one has ended; one without jobs, at once."""

    def write_topology(self, paths: Mapping[str, Sequence[str]]) -> bool:
        """Tell where nodes are, if that is news, and return whether it was; off where the site wants no such file.

        paths: node -> its network nodes from the top layer down, () where nothing is known; all nodes of our groups.
        Raises ConfigError (`file-write`, `topology-foreign`) for a file that cannot or must not be written.
        """

    def fence(self, name: str, nodes: Sequence[str], starts: datetime, ends: datetime) -> None:
        """Keep jobs that would run into this time off these nodes; again: change the fence of that name.

        The name begins with FENCE_PREFIX. What runs already goes on, and the nodes are not touched.
        """

    def unfence(self, name: str) -> None:
        """Remove a fence; one that is gone is no error."""

    def fences(self) -> tuple[Fence, ...]:
        """Return our fences, by name."""

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the whole node table."""

    def power_up(self, nodes: Sequence[str]) -> None:
        """Have Slurm hold nodes for powered up; it calls ResumeProgram for those that were not."""

    def script(self, job_id: int) -> str | None:
        """Return a job's batch script; None for a job without one, one that is gone, or a script too long to be one."""

    def ping(self) -> None:
        """Raise SlurmError unless slurmctld answers."""

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue knows of these jobs; unknown ones are left out."""


class Controllers(Protocol):
    """Slurm's controllers. Raises SlurmError when they cannot be asked."""

    def controllers(self) -> tuple[Controller, ...]:
        """Return every slurmctld in the order of slurm.conf, and whether it answers."""

    def serves(self) -> bool:
        """Return whether one of them is in control: it answers more than a ping."""


class JobArchive(Protocol):
    """What Slurm remembers of jobs that a person names, for as long as it does."""

    def find(self, label: str) -> tuple[JobView, ...]:
        """Return the jobs meant by `12`, `12_3` or `12+1`. Raises SlurmError when slurmctld does not answer."""

    def past_runs(self, user: str, name: str) -> tuple[PastRun, ...] | None:
        """Return the last runs that are over of a user's jobs of a name, oldest first; None without accounting."""
