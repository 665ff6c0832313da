"""A request's gangs on their way: their launches side by side, each gang whole or each node for itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from asbx.config.limits import FLEET_MAX_NODES, GANGS_AT_ONCE, LAUNCH_SHARE_OF_RESUME_TIMEOUT
from asbx.decide.intake import LOOSE
from asbx.decide.ladder import GiveUp, Wait
from asbx.decide.rungs import choose
from asbx.decide.tags import launch_tags
from asbx.flow.doors import Doors
from asbx.flow.launch import Launch, advance, give_back, write_answers
from asbx.flow.outcome import Failure
from asbx.model.gang import Gang, Part
from asbx.model.hostlist import fold
from asbx.model.job import Request
from asbx.model.market import Launched
from asbx.model.names import GroupName
from asbx.model.plan import ExecutionPlan
from asbx.model.record import Intent


@dataclass
class GangRun:
    """A gang and its launches: one for each node group and each thousand nodes. until: asked to wait so long."""

    gang: Gang
    launches: list[Launch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    until: datetime | None = None
    failure: Failure | None = None
    done: bool = False
    bound: bool = False

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that are launched for; those served before are not among them."""
        return tuple(node for launch in self.launches for node in launch.intent.nodes)

    @property
    def launched(self) -> tuple[Launched, ...]:
        """Return the instances that stay."""
        return tuple(instance for launch in self.launches for instance in launch.launched)

    def write_answers(self, doors: Doors) -> None:
        """Put what EC2 answered into the ledger. Raises LedgerError."""
        for launch in self.launches:
            write_answers(doors, launch)

    def why_short(self) -> Failure:
        """Return the last refusal of EC2."""
        for launch in self.launches:
            for attempt in reversed(launch.attempts):
                if attempt.answer is not None and attempt.answer.refusals:
                    refusal = attempt.answer.refusals[0]
                    return Failure.of_ladder(GiveUp(refusal.code, refusal.message, refusal.verdict))
        return Failure("short", "not all instances came up")


def prepare(
    doors: Doors,
    request: Request,
    gangs: Sequence[Gang],
    served: frozenset[str],
    before: Sequence[Intent],
    plan: ExecutionPlan | None,
) -> list[GangRun]:
    """Make the launches of all gangs, with what an earlier run of the same request has already tried (before).

    Loose nodes an earlier run meant to launch stay with its intents: who waits for them may be known differently by
    now (a job may have left the queue), and another grouping would launch them again.
    """
    kept = [old for old in before if old.gang_id.startswith(LOOSE) and served.isdisjoint(old.nodes)]
    done = served | {node for old in kept for node in old.nodes}
    runs = [_resumed(doors, request, old, plan) for old in kept]
    for gang in gangs:
        run = GangRun(gang)
        for part in gang.parts:
            for nodes in _chunks([node for node in part.nodes if node not in done]):
                _add(doors, request, run, part.group, nodes, before, plan)
        runs.append(run)
    return [run for run in runs if run.launches]


def _resumed(doors: Doors, request: Request, old: Intent, plan: ExecutionPlan | None) -> GangRun:
    """Return the run of a loose intent as it was written."""
    gang = Gang(old.gang_id, old.jobs, (Part(old.group, old.nodes),), whole=False, user=old.user, account=old.account)
    run = GangRun(gang)
    _add(doors, request, run, old.group, old.nodes, [old], plan)
    return run


def _add(
    doors: Doors,
    request: Request,
    run: GangRun,
    name: GroupName,
    nodes: tuple[str, ...],
    before: Sequence[Intent],
    plan: ExecutionPlan | None,
) -> None:
    """Add one launch to a run: an intent of before, or a new one, which is written with its first call."""
    group = doors.config.group(name)
    assert group is not None, name  # the intake refused nodes without a group
    gang = run.gang
    choice = choose(group, plan, together=gang.whole and len(gang.nodes) > 1)
    run.notes.extend(choice.notes)
    same = [old for old in before if (old.gang_id, old.group, old.nodes) == (gang.gang_id, name, nodes)]
    if same:
        intent = same[0]
    else:
        intent = Intent(
            _intent_id(request, gang, name, nodes),
            request.request_id,
            gang.gang_id,
            gang.jobs,
            name,
            nodes,
            gang.user,
            gang.account,
            doors.clock.now(),
        )
    attempts = list(doors.ledger.attempts(intent.intent_id)) if same else []
    deadline = request.received_at + doors.config.resume_deadline * LAUNCH_SHARE_OF_RESUME_TIMEOUT
    tags = launch_tags(doors.config, group, intent)
    run.launches.append(Launch(intent, choice.rungs, gang.whole, deadline, tags, attempts, is_new=not same))


def _intent_id(request: Request, gang: Gang, name: GroupName, nodes: Sequence[str]) -> str:
    """Return the id, and so the tokens, any worker would give this launch: two at once launch it once."""
    text = f"{request.request_id}/{gang.gang_id}/{name}/{fold(nodes)}"
    return uuid.uuid5(uuid.NAMESPACE_OID, text).hex


def give_back_unused(doors: Doors, before: Sequence[Intent], runs: Sequence[GangRun]) -> None:
    """End what an earlier run of this request launched and this one has no use for (a node Slurm forgot meanwhile)."""
    used = {launch.intent.intent_id for run in runs for launch in run.launches}
    for old in before:
        if old.intent_id in used:
            continue
        bound = {binding.instance_id for binding in doors.ledger.live_bindings(old.nodes)}
        ids = {row.instance_id for row in doors.ledger.instances(live_only=True, intent_id=old.intent_id)}
        if any(attempt.answered_at is None for attempt in doors.ledger.attempts(old.intent_id)):
            ids |= {instance.instance_id for instance in doors.cloud.launched_for(old.intent_id)}
        give_back(doors, sorted(ids - bound), "its launch was not gone on with after a restart", old.gang_id)


def advance_all(doors: Doors, runs: Sequence[GangRun]) -> None:
    """Take every gang as far as it goes now, a few at a time."""
    if len(runs) == 1:
        _advance(doors, runs[0])
        return
    with ThreadPoolExecutor(min(GANGS_AT_ONCE, len(runs))) as pool:
        for _ in pool.map(lambda run: _advance(doors, run), runs):
            pass


def _advance(doors: Doors, run: GangRun) -> None:
    run.until = None
    failure: Failure | None = None
    for launch in run.launches:
        end = advance(doors, launch)
        if isinstance(end, Wait):
            run.until = end.until
            return
        if isinstance(end, GiveUp):
            failure = Failure.of_ladder(end)
            if run.gang.whole:
                break
    if failure is not None and (run.gang.whole or not run.launched):
        run.failure = failure
    else:
        run.done = True


def _chunks(nodes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(nodes), FLEET_MAX_NODES):
        yield tuple(nodes[start : start + FLEET_MAX_NODES])
