"""Resume: bring up real instances behind the nodes Slurm named, gang by gang, or tell Slurm and the jobs why not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from asbx.config.limits import FLEET_MAX_NODES, GANGS_AT_ONCE, LAUNCH_SHARE_OF_RESUME_TIMEOUT
from asbx.decide import bind as naming
from asbx.decide.intake import Intake, intake
from asbx.decide.ladder import Done, GiveUp, Wait
from asbx.decide.rungs import choose
from asbx.decide.tags import launch_tags
from asbx.errors import AsbxError, ExitCode, PlanError, SlurmError
from asbx.flow import bind
from asbx.flow.doors import Doors
from asbx.flow.launch import Launch, advance, give_back
from asbx.flow.outcome import Outcome
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang
from asbx.model.hostlist import fold
from asbx.model.job import JobFacts, Request
from asbx.model.names import GroupName
from asbx.model.plan import ExecutionPlan, parse_plan
from asbx.model.record import Intent


@dataclass
class GangRun:
    """A gang and its launches: one for each node group and each thousand nodes."""

    gang: Gang
    launches: list[Launch]
    until: datetime | None = None  # asked to wait
    failure: GiveUp | None = None
    done: bool = False


class Resume:
    """One request, from its nodes to bound instances. Safe to run again from the start at any time."""

    def __init__(self, doors: Doors, request: Request) -> None:
        self._doors = doors
        self._request = request
        self._outcome = Outcome()
        self._sorted: Intake | None = None

    def run(self) -> Outcome:
        """Work until every node is bound or failed."""
        try:
            plan = parse_plan(self._request.plan_text) if self._request.plan_text else None
        except PlanError as error:
            self._fail(self._request.nodes, error.code, f"{error.what}: {error.why}", ExitCode.PLAN)
            return self._outcome
        self._sorted = sorted_out = intake(self._doors.config, self._request, self._facts())
        for node, why in sorted_out.refused:
            self._say(EventKind.NODE_REFUSED, f"{node}: {why}", node=node, level="error")
        if sorted_out.refused:
            by_reason: dict[str, list[str]] = {}
            for node, why in sorted_out.refused:
                by_reason.setdefault(why, []).append(node)
            for why, nodes in by_reason.items():
                self._fail(nodes, "node-refused", why, ExitCode.PARTLY)
        served = self._already_served()
        runs = [run for gang in sorted_out.gangs if (run := self._prepare(gang, served, plan)) is not None]
        self._work_through(runs)
        self._outcome.exit_code = self._exit_code()
        return self._outcome

    # -- before the launch

    def _facts(self) -> dict[int, JobFacts]:
        jobs = [job.job_id for job in self._request.jobs]
        try:
            return {fact.job_id: fact for fact in self._doors.scheduler.jobs(jobs)}
        except SlurmError as error:
            self._say(
                EventKind.REQUEST_ODD,
                f"users and accounts of the jobs are unknown: {error.why}",
                level="warning",
            )
            return {}

    def _already_served(self) -> set[str]:
        """Return nodes that have a live instance already, after telling Slurm its address again."""
        bindings = self._doors.ledger.live_bindings(self._request.nodes)
        if not bindings:
            return set()
        alive = {
            i.instance_id: i
            for i in self._doors.cloud.describe([b.instance_id for b in bindings])
            if i.state.is_alive
        }
        dead = [b for b in bindings if b.instance_id not in alive]
        now = self._doors.clock.now()
        self._doors.ledger.release([b.node for b in dead], now)
        self._doors.ledger.end_instances(
            [b.instance_id for b in dead], "gone when its node was resumed again", now
        )
        rows = [
            (b.node, alive[b.instance_id])
            for b in bindings
            if b.instance_id in alive and alive[b.instance_id].private_ip
        ]
        if rows:
            bind.into_slurm(self._doors, rows)
            bind.name_them(self._doors, naming.one_by_one(rows))
        self._outcome.bound.extend(node for node, _ in rows)
        return {node for node, _ in rows}

    def _prepare(self, gang: Gang, served: set[str], plan: ExecutionPlan | None) -> GangRun | None:
        launches = [
            self._launch(gang, part.group, nodes, plan)
            for part in gang.parts
            for nodes in _chunks([node for node in part.nodes if node not in served])
        ]
        return GangRun(gang, launches) if launches else None

    def _launch(
        self, gang: Gang, name: GroupName, nodes: tuple[str, ...], plan: ExecutionPlan | None
    ) -> Launch:
        group = self._doors.config.group(name)
        assert group is not None, name  # the intake refused nodes without a group
        choice = choose(group, plan, together=gang.whole and len(gang.nodes) > 1)
        for note in choice.notes:
            self._say(EventKind.PLAN_NOTE, note, gang_id=gang.gang_id, level="warning")
        intent = self._intent(gang, name, nodes)
        deadline = (
            self._request.received_at + self._doors.config.resume_deadline * LAUNCH_SHARE_OF_RESUME_TIMEOUT
        )
        attempts = list(self._doors.ledger.attempts(intent.intent_id))
        tags = launch_tags(self._doors.config, group, intent)
        return Launch(intent, choice.rungs, gang.whole, deadline, tags, attempts)

    def _intent(self, gang: Gang, group: GroupName, nodes: tuple[str, ...]) -> Intent:
        """Return the intent of an earlier run of this request, or write a new one."""
        for old in self._doors.ledger.intents(self._request.request_id):
            if old.gang_id == gang.gang_id and old.group == group and set(nodes) <= set(old.nodes):
                return old
        intent = Intent(
            uuid.uuid4().hex,
            self._request.request_id,
            gang.gang_id,
            gang.jobs,
            group,
            nodes,
            gang.user,
            gang.account,
            self._doors.clock.now(),
        )
        self._doors.ledger.add_intent(intent)
        return intent

    # -- the launch

    def _work_through(self, runs: Sequence[GangRun]) -> None:
        """Advance all gangs, bind what is done in one go, wait for the rest, until none is left."""
        open_runs = list(runs)
        while open_runs:
            with ThreadPoolExecutor(min(GANGS_AT_ONCE, len(open_runs))) as pool:
                list(pool.map(self._advance, open_runs))
            self._settle_round([run for run in open_runs if run.done or run.failure])
            open_runs = [run for run in open_runs if not run.done and run.failure is None]
            waits = [run.until for run in open_runs if run.until is not None]
            if waits:
                self._doors.clock.sleep(
                    max(min(waits) - self._doors.clock.now(), type(min(waits) - min(waits))(0))
                )

    def _advance(self, run: GangRun) -> None:
        run.until = None
        for launch in run.launches:
            end = advance(self._doors, launch)
            if isinstance(end, Wait):
                run.until = end.until
                return
            if isinstance(end, GiveUp) and (run.gang.whole or not launch.launched):
                run.failure = end
                if run.gang.whole:
                    return
        run.done = run.failure is None or any(launch.launched for launch in run.launches)
        if not run.gang.whole and run.done:
            run.failure = None

    def _settle_round(self, runs: Sequence[GangRun]) -> None:
        for run in runs:
            if run.failure is not None:
                self._give_up(run, run.failure.code, run.failure.reason)
        self._bind([run for run in runs if run.failure is None])

    def _bind(self, runs: Sequence[GangRun]) -> None:
        ids = [i.instance_id for run in runs for launch in run.launches for i in launch.launched]
        if not ids:
            return
        ready = bind.with_addresses(self._doors, ids)
        pairs: list[naming.Pair] = []
        gang_of: dict[str, str] = {}
        for run in runs:
            rows = self._pairs(run, ready)
            pairs.extend(rows)
            gang_of.update({node: run.gang.gang_id for node, _ in rows})
        if not pairs:
            return
        assert self._sorted is not None
        bind.into_ledger(self._doors, pairs, self._sorted.jobs_of, self._doors.clock.now(), gang_of)
        self._into_slurm(runs, sorted(pairs, key=lambda row: row[0]))

    def _pairs(self, run: GangRun, ready: Mapping[str, object]) -> list[naming.Pair]:
        """Pair a gang's nodes with its instances that came up; what is short is given back and failed."""
        pairs: list[naming.Pair] = []
        lost: list[str] = []
        for launch in run.launches:
            instances = [ready[i.instance_id] for i in launch.launched if i.instance_id in ready]
            lost += [i.instance_id for i in launch.launched if i.instance_id not in ready]
            pairs += naming.pair(launch.intent.nodes, instances)  # type: ignore[arg-type]
        bound = {node for node, _ in pairs}
        short = [node for node in run.gang.nodes if node not in bound and node not in self._outcome.bound]
        if lost:
            give_back(self._doors, lost, "it died or got no address", run.gang.gang_id)
        if short and run.gang.whole:
            self._give_up(run, "short", "not all instances of the gang came up")
            return []
        if short:
            code, reason = self._why_short(run)
            self._fail(short, code, reason, ExitCode.PARTLY)
        return pairs

    def _why_short(self, run: GangRun) -> tuple[str, str]:
        for launch in run.launches:
            for attempt in reversed(launch.attempts):
                if attempt.answer is not None and attempt.answer.refusals:
                    refusal = attempt.answer.refusals[0]
                    return refusal.code, f"{refusal.code}: {refusal.message}"
        return "short", "not all instances came up"

    def _into_slurm(self, runs: Sequence[GangRun], pairs: Sequence[naming.Pair]) -> None:
        """Make the nodes reachable; whoever cannot be is given back, with its whole gang where it has one."""
        try:
            refused = dict(bind.into_slurm(self._doors, pairs))
            bad = [run for run in runs if run.gang.whole and any(node in refused for node in run.gang.nodes)]
            keep = [
                row for row in pairs if row[0] not in refused and not any(row[0] in r.gang.nodes for r in bad)
            ]
            bind.name_them(self._doors, naming.naming(keep)) if keep else None
        except AsbxError as error:
            for run in runs:
                self._unbind(run, error.code, f"{error.what}: {error.why}")
            self._outcome.exit_code = error.exit_code
            return
        for run in bad:
            node = next(node for node in run.gang.nodes if node in refused)
            self._unbind(run, "slurm-refused", f"Slurm did not take {node}: {refused[node]}")
        loose = [node for node in refused if not any(node in run.gang.nodes for run in bad)]
        if loose:
            self._release(
                {node: instance.instance_id for node, instance in pairs if node in loose}, "Slurm refused it"
            )
            self._fail(
                loose, "slurm-refused", "; ".join(sorted({refused[node] for node in loose})), ExitCode.PARTLY
            )
        self._outcome.bound.extend(node for node, _ in keep)
        assert self._sorted is not None
        bind.courtesy(self._doors, naming.courtesy(keep, self._sorted.jobs_of))

    # -- when it does not work out

    def _unbind(self, run: GangRun, code: str, reason: str) -> None:
        nodes = set(run.gang.nodes)
        self._doors.ledger.release(sorted(nodes), self._doors.clock.now())
        self._give_up(run, code, reason)

    def _release(self, pairs: Mapping[str, str], why: str) -> None:
        self._doors.ledger.release(list(pairs), self._doors.clock.now())
        give_back(self._doors, list(pairs.values()), why)

    def _give_up(self, run: GangRun, code: str, reason: str) -> None:
        """Give back what the gang has, fail its nodes so that Slurm requeues the jobs, and tell the jobs why."""
        give_back(
            self._doors,
            [i.instance_id for launch in run.launches for i in launch.launched],
            reason,
            run.gang.gang_id,
        )
        run.failure = GiveUp(code, reason)
        self._fail(run.gang.nodes, code, reason, ExitCode.NO_CAPACITY, run.gang)

    def _fail(
        self, nodes: Sequence[str], code: str, reason: str, exit_code: ExitCode, gang: Gang | None = None
    ) -> None:
        text = f"asbx:{code} {reason}"
        self._outcome.failed.update(dict.fromkeys(nodes, reason))
        self._outcome.codes.append(code)
        self._outcome.exit_code = exit_code
        self._say(
            EventKind.NODE_FAILED,
            f"{fold(nodes)}: {reason}",
            gang_id=gang.gang_id if gang else "",
            level="error",
            code=code,
        )
        waiting = (
            gang.jobs if gang else [j.job_id for j in self._request.jobs if set(nodes) & set(j.nodes_resume)]
        )
        for job in waiting:
            self._try(lambda job=job: self._doors.scheduler.tell_job(job, text))  # type: ignore[misc]
        self._try(lambda: self._doors.scheduler.fail(nodes, text))

    def _try(self, action: object) -> None:
        """Do something with Slurm that must not stop the rest."""
        try:
            action()  # type: ignore[operator]
        except SlurmError as error:
            self._say(EventKind.REQUEST_ODD, f"{error.what}: {error.why}", level="warning")

    def _exit_code(self) -> ExitCode:
        if not self._outcome.failed:
            return ExitCode.DONE
        return ExitCode.PARTLY if self._outcome.bound else self._outcome.exit_code

    def _say(
        self,
        kind: EventKind,
        text: str,
        *,
        gang_id: str = "",
        node: str = "",
        level: str = "info",
        **data: object,
    ) -> None:
        self._doors.say(
            Event(kind, text, self._request.request_id, gang_id, None, node, data=data, level=level)
        )


def _chunks(nodes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(nodes), FLEET_MAX_NODES):
        yield tuple(nodes[start : start + FLEET_MAX_NODES])
