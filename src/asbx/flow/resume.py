"""Resume: bring up real instances behind the nodes Slurm named, gang by gang, or tell Slurm and the jobs why not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from asbx.config.limits import UNSEEN_GRACE
from asbx.decide import bind as naming
from asbx.decide.intake import Intake, intake, refusal
from asbx.errors import AsbxError, ExitCode, LedgerError, SlurmError
from asbx.flow import bind
from asbx.flow.doors import Doors
from asbx.flow.failing import fail_nodes
from asbx.flow.gangs import GangRun, advance_all, give_back_unused, prepare
from asbx.flow.launch import give_back
from asbx.flow.outcome import Failure, Outcome
from asbx.flow.pricing import set_prices
from asbx.model.event import Event, EventKind
from asbx.model.job import JobFacts, Request
from asbx.model.market import Instance
from asbx.model.plan import ExecutionPlan, parse_plan
from asbx.model.record import Binding


class Resume:
    """One request, from its nodes to bound instances. Safe to run again from the start at any time."""

    def __init__(self, doors: Doors, request: Request) -> None:
        self._doors = doors
        self._request = request
        self._outcome = Outcome()
        self._runs: list[GangRun] = []
        self._kept: list[naming.Pair] = []
        self._jobs_of: dict[str, tuple[int, ...]] = {}
        self._unknown: dict[str, str] = {}

    def run(self) -> Outcome:
        """Work until every node is bound or failed. Raises LedgerError: without the ledger nothing may be launched."""
        try:
            self._serve()
        except LedgerError:
            raise
        except AsbxError as error:
            self.abandon(Failure.of_error(error))
        return self._outcome.settled()

    def abandon(self, failure: Failure) -> None:
        """Give back what was launched for nodes that are neither bound nor failed by now, and fail those nodes."""
        for run in self._runs:
            if run.failure is None and not run.bound:
                self._give_up(run, failure)
        settled = {*self._outcome.bound, *self._outcome.failed}
        self._fail([node for node in self._request.nodes if node not in settled], failure)

    def tidy(self) -> None:
        """Do what nobody waits for: prices, and the tags that please the eye, one call for each instance."""
        set_prices(self._doors, self._request)
        bind.courtesy(self._doors, naming.courtesy(self._kept, self._jobs_of))

    def _serve(self) -> None:
        plan = parse_plan(self._request.plan_text) if self._request.plan_text else None
        if plan is not None and not plan.should_burst:
            why = "the execution plan says should_burst=false; nothing was launched"
            self._fail(self._request.nodes, Failure("plan-no-burst", why, ExitCode.PLAN))
            return
        with ThreadPoolExecutor(1) as beside:  # both only ask Slurm, and each is a process to wait for
            facts = beside.submit(self._facts)
            bindings = self._doors.ledger.live_bindings(self._request.nodes)
            self._unknown = self._parked({binding.node for binding in bindings})
        together = plan is not None and plan.is_gang
        sorted_out = intake(self._doors.config, self._request, facts.result(), self._unknown, together=together)
        self._jobs_of = sorted_out.jobs_of
        self._refuse(sorted_out)
        served = self._already_served(bindings)
        before = self._doors.ledger.intents(self._request.request_id)
        self._runs = prepare(self._doors, self._request, sorted_out.gangs, served, before, plan)
        give_back_unused(self._doors, before, self._runs)
        self._note_plan(plan)
        self._work_through()

    # -- before the launch

    def _facts(self) -> dict[int, JobFacts]:
        """Ask Slurm who waits."""
        jobs = [job.job_id for job in self._request.jobs]
        if not jobs:
            return {}
        try:
            return {fact.job_id: fact for fact in self._doors.scheduler.jobs(jobs)}
        except SlurmError as error:
            text = f"users and accounts of the jobs are unknown: {error.why}"
            self._say(Event(EventKind.REQUEST_ODD, text, level="warning"))
            return {}

    def _parked(self, bound: Collection[str]) -> dict[str, str]:
        """Park the nodes that could be ours and have no instance; return those Slurm does not know."""
        ours = [n for n in self._request.nodes if n not in bound and refusal(self._doors.config, n) is None]
        return bind.park(self._doors, ours)

    def _refuse(self, sorted_out: Intake) -> None:
        by_reason: dict[str, list[str]] = {}
        for node, why in sorted_out.refused:
            by_reason.setdefault(why, []).append(node)
        for why, nodes in by_reason.items():
            self._fail(nodes, Failure("node-refused", why, ExitCode.USAGE))

    def _already_served(self, bindings: Sequence[Binding]) -> frozenset[str]:
        """Return nodes that have an instance already, after telling Slurm its address again.

        An instance counts as gone when EC2 says so, or does not list it long after its launch: a fresh id may be
        unknown to EC2 for a while. One that is merely unseen keeps its node, and the sweep decides.
        """
        if not bindings:
            return frozenset()
        now = self._doors.clock.now()
        seen = {i.instance_id: i for i in self._doors.cloud.describe([b.instance_id for b in bindings])}
        young = [b.instance_id for b in bindings if b.instance_id not in seen and now - b.bound_at < UNSEEN_GRACE]
        seen |= bind.with_addresses(self._doors, young)
        alive = {one: i for one, i in seen.items() if i.state.is_alive and i.private_ip}
        dead = [b for b in bindings if b.instance_id not in alive and b.instance_id not in young]
        if dead:
            self._bury(dead)
        rows = [(b.node, alive[b.instance_id]) for b in bindings if b.instance_id in alive]
        if rows:
            bind.into_slurm(self._doors, rows)
            bind.name_them(self._doors, naming.one_by_one([r for r in rows if naming.name_of(r[1]) != r[0]]))
        unseen = [b.node for b in bindings if b.instance_id in young and b.instance_id not in alive]
        self._outcome.bound.extend(node for node, _ in rows)
        if unseen:
            self._outcome.fail(unseen, Failure("instance-unseen", "EC2 does not show its instance yet"))
        return frozenset([*(node for node, _ in rows), *unseen])

    def _bury(self, dead: Sequence[Binding]) -> None:
        why = "gone when its node was resumed again"
        ids, nodes, now = [b.instance_id for b in dead], [b.node for b in dead], self._doors.clock.now()
        give_back(self._doors, ids, why)
        self._doors.ledger.end_instances(ids, why, now)
        self._doors.ledger.release(nodes, now)
        self._unknown |= bind.park(self._doors, nodes)

    def _note_plan(self, plan: ExecutionPlan | None) -> None:
        if plan is not None:
            for note in dict.fromkeys(note for run in self._runs for note in run.notes):
                self._say(Event(EventKind.PLAN_NOTE, note, level="warning"))

    # -- the launch

    def _work_through(self) -> None:
        """Advance all gangs, bind what is done in one go, wait for the rest, until none is left.

        It ends because every ladder ends at its deadline.
        """
        open_runs = list(self._runs)
        while open_runs:
            advance_all(self._doors, open_runs)
            for run in open_runs:
                if run.failure is not None:
                    self._give_up(run, run.failure)
            self._bind([run for run in open_runs if run.done])
            open_runs = [run for run in open_runs if not run.done and run.failure is None]
            waits = [run.until for run in open_runs if run.until is not None]
            if waits:
                self._doors.clock.sleep(max(min(waits) - self._doors.clock.now(), timedelta(0)))

    def _bind(self, runs: Sequence[GangRun]) -> None:
        """Make nodes of the instances of these gangs, all in one describe and one `scontrol update`."""
        if not runs:
            return
        with ThreadPoolExecutor(1) as beside:
            answers = beside.submit(self._write_answers, runs)
            ready = bind.with_addresses(self._doors, [i.instance_id for run in runs for i in run.launched])
            answers.result()
        pairs = [row for run in runs for row in self._pairs(run, ready)]
        if not pairs:
            return
        gang_of = {node: run.gang.gang_id for run in runs for node in run.nodes}
        # Both at once: a crash between them is healed by the next run, which pairs the same instances the same way.
        with ThreadPoolExecutor(1) as beside:
            written = beside.submit(bind.into_ledger, self._doors, pairs, self._jobs_of, gang_of)
            kept = self._into_slurm([run for run in runs if run.failure is None], pairs, written.result)
        for run in runs:
            run.bound = run.failure is None
        self._kept.extend(kept)
        self._outcome.bound.extend(node for node, _ in kept)
        if self._request.by_hand:
            self._power_up([node for node, _ in kept])

    def _write_answers(self, runs: Sequence[GangRun]) -> None:
        for run in runs:
            run.write_answers(self._doors)

    def _pairs(self, run: GangRun, ready: Mapping[str, Instance]) -> list[naming.Pair]:
        """Pair a gang's nodes with its instances that came up; what is short is given back and failed."""
        lost = [i.instance_id for i in run.launched if i.instance_id not in ready]
        give_back(self._doors, lost, "it died or got no address", run.gang.gang_id)
        pairs = [row for launch in run.launches for row in launch.pairs(ready)]
        bound = {node for node, _ in pairs}
        short = [node for node in run.nodes if node not in bound]
        if short and run.gang.whole:
            self._give_up(run, Failure("short", "not all instances of the gang came up"))
            return []
        self._fail(short, run.why_short() if short else Failure("", ""))
        return pairs

    def _into_slurm(
        self, runs: Sequence[GangRun], pairs: Sequence[naming.Pair], written: Callable[[], None]
    ) -> list[naming.Pair]:
        """Make the nodes reachable and tell them their names; return the pairs that stay.

        Whoever Slurm does not take, or cannot be told its name, is given back, with its whole gang where it has one.
        written: waits for the ledger, without whose word no node is told its name.
        """
        try:
            ordered = sorted(pairs, key=lambda row: naming.by_number(row[0]))
            lost = {
                n: Failure("slurm-refused", w, ExitCode.SLURM) for n, w in bind.into_slurm(self._doors, ordered).items()
            }
        except SlurmError as error:
            lost = dict.fromkeys([node for node, _ in pairs], Failure.of_error(error))
        written()
        kept = self._without(runs, pairs, lost)
        unnamed = bind.name_them(self._doors, naming.naming(kept))
        lost |= {node: Failure.of_error(unnamed[i.instance_id]) for node, i in kept if i.instance_id in unnamed}
        kept = self._without(runs, kept, lost)
        for run in runs:
            mine = [node for node in run.nodes if node in lost]
            if mine:
                self._give_up(run, lost[mine[0]], run.nodes if run.gang.whole else mine)
        return kept

    @staticmethod
    def _without(runs: Sequence[GangRun], pairs: Sequence[naming.Pair], lost: Collection[str]) -> list[naming.Pair]:
        """Leave out lost nodes, and with one of a whole gang all of it."""
        out = set(lost)
        for run in runs:
            if run.gang.whole and not out.isdisjoint(run.nodes):
                out.update(run.nodes)
        return [row for row in pairs if row[0] not in out]

    def _power_up(self, nodes: Sequence[str]) -> None:
        """Have Slurm hold the nodes for powered up, as it does by itself when it is the one who asks."""
        try:
            self._doors.scheduler.power_up(nodes)
        except SlurmError as error:
            self._say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", level="warning"))

    # -- when it does not work out

    def _give_up(self, run: GangRun, failure: Failure, nodes: Sequence[str] | None = None) -> None:
        """End what a gang (or some of its nodes) has, and fail the nodes, so that Slurm requeues the jobs."""
        run.write_answers(self._doors)
        nodes = run.nodes if nodes is None else nodes
        behind = {b.node: b.instance_id for b in self._doors.ledger.live_bindings(nodes)}
        ids = [i.instance_id for i in run.launched] if len(nodes) == len(run.nodes) else list(behind.values())
        self._doors.ledger.release(list(behind), self._doors.clock.now())
        give_back(self._doors, ids, failure.reason, run.gang.gang_id)
        run.failure = failure
        self._fail(nodes, failure)

    def _fail(self, nodes: Sequence[str], failure: Failure) -> None:
        """Note nodes as not served, tell their jobs, and take those of ours DOWN and off.

        A node that has an instance all the same is never failed: it may run a job.
        """
        held = {binding.node for binding in self._doors.ledger.live_bindings(nodes)} if nodes else set()
        lost = [node for node in nodes if node not in held]
        if not lost:
            return
        self._outcome.fail(lost, failure)
        ours = [n for n in lost if refusal(self._doors.config, n) is None and n not in self._unknown]
        jobs = sorted({job for node in lost for job in self._jobs_waiting(node)})
        fail_nodes(self._doors, self._request, lost, ours, jobs, failure)

    def _jobs_waiting(self, node: str) -> tuple[int, ...]:
        if self._jobs_of:
            return self._jobs_of.get(node, ())
        return tuple(job.job_id for job in self._request.jobs if node in job.nodes_alloc)

    def _say(self, event: Event) -> None:
        self._doors.say(Event(event.kind, event.text, self._request.request_id, level=event.level))
