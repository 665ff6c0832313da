"""Resume: bring up real instances behind the nodes Slurm named, gang by gang, or tell Slurm and the jobs why not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from asbx.decide import bind as naming
from asbx.decide.intake import Intake, intake, refusal
from asbx.errors import AsbxError, ExitCode, LedgerError, SlurmError
from asbx.flow import bind
from asbx.flow.doors import Doors
from asbx.flow.gangs import GangRun, advance_all, prepare
from asbx.flow.launch import give_back
from asbx.flow.outcome import Failure, Outcome
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang
from asbx.model.hostlist import fold, unique_sorted
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
        self._courtesies: list[naming.TagCall] = []

    def run(self) -> Outcome:
        """Work until every node is bound or failed. Raises LedgerError: without the ledger nothing may be launched."""
        try:
            self._serve()
        except LedgerError:
            raise
        except AsbxError as error:
            settled = {*self._outcome.bound, *self._outcome.failed}
            self._fail([n for n in self._request.nodes if n not in settled], Failure.of_error(error))
        return self._outcome.settled()

    def _serve(self) -> None:
        plan = parse_plan(self._request.plan_text) if self._request.plan_text else None
        if plan is not None and not plan.should_burst:
            why = "the execution plan says should_burst=false; nothing was launched"
            self._fail(self._request.nodes, Failure("plan-no-burst", why, ExitCode.PLAN))
            return
        with ThreadPoolExecutor(1) as beside:  # both only ask Slurm, and each is a process to wait for
            facts = beside.submit(self._facts)
            bindings = self._doors.ledger.live_bindings(self._request.nodes)
            unknown = self._parked({binding.node for binding in bindings})
        sorted_out = intake(
            self._doors.config, self._request, facts.result(), unknown, together=plan is not None and plan.is_gang
        )
        self._refuse(sorted_out)
        served = self._already_served(bindings)
        runs = prepare(self._doors, self._request, sorted_out.gangs, served, plan)
        self._note_plan(runs, plan)
        self._work_through(runs, sorted_out)

    def tidy(self) -> None:
        """Set the tags that only please the eye, one call for each instance; nobody waits for this."""
        bind.courtesy(self._doors, self._courtesies)

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
        """Return nodes that have a live instance already, after telling Slurm its address again."""
        if not bindings:
            return frozenset()
        seen = self._doors.cloud.describe([b.instance_id for b in bindings])
        alive = {i.instance_id: i for i in seen if i.state.is_alive and i.private_ip}
        dead = [b for b in bindings if b.instance_id not in alive]
        now = self._doors.clock.now()
        give_back(self._doors, [b.instance_id for b in dead], "gone or useless when its node was resumed again")
        self._doors.ledger.release([b.node for b in dead], now)
        self._doors.ledger.end_instances([b.instance_id for b in dead], "gone when its node was resumed again", now)
        rows = [(b.node, alive[b.instance_id]) for b in bindings if b.instance_id in alive]
        if rows:
            bind.into_slurm(self._doors, rows)
            bind.name_them(self._doors, naming.one_by_one([r for r in rows if r[1].tags.get("asbx:node") != r[0]]))
        self._outcome.bound.extend(node for node, _ in rows)
        return frozenset(node for node, _ in rows)

    def _note_plan(self, runs: Iterable[GangRun], plan: ExecutionPlan | None) -> None:
        if plan is None:
            return
        for note in dict.fromkeys(note for run in runs for note in run.notes):
            self._say(Event(EventKind.PLAN_NOTE, note, level="warning"))

    # -- the launch

    def _work_through(self, runs: Sequence[GangRun], sorted_out: Intake) -> None:
        """Advance all gangs, bind what is done in one go, wait for the rest, until none is left.

        It ends because every ladder ends at its deadline.
        """
        open_runs = list(runs)
        while open_runs:
            advance_all(self._doors, open_runs)
            for run in open_runs:
                if run.failure is not None:
                    self._give_up(run, run.failure)
            self._bind([run for run in open_runs if run.done], sorted_out)
            open_runs = [run for run in open_runs if not run.done and run.failure is None]
            waits = [run.until for run in open_runs if run.until is not None]
            if waits:
                self._doors.clock.sleep(max(min(waits) - self._doors.clock.now(), timedelta(0)))

    def _bind(self, runs: Sequence[GangRun], sorted_out: Intake) -> None:
        """Make nodes of the instances of these gangs, all in one describe and one `scontrol update`."""
        ids = [i.instance_id for run in runs for i in run.launched]
        if not ids:
            return
        ready = bind.with_addresses(self._doors, ids)
        for run in runs:
            run.written()
        pairs = [row for run in runs for row in self._pairs(run, ready)]
        if not pairs:
            return
        gang_of = {node: run.gang.gang_id for run in runs for node in run.nodes}
        # Both at once: a crash between them is healed by the next run, which pairs the same instances the same way.
        with ThreadPoolExecutor(1) as beside:
            written = beside.submit(bind.into_ledger, self._doors, pairs, sorted_out.jobs_of, gang_of)
            kept = self._into_slurm([run for run in runs if run.failure is None], pairs, written.result)
        self._outcome.bound.extend(node for node, _ in kept)
        self._courtesies.extend(naming.courtesy(kept, sorted_out.jobs_of))

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
        if short:
            self._fail(short, run.why_short(), run.gang)
        return pairs

    def _into_slurm(
        self, runs: Sequence[GangRun], pairs: Sequence[naming.Pair], written: Callable[[], None]
    ) -> list[naming.Pair]:
        """Make the nodes reachable and tell them their names; return the pairs that stay.

        Whoever Slurm does not take is given back, with its whole gang where it has one. written: waits for the ledger,
        without whose word no node is told its name.
        """
        try:
            refused = bind.into_slurm(self._doors, sorted(pairs, key=lambda row: naming.by_number(row[0])))
            bad = {run.gang.gang_id: run for run in runs if run.gang.whole and not refused.keys().isdisjoint(run.nodes)}
            out = {node for run in bad.values() for node in run.nodes} | refused.keys()
            kept = [row for row in pairs if row[0] not in out]
            written()
            bind.name_them(self._doors, naming.naming(kept))
        except LedgerError:
            raise
        except AsbxError as error:
            written()
            for run in runs:
                self._unbind(run, run.nodes, Failure.of_error(error))
            return []
        for run in runs:
            mine = [node for node in run.nodes if node in refused]
            if mine:
                failure = Failure("slurm-refused", f"Slurm did not take {mine[0]}: {refused[mine[0]]}", ExitCode.SLURM)
                self._unbind(run, run.nodes if run.gang.whole else mine, failure)
        return kept

    # -- when it does not work out

    def _unbind(self, run: GangRun, nodes: Sequence[str], failure: Failure) -> None:
        """Take nodes of a gang out of the ledger again and end their instances."""
        behind = {b.node: b.instance_id for b in self._doors.ledger.live_bindings(nodes)}
        self._doors.ledger.release(nodes, self._doors.clock.now())
        give_back(self._doors, list(behind.values()), failure.reason, run.gang.gang_id)
        run.failure = failure
        self._fail(nodes, failure, run.gang)

    def _give_up(self, run: GangRun, failure: Failure) -> None:
        """End what the gang has and fail its nodes, so that Slurm requeues its jobs."""
        run.written()
        give_back(self._doors, [i.instance_id for i in run.launched], failure.reason, run.gang.gang_id)
        run.failure = failure
        self._fail(run.nodes, failure, run.gang)

    def _fail(self, nodes: Sequence[str], failure: Failure, gang: Gang | None = None) -> None:
        """Tell the jobs why, then take the nodes DOWN and off: bare DOWN strands them, bare power_down waits for ever.

        Order as slurm-gcp found it (cluster-toolkit PR 5776).
        """
        if not nodes:
            return
        self._outcome.fail(nodes, failure)
        gang_id = gang.gang_id if gang else ""
        text = f"{fold(unique_sorted(nodes))}: {failure.reason}"
        self._say(Event(EventKind.NODE_FAILED, text, gang_id=gang_id, level="error", data={"code": failure.code}))
        said = f"asbx:{failure.code} {failure.reason}"
        jobs = gang.jobs if gang else [j.job_id for j in self._request.jobs if not set(nodes).isdisjoint(j.nodes_alloc)]
        try:
            for job in jobs:
                self._doors.scheduler.tell_job(job, said)
        except SlurmError as error:
            self._say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", level="warning"))
        try:
            self._doors.scheduler.fail(unique_sorted(nodes), said)
        except SlurmError as error:
            self._say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", level="warning"))

    def _say(self, event: Event) -> None:
        self._doors.say(
            Event(
                event.kind,
                event.text,
                self._request.request_id,
                event.gang_id,
                event.job_id,
                event.node,
                event.instance_id,
                event.data,
                event.level,
            )
        )
