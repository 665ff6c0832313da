"""A pretend slurmctld: schedules jobs, calls the power-saving programs, and notices what registers or goes silent.

States and time-outs follow slurm.conf(5) (SuspendTime, ResumeTimeout, SuspendTimeout, SlurmdTimeout, ReturnToService=2,
idle_on_node_suspend, requeue_delay) and what was seen on 22.05.8 and 26.05.3. The scheduler is first fit by priority;
jobs behind one that does not fit may start, as with backfill, but nothing is reserved for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from asbx.config.schema import Config
from asbx.model.fence import Fence
from asbx.model.job import RequestKind
from asbx.sim.hub import SECOND, Hub
from asbx.sim.jobs import Job, Queue, Spell
from asbx.sim.nodes import Node, Power, Table
from asbx.sim.scenario import Cluster

Program = Callable[[RequestKind, Sequence[str], Sequence[Job]], None]
_TIMED_OUT = "ResumeTimeout reached"
_SILENT = "Not responding"
_READS_WHY_S = 60.0  # a job is told why it is held within the same pass


class Controller:
    """slurmctld and its queue.

    call: runs one of the power-saving programs. is_away: slurmctld is being restarted; nodes and jobs go on meanwhile.
    """

    def __init__(self, hub: Hub, config: Config, cluster: Cluster) -> None:
        self.hub, self._config, self._cluster = hub, config, cluster
        self.table = Table()
        self.jobs: dict[int, Job] = {}
        self.queued: dict[int, Job] = {}
        self.fences: dict[str, Fence] = {}
        self.is_away = False
        self.call: Program = lambda *_: None
        self.requeues = 0
        self.ended: list[Job] = []
        self.power_calls = 0
        self.spells: list[Spell] = []
        self._queues: dict[str, Queue] = {}
        self._to_resume: dict[str, Job | None] = {}
        self._to_suspend: dict[str, None] = {}
        self._failed: dict[str, None] = {}
        self._idle: deque[tuple[int, Node, int]] = deque()
        self._is_due = False
        self.hub.after(cluster.power_save_interval, self._power_save)

    def add_group(self, group: str, names: str, cpus: int) -> None:
        """Add the nodes of a group."""
        self.table.add(group, names, cpus)
        self._queues[group] = Queue()

    # -- jobs

    def submit(self, job: Job) -> None:
        """Take a job into the queue."""
        self.jobs[job.job_id] = self.queued[job.job_id] = job
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self._queues[job.group].add(job)
        self._schedule_soon()

    def _schedule_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.hub.after(self._cluster.schedule_interval, self._schedule)

    def _schedule(self) -> None:
        """Start what fits."""
        self._is_due = False
        if self.is_away:
            self._schedule_soon()
            return
        for group, queue in self._queues.items():
            stuck = 0
            while stuck < len(queue):
                batch = queue.first(self._cluster.schedule_depth)[stuck:]
                if not batch:
                    break
                for job in batch:
                    if not self._try(job, group, queue):
                        stuck += 1

    def _try(self, job: Job, group: str, queue: Queue) -> bool:
        nodes = self._place(job, group)
        if nodes:
            queue.remove(job)
            self._start(job, nodes)
        return bool(nodes)

    def _place(self, job: Job, group: str) -> list[Node]:
        if job.cpus:
            shared = self.table.take_part(group, job.cpus)
            if shared is not None:
                return [shared]
        return self.table.take(group, job.nodes) if self.table.room(group) >= job.nodes else []

    def _start(self, job: Job, nodes: Sequence[Node]) -> None:
        """Give a job its nodes; it runs once all of them are up."""
        job.turn += 1
        job.on = tuple(node.name for node in nodes)
        job.state = "CONFIGURING"
        job.waits = {node.name for node in nodes if node.power is not Power.UP}
        for node in nodes:
            node.jobs.add(job.job_id)
            node.free -= job.cpus or node.cpus
            if node.power is Power.OFF:
                node.power = Power.ASKED
            if node.power is Power.ASKED:
                self._to_resume[node.name] = job
            self.table.file(node)
        if not job.waits:
            self._run(job)

    def _run(self, job: Job) -> None:
        job.state, job.ran, job.run_us = "RUNNING", True, self.hub.now_us
        if job.first_start_us is None:
            job.first_start_us = self.hub.now_us
        turn = job.turn
        self.hub.at(self.hub.now_us + job.runtime_us, lambda: self._finish(job, turn))

    def _finish(self, job: Job, turn: int) -> None:
        if job.turn == turn and job.state == "RUNNING":
            self._leave(job)
            self._end(job, "COMPLETED")

    def _end(self, job: Job, state: str) -> None:
        job.state, job.end_us = state, self.hub.now_us
        self.queued.pop(job.job_id, None)
        self.ended.append(job)

    def _leave(self, job: Job) -> None:
        """Take a job off its nodes."""
        job.turn += 1
        if job.state == "RUNNING":
            self.spells.append(Spell(job, job.on, job.run_us, self.hub.now_us))
        for name in job.on:
            node = self.table.nodes[name]
            node.jobs.discard(job.job_id)
            node.free += job.cpus or node.cpus
            if not node.jobs:
                self._rest(node)
                if node.is_leaving:
                    self.power_down(node)
            self.table.file(node)
        job.on, job.waits = (), set()
        self._schedule_soon()

    def _rest(self, node: Node) -> None:
        """Note that a node has nothing to do; one that nobody has asked for yet stays off."""
        if node.power is Power.ASKED:
            node.power = Power.OFF
            self._to_resume.pop(node.name, None)
        node.idle_us = self.hub.now_us
        node.turn += node.power is Power.UP
        if node.power is Power.UP:
            self._idle.append((self.hub.now_us, node, node.turn))

    def lose_jobs(self, node: Node) -> None:
        """Requeue the jobs of a node that is DOWN, or end those that forbid it."""
        for job in [self.jobs[one] for one in sorted(node.jobs)]:
            self._leave(job)
            if not job.requeue:
                job.told = node.reason
                self._end(job, "NODE_FAIL")
                continue
            self._wait_again(job)

    def requeue(self, job: Job) -> bool:
        """Take a job's nodes away and let it wait again; False where that is not allowed, or it has none."""
        if not job.requeue or job.state not in ("RUNNING", "CONFIGURING"):
            return False
        self._leave(job)
        self._wait_again(job)
        return True

    def cancel(self, job: Job) -> None:
        """Take a running job off its nodes for good."""
        if job.state in ("RUNNING", "CONFIGURING"):
            self._leave(job)
            self._end(job, "CANCELLED")

    def _wait_again(self, job: Job) -> None:
        self.requeues += 1
        job.state, job.restarts = "COMPLETING", job.restarts + 1
        turn = job.turn
        self.hub.after(self._cluster.completing, lambda: self._pend(job, turn))

    def _pend(self, job: Job, turn: int) -> None:
        if job.turn == turn:
            job.state = "PENDING"
            self.put_off(job, self.hub.now_us + round(self._cluster.requeue_delay * SECOND))

    def put_off(self, job: Job, begin_us: int) -> None:
        """Let a job that is PENDING start no sooner."""
        self._queues[job.group].remove(job)
        job.turn += 1
        job.begin_us = begin_us
        turn = job.turn
        self.hub.at(begin_us, lambda: self._eligible(job, turn))

    def _eligible(self, job: Job, turn: int) -> None:
        if job.turn == turn and job.state == "PENDING" and not job.is_held:
            self._enqueue(job)

    def hold(self, job: Job) -> None:
        """Hold a job until its user releases it, or cancels it once told why."""
        self._queues[job.group].remove(job)
        job.is_held = True
        if self._cluster.users == "cancel":
            self.hub.after(_READS_WHY_S, lambda: self._withdraw(job))
        else:
            self.hub.after(self._cluster.users_release_after, lambda: self._release(job))

    def _withdraw(self, job: Job) -> None:
        if job.is_held and not job.is_over:
            self._leave(job)
            self._end(job, "CANCELLED")

    def _release(self, job: Job) -> None:
        if job.is_held:
            job.is_held = False
            if job.state == "PENDING":
                self.put_off(job, max(job.begin_us, self.hub.now_us))

    # -- power saving

    def _power_save(self) -> None:
        """Call the programs for what has come together since the last time."""
        self.hub.after(self._cluster.power_save_interval, self._power_save)
        if self.is_away:
            return
        self._find_idle()
        if self._failed:
            names, self._failed = list(self._failed), {}
            self._program(RequestKind.RESUME_FAIL, names, ())
        if self._to_suspend:
            names, self._to_suspend = list(self._to_suspend), {}
            self._suspend(names)
        if self._to_resume:
            asked, self._to_resume = self._to_resume, {}
            self._resume(asked)

    def _program(self, kind: RequestKind, nodes: Sequence[str], jobs: Sequence[Job]) -> None:
        self.power_calls += 1
        self.call(kind, nodes, jobs)

    def _find_idle(self) -> None:
        limit = self.hub.now_us - self._config.slurm.suspend_time * SECOND
        while self._idle and self._idle[0][0] <= limit:
            _, node, turn = self._idle.popleft()
            if node.turn == turn and not node.jobs and node.power is Power.UP:
                self._to_suspend[node.name] = None

    def _resume(self, asked: dict[str, Job | None]) -> None:
        nodes = [self.table.nodes[name] for name in asked]
        nodes = [node for node in nodes if node.power is Power.ASKED]
        jobs = {job.job_id: job for node in nodes for job in (self.jobs[one] for one in sorted(node.jobs))}
        for node in nodes:
            node.power = Power.RISING
            node.turn += 1
            self.table.file(node)
        if nodes:
            turns = [(node, node.turn) for node in nodes]
            self.hub.after(self._config.slurm.resume_timeout, lambda: self._time_out(turns))
            self._program(RequestKind.RESUME, [node.name for node in nodes], [jobs[one] for one in sorted(jobs)])

    def _time_out(self, turns: Iterable[tuple[Node, int]]) -> None:
        """Give nodes up that have not registered: DOWN and off, their address left as it is."""
        late = [node for node, turn in turns if node.turn == turn and node.power is Power.RISING]
        for node in late:
            node.power, node.is_down, node.reason = Power.OFF, True, _TIMED_OUT
            node.turn += 1
            self.table.file(node)
            self._failed[node.name] = None
        for node in late:
            self.lose_jobs(node)
            self.table.file(node)

    def _suspend(self, names: Sequence[str]) -> None:
        for name in names:
            node = self.table.nodes[name]
            node.power = Power.GOING
            node.turn += 1
            self.table.file(node)
        turns = [(node, node.turn) for node in (self.table.nodes[name] for name in names)]
        self.hub.after(self._config.slurm.suspend_timeout, lambda: self._is_off(turns))
        self._program(RequestKind.SUSPEND, names, ())

    def _is_off(self, turns: Iterable[tuple[Node, int]]) -> None:
        """Let nodes be usable again, idle whatever they were (idle_on_node_suspend), under their own names."""
        for node, turn in turns:
            if node.turn == turn:
                node.power, node.is_down, node.is_silent = Power.OFF, False, False
                node.is_drained = node.is_leaving = False
                node.address = node.hostname = node.name
                node.instance_id = ""
                node.turn += 1
                self.table.file(node)
        self._schedule_soon()

    def power_down(self, node: Node) -> None:
        """Have SuspendProgram called for a node, unless that is under way."""
        if node.power is not Power.GOING:
            node.turn += 1
            self._to_suspend[node.name] = None
            self._to_resume.pop(node.name, None)

    def retire(self, node: Node) -> None:
        """Power a node down as soon as it has no job; it gets none any more."""
        node.is_drained = node.is_leaving = True
        self.table.file(node)
        if not node.jobs:
            self.power_down(node)

    def power_up(self, node: Node) -> None:
        """Have ResumeProgram called for a node, unless it is on."""
        if node.power is Power.OFF:
            node.power = Power.ASKED
            self._to_resume[node.name] = None
            self.table.file(node)

    def down(self, node: Node, reason: str) -> None:
        """Set a node DOWN; its jobs are requeued."""
        node.is_down, node.reason = True, reason
        node.turn += node.power is not Power.GOING  # what goes off is going to be off all the same
        self.table.file(node)
        self.lose_jobs(node)
        self.table.file(node)

    # -- slurmd

    def register(self, name: str, address: str) -> bool:
        """Let slurmd of a node report; False when this name has another address, or is not to be up."""
        node = self.table.nodes.get(name)
        if node is None or node.address != address or self.is_away:
            return False
        came_late = node.is_down and node.reason in (_TIMED_OUT, _SILENT) and name not in self._to_suspend
        if node.power is not Power.RISING and not came_late:
            return False
        node.power, node.is_down, node.is_silent = Power.UP, False, False
        node.turn += 1
        if not node.jobs:
            self._rest(node)
        self.table.file(node)
        for job in [self.jobs[one] for one in sorted(node.jobs)]:
            job.waits.discard(name)
            if not job.waits and job.state == "CONFIGURING":
                self._run(job)
        self._schedule_soon()
        return True

    def lose_contact(self, name: str, address: str) -> None:
        """Notice after SlurmdTimeout that the machine behind a node is gone."""
        node = self.table.nodes.get(name)
        if node is not None and node.address == address and node.power is Power.UP:
            turn = node.turn
            for job in [self.jobs[one] for one in sorted(node.jobs)]:
                job.turn += job.state == "RUNNING"  # its processes are gone: it does not end by itself any more
            self.hub.after(self._cluster.slurmd_timeout, lambda: self._is_silent(node, address, turn))

    def _is_silent(self, node: Node, address: str, turn: int) -> None:
        if self.is_away:
            self.hub.after(self._cluster.power_save_interval, lambda: self._is_silent(node, address, turn))
        elif node.power is Power.UP and not node.is_down and node.name not in self._to_suspend:
            node.is_silent = True
            self.down(node, _SILENT)
            # slurm.conf(5), SuspendTime: nodes that stay idle or down for so long are powered down.
            node.turn += 1
            self._idle.append((self.hub.now_us, node, node.turn))
