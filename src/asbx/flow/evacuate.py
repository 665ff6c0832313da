"""Nodes whose instances will go: their jobs are signalled and requeued, each whole; then the instance is ended.

What is in hand is kept in memory only. After a restart it is found again by the drain reasons in Slurm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.decide.interrupt import ENDS, Case, Run, Steps, next_steps, stronger
from asbx.errors import AsbxError, SlurmError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.job import Tenant

# Slurm takes StartTime=now+N; sooner would be in the past when it arrives.
_AT_ONCE = timedelta(seconds=1)


@dataclass
class Evacuation:
    """The cases in hand. May be shared between threads; steps are taken by one at a time.

    ending: instances that are being ended here, so that their end is no surprise.
    """

    doors: Doors
    ending: set[str] = field(default_factory=set)
    _cases: dict[str, Case] = field(default_factory=dict)
    _signalled: dict[Run, datetime] = field(default_factory=dict)
    _done: set[Run] = field(default_factory=set)
    _waking: set[int] = field(default_factory=set)  # requeued jobs that are not PENDING yet
    _trouble: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stepping: threading.Lock = field(default_factory=threading.Lock)

    def case(self, node: str) -> Case | None:
        """Return the case of a node."""
        with self._lock:
            return self._cases.get(node)

    def nodes(self) -> frozenset[str]:
        """Return the nodes in hand."""
        with self._lock:
            return frozenset(self._cases)

    def forget(self) -> None:
        """Let everything go: another controller may have gone on with it since."""
        with self._stepping, self._lock:
            for kept in (self._cases, self._signalled, self._done, self._waking):
                kept.clear()

    def keep(self, known: Collection[str], drained: Collection[str]) -> None:
        """Let go the cases of `known` nodes that are not drained any more: somebody wants to go on using them."""
        with self._lock:
            for node in set(known).difference(drained).intersection(self._cases):
                del self._cases[node]

    def open(self, case: Case) -> None:
        """Take a case up; one that asks for more stays in the place of one that asks for less."""
        with self._lock:
            if stronger(case, self._cases.get(case.node)):
                self._cases[case.node] = case

    def close(self, node: str) -> None:
        """Let a case go: its instance is gone."""
        with self._lock:
            self._cases.pop(node, None)

    def wake(self, jobs: Iterable[int]) -> None:
        """Let requeued jobs start at once, as soon as they are PENDING; no site that does not want it."""
        if self.doors.config.interruptions.replace:
            with self._lock:
                self._waking.update(jobs)

    def is_urgent(self) -> bool:
        """Whether something is to be done within seconds."""
        now = self.doors.clock.now()
        with self._lock:
            return bool(self._waking) or any(case.is_urgent(now) for case in self._cases.values())

    def step(self, *, everything: bool = False) -> None:
        """Do what is due of urgent cases, or of all. What a side refuses is said once and tried again."""
        now = self.doors.clock.now()
        with self._stepping:
            with self._lock:
                cases = [case for case in self._cases.values() if everything or case.is_urgent(now)]
            try:
                self._take(cases, now)
                self._trouble = ""
            except AsbxError as error:
                if str(error) != self._trouble:
                    self.doors.say(Event(EventKind.PASS_FAILED, f"interruptions: {error}", level="error"))
                self._trouble = str(error)

    def _take(self, cases: Sequence[Case], now: datetime) -> None:
        cases = self._still_bound(cases)
        if cases:
            tenants = self.doors.scheduler.tenants(sorted(case.node for case in cases))
            policy = self.doors.config.interruptions
            steps = next_steps(cases, tenants, self._signalled, self._done, policy, now)
            self._act(steps, {tenant.job_id: tenant for tenant in tenants}, {c.node: c for c in cases}, now)
        self._wake()
        with self._lock:
            if not self._cases and not self._waking:
                self._signalled.clear()
                self._done.clear()

    def _still_bound(self, cases: Sequence[Case]) -> list[Case]:
        """Let go the cases whose node has another instance by now: its jobs are none of theirs. Raises LedgerError."""
        if not cases:
            return []
        found = self.doors.ledger.live_bindings([case.node for case in cases])
        now_of = {binding.node: binding.instance_id for binding in found}
        kept = [case for case in cases if now_of.get(case.node, case.instance_id) == case.instance_id]
        with self._lock:
            for case in cases:
                if case not in kept and self._cases.get(case.node) == case:
                    del self._cases[case.node]
        return kept

    def _act(self, steps: Steps, tenants: dict[int, Tenant], cases: dict[str, Case], now: datetime) -> None:
        if steps.signal:
            policy = self.doors.config.interruptions
            jobs = [job for job, _ in steps.signal]
            self.doors.scheduler.signal(jobs, policy.signal, policy.signal_target)
            self._signalled.update(dict.fromkeys(steps.signal, now))
            for job in jobs:
                text = f"job {job} got {policy.signal}: an instance of it will go"
                self.doors.say(Event(EventKind.JOB_SIGNALLED, text, job_id=job, data={"signal": policy.signal}))
        for run in steps.requeue:
            self._requeue(run, _why(tenants[run[0]], cases))
        for run in steps.left:
            self._leave(run, _why(tenants[run[0]], cases))
        for case in steps.over:
            self._end(case)

    def _requeue(self, run: Run, case: Case) -> None:
        job = run[0]
        if not self.doors.scheduler.requeue(job):
            self._leave(run, case)
            return
        self._done.add(run)
        self.wake([job])
        said = f"asbx:{case.kind} {case.node} ({case.instance_id}): {ENDS[case.kind]}; the job was requeued"
        self._tell(job, said)
        text = f"job {job} requeued: {case.node} will lose its instance ({ENDS[case.kind]})"
        data: dict[str, object] = {"kind": case.kind.value, "restarts": run[1] + 1}
        self.doors.say(
            Event(EventKind.JOB_REQUEUED, text, job_id=job, node=case.node, instance_id=case.instance_id, data=data)
        )

    def _leave(self, run: Run, case: Case) -> None:
        """Say that a job cannot be moved, to the log and to whoever waits for it at a terminal."""
        job = run[0]
        self._done.add(run)
        until = f" at {case.ends_at:%H:%M:%S} UTC" if case.ends_at else ""
        said = f"{case.node} will lose its instance{until} ({ENDS[case.kind]}), and the job may not be requeued"
        self._tell(job, f"asbx:{case.kind} {said}")
        self.doors.scheduler.notify(job, said)
        self.doors.say(
            Event(
                EventKind.JOB_LEFT,
                f"job {job}: {said}; it runs on",
                job_id=job,
                node=case.node,
                instance_id=case.instance_id,
                level="warning",
            )
        )

    def _tell(self, job: int, text: str) -> None:
        try:
            self.doors.scheduler.tell_job(job, text)
        except SlurmError as error:  # it may have ended meanwhile
            self.doors.say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", job_id=job, level="debug"))

    def _wake(self) -> None:
        """Let requeued jobs start at once: a StartTime set before the job is PENDING is overwritten by its requeue."""
        with self._lock:
            jobs = sorted(self._waking)
        if not jobs:
            return
        known = {fact.job_id: fact.state for fact in self.doors.scheduler.jobs(jobs)}
        for job in jobs:
            state = known.get(job)
            if state == "PENDING":
                self.doors.scheduler.postpone(job, _AT_ONCE)
            if state not in {"COMPLETING", "REQUEUED"}:
                with self._lock:
                    self._waking.discard(job)

    # -- the end of an instance

    def _end(self, case: Case) -> None:
        """End the instance of a node without jobs, close its rows, and power the node down, in this order.

        Slurm's SuspendProgram finds nothing more to do then; where EC2 does not answer it is asked again by that.
        """
        doors = self.doors
        self.ending.add(case.instance_id)
        try:
            ended = doors.cloud.terminate([case.instance_id])
            now = doors.clock.now()
            if ended:
                doors.ledger.end_instances([case.instance_id], ENDS[case.kind], now)
                doors.ledger.release([case.node], now)
                self._say_end(case)
        except AsbxError as error:
            doors.say(Event(EventKind.PASS_FAILED, f"end of {case.instance_id}: {error}", level="warning"))
        doors.scheduler.power_down([case.node])
        self.close(case.node)

    def _say_end(self, case: Case) -> None:
        text = f"{case.node}: {case.instance_id} ended, {ENDS[case.kind]}; no job is left on it"
        self.doors.say(Event(EventKind.INSTANCE_ENDED, text, node=case.node, instance_id=case.instance_id))

    def undrain(self, nodes: Sequence[str]) -> None:
        """Let nodes be used again."""
        self.doors.scheduler.undrain(nodes)
        text = f"{fold(nodes)} may be used again: the instance that had to go is gone"
        self.doors.say(Event(EventKind.NODE_UNDRAINED, text, data={"nodes": fold(nodes)}))


def _why(tenant: Tenant, cases: dict[str, Case]) -> Case:
    """Return the case a job is moved for: of several the one that ends first."""
    mine = [cases[node] for node in tenant.nodes if node in cases]
    far: Callable[[Case], tuple[int, float]] = lambda case: (  # noqa: E731
        -case.response,
        case.ends_at.timestamp() if case.ends_at else float("inf"),
    )
    return min(mine, key=far)
