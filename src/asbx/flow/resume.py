"""Resume: bring up real instances behind the nodes Slurm named, gang by gang, or tell Slurm and the jobs why not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace

from asbx.config.limits import UNSEEN_GRACE
from asbx.decide import bind as naming
from asbx.decide.intake import Intake, intake, refusal
from asbx.errors import AsbxError, ExitCode, LedgerError, SlurmError
from asbx.flow import bind
from asbx.flow.admission import Admission
from asbx.flow.arrivals import Arrival, Arrivals, come_up
from asbx.flow.budget import BudgetGate
from asbx.flow.deciding import Decisions
from asbx.flow.doors import Doors
from asbx.flow.failing import Lost, fail_many
from asbx.flow.gangs import Money, give_back_unused, prepare
from asbx.flow.giving import give_back
from asbx.flow.limiting import Limiter
from asbx.flow.markets import Markets, waits_for_spot
from asbx.flow.memory import Memory
from asbx.flow.outcome import Failure, Outcome
from asbx.flow.plan import Planner
from asbx.flow.plans import JobPlans
from asbx.flow.pricing import set_prices
from asbx.flow.rounds import Rounds
from asbx.flow.run import Climber, GangRun
from asbx.flow.serve import Server
from asbx.flow.steady import Steady
from asbx.model.event import Event, EventKind
from asbx.model.job import JobFacts, Request
from asbx.model.plan import parse_plan
from asbx.model.record import Binding
from asbx.ports import Line


class Resume:
    """One request, from its nodes to bound instances. Safe to run again from the start at any time."""

    def __init__(self, doors: Doors, request: Request) -> None:
        self._doors = replace(doors.about(request_id=request.request_id), clock=Steady(doors.clock))
        self._request = request
        self._outcome = Outcome()
        self._runs: list[GangRun] = []
        self._kept: list[naming.Pair] = []
        self._jobs_of: dict[str, tuple[int, ...]] = {}
        self._unknown: dict[str, str] = {}
        self._admission: Admission | None = None
        self._budget: BudgetGate | None = None

    def run(self) -> Outcome:
        """Work until every node is bound or failed. Raises LedgerError: without the ledger nothing may be launched."""
        try:
            self._serve()
        except LedgerError:
            raise
        except AsbxError as error:
            self.abandon(Failure.of_error(error))
        if self._admission is not None:
            self._admission.settle(self._outcome.bound)
        if self._budget is not None:
            self._budget.settle(self._outcome.bound)
        return self._outcome.settled()

    def abandon(self, failure: Failure) -> None:
        """Give back what was launched for nodes that are neither bound nor failed by now, and fail those nodes."""
        losses = [self._give_up(run, failure) for run in self._runs if run.failure is None and not run.bound]
        settled = {*self._outcome.bound, *self._outcome.failed}
        left = [node for node in self._request.nodes if node not in settled]
        lost = self._lost(left, failure)
        # Those that have an instance from before keep it: Slurm is not told that they are lost.
        held = [node for node in left if node not in lost.nodes]
        if held:
            self._outcome.fail(held, failure)
        self._tell([*losses, lost])

    def tidy(self) -> None:
        """Do what nobody waits for: prices, words to jobs, and tags that please the eye, a call for each of them."""
        set_prices(self._doors, self._request)
        if self._budget is not None:
            self._budget.tell()
        bind.courtesy(self._doors, naming.courtesy(self._kept, self._jobs_of))

    def _serve(self) -> None:
        plan = parse_plan(self._request.plan_text) if self._request.plan_text else None
        if plan is not None and not plan.should_burst:
            why = "the execution plan says should_burst=false; nothing was launched"
            failure = Failure("plan-no-burst", why, ExitCode.PLAN, hopeless=True)
            whole = JobPlans(self._doors, self._request, {}, plan)
            Decisions(self._doors, self._request, {}, whole).keep_refused(failure)
            self._tell([self._lost(self._request.nodes, failure)])
            return
        with self._doors.workers.pool(1, "ask") as beside:  # both only ask Slurm, and each is a process to wait for
            asked = beside.submit(self._facts)
            bindings = self._doors.ledger.live_bindings(self._request.nodes)
            self._unknown = self._parked({binding.node for binding in bindings})
        together = plan is not None and plan.is_gang
        facts = asked.result()
        plans = JobPlans(self._doors, self._request, facts, plan)
        plans.look()
        asks = self._stop(plans)
        limiter = Limiter(self._doors, self._request, facts, plans)
        limiter.keep()
        kinds = Markets(self._doors, self._request).kinds(limiter.kinds(plans.kinds()))
        sorted_out = intake(self._doors.config, asks, facts, self._unknown, together=together, plans=kinds)
        self._jobs_of = sorted_out.jobs_of
        self._refuse(sorted_out)
        served = self._already_served(bindings)
        before = self._doors.ledger.intents(self._request.request_id)
        planner = Planner(self._doors, self._request, plans, facts)
        self._admission = Admission(self._doors, self._request, self._jobs_of)
        gangs, barred = self._admission.admit(sorted_out.gangs, served, before)
        self._tell([self._lost(nodes, failure) for nodes, failure in barred])
        plans.analyze(gangs)
        self._budget = BudgetGate(self._doors, self._request, facts, self._jobs_of)
        self._runs, refused = prepare(
            self._doors, self._request, gangs, served, before, planner, Money(limiter, self._budget)
        )
        Decisions(self._doors, self._request, facts, plans).keep(self._runs, refused)
        self._tell([self._lost(gang.nodes, failure) for gang, failure in refused])
        give_back_unused(self._doors, before, self._runs)
        self._note_wishes()
        self._work_through(planner)

    # -- before the launch

    def _stop(self, plans: JobPlans) -> Request:
        """Give back the nodes of jobs whose plan stops them, and tell those; return what is left of the request."""
        stopped = plans.stopped
        if not stopped:
            return self._request
        going = tuple(job for job in self._request.jobs if job.job_id not in stopped)
        kept = {node for job in going for node in job.nodes_alloc}
        losses = []
        for job in self._request.jobs:
            nodes = [node for node in job.nodes_resume if node not in kept and job.job_id in stopped]
            if job.job_id in stopped:
                losses.append(replace(self._lost(nodes, stopped[job.job_id]), jobs=(job.job_id,)))
        given = {node for one in losses for node in one.nodes}
        self._tell(losses)
        left = tuple(node for node in self._request.nodes if node not in given)
        return replace(self._request, nodes=left, jobs=going)

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
        failures = [(nodes, Failure("node-refused", why, ExitCode.USAGE)) for why, nodes in by_reason.items()]
        self._tell([self._lost(nodes, failure) for nodes, failure in failures])

    def _already_served(self, bindings: Sequence[Binding]) -> frozenset[str]:
        """Return nodes that have an instance already, after telling Slurm its address again.

        An instance counts as gone when EC2 says so, or does not list it long after its launch: a fresh id may be
        unknown to EC2 for a while. One that is merely unseen keeps its node, and the sweep decides. One that cannot be
        told its name never becomes a node, and is given back.
        """
        if not bindings:
            return frozenset()
        now = self._doors.clock.now()
        seen = {i.instance_id: i for i in self._doors.cloud.describe([b.instance_id for b in bindings])}
        young = [b.instance_id for b in bindings if b.instance_id not in seen and now - b.bound_at < UNSEEN_GRACE]
        seen |= come_up(self._doors, young)
        alive = {one: i for one, i in seen.items() if i.state.is_alive and i.private_ip}
        rows = [(b.node, alive[b.instance_id]) for b in bindings if b.instance_id in alive]
        deaf, refused = self._tell_again(rows)
        dead = [b for b in bindings if b.instance_id not in alive and b.instance_id not in young]
        dead += [b for b in bindings if b.instance_id in deaf]
        if dead:
            self._bury(dead)
        unseen = [b.node for b in bindings if b.instance_id in young and b.instance_id not in alive]
        served = [node for node, instance in rows if instance.instance_id not in deaf]
        self._outcome.bound.extend(node for node in served if node not in refused)
        for node, why in refused.items():
            self._outcome.fail([node], Failure("slurm-refused", why, ExitCode.SLURM))
        if unseen:
            self._outcome.fail(unseen, Failure("instance-unseen", "EC2 does not show its instance yet"))
        return frozenset([*served, *unseen])

    def _tell_again(self, rows: Sequence[naming.Pair]) -> tuple[set[str], dict[str, str]]:
        """Tell Slurm the addresses and nodes their names; return (ids that do not hear, nodes Slurm refuses: why)."""
        if not rows:
            return set(), {}
        refused = bind.into_slurm(self._doors, rows)
        nameless = [row for row in rows if naming.name_of(row[1]) != row[0]]
        return set(bind.name_them(self._doors, naming.one_by_one(nameless))), refused

    def _bury(self, dead: Sequence[Binding]) -> None:
        why = "gone when its node was resumed again"
        ids, nodes, now = [b.instance_id for b in dead], [b.node for b in dead], self._doors.clock.now()
        give_back(self._doors, ids, why)
        self._doors.ledger.end_instances(ids, why, now)
        self._doors.ledger.release(nodes, now)
        self._unknown |= bind.park(self._doors, nodes)

    def _note_wishes(self) -> None:
        """Say once what jobs and plan asked for and did not get; of a single job where only that one asked."""
        jobs_of: dict[str, set[int]] = {}
        for run in self._runs:
            for note in (note for one in run.slices for note in one.part.choice.notes):
                jobs_of.setdefault(note, set()).update(run.gang.jobs)
        for note, jobs in jobs_of.items():
            job = min(jobs) if len(jobs) == 1 else None
            self._say(Event(EventKind.PLAN_NOTE, note, job_id=job, level="warning"))

    # -- the launch

    def _work_through(self, planner: Planner) -> None:
        """Take all gangs up their ladders, round by round; bind what is done and fail what is not beside the rounds.

        It ends because every ladder ends at its deadline.
        """
        if not self._runs:
            return
        memory = Memory(self._doors, planner.types)
        climber = Climber(self._doors, memory)
        rounds = Rounds(climber, memory, self._runs, self._doors.workers)
        launched: Line[list[GangRun]] = self._doors.workers.line()
        lost: Line[Lost] = self._doors.workers.line()
        workers = self._doors.workers
        with workers.pool(1, "bind") as binder, workers.pool(1, "tell") as teller:
            beside: list[Future[None]] = [binder.submit(self._bind_all, launched, climber)]
            try:
                # Where launched gangs cannot be bound any more, launching further ones would be in vain.
                while not rounds.is_over and not beside[0].done():
                    until = rounds.next_moment(self._doors.clock.now())
                    if until is not None:
                        self._doors.clock.sleep(until - self._doors.clock.now())
                    done, failed = rounds.play(self._doors.clock.now())
                    if done:
                        launched.put(done)
                    for run in failed:
                        lost.put(self._lost(run.nodes, run.failure, run))
                        beside.append(teller.submit(self._tell_all, lost))
            finally:
                launched.put([])
            for future in beside:
                future.result()

    def _tell_all(self, lost: Line[Lost]) -> None:
        """Tell of all that is lost by now: telling takes processes, and while some are told others come to nothing."""
        losses = []
        while not lost.empty():  # nobody else takes from it
            losses.append(lost.get())
        self._tell(losses)

    def _bind_all(self, launched: Line[list[GangRun]], climber: Climber) -> None:
        """Bind gangs as they come up, until an empty list says that there are no more and all have."""
        arrivals, server = Arrivals(self._doors, self._request), Server(self._doors, self._jobs_of)
        more = True
        with self._doors.workers.pool(1, "write") as writer:
            writing: list[Future[None]] = []
            while more or not arrivals.is_empty:
                while more and (arrivals.is_empty or not launched.empty()):
                    runs = launched.get()
                    more = bool(runs)
                    # Answers are written while EC2 is asked for addresses.
                    writing += [writer.submit(run.write_answers, self._doors) for run in runs]
                    arrivals.add(runs)
                over = arrivals.look()
                if over:
                    for future in writing:
                        future.result()
                    writing.clear()
                    self._bind(server, climber, over)
                elif not arrivals.is_empty:
                    arrivals.rest()

    def _bind(self, server: Server, climber: Climber, over: Sequence[Arrival]) -> None:
        """Make nodes of the instances of these gangs; fail what did not come up or could not be told."""
        runs = [arrival.run for arrival in over if arrival.run is not None]
        served = server.serve(over)
        losses = [self._give_up(run, failure, nodes) for run, failure, nodes in served.lost]
        for run in runs:
            run.bound = run.failure is None
            if run.failure is not None:
                climber.remove_groups(run)
        self._kept.extend(served.pairs)
        self._outcome.bound.extend(node for node, _ in served.pairs)
        jobs = {job for node, _ in served.pairs for job in self._jobs_of.get(node, ())}
        forgotten = self._doors.ledger.setbacks(jobs) if jobs else {}
        if forgotten:
            self._doors.ledger.clear_setbacks(sorted(forgotten))
        if jobs and waits_for_spot(self._doors.config):
            self._doors.ledger.end_spot_waits(jobs)
        self._tell(losses)
        if self._request.by_hand:
            self._power_up([node for node, _ in served.pairs])

    def _power_up(self, nodes: Sequence[str]) -> None:
        """Have Slurm hold the nodes for powered up, as it does by itself when it is the one who asks."""
        try:
            self._doors.scheduler.power_up(nodes)
        except SlurmError as error:
            self._say(Event(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", level="warning"))

    # -- when it does not work out

    def _give_up(self, run: GangRun, failure: Failure, nodes: Sequence[str] | None = None) -> Lost:
        """End what a gang (or some of its nodes) has; return the nodes as lost, so that Slurm requeues the jobs."""
        run.write_answers(self._doors)
        nodes = run.nodes if nodes is None else nodes
        behind = {b.node: b.instance_id for b in self._doors.ledger.live_bindings(nodes)}
        everything = len(nodes) == len(run.nodes)
        ids = [i.instance_id for i in run.launched] if everything else list(behind.values())
        self._doors.ledger.release(list(behind), self._doors.clock.now())
        ours = self._doors.about(**run.names)
        give_back(ours, [one for one in ids if one not in run.gone], failure.reason, run.gang.gang_id)
        run.gone.update(ids)
        if everything:
            run.failure = failure
        return self._lost(nodes, failure, run)

    def _lost(self, nodes: Sequence[str], failure: Failure | None, run: GangRun | None = None) -> Lost:
        """Return nodes as lost, with the jobs that wait for them. One that has an instance all the same is not."""
        assert failure is not None
        held = {binding.node for binding in self._doors.ledger.live_bindings(nodes)} if nodes else set()
        lost = tuple(node for node in nodes if node not in held)
        ours = tuple(n for n in lost if refusal(self._doors.config, n) is None and n not in self._unknown)
        jobs = tuple(sorted({job for node in lost for job in self._jobs_waiting(node)}))
        gang, intent = (run.names["gang_id"], run.names["intent_id"]) if run is not None else ("", "")
        return Lost(lost, ours, jobs, failure, gang, intent)

    def _tell(self, losses: Sequence[Lost]) -> None:
        """Note nodes as not served, tell their jobs, and take those of ours DOWN and off."""
        losses = [one for one in losses if one.nodes or one.jobs]
        for one in losses:
            self._outcome.fail(one.nodes, one.failure)
        if losses:
            fail_many(self._doors, self._request, losses)

    def _jobs_waiting(self, node: str) -> tuple[int, ...]:
        if self._jobs_of:
            return self._jobs_of.get(node, ())
        return tuple(job.job_id for job in self._request.jobs if node in job.nodes_alloc)

    def _say(self, event: Event) -> None:
        self._doors.say(replace(event, request_id=self._request.request_id))
