"""A request's gangs on their way: their launches side by side, each gang whole or each node for itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from asbx.config.limits import FLEET_MAX_NODES, GANGS_AT_ONCE, LAUNCH_SHARE_OF_RESUME_TIMEOUT
from asbx.decide.ladder import GiveUp, Wait
from asbx.decide.rungs import choose
from asbx.decide.tags import launch_tags
from asbx.flow.doors import Doors
from asbx.flow.launch import Launch, advance
from asbx.flow.outcome import Failure
from asbx.model.gang import Gang
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

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that are launched for; those served before are not among them."""
        return tuple(node for launch in self.launches for node in launch.intent.nodes)

    @property
    def launched(self) -> tuple[Launched, ...]:
        """Return the instances that stay."""
        return tuple(instance for launch in self.launches for instance in launch.launched)

    def written(self) -> None:
        """Wait until all answers are in the ledger. Raises LedgerError when they cannot be."""
        for launch in self.launches:
            launch.written()

    def why_short(self) -> Failure:
        """Return the last refusal of EC2."""
        for launch in self.launches:
            for attempt in reversed(launch.attempts):
                if attempt.answer is not None and attempt.answer.refusals:
                    refusal = attempt.answer.refusals[0]
                    return Failure.of_ladder(
                        GiveUp(refusal.code, f"{refusal.code}: {refusal.message}", refusal.verdict)
                    )
        return Failure("short", "not all instances came up")


def prepare(doors: Doors, request: Request, gang: Gang, served: frozenset[str], plan: ExecutionPlan | None) -> GangRun:
    """Make the launches of a gang, with what an earlier run of the same request has already tried."""
    run = GangRun(gang)
    deadline = request.received_at + doors.config.resume_deadline * LAUNCH_SHARE_OF_RESUME_TIMEOUT
    for part in gang.parts:
        group = doors.config.group(part.group)
        assert group is not None, part.group  # the intake refused nodes without a group
        choice = choose(group, plan, together=gang.whole and len(gang.nodes) > 1)
        run.notes.extend(choice.notes)
        for nodes in _chunks([node for node in part.nodes if node not in served]):
            intent = _intent(doors, request, gang, part.group, nodes)
            attempts = list(doors.ledger.attempts(intent.intent_id))
            tags = launch_tags(doors.config, group, intent)
            run.launches.append(Launch(intent, choice.rungs, gang.whole, deadline, tags, attempts))
    return run


def _intent(doors: Doors, request: Request, gang: Gang, group: GroupName, nodes: tuple[str, ...]) -> Intent:
    """Return the intent of an earlier run of this request, or write a new one."""
    for old in doors.ledger.intents(request.request_id):
        if old.gang_id == gang.gang_id and old.group == group and old.nodes == nodes:
            return old
    intent = Intent(
        uuid.uuid4().hex,
        request.request_id,
        gang.gang_id,
        gang.jobs,
        group,
        nodes,
        gang.user,
        gang.account,
        doors.clock.now(),
    )
    doors.ledger.add_intent(intent)
    return intent


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
