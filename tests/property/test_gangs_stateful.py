"""Gangs in a world where everything that can go wrong does: the promises 1 to 6 hold at every step and afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.fakes.fragile import BrokenPromiseError, CrashError, Happening, Life, error_for, fragile
from tests.fakes.serial import AtOnce, Later, Serial
from tests.property.gang_watch import Watch, is_up
from tests.property.gang_world import CPU, EVERY_POOL, FAULTS, GPU, JOBS, SCRIPTS, Fault, Job, Setup, setups

from asbx.config.limits import REST
from asbx.daemon.engine import Engine
from asbx.decide.bind import name_of
from asbx.errors import AsbxError
from asbx.flow.reconcile import Sweep
from asbx.model.job import JobAsk, JobFacts, Request, RequestKind
from asbx.model.market import Instance, InstanceState, Market

_RECLAIM = "Server.SpotInstanceTermination"
_TURNS = 30  # a request that is open after so many tries, with nothing going wrong any more, never ends


class Gangs(RuleBasedStateMachine):
    """A site, its jobs, and one program of ours after the other."""

    @initialize(setup=setups(), flows=st.sampled_from([AtOnce, Later]), jobs=st.lists(JOBS, max_size=4))
    def begin(self, setup: Setup, flows: type[Later], jobs: list[Job]) -> None:
        """Open a site in which somebody else's instance runs, with our tags but not of our ledger."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("asbx.flow.gangs.FLEET_MAX_NODES", setup.largest_call)
        self.site = setup.site()
        self.site.workers = Serial(flows)
        self.watch = Watch(self.site, self.happen)
        self.strangers = self._stranger()
        self.number = 0
        self.broken = False
        self.start()
        self.ask_calmly(jobs)

    def _stranger(self) -> set[str]:
        """Run an instance another controller of the same name has launched."""
        cloud = self.site.cloud
        tags = {"asbx:cluster": "lab", "asbx:intent": "another", "asbx:node": "aws-cpu-00"}
        kind = Instance(
            "i-stranger", "c7i.large", "us-east-2a", "subnet-a", InstanceState.PENDING, Market.ON_DEMAND, "10.9.9.9",
            "ip-10-9-9-9.ec2.internal", "r-9", 0, self.site.clock.now(), tags,
        )  # fmt: skip
        cloud.add(kind)
        return {"i-stranger"}

    def start(self) -> None:
        """Start a program, over whatever the one before it has left."""
        self.watch.fresh.clear()
        self.life = Life(self.watch)
        self.engine = Engine(fragile(self.site.doors, self.life))
        self.sweep: Sweep = self.engine.sweep

    @contextmanager
    def step(self) -> Iterator[None]:
        """Note that a step has failed: then the end of the story tells nothing."""
        self.broken = True
        yield
        self.broken = False

    # -- Slurm

    @rule(
        jobs=st.lists(JOBS, min_size=1, max_size=4), named=st.sampled_from((True, True, True, False)), script=SCRIPTS,
        faults=FAULTS, now=st.sampled_from((True, True, True, False)),
    )  # fmt: skip
    def ask(self, jobs: list[Job], named: bool, script: list[Happening], faults: list[Fault], now: bool) -> None:
        """Slurm starts jobs on nodes that are off, and some that are up."""
        with self.step():
            self._ask(jobs, named=named)
            if now:
                self._work(script, faults)

    @rule(jobs=st.lists(JOBS, min_size=1, max_size=3))
    def ask_calmly(self, jobs: list[Job]) -> None:
        """Slurm starts jobs, nothing goes wrong, and what has come up reports."""
        with self.step():
            self._ask(jobs)
            self._work([])
            self._register(len(CPU) + len(GPU))

    def _ask(self, jobs: Sequence[Job], *, named: bool = True) -> None:
        asks = self._place(jobs)
        nodes = tuple(sorted({node for ask in asks for node in ask.nodes_resume}))
        if nodes:
            self.site.scheduler.power_up(nodes)
            self._request(RequestKind.RESUME, nodes, asks if named else ())

    def _place(self, jobs: Sequence[Job]) -> list[JobAsk]:
        views = {view.name: view for view in self.site.scheduler.nodes()}
        busy = {node for request in self.site.ledger.open_requests() for node in request.nodes}
        off = [n for n in (*CPU, *GPU) if "POWERED_DOWN" in views[n].flags and n not in busy]
        up = [n for n in (*CPU, *GPU) if is_up(views[n]) and n not in busy]
        asks: list[JobAsk] = []
        for job in jobs:
            cpu, gpu = [n for n in off if n in CPU][: job.cpu], [n for n in off if n in GPU][: job.gpu]
            fresh = [*cpu, *gpu]
            off = [n for n in off if n not in fresh]
            if job.shared and asks:
                fresh = [*fresh, asks[-1].nodes_resume[-1]]
            if not fresh:
                continue
            mine, up = up[: job.up], up[job.up :]
            self.number += 1
            waiting = [one for one, fact in self.site.scheduler.job_table.items() if fact.state == "PENDING"]
            number = waiting[0] if job.again and waiting else self.number
            leader = asks[-1].job_id if job.hetjob and asks else 0
            facts = JobFacts(number, "ada", "physics", priority=job.priority, leader=leader)
            if leader and not self.site.scheduler.job_table[leader].leader:
                first = replace(self.site.scheduler.job_table[leader], leader=leader)
                self.site.scheduler.job_table[leader] = first
            elif leader:
                facts = replace(facts, leader=self.site.scheduler.job_table[leader].leader)
            extra = f"asbx:extra-nodes={job.extra}" if job.extra else None
            ask = JobAsk(number, (*mine, *fresh), tuple(fresh), None, job.asked, extra, priority=job.priority)
            self.site.scheduler.add_job(facts, ask.nodes_alloc)
            self.watch.jobs[number] = ask
            asks.append(ask)
        return asks

    @rule(script=SCRIPTS)
    def ask_again(self, script: list[Happening]) -> None:
        """Slurm asks a second time for nodes that are still coming up."""
        with self.step():
            old = [r for r in self.site.ledger._requests.values() if r.kind is RequestKind.RESUME]
            coming = {v.name for v in self.site.scheduler.nodes() if "POWERING_UP" in v.flags}
            for request in old[-1:]:
                nodes = tuple(node for node in request.nodes if node in coming)
                if nodes:
                    jobs = tuple(
                        replace(ask, nodes_resume=tuple(n for n in ask.nodes_resume if n in nodes))
                        for ask in request.jobs
                    )
                    self._request(RequestKind.RESUME, nodes, jobs)
            self._work(script)

    @rule(count=st.integers(1, 60))
    def register(self, count: int) -> None:
        """Let the slurmd of nodes report."""
        with self.step():
            self._register(count)

    def _register(self, count: int) -> None:
        alive = self.watch.alive()
        for node, one in list(self.watch.bound().items())[:count]:
            view = self.site.scheduler.node(node)
            runs = one in alive and alive[one].state is InstanceState.RUNNING and name_of(alive[one]) == node
            if runs and "POWERING_UP" in view.flags:
                self.site.scheduler.register([node])

    @rule(first=st.integers(0, 10), count=st.integers(1, 40), script=SCRIPTS, faults=FAULTS)
    def suspend(self, first: int, count: int, script: list[Happening], faults: list[Fault]) -> None:
        """Slurm powers nodes down that are up."""
        with self.step():
            nodes = [view.name for view in self.site.scheduler.nodes() if is_up(view)][first : first + count]
            if nodes:
                self.site.scheduler.power_down(nodes)
                self._request(RequestKind.SUSPEND, tuple(nodes))
            self._work(script, faults)

    @rule(script=SCRIPTS, settled=st.booleans())
    def go_on(self, script: list[Happening], settled: bool) -> None:
        """Slurm calls its programs for nodes that go down or did not come."""
        with self.step():
            self._go_on(settled=settled)
            self._work(script)

    def _go_on(self, *, settled: bool) -> None:
        """Do as slurmctld: SuspendProgram for what powers down, ResumeFailProgram for what has not registered."""
        scheduler, now = self.site.scheduler, self.site.clock.now()
        going = [view.name for view in scheduler.nodes() if "POWERING_DOWN" in view.flags]
        if going:
            self._request(RequestKind.SUSPEND, tuple(going))
        if settled:
            scheduler.settle()
        since = {n: r.received_at for r in self.site.ledger._requests.values() for n in r.nodes}
        late = [
            view.name
            for view in scheduler.nodes()
            if "POWERING_UP" in view.flags and now - since[view.name] >= self.site.config.resume_deadline
        ]
        if late:
            scheduler.time_out(late)
            self._request(RequestKind.RESUME_FAIL, tuple(late))

    def _request(self, kind: RequestKind, nodes: tuple[str, ...], jobs: tuple[JobAsk, ...] | list[JobAsk] = ()) -> None:
        number = len(self.site.ledger._requests) + 1
        request = Request(f"q-{number:04d}", kind, tuple(sorted(nodes)), self.site.clock.now(), tuple(jobs))
        assert self.site.ledger.add_request(request)

    # -- our program

    @rule(script=SCRIPTS, faults=FAULTS)
    def work(self, script: list[Happening], faults: list[Fault]) -> None:
        """Work on what is open."""
        with self.step():
            self._work(script, faults)

    @rule(script=SCRIPTS)
    def restart(self, script: list[Happening]) -> None:
        """Kill the program and start it again."""
        with self.step():
            self.start()
            self._work(script)

    @rule(script=SCRIPTS, passes=st.integers(1, 4))
    def look(self, script: list[Happening], passes: int) -> None:
        """Let the sweep make passes, a minute apart."""
        with self.step():
            self.life.play(script)
            for _ in range(passes):
                self._reconcile()
                self.site.clock.advance(seconds=65)
            self.life.play([])

    def _work(self, script: Sequence[Happening], faults: Sequence[Fault] = ()) -> None:
        """Start what may start and work on it; a program that dies or stops is followed by another."""
        if script or faults:
            self.watch.rough |= {request.request_id for request in self.site.ledger.open_requests()}
        for fault in faults:
            error = error_for(fault.at[0], fault.which)
            assert error is not None
            door: Any = getattr(self.site, fault.at[0])
            door.fail_next(fault.at[1], error, times=fault.times, after=fault.after)
        self.life.play(script)
        try:
            with suppress(AsbxError):  # as in the daemon's loop: the next turn tries again
                self.engine.dispatch()
            while self._one():
                pass
        except CrashError:
            self.start()
        except BrokenPromiseError as broken:
            raise AssertionError(*broken.args) from broken.__cause__
        for door in (self.site.cloud, self.site.scheduler, self.site.ledger):
            door._faults._waiting.clear()
        if self.life.is_over or self.life.is_stopping:
            self.start()
        self.life.play([])

    def _one(self) -> bool:
        """Work on one request that was started and not begun; return whether there was one."""
        for request, task in list(self.engine._running.values()):
            if not task.done():
                self.watch.actors.append(request)
                try:
                    task.result()
                finally:
                    self.watch.actors.pop()
                return True
        return False

    def _reconcile(self) -> None:
        self.watch.actors.append(None)
        try:
            self.engine.reconcile()
        except CrashError:
            self.start()
        except BrokenPromiseError as broken:
            raise AssertionError(*broken.args) from broken.__cause__
        finally:
            self.watch.actors.pop()

    # -- the world

    def happen(self, happening: Happening) -> None:
        """Let something happen in the middle of a call."""
        match happening.what:
            case "kill":
                self._kill(happening.which)
            case "reclaim":
                self._kill(happening.which, _RECLAIM)
            case "room":
                self._change_room(happening.which, happening.which % 7)
            case "wait":
                self.watch.slack += timedelta(seconds=happening.which)
                self.site.clock.advance(seconds=happening.which)
            case "sweep":
                self._nested_sweep()
            case "other":
                with self._no_script():
                    self._one()

    def _nested_sweep(self) -> None:
        """Let the sweep make a pass while a request is at a call."""
        with self._no_script():
            self._reconcile()

    @contextmanager
    def _no_script(self) -> Iterator[None]:
        script, self.life.script = self.life.script, []
        yield
        self.life.script = script

    @rule(which=st.integers(0, 40), reclaimed=st.booleans())
    def kill(self, which: int, reclaimed: bool) -> None:
        """Let an instance die by itself."""
        self._kill(which, _RECLAIM if reclaimed else "Server.InternalError")

    def _kill(self, which: int, reason: str = "Server.InternalError") -> None:
        alive = [one for one in self.watch.ours() if one.instance_id in self.watch.alive()]
        if alive:
            one = alive[which % len(alive)].instance_id
            self.watch.killed.add(one)
            self.site.cloud.kill(one, reason)

    @rule(which=st.integers(0, 40), count=st.integers(0, 40))
    def change_room(self, which: int, count: int) -> None:
        """Make a pool fuller or emptier."""
        self._change_room(which, count)

    def _change_room(self, which: int, count: int) -> None:
        self.site.cloud.capacity[EVERY_POOL[which % len(EVERY_POOL)]] = count

    @rule(seconds=st.sampled_from((1, 5, 30, 61, 125, 310, 700, 3600, 90_000)))
    def pass_time(self, seconds: int) -> None:
        """Let time pass, in which nodes boot."""
        self.site.clock.advance(seconds=seconds)
        self._register(len(CPU) + len(GPU) if seconds > 60 else 0)

    # -- the end

    def teardown(self) -> None:
        """Let everything come to rest, and look."""
        if not hasattr(self, "patch"):
            return
        try:
            if not self.broken:
                self._rest()
                self.watch.quiet()
                self._leave()
                self.watch.quiet()
                assert not self.watch.bound()
                assert self.strangers == set(self.watch.alive()), "the stranger is still there, and nothing of ours"
        finally:
            self.patch.undo()

    def _rest(self) -> None:
        """Work off all requests, as often as Slurm comes back, and sweep past the graces."""
        self.start()
        self._work_off()
        for _ in range(4):
            self._register(len(CPU) + len(GPU))
            self._go_on(settled=True)
            self._work_off()
            self.site.clock.advance(minutes=3)
            self._reconcile()
            self._lose_contact()
            self.site.clock.advance(minutes=3)
            self._reconcile()
        self.site.clock.advance(minutes=3)
        self._reconcile()

    def _work_off(self) -> None:
        for _ in range(_TURNS):
            if not self.site.ledger.open_requests():
                return
            self._work([])
            self.site.clock.advance(seconds=REST.total_seconds())
        open_ones = [request.request_id for request in self.site.ledger.open_requests()]
        raise AssertionError(f"{open_ones} do not end")

    def _lose_contact(self) -> None:
        """Do as slurmctld where a node's instance is gone: DOWN, and powered down."""
        bound, alive = self.watch.bound(), self.watch.alive()
        lost = [view.name for view in self.site.scheduler.nodes() if is_up(view) and bound.get(view.name) not in alive]
        self.site.scheduler.power_down(lost)

    def _leave(self) -> None:
        """Suspend every node."""
        up = [view.name for view in self.site.scheduler.nodes() if is_up(view)]
        self.site.scheduler.power_down(up)
        self._rest()


TestGangs = Gangs.TestCase
TestGangs.settings = settings(max_examples=max(300, settings().max_examples))
