"""The door `Scheduler` to the pretend slurmctld."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from asbx.config.limits import SCONTROL_BATCH
from asbx.errors import SlurmError
from asbx.model.fence import Fence
from asbx.model.hostlist import unique_sorted
from asbx.model.job import JobFacts, Tenant
from asbx.model.market import Instance
from asbx.model.node import NodeView
from asbx.sim.cluster import Controller
from asbx.sim.jobs import Job
from asbx.sim.nodes import Node

_PARKED = "255.255.255.255"


class SimScheduler:
    """What scontrol and squeue do. calls: processes by method. busy: lets a call take time. on_bind, on_fail: look."""

    def __init__(self, controller: Controller, span: tuple[float, float], chance: random.Random) -> None:
        self._controller, self._span, self._chance = controller, span, chance
        self.calls: Counter[str] = Counter()
        self.busy: Callable[[float], None] = lambda _: None
        self.on_bind: Callable[[Sequence[tuple[str, Instance]]], None] = lambda _: None
        self.on_fail: Callable[[Sequence[Node], str], None] = lambda *_: None
        self._topology: dict[str, tuple[str, ...]] = {}

    def _run(self, method: str, size: int = 1) -> None:
        """Start processes. Raises SlurmError while slurmctld is away."""
        self.calls[method] += max(-(-size // SCONTROL_BATCH), 1)
        low, high = self._span
        self.busy(low + (high - low) * self._chance.random())
        if self._controller.is_away:
            raise SlurmError("slurm-timeout", "scontrol got no answer", "Unable to contact slurm controller")

    # -- nodes

    def park(self, nodes: Sequence[str]) -> None:
        """Set the parked address."""
        self._run("park", len(nodes))
        for node in self._known(nodes):
            self._address(node, _PARKED, node.hostname)
        self._refuse_unknown(nodes)

    def bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Set addresses; nodes slurm.conf does not know are refused, the others are set all the same."""
        self._run("bind", len(rows))
        self.on_bind(rows)
        table = self._controller.table.nodes
        for name, instance in rows:
            if name in table:
                self._address(table[name], instance.private_ip, instance.private_dns.split(".")[0] or name)
                table[name].instance_id = instance.instance_id
        self._refuse_unknown([name for name, _ in rows])

    def release(self, nodes: Sequence[str]) -> None:
        """Set addresses back to the node names."""
        self._run("release", len(nodes))
        for node in self._known(nodes):
            self._address(node, node.name, node.name)
            node.instance_id = ""
        self._refuse_unknown(nodes)

    def _address(self, node: Node, address: str, hostname: str) -> None:
        node.address, node.hostname = address, hostname
        self._controller.table.changed(node)

    def fail(self, nodes: Sequence[str], reason: str) -> None:
        """Set nodes DOWN with the reason, then power them down: two processes."""
        self.fail_each([(nodes, reason)])

    def fail_each(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Do as fail for several sets of nodes."""
        for nodes, reason in reasons:
            self._run("fail", len(nodes))
            self.on_fail(self._known(nodes), reason)
            for node in self._known(nodes):
                self._controller.down(node, reason)
        every = [node for nodes, _ in reasons for node in nodes]
        self._run("fail", len(every))
        for node in self._known(every):
            self._controller.power_down(node)
        self._refuse_unknown(every)

    def drain(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes."""
        self._run("drain", len(nodes))
        for node in self._known(nodes):
            node.is_drained, node.reason = True, reason
            self._controller.table.file(node)
        self._refuse_unknown(nodes)

    def undrain(self, nodes: Sequence[str]) -> None:
        """Take that back."""
        self._run("undrain", len(nodes))
        for node in self._known(nodes):
            node.is_drained, node.reason = False, ""
            self._controller.table.file(node)
        self._refuse_unknown(nodes)

    def retire(self, nodes: Sequence[str], reason: str) -> None:
        """Let no new job onto nodes, and power each down once its last one has ended (power_down_asap)."""
        self._run("retire", len(nodes))
        for node in self._known(nodes):
            node.reason = reason
            self._controller.retire(node)
        self._refuse_unknown(nodes)

    def tenants(self, nodes: Sequence[str]) -> tuple[Tenant, ...]:
        """Return the jobs that have one of these nodes."""
        self._run("tenants", len(nodes))
        jobs = sorted({one for node in self._known(nodes) for one in node.jobs})
        found = (self._controller.jobs[one] for one in jobs)
        return tuple(Tenant(job.job_id, job.state, job.on, job.requeue, job.restarts) for job in found)

    def signal(self, job_ids: Sequence[int], name: str, target: str) -> None:
        """Send jobs a signal; those here take no notice."""
        del name, target
        self._run("signal", len(job_ids))

    def cancel(self, job_ids: Sequence[int]) -> None:
        """End jobs for good."""
        self._run("cancel", len(job_ids))
        for one in job_ids:
            if one in self._controller.queued:
                self._controller.cancel(self._controller.jobs[one])

    def comment(self, job_id: int) -> str:
        """Return what a job was told last."""
        self._run("comment")
        job = self._controller.queued.get(job_id)
        return job.told if job is not None else ""

    def requeue(self, job_id: int) -> bool:
        """Take a job's nodes away and let it wait again; False where Slurm does not let it be requeued."""
        self._run("requeue")
        job = self._controller.queued.get(job_id)
        return job is not None and self._controller.requeue(job)

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the whole node table."""
        self._run("nodes")
        return self._controller.table.views()

    def power_down(self, nodes: Sequence[str]) -> None:
        """Have Slurm power nodes down now, or when their jobs are gone."""
        self._run("power_down", len(nodes))
        for node in self._known(nodes):
            self._controller.retire(node)
        self._refuse_unknown(nodes)

    def power_up(self, nodes: Sequence[str]) -> None:
        """Have Slurm hold nodes for powered up."""
        self._run("power_up", len(nodes))
        for node in self._known(nodes):
            self._controller.power_up(node)
        self._refuse_unknown(nodes)

    def _known(self, names: Sequence[str]) -> list[Node]:
        table = self._controller.table.nodes
        return [table[name] for name in names if name in table]

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        table = self._controller.table.nodes
        unknown = [name for name in names if name not in table]
        if unknown:
            raise SlurmError("slurm-refused", f"no such node: {','.join(unknown)}", "Invalid node name specified")

    # -- jobs

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue knows of these jobs."""
        self._run("jobs", len(job_ids))
        return tuple(job.facts() for one in job_ids if (job := self._controller.jobs.get(one)) and not job.is_over)

    def script(self, job_id: int) -> str | None:
        """Return no script: pretend jobs have none, and nobody waits for that."""
        del job_id
        return None

    def tell_job(self, job_id: int, text: str) -> None:
        """Keep what a job was told."""
        self._job("tell_job", job_id).told = text

    def notify(self, job_id: int, text: str) -> None:
        """Write to a terminal; no job here has one."""
        del job_id, text
        self._run("notify")

    def make_requeueable(self, job_ids: Sequence[int]) -> tuple[int, ...]:
        """Let jobs be requeued; return those that had asked not to be."""
        self._run("make_requeueable", len(job_ids))
        stubborn = [self._controller.jobs[one] for one in job_ids if one in self._controller.queued]
        stubborn = [job for job in stubborn if not job.requeue]
        for job in stubborn:
            job.requeue = True
        return tuple(job.job_id for job in stubborn)

    def undo_requeueable(self, job_ids: Sequence[int]) -> None:
        """Let jobs be lost with a node again."""
        self._run("undo_requeueable", len(job_ids))
        for one in job_ids:
            if one in self._controller.queued:
                self._controller.jobs[one].requeue = False

    def postpone(self, job_id: int, delay: timedelta) -> None:
        """Set when a job may start. Lost on one that is not PENDING: its requeue sets a time of its own."""
        job = self._job("postpone", job_id)
        if job.state == "PENDING":
            now = self._controller.hub.now_us
            self._controller.put_off(job, now + delay // timedelta(microseconds=1))

    def hold(self, job_id: int) -> None:
        """Hold a job."""
        self._controller.hold(self._job("hold", job_id))

    def _job(self, method: str, job_id: int) -> Job:
        self._run(method)
        job = self._controller.queued.get(job_id)
        if job is None:
            raise SlurmError("slurm-refused", f"job {job_id} cannot be changed", "Invalid job id specified")
        return job

    # -- the rest

    def ping(self) -> None:
        """Answer."""
        self._run("ping")

    def write_topology(self, paths: Mapping[str, Sequence[str]]) -> bool:
        """Keep where nodes are; return whether that is news."""
        self._run("write_topology")
        fresh = {node: tuple(path) for node, path in paths.items()}
        is_news, self._topology = fresh != self._topology, fresh
        return is_news

    def fence(self, name: str, nodes: Sequence[str], starts: datetime, ends: datetime) -> None:
        """Keep a fence, in the place of one of that name."""
        self._run("fence")
        self._refuse_unknown(nodes)
        self._controller.fences[name] = Fence(name, unique_sorted(nodes), starts, ends)

    def unfence(self, name: str) -> None:
        """Remove a fence."""
        self._run("unfence")
        self._controller.fences.pop(name, None)

    def fences(self) -> tuple[Fence, ...]:
        """Return the fences, by name."""
        self._run("fences")
        return tuple(self._controller.fences[name] for name in sorted(self._controller.fences))
