"""The door to slurmctld: every verb we use, each in as few processes as Slurm allows."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from asbx.config.limits import FREE_TEXT_MAX, SCONTROL_BATCH, SCONTROL_JOBS, SCRIPT_MAX_BYTES
from asbx.errors import SlurmError
from asbx.model.fence import Fence
from asbx.model.hostlist import fold, unique_sorted
from asbx.model.job import JobFacts, Tenant
from asbx.model.market import Instance
from asbx.model.node import NodeView
from asbx.slurm import reservation
from asbx.slurm.parse import parse_nodes_json, parse_nodes_text
from asbx.slurm.process import SlurmCommands, suppress_refusal
from asbx.slurm.queue import (
    COMMENT_FORMAT,
    GONE,
    REQUEUE_FORMAT,
    TENANT_FORMAT,
    QueuedJob,
    Requeue,
    job_format,
    parse_jobs,
    parse_jobs_json,
    parse_requeue,
    parse_tenants,
)
from asbx.slurm.topology import TopologyFile

# One update with different instance ids for many nodes (Slurm change log, 25.11); before, all would get the same.
_INSTANCE_LISTS = (25, 11)
_JSON = (23, 2)
# TCP to the broadcast address fails at once with ENETUNREACH. A node's own name in its place makes slurmctld resolve it
# for every message, ten tries a second apart, holding its locks: 40 s for a killed job of four nodes (seen on 22.05.8).
PARKED = "255.255.255.255"
# What `scontrol requeue` says of jobs that asked not to be, or are no batch jobs (seen on 22.05.8).
_NO_REQUEUE = ("disabled", "only possible for batch", "not possible", *GONE)
_TARGETS = {"batch": ("--batch",), "steps": (), "all": ("--full",)}
# More tasks and components than are under way at once on a large cluster.
_MOST_LABELS = 100_000
# Each may have megabytes.
_MOST_SCRIPTS = 8
_Row = TypeVar("_Row")


class Slurm:
    """The Scheduler port over scontrol and squeue. topology: where topology goes; None: nowhere."""

    def __init__(self, commands: SlurmCommands, topology: TopologyFile | None = None) -> None:
        self._commands = commands
        self._topology = topology
        self._version: tuple[int, int] | None = None
        # job id -> what scontrol calls just this job, of tasks and components; filled by jobs().
        self._labels: dict[int, str] = {}
        self._batch_jobs: set[int] = set()
        # array -> script of its tasks
        self._scripts: dict[str, str | None] = {}

    @property
    def processes(self) -> dict[str, int]:
        """Return how many of each command were started."""
        return self._commands.calls

    def version(self) -> tuple[int, int]:
        """Return (major, minor) of the installed commands, asked once."""
        if self._version is None:
            match = re.search(r"(\d+)\.(\d+)", self._commands.run("scontrol", "--version"))
            self._version = (int(match[1]), int(match[2])) if match else (0, 0)
        return self._version

    def park(self, nodes: Sequence[str]) -> None:
        """Give nodes the parked address, so that nobody waits for the resolver while they have no instance."""
        for batch in _batches(nodes):
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", _parked(batch))

    def bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Tell Slurm address and host name of each node (and instance id and type from 25.11 on)."""
        for batch in _batches(rows):
            arguments = [
                f"nodename={fold(node for node, _ in batch)}",
                f"nodeaddr={fold(instance.private_ip for _, instance in batch)}",
                f"nodehostname={fold(_host_name(node, instance) for node, instance in batch)}",
            ]
            if self.version() >= _INSTANCE_LISTS:
                arguments.append(f"instanceid={','.join(i.instance_id for _, i in batch)}")
                arguments.append(f"instancetype={','.join(i.instance_type for _, i in batch)}")
            self._commands.run("scontrol", "update", *arguments)

    def release(self, nodes: Sequence[str]) -> None:
        """Set address and host name back to the node name.

        A stale address has sent kill messages of one job to another's node (Azure cyclecloud-slurm PR 30).
        """
        for batch in _batches(nodes):
            names = fold(batch)
            self._commands.run("scontrol", "update", f"nodename={names}", f"nodeaddr={names}", f"nodehostname={names}")

    def fail(self, nodes: Sequence[str], reason: str) -> None:
        """Park nodes, set them DOWN, which requeues their jobs, then power them down, which makes them usable again."""
        self.fail_each([(nodes, reason)])

    def fail_each(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Do as fail: an update for each reason, then one for all nodes. Raises what was refused once all is done.

        Of an update with an unknown node Slurm does the rest (seen on 22.05.8); without the power-down that would
        stay DOWN.
        """
        refused: list[SlurmError] = []
        for nodes, reason in reasons:
            why = f"reason={_one_line(reason)}"
            for batch in _batches(nodes):
                self._update(refused, f"nodename={fold(batch)}", _parked(batch), "state=down", why)
        for batch in _batches(unique_sorted([node for nodes, _ in reasons for node in nodes])):
            self._update(refused, f"nodename={fold(batch)}", "state=power_down")
        if refused:
            raise refused[0]

    def _update(self, refused: list[SlurmError], *arguments: str) -> None:
        """Run an update; keep a refusal for later, raise when slurmctld does not answer at all."""
        try:
            self._commands.run("scontrol", "update", *arguments)
        except SlurmError as error:
            if error.code != "slurm-refused":
                raise
            self.ping()
            refused.append(error)

    def power_up(self, nodes: Sequence[str]) -> None:
        """Ask Slurm to power nodes up."""
        for batch in _batches(nodes):
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", "state=power_up")

    def tell_job(self, job_id: int, text: str) -> None:
        """Put a sentence into the job's AdminComment."""
        comment = f"admincomment={_one_line(text)}"
        self._commands.run("scontrol", "update", f"jobid={self._label(job_id)}", comment)

    def notify(self, job_id: int, text: str) -> None:
        """Write a line to the terminal of whoever waits for the job (salloc, srun); Slurm refuses for others.

        Nobody waits for a batch job: where it is known to be one (make_requeueable asks), no process is started.
        """
        if job_id in self._batch_jobs:
            return
        with suppress_refusal():
            self._commands.run("scontrol", "notify", str(job_id), _one_line(text))

    def make_requeueable(self, job_ids: Sequence[int]) -> tuple[int, ...]:
        """Set Requeue=1 on those of these jobs that have 0, and return them. Jobs that are gone are left out."""
        found = list(self._requeue(job_ids))
        self._batch_jobs = {one.job_id for one in found if one.is_batch}
        stubborn = tuple(dict.fromkeys(one.job_id for one in found if one.is_batch and not one.is_allowed))
        self._set_requeue(stubborn, 1)
        return stubborn

    def undo_requeueable(self, job_ids: Sequence[int]) -> None:
        """Set Requeue=0 again. Jobs that are gone are left out."""
        self._set_requeue(job_ids, 0)

    def postpone(self, job_id: int, delay: timedelta) -> None:
        """Let Slurm start the job no sooner than so much later; of a heterogeneous job all components.

        Only once it is PENDING: the requeue itself sets a time of its own, two minutes from then (seen on 22.05.8).
        """
        when = f"starttime=now+{round(delay.total_seconds())}"
        self._commands.run("scontrol", "update", f"jobid={self._whole(job_id)}", when)

    def hold(self, job_id: int) -> None:
        """Hold a job as its user would have (scontrol(1), uhold), so that its user can release it."""
        self._commands.run("scontrol", "uhold", self._whole(job_id))

    def _label(self, job_id: int) -> str:
        return self._labels.get(job_id, str(job_id))

    def _whole(self, job_id: int) -> str:
        """Return what scontrol calls a job with all its components, which start together or not at all."""
        return self._label(job_id).partition("+")[0]

    def _requeue(self, job_ids: Sequence[int]) -> Iterator[Requeue]:
        wanted = set(job_ids)
        for batch in _batches(list(job_ids), SCONTROL_JOBS):
            jobs = f"--jobs={','.join(map(str, batch))}"
            yield from (one for one in parse_requeue(self._squeue(jobs, REQUEUE_FORMAT)) if one.job_id in wanted)

    def _set_requeue(self, job_ids: Sequence[int], value: int) -> None:
        """Set Requeue of many jobs in one call. Slurm sets those it can and refuses for the others."""
        for batch in _batches(job_ids, SCONTROL_JOBS):
            names = ",".join(map(self._label, batch))
            with suppress_refusal(*GONE):
                self._commands.run("scontrol", "update", f"jobid={names}", f"requeue={value}")

    def drain(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes; those that run go on."""
        for batch in _batches(nodes):
            why = f"reason={_one_line(reason)}"
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", "state=drain", why)

    def undrain(self, nodes: Sequence[str]) -> None:
        """Take that back."""
        for batch in _batches(nodes):
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", "state=undrain")

    def power_down(self, nodes: Sequence[str]) -> None:
        """Ask Slurm to power nodes down. One that is drained loses DRAIN and its reason by that (seen on 22.05.8)."""
        for batch in _batches(nodes):
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", "state=power_down")

    def tenants(self, nodes: Sequence[str]) -> tuple[Tenant, ...]:
        """Return the jobs on these nodes, with two processes however many there are."""
        found = [
            row for batch in _batches(nodes) for row in parse_tenants(self._squeue(f"-w{fold(batch)}", TENANT_FORMAT))
        ]
        facts = {one.job_id: one for one in self._requeue([row.job_id for row in found])} if found else {}
        self._labels.update({row.job_id: row.label for row in found if not row.label.isdecimal()})
        return tuple({row.job_id: row.tenant(facts.get(row.job_id)) for row in found}.values())

    def signal(self, job_ids: Sequence[int], name: str, target: str) -> None:
        """Signal as scancel(1) does; without `--batch` or `--full` the batch script hears nothing (seen on 22.05.8)."""
        for batch in _batches(job_ids, SCONTROL_JOBS):
            with suppress_refusal(*GONE):
                self._commands.run("scancel", f"--signal={name}", *_TARGETS[target], *map(self._label, batch))

    def cancel(self, job_ids: Sequence[int]) -> None:
        """Cancel jobs: their processes get SIGTERM, and after KillWait SIGKILL (scancel(1))."""
        for batch in _batches(job_ids, SCONTROL_JOBS):
            with suppress_refusal(*GONE):
                self._commands.run("scancel", *map(self._label, batch))

    def comment(self, job_id: int) -> str:
        """Return a job's AdminComment: only administrators write there, so it needs no mark."""
        text = self._squeue(f"--jobs={self._label(job_id)}", COMMENT_FORMAT)
        return text.split("\n", 1)[0].strip()

    def requeue(self, job_id: int) -> bool:
        """Requeue a job with all its components. Its StartTime is then two minutes ahead (seen on 22.05.8)."""
        try:
            self._commands.run("scontrol", "requeue", self._whole(job_id))
        except SlurmError as error:
            if error.code != "slurm-refused" or not any(word in error.why for word in _NO_REQUEUE):
                raise
            return False
        return True

    def retire(self, nodes: Sequence[str], reason: str) -> None:
        """Drain nodes and power them down once idle (scontrol(1), POWER_DOWN_ASAP; seen on 22.05.8)."""
        for batch in _batches(nodes):
            why = f"reason={_one_line(reason)}"
            self._commands.run("scontrol", "update", f"nodename={fold(batch)}", "state=power_down_asap", why)

    def write_topology(self, paths: Mapping[str, Sequence[str]]) -> bool:
        """Write the file where it says something else, and reconfigure; what is owed from an earlier run is done too.

        A reconfigure is enough: a restart marks nodes that register as not responding (cluster-toolkit PR 6236).
        """
        if self._topology is None:
            return False
        others = [view.name for view in self.nodes()] if self._topology.is_whole else []
        if not self._topology.write([*paths, *others], paths):
            return False
        self._commands.run("scontrol", "reconfigure")
        self._topology.done()
        return True

    def fence(self, name: str, nodes: Sequence[str], starts: datetime, ends: datetime) -> None:
        """Keep jobs that would run into this time off these nodes."""
        reservation.put_up(self._commands, name, nodes, starts, ends)

    def unfence(self, name: str) -> None:
        """Remove a fence."""
        reservation.take_down(self._commands, name)

    def fences(self) -> tuple[Fence, ...]:
        """Return our fences."""
        return reservation.show(self._commands)

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the node table; JSON where this Slurm has it (23.02), because text fields can be spoofed."""
        if self.version() >= _JSON:
            return parse_nodes_json(self._commands.run("scontrol", "show", "node", "--json"))
        return parse_nodes_text(self._commands.run("scontrol", "show", "node", "--oneliner"))

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue says of these jobs; those no longer in it are left out."""
        wanted = set(job_ids)
        queued = [one for batch in _batches(list(job_ids), SCONTROL_JOBS) for one in self._queued(batch)]
        mine = [one for one in queued if one.facts.job_id in wanted]
        if len(self._labels) > _MOST_LABELS:
            self._labels.clear()
        self._labels.update({one.facts.job_id: one.label for one in mine if not one.label.isdecimal()})
        # The pending tasks of an array that never started are several rows under the array's number.
        return tuple({one.facts.job_id: one.facts for one in mine}.values())

    def _queued(self, job_ids: Sequence[int]) -> tuple[QueuedJob, ...]:
        jobs = f"--jobs={','.join(map(str, job_ids))}"
        if self.version() >= _JSON:
            text = self._squeue(jobs, "--json")
            return parse_jobs_json(text) if text else ()
        mark = secrets.token_hex(16)
        return parse_jobs(self._squeue(jobs, f"--format={job_format(mark)}"), mark)

    def _squeue(self, *arguments: str) -> str:
        """Run squeue. With one job it is an error that it is gone, with several it is not (seen on 22.05.8)."""
        with suppress_refusal(*GONE):  # --array: else the pending tasks of an array are one row
            return self._commands.run("squeue", "--noheader", "--array", *arguments)
        return ""

    def script(self, job_id: int) -> str | None:
        """Return a job's batch script. All tasks of an array have the same one, which is asked for once."""
        array, task, _ = self._labels.get(job_id, "").partition("_")
        if task and array in self._scripts:
            return self._scripts[array]
        text = ""
        with suppress_refusal():  # newer ones refuse it for jobs without a script, in many words
            text = self._commands.run("scontrol", "write", "batch_script", str(job_id), "-")
        # For a job that is gone 22.05.8 says so and exits with 0; sbatch takes no script that does not begin like this.
        found = text if text.startswith("#!") and len(text) <= SCRIPT_MAX_BYTES else None
        if task:
            if len(self._scripts) >= _MOST_SCRIPTS:
                self._scripts.clear()
            self._scripts[array] = found
        return found

    def ping(self) -> None:
        """Raise SlurmError unless slurmctld answers."""
        self._commands.run("scontrol", "ping")


def _parked(nodes: Sequence[str]) -> str:
    return "nodeaddr=" + ",".join([PARKED] * len(nodes))


def _host_name(node: str, instance: Instance) -> str:
    return instance.private_dns.split(".")[0] or node


def _one_line(text: str) -> str:
    """Make a text safe as one scontrol value: no line breaks, no quotes, bounded."""
    return " ".join(text.replace('"', "'").split())[:FREE_TEXT_MAX]


def _batches(rows: Sequence[_Row], size: int = SCONTROL_BATCH) -> Iterator[Sequence[_Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
