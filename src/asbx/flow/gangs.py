"""A request's gangs as runs: legs of at most a thousand nodes, with what an earlier run of the request has tried."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from asbx.config.limits import FLEET_MAX_NODES, LAUNCH_SHARE_OF_RESUME_TIMEOUT
from asbx.decide.filling import as_data
from asbx.decide.intake import LOOSE
from asbx.decide.ladder import Aim, Leg
from asbx.decide.tags import launch_tags
from asbx.errors import PlanError
from asbx.flow.adopt import adopt
from asbx.flow.budget import Barred, BudgetGate
from asbx.flow.doors import Doors
from asbx.flow.giving import give_back
from asbx.flow.limiting import Limiter
from asbx.flow.outcome import Failure
from asbx.flow.plan import Others, PartPlan, Planner
from asbx.flow.run import GangRun, Slice
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang, Part
from asbx.model.hostlist import fold
from asbx.model.job import Request
from asbx.model.names import GroupName
from asbx.model.record import InstanceRow, Intent, ResourceKind

# Dropped pools named in an event's text; all are in its data and in the intent.
_SHOWN = 3


@dataclass(frozen=True)
class Money:
    """What says how much a launch may cost: limits first, for they choose what it may be, then budgets."""

    limiter: Limiter
    budget: BudgetGate


def prepare(
    doors: Doors,
    request: Request,
    gangs: Sequence[Gang],
    served: frozenset[str],
    before: Sequence[Intent],
    planner: Planner,
    money: Money,
) -> tuple[list[GangRun], list[Barred]]:
    """Make the runs of all gangs, in their order, with what an earlier run of the same request has tried (before).

    Returns (runs, what plan, policy or budget refuse of gangs, with the reason). What was begun before goes on.

    Loose nodes an earlier run meant to launch stay with its intents: who waits for them may be known differently by
    now (a job may have left the queue), and another grouping would launch them again.
    """
    kept = [old for old in before if old.gang_id.startswith(LOOSE) and served.isdisjoint(old.nodes)]
    done = served | {node for old in kept for node in old.nodes}
    wanted: list[tuple[Gang, Others | None, Sequence[Intent]]] = [(_loose(old), None, [old]) for old in kept]
    planner.keep([gang for gang, _, _ in wanted])
    places = _Places(doors)
    for gang in gangs:
        parts = [Part(part.group, tuple(n for n in part.nodes if n not in done)) for part in gang.parts]
        left = replace(gang, parts=tuple(part for part in parts if part.nodes))
        if left.parts:
            up = (*gang.others, *sorted(set(gang.nodes) & served))
            others = places.of(up) if gang.whole else None
            wanted += [(one, others, before) for one in planner.divided(replace(left, others=up))]
    runs: list[GangRun] = []
    refused: list[Barred] = []
    begun = {old.gang_id for old in before if not old.gang_id.startswith(LOOSE)}
    for number, (gang, others, old) in enumerate(wanted):
        try:
            limited = money.limiter.cap(gang, planner.parts(gang, gang.parts, others))
            if number >= len(kept) and gang.gang_id not in begun:
                gang, barred = money.budget.admit(gang, limited.parts)  # noqa: PLW2901  what is left of it
                refused += barred
                if barred and gang.parts:
                    limited = money.limiter.cap(gang, planner.parts(gang, gang.parts, others))
        except PlanError as error:
            refused.append((gang, Failure.of_error(error)))
        else:
            if gang.parts:
                run = _run(doors, request, gang, limited.parts, old)
                run.at_once = limited.at_once
                runs.append(run)
    return runs, refused


def _loose(old: Intent) -> Gang:
    """Return the gang of a loose intent as it was written."""
    return Gang(old.gang_id, old.jobs, (Part(old.group, old.nodes),), False, old.user, old.account)


class _Places:
    """Where the nodes of a job are that are up already."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._row_of: dict[str, InstanceRow] | None = None

    def of(self, nodes: Sequence[str]) -> Others | None:
        """Return the one place that all of these are in; None for none, or for several: then no gang is together."""
        if not nodes:
            return None
        if self._row_of is None:
            rows = {row.instance_id: row for row in self._doors.ledger.instances(live_only=True)}
            bound = self._doors.ledger.live_bindings()
            self._row_of = {b.node: rows[b.instance_id] for b in bound if b.instance_id in rows}
        rows_there = [self._row_of[node] for node in nodes if node in self._row_of]
        subnets = {row.subnet_id for row in rows_there}
        groups = {group for intent in {row.intent_id for row in rows_there} for group in self._groups(intent)}
        if len(subnets) != 1:
            return None
        return Others(subnets.pop(), groups.pop() if len(groups) == 1 else "")

    def _groups(self, intent_id: str) -> set[str]:
        """Return the placement groups an intent's instances were launched into."""
        kept = [a for a in self._doors.ledger.attempts(intent_id) if a.answer is not None and a.answer.launched]
        return {kept[-1].order.placement_group} if kept else {""}


def _run(doors: Doors, request: Request, gang: Gang, plans: Sequence[PartPlan], before: Sequence[Intent]) -> GangRun:
    """Make one run. The largest part leads, because it is the hardest to find room for; critical nodes follow."""
    plans = sorted(plans, key=lambda plan: (plan.critical, -len(plan.part.nodes)))
    want = plans[0].want
    slices = [one for plan in plans for one in _slices(doors, request, gang, plan, before)]
    several = len(slices) > 1  # then no single call can be the generous one
    slices = [
        replace(one, leg=replace(one.leg, index=index, extra=0 if several else one.leg.extra))
        for index, one in enumerate(slices)
    ]
    aim = Aim(tuple(one.leg for one in slices), want.whole, want.together, want.one_type)
    deadline = request.received_at + doors.config.resume_deadline * LAUNCH_SHARE_OF_RESUME_TIMEOUT
    run = GangRun(gang, aim, slices, deadline)
    _recall(doors, run, before)
    _explain(doors, run, plans)
    return run


def _slices(doors: Doors, request: Request, gang: Gang, plan: PartPlan, before: Sequence[Intent]) -> Iterator[Slice]:
    name, nodes = plan.part.group, plan.part.nodes
    same = [old for old in before if (old.gang_id, old.group, old.nodes) == (gang.gang_id, name, nodes)]
    intent = same[0] if same else _intent(doors, request, gang, plan)
    tags = launch_tags(doors.config, plan.group, intent, plan.judged.tags)
    # Halves rather than a full call and a rest: what is launched before the last call fails is given back.
    size = -(-len(nodes) // -(-len(nodes) // FLEET_MAX_NODES))
    for start in range(0, len(nodes), size):
        some = nodes[start : start + size]
        extra = min(plan.want.extra, FLEET_MAX_NODES - len(some))
        yield Slice(Leg(0, plan.choice.rungs, len(some), extra, str(name), plan.critical), some, intent, plan, tags)


def _intent(doors: Doors, request: Request, gang: Gang, plan: PartPlan) -> Intent:
    name, nodes = plan.part.group, plan.part.nodes
    return Intent(
        _intent_id(request, gang, name, nodes),
        request.request_id,
        gang.gang_id,
        gang.jobs,
        name,
        nodes,
        gang.user,
        gang.account,
        doors.clock.now(),
        plan.choice.considered,
    )


def _intent_id(request: Request, gang: Gang, name: GroupName, nodes: Sequence[str]) -> str:
    """Return the id, and so the tokens, any worker would give this launch: two at once launch it once."""
    text = f"{request.request_id}/{gang.gang_id}/{name}/{fold(nodes)}"
    return uuid.uuid5(uuid.NAMESPACE_OID, text).hex


def _recall(doors: Doors, run: GangRun, before: Sequence[Intent]) -> None:
    """Fill in what an earlier run of the same request has tried, and what of it has ended since."""
    known = {old.intent_id for old in before}
    mine = {one.intent.intent_id for one in run.slices} & known
    run.written = set(mine)
    attempts = [attempt for intent_id in mine for attempt in doors.ledger.attempts(intent_id)]
    run.attempts = sorted(attempts, key=lambda attempt: (attempt.number, attempt.asked_at))
    if attempts:
        # Only what is ours: the site's groups and those of reservations may be called anything.
        made = {row.name for row in doors.ledger.resources(ResourceKind.PLACEMENT_GROUP)}
        run.groups = made & {attempt.order.placement_group for attempt in attempts}
    rows = [row for intent_id in mine for row in doors.ledger.instances(intent_id=intent_id)]
    run.gone = {row.instance_id for row in rows if row.ended_at is not None}


def _explain(doors: Doors, run: GangRun, plans: Sequence[PartPlan]) -> None:
    """Say what was considered, one event for a gang."""
    considered = [line for plan in plans for line in plan.choice.considered]
    dropped = list(dict.fromkeys(str(one) for plan in plans for one in plan.choice.dropped))
    rungs = [str(rung) for plan in plans for rung in plan.choice.rungs]
    more = f" and {len(dropped) - _SHOWN} more" if len(dropped) > _SHOWN else ""
    left = f" (not asked: {'; '.join(dropped[:_SHOWN])}{more})" if dropped else ""
    text = f"to try: {'; then '.join(rungs) or 'nothing'}{left}"
    found = plans[0].found
    if found.plan is not None or found.why:
        text += f"; {found.why or found.origin.where}"
    data: dict[str, object] = {
        "considered": considered,
        "size": sum(len(plan.part.nodes) for plan in plans),
        "plan": {
            "origin": found.origin.where,
            "dialect": found.plan.dialect if found.plan else None,
            "why": found.why or None,
            "reasons": list(found.plan.reasons) if found.plan else [],
            "unknown": list(found.plan.unknown) if found.plan else [],
        },
        "filled": {str(plan.part.group): as_data(plan.filled) for plan in plans},
        "rules": list(dict.fromkeys(rule for plan in plans for rule in plan.judged.rules)),
    }
    level = "info" if rungs else "warning"
    doors.say(Event(EventKind.LADDER_PLANNED, text, data=data, level=level, **run.names))


def give_back_unused(doors: Doors, before: Sequence[Intent], runs: Sequence[GangRun]) -> None:
    """End what an earlier run of this request launched and this one has no use for (a node Slurm forgot meanwhile)."""
    used = {one.intent.intent_id for run in runs for one in run.slices}
    for old in before:
        if old.intent_id in used:
            continue
        bound = {binding.instance_id for binding in doors.ledger.live_bindings(old.nodes)}
        ids = {row.instance_id for row in doors.ledger.instances(live_only=True, intent_id=old.intent_id)}
        if any(attempt.answered_at is None for attempt in doors.ledger.attempts(old.intent_id)):
            found = doors.cloud.launched_for(old.intent_id)
            adopt(doors, found)  # their cost is counted from here on
            ids |= {instance.instance_id for instance in found}
        ours = doors.about(gang_id=old.gang_id, intent_id=old.intent_id, jobs=old.jobs)
        give_back(ours, sorted(ids - bound), "its launch was not gone on with after a restart", old.gang_id)
