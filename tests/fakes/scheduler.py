"""A node table that changes state the way Slurm's does; nothing runs behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tests.fakes.faults import Faults

from asbx.config.limits import SCONTROL_BATCH
from asbx.errors import AsbxError, SlurmError
from asbx.model.job import JobFacts
from asbx.model.market import Instance
from asbx.model.node import NodeView

# States as slurm.conf(5) and scontrol(1) name them.
_OFF = frozenset({"CLOUD", "POWERED_DOWN"})
_COMING = frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"})
_UP = frozenset({"CLOUD"})
_GOING = frozenset({"CLOUD", "POWERING_DOWN"})


def _off(name: str) -> NodeView:
    return NodeView(name, "IDLE", _OFF, name, name)


@dataclass
class FakeScheduler:
    """The door `Scheduler`. calls: method -> times; processes: scontrol runs of the real one.

    names: the nodes slurm.conf knows, all powered down at first. power_up, register, power_down, time_out and
    settle are what slurmctld and slurmd do by themselves.
    """

    names: Sequence[str] = ()
    processes: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    job_table: dict[int, JobFacts] = field(default_factory=dict)
    told: dict[int, list[str]] = field(default_factory=dict)
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
        """Set nodes DOWN with the reason, then power them down: two processes."""
        self._count("fail", len(nodes))
        self._count("", len(nodes))
        with self._faults.call("fail"):
            for node in self._known(nodes):
                self._change(node, state="DOWN", flags=_GOING, reason=reason)
            self._refuse_unknown(nodes)

    def tell_job(self, job_id: int, text: str) -> None:
        """Keep what a job was told; unknown jobs are refused."""
        self._count("tell_job", 1)
        with self._faults.call("tell_job"):
            if self.job_table and job_id not in self.job_table:
                raise SlurmError("slurm-refused", f"job {job_id} cannot be changed", "Invalid job id specified")
            self.told.setdefault(job_id, []).append(text)

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

    def jobs(self, job_ids: Sequence[int]) -> tuple[JobFacts, ...]:
        """Return what the queue knows of these jobs."""
        self._count("jobs", 1)
        with self._faults.call("jobs"):
            return tuple(self.job_table[job_id] for job_id in job_ids if job_id in self.job_table)

    # -- the other side

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; after: once Slurm has done it."""
        self._faults.add(method, error, times=times, after=after)

    def node(self, name: str) -> NodeView:
        """Return one row of the node table."""
        return self._table[name]

    def add_job(self, job: JobFacts) -> None:
        """Put a job into the queue."""
        self.job_table[job.job_id] = job

    def power_up(self, nodes: Iterable[str], *, state: str = "ALLOCATED") -> None:
        """Do as slurmctld when it calls ResumeProgram."""
        for node in nodes:
            self._change(node, state=state, flags=_COMING, reason="")

    def register(self, nodes: Iterable[str], *, state: str = "ALLOCATED") -> None:
        """Do as slurmctld when the node's slurmd has reported."""
        for node in nodes:
            self._change(node, state=state, flags=_UP)

    def power_down(self, nodes: Iterable[str]) -> None:
        """Do as slurmctld when it calls SuspendProgram."""
        for node in nodes:
            self._change(node, state="IDLE", flags=_GOING)

    def time_out(self, nodes: Iterable[str]) -> None:
        """Do as slurmctld after ResumeTimeout: DOWN, off, and the old address still there."""
        for node in nodes:
            self._change(node, state="DOWN", flags=_OFF, reason="ResumeTimeout reached")

    def settle(self) -> None:
        """Let SuspendTimeout pass: what was powering down is idle and off (idle_on_node_suspend)."""
        for node, view in list(self._table.items()):
            if "POWERING_DOWN" in view.flags:
                self._change(node, state="IDLE", flags=_OFF)

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
