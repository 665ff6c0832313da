"""A node table that changes state the way Slurm's does; nothing runs behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.fakes.faults import Faults

from asbx.config.limits import SCONTROL_BATCH
from asbx.errors import AsbxError, SlurmError, UsageError
from asbx.model.fence import FENCE_PREFIX, Fence
from asbx.model.hostlist import unique_sorted
from asbx.model.job import JobFacts, Tenant
from asbx.model.market import Instance
from asbx.model.node import NodeView

# States as slurm.conf(5) and scontrol(1) name them.
_OFF = frozenset({"CLOUD", "POWERED_DOWN"})
_COMING = frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"})
_UP = frozenset({"CLOUD"})
_GOING = frozenset({"CLOUD", "POWERING_DOWN"})
# A requeued job may start again after so long (slurm.conf(5), requeue_delay; seen on 22.05 and 26.05).
REQUEUE_DELAY = timedelta(seconds=121)
# In these a job has nodes.
_ON_NODES = frozenset({"RUNNING", "CONFIGURING", "COMPLETING"})
# From here on a job has left the queue, or is leaving it.
_OVER = frozenset({"NODE_FAIL", "COMPLETED", "CANCELLED", "FAILED"})


def _off(name: str) -> NodeView:
    return NodeView(name, "IDLE", _OFF, name, name)


@dataclass
class FakeScheduler:
    """The door `Scheduler`. calls: method -> times; processes: scontrol runs of the real one.

    names: the nodes slurm.conf knows, all powered down at first. power_up, register, power_down, time_out and
    settle are what slurmctld and slurmd do by themselves. slow_requeue: how often a job is still COMPLETING when asked
    for, before it is PENDING. begin: job -> how long from its last update until Slurm may start it. notified: what was
    written to terminals. no_requeue: jobs that are lost with a node. topology: what was last told of it.
    scripts: of batch jobs. signals: job, signal and target, in their order. restarts: how often each job was requeued.
    used: how long each has run.
    """

    names: Sequence[str] = ()
    processes: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    job_table: dict[int, JobFacts] = field(default_factory=dict)
    told: dict[int, list[str]] = field(default_factory=dict)
    notified: list[tuple[int, str]] = field(default_factory=list)
    begin: dict[int, timedelta] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    no_requeue: set[int] = field(default_factory=set)
    job_nodes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    signals: list[tuple[int, str, str]] = field(default_factory=list)
    restarts: Counter[int] = field(default_factory=Counter)
    used: dict[int, timedelta] = field(default_factory=dict)
    slow_requeue: int = 0
    scripts: dict[int, str] = field(default_factory=dict)
    topology: dict[str, tuple[str, ...]] | None = None
    _fences: dict[str, Fence] = field(default_factory=dict)
    _completing: dict[int, int] = field(default_factory=dict)
    _table: dict[str, NodeView] = field(default_factory=dict)
    _faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self._table = {name: _off(name) for name in self.names}

    # -- the door

    def park(self, nodes: Sequence[str]) -> None:
        """Set the parked address. Nodes slurm.conf does not know are refused."""
        self._count("park", len(nodes))
        with self._faults.call("park"):
            for node in self._known(nodes):
                self._change(node, address="255.255.255.255")
            self._refuse_unknown(nodes)

    def bind(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Set addresses. Nodes slurm.conf does not know are refused, the others are set all the same."""
        self._count("bind", len(rows))
        with self._faults.call("bind"):
            known = [(node, instance) for node, instance in rows if node in self._table]
            for node, instance in known:
                hostname = instance.private_dns.split(".")[0] or node
                self._change(node, address=instance.private_ip, hostname=hostname, instance_id=instance.instance_id)
            self._refuse_unknown(node for node, _ in rows)

    def release(self, nodes: Sequence[str]) -> None:
        """Set addresses back to the node names."""
        self._count("release", len(nodes))
        with self._faults.call("release"):
            for node in self._known(nodes):
                self._change(node, address=node, hostname=node, instance_id="")
            self._refuse_unknown(nodes)

    def fail(self, nodes: Sequence[str], reason: str) -> None:
        """Set nodes DOWN with the reason, which requeues or loses their jobs, then power them down: two processes."""
        self._count("fail", 0)
        self.fail_each([(nodes, reason)])

    def fail_each(self, reasons: Sequence[tuple[Sequence[str], str]]) -> None:
        """Do as fail: a process for each reason, and one for all nodes."""
        nodes = [node for some, _ in reasons for node in some]
        self._count("fail_each", len(nodes))
        with self._faults.call("fail"):
            for some, reason in reasons:
                self._count("", len(some))
                for node in self._known(some):
                    self._change(node, state="DOWN", flags=_GOING, reason=reason)
                self._lose(self._known(some))
            self._refuse_unknown(nodes)

    def tell_job(self, job_id: int, text: str) -> None:
        """Keep what a job was told; unknown jobs are refused."""
        self._count("tell_job", 1)
        with self._faults.call("tell_job"):
            self._refuse_gone(job_id)
            self.told.setdefault(job_id, []).append(text)

    def notify(self, job_id: int, text: str) -> None:
        """Keep what was written to a job's terminal."""
        self._count("notify", 1)
        with self._faults.call("notify"):
            if job_id in self.job_table:
                self.notified.append((job_id, text))

    def make_requeueable(self, job_ids: Sequence[int]) -> tuple[int, ...]:
        """Let jobs be requeued; return those that had asked not to be."""
        self._count("make_requeueable", len(job_ids))
        with self._faults.call("make_requeueable"):
            stubborn = tuple(job for job in job_ids if job in self.no_requeue and self._is_queued(job))
            self._count("", len(stubborn))
            self.no_requeue.difference_update(stubborn)
            return stubborn

    def undo_requeueable(self, job_ids: Sequence[int]) -> None:
        """Let jobs be lost with a node again."""
        self._count("undo_requeueable", len(job_ids))
        with self._faults.call("undo_requeueable"):
            self.no_requeue.update(job for job in job_ids if self._is_queued(job))

    def postpone(self, job_id: int, delay: timedelta) -> None:
        """Set when a job may start. Lost on one that is not PENDING: its requeue sets a time of its own."""
        self._count("postpone", 1)
        with self._faults.call("postpone"):
            self._refuse_gone(job_id)
            if job_id not in self._completing:
                self.begin[job_id] = delay

    def hold(self, job_id: int) -> None:
        """Hold a job: its priority is 0."""
        self._count("hold", 1)
        with self._faults.call("hold"):
            self._refuse_gone(job_id)
            self.held.add(job_id)
            if job_id in self.job_table:
                self.job_table[job_id] = replace(self.job_table[job_id], priority=0)

    def drain(self, nodes: Sequence[str], reason: str) -> None:
        """Set DRAIN with the reason. Nodes slurm.conf does not know are refused."""
        self._count("drain", len(nodes))
        with self._faults.call("drain"):
            for node in self._known(nodes):
                self._change(node, flags=self._table[node].flags | {"DRAIN"}, reason=reason)
            self._refuse_unknown(nodes)

    def undrain(self, nodes: Sequence[str]) -> None:
        """Take DRAIN off; the reason goes with it."""
        self._count("undrain", len(nodes))
        with self._faults.call("undrain"):
            for node in self._known(nodes):
                self._change(node, flags=self._table[node].flags - {"DRAIN"}, reason="")
            self._refuse_unknown(nodes)

    def power_down(self, nodes: Sequence[str]) -> None:
        """Do as slurmctld when it calls SuspendProgram; a drain is over with it (22.05.8 with idle_on_node_suspend)."""
        self._count("power_down", len(nodes))
        with self._faults.call("power_down"):
            for node in self._known(nodes):
                self._change(node, state="IDLE", flags=_GOING, reason="")
            self._refuse_unknown(nodes)

    def tenants(self, nodes: Sequence[str]) -> tuple[Tenant, ...]:
        """Return the jobs on these nodes. Each look brings a requeued job nearer to PENDING, as `jobs` does."""
        self._count("tenants", len(nodes))
        with self._faults.call("tenants"):
            self._settle_jobs()
            return tuple(
                Tenant(
                    job,
                    self.job_table[job].state,
                    mine,
                    job not in self.no_requeue,
                    self.restarts[job],
                    self.used.get(job),
                )
                for job, mine in self.job_nodes.items()
                if not set(nodes).isdisjoint(mine) and self.job_table[job].state in _ON_NODES
            )

    def signal(self, job_ids: Sequence[int], name: str, target: str) -> None:
        """Keep what was sent."""
        self._count("signal", len(job_ids))
        with self._faults.call("signal"):
            self.signals += [(job, name, target) for job in job_ids if self._is_queued(job)]

    def requeue(self, job_id: int) -> bool:
        """Let a job leave its nodes; it is PENDING once it has. Refused to those that forbid it, or do not run."""
        self._count("requeue", 1)
        with self._faults.call("requeue"):
            if job_id in self.no_requeue or not self._is_queued(job_id):
                return False
            if self.job_table[job_id].state not in {"RUNNING", "CONFIGURING"}:
                return False
            self.restarts[job_id] += 1
            self._completing[job_id] = self.slow_requeue
            self._job(job_id, "COMPLETING")
            return True

    def cancel(self, job_ids: Sequence[int]) -> None:
        """Take jobs out of the queue and off their nodes."""
        self._count("cancel", len(job_ids))
        with self._faults.call("cancel"):
            for job in job_ids:
                if self._is_queued(job):
                    self._job(job, "CANCELLED")

    def comment(self, job_id: int) -> str:
        """Return what a job was told last."""
        self._count("comment", 1)
        with self._faults.call("comment"):
            return (self.told.get(job_id) or [""])[-1]

    def retire(self, nodes: Sequence[str], reason: str) -> None:
        """Drain nodes with jobs until those end; nodes without go down at once. Unknown ones are refused."""
        self._count("retire", len(nodes))
        with self._faults.call("retire"):
            for node in self._known(nodes):
                view = self._table[node]
                if view.state in ("ALLOCATED", "MIXED"):
                    self._change(node, flags=view.flags | {"DRAIN", "POWER_DOWN"}, reason=reason)
                else:
                    self._change(node, state="IDLE", flags=_GOING, reason=reason)
            self._refuse_unknown(nodes)

    def write_topology(self, paths: Mapping[str, Sequence[str]]) -> bool:
        """Keep where nodes are; return whether that is news."""
        self._count("write_topology", 1)
        with self._faults.call("write_topology"):
            fresh = {node: tuple(path) for node, path in paths.items()}
            is_news, self.topology = fresh != self.topology, fresh
            return is_news

    def fence(self, name: str, nodes: Sequence[str], starts: datetime, ends: datetime) -> None:
        """Keep a fence, in the place of one of that name. Nodes slurm.conf does not know are refused."""
        self._count("fence", 1)
        with self._faults.call("fence"):
            if not name.startswith(FENCE_PREFIX):
                raise UsageError("fence-name", f"{name} cannot be a fence")
            self._refuse_unknown(nodes)
            times = (starts.replace(microsecond=0), ends.replace(microsecond=0))
            self._fences[name] = Fence(name, unique_sorted(nodes), *times)

    def unfence(self, name: str) -> None:
        """Remove a fence."""
        self._count("unfence", 1)
        with self._faults.call("unfence"):
            self._fences.pop(name, None)

    def fences(self) -> tuple[Fence, ...]:
        """Return the fences, by name."""
        self._count("fences", 1)
        with self._faults.call("fences"):
            return tuple(self._fences[name] for name in sorted(self._fences))

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the whole node table."""
        self._count("nodes", 1)
        with self._faults.call("nodes"):
            return tuple(self._table.values())

    def ping(self) -> None:
        """Answer."""
        self._count("ping", 1)
        with self._faults.call("ping"):
            return

    def script(self, job_id: int) -> str | None:
        """Return a job's batch script, None for one without."""
        self._count("script", 1)
        with self._faults.call("script"):
            return self.scripts.get(job_id) if self._is_queued(job_id) else None

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue knows of these jobs. Each look brings a requeued job nearer to PENDING."""
        self._count("jobs", len(job_ids))
        with self._faults.call("jobs"):
            self._settle_jobs()
            return tuple(self.job_table[job_id] for job_id in job_ids if job_id in self.job_table)

    # -- the other side

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; after: once Slurm has done it."""
        self._faults.add(method, error, times=times, after=after)

    def node(self, name: str) -> NodeView:
        """Return one row of the node table."""
        return self._table[name]

    def add_job(self, job: JobFacts, nodes: Sequence[str] = (), *, requeue: bool = True) -> None:
        """Put a job into the queue, on the nodes it was given."""
        self.job_table[job.job_id] = job
        self.job_nodes[job.job_id] = tuple(nodes)
        if not requeue:
            self.no_requeue.add(job.job_id)

    def power_up(self, nodes: Iterable[str], *, state: str = "ALLOCATED") -> None:
        """Do as slurmctld when it calls ResumeProgram."""
        for node in nodes:
            self._change(node, state=state, flags=_COMING, reason="")

    def register(self, nodes: Iterable[str], *, state: str = "ALLOCATED") -> None:
        """Do as slurmctld when the node's slurmd has reported."""
        for node in nodes:
            self._change(node, state=state, flags=_UP)

    def time_out(self, nodes: Iterable[str]) -> None:
        """Do as slurmctld after ResumeTimeout: DOWN, off, and the old address still there."""
        for node in nodes:
            self._change(node, state="DOWN", flags=_OFF, reason="ResumeTimeout reached")

    def show(self, node: str, state: str, *flags: str, reason: str = "", address: str | None = None) -> None:
        """Put a cloud node into any state, as slurmctld, an administrator or a bug may."""
        shown = {} if address is None else {"address": address}
        self._change(node, state=state, flags=frozenset({"CLOUD", *flags}), reason=reason, **shown)

    def settle(self) -> None:
        """Let SuspendTimeout pass: what was powering down is idle and off (idle_on_node_suspend)."""
        for node, view in list(self._table.items()):
            if "POWERING_DOWN" in view.flags:
                self._change(node, state="IDLE", flags=_OFF)

    def _lose(self, nodes: Iterable[str]) -> None:
        """Requeue the jobs on these nodes, or lose those that forbid it."""
        down = set(nodes)
        for job, mine in self.job_nodes.items():
            if down.isdisjoint(mine):
                continue
            self.job_nodes[job] = ()
            if job in self.no_requeue:
                self._job(job, "NODE_FAIL")
            else:
                self._completing[job] = self.slow_requeue
                self._job(job, "COMPLETING")
        if not self.slow_requeue:
            self._settle_jobs()

    def _settle_jobs(self) -> None:
        for job, left in list(self._completing.items()):
            if left:
                self._completing[job] = left - 1
                continue
            del self._completing[job]
            for node in self.job_nodes[job]:
                if self._table[node].state == "ALLOCATED":
                    self._change(node, state="IDLE")
            self.job_nodes[job] = ()
            self._job(job, "PENDING")
            self.begin[job] = REQUEUE_DELAY

    def _job(self, job: int, state: str) -> None:
        self.job_table[job] = replace(self.job_table[job], state=state)

    def _is_queued(self, job: int) -> bool:
        return job in self.job_table and self.job_table[job].state not in _OVER

    def _refuse_gone(self, job_id: int) -> None:
        if self.job_table and not self._is_queued(job_id):
            raise SlurmError("slurm-refused", f"job {job_id} cannot be changed", "Invalid job id specified")

    def _change(self, node: str, **fields: object) -> None:
        self._table[node] = replace(self._table[node], **fields)  # type: ignore[arg-type]

    def _known(self, nodes: Iterable[str]) -> list[str]:
        return [node for node in nodes if node in self._table]

    def _refuse_unknown(self, nodes: Iterable[str]) -> None:
        unknown = [node for node in nodes if node not in self._table]
        if unknown:
            raise SlurmError("slurm-refused", f"no such node: {','.join(unknown)}", "Invalid node name specified")

    def _count(self, method: str, size: int) -> None:
        if method:
            self.calls[method] += 1
        self.processes += -(-size // SCONTROL_BATCH)
