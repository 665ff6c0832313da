"""One gang on its way: its legs, what was tried so far, and one step of its ladder at a time.

The intent and each call are in the ledger before EC2 hears of them, the answer before anything is done with it, so that
a crash between any two lines is picked up by stepping again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from asbx.config.limits import RETRY_MOST
from asbx.decide.bind import Pair, pair
from asbx.decide.ladder import (
    Aim,
    Ask,
    AskAgain,
    Done,
    GiveUp,
    Leg,
    Settle,
    Shut,
    Stand,
    Wait,
    launched_by,
    next_step,
    pause,
    stand,
    stand_of,
)
from asbx.decide.limits import Ceiling
from asbx.decide.place import group_name
from asbx.decide.rungs import Rung
from asbx.errors import ExitCode
from asbx.flow.doors import Doors
from asbx.flow.giving import give_back, strays
from asbx.flow.making import ensure_group, ensure_template, forget_template, remove_group
from asbx.flow.memory import Memory
from asbx.flow.outcome import Failure
from asbx.flow.plan import PartPlan
from asbx.flow.room import LIMIT_REACHED, Room
from asbx.flow.rows import instance_row
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Launched, Pool, Refusal, Verdict
from asbx.model.record import Attempt, InstanceRow, Intent
from asbx.ports import CloudError

End = Done | GiveUp | Wait
_NO_GROUP = "InvalidPlacementGroup.Unknown"
_NO_TEMPLATE = "InvalidLaunchTemplateName.NotFoundException"


@dataclass
class Slice:
    """A leg of the gang, the nodes it is for, and the intent its calls are made under."""

    leg: Leg
    nodes: tuple[str, ...]
    intent: Intent
    part: PartPlan
    tags: tuple[tuple[str, str], ...]


@dataclass
class GangRun:
    """A gang on its way.

    attempts mirrors the ledger. silent: calls in a row that got no answer. written: intents the ledger has. gone:
    instances given back. shut: pools that turned out to be impossible. unwritten: full answers that are written while
    EC2 is asked for addresses. was_short: the last call met an empty pool. at_once: limits each call must
    leave room for.
    """

    gang: Gang
    aim: Aim
    slices: list[Slice]
    deadline: datetime
    attempts: list[Attempt] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    shut: dict[Stand, Shut] = field(default_factory=dict)
    silent: int = 0
    until: datetime | None = None
    gives_way: bool = False
    failure: Failure | None = None
    done: bool = False
    bound: bool = False
    was_short: bool = False
    unwritten: list[tuple[Attempt, list[InstanceRow]]] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    at_once: tuple[Ceiling, ...] = ()

    @property
    def name(self) -> str:
        """Return what names this try of the gang among all programs that share the ledger."""
        return f"{self.gang.gang_id} of {self.slices[0].intent.request_id}"

    @property
    def names(self) -> dict[str, Any]:
        """Return what events on its behalf name: request, gang, jobs and the intent that leads."""
        intent, gang = self.slices[0].intent, self.gang
        return {
            "request_id": intent.request_id,
            "gang_id": gang.gang_id,
            "intent_id": intent.intent_id,
            "jobs": gang.jobs,
        }

    @property
    def whole(self) -> bool:
        """Whether the gang keeps all of its nodes or none."""
        return self.aim.whole

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that are launched for; those served before are not among them."""
        return tuple(node for one in self.slices for node in one.nodes)

    @property
    def launched(self) -> tuple[Launched, ...]:
        """Return the instances that stay."""
        return tuple(instance for attempt in self._kept() for instance in launched_by(attempt))

    @property
    def left(self) -> frozenset[int]:
        """Return the numbers of the attempts whose instances were all given back."""
        launched = {attempt.number: launched_by(attempt) for attempt in self.attempts}
        return frozenset(
            number for number, some in launched.items() if some and all(one.instance_id in self.gone for one in some)
        )

    def _kept(self) -> list[Attempt]:
        kept = stand(self.aim, self.attempts, self.left).kept
        return [attempt for attempt in self.attempts if attempt.number in kept]

    def expected(self) -> dict[str, tuple[FleetOrder, Rung | None]]:
        """Return instance id -> the order it came from and the rung that stood on, for what stays."""
        found: dict[str, tuple[FleetOrder, Rung | None]] = {}
        for attempt in self._kept():
            rungs = self.aim.legs[attempt.leg].rungs
            rung = next((rung for rung in rungs if rung.key == attempt.rung), None)
            found |= {one.instance_id: (attempt.order, rung) for one in launched_by(attempt)}
        return found

    def pairs(self, ready: Mapping[str, Instance], ranks: Mapping[str, tuple[str, ...]]) -> list[Pair]:
        """Pair the nodes with the instances that are ready. ranks: instance id -> where it is in the network."""
        rows: list[Pair] = []
        kept = self._kept()
        for one in self.slices:
            ids = [i.instance_id for a in kept if a.leg == one.leg.index for i in launched_by(a)]
            rows += pair(one.nodes, [ready[i] for i in ids if i in ready], ranks)
        return rows

    def write_answers(self, doors: Doors) -> None:
        """Put answers into the ledger. Until then the call counts as unanswered: a crash repeats its token."""
        while self.unwritten:
            doors.ledger.answer_attempt(*self.unwritten[0])
            self.unwritten.pop(0)

    @property
    def spot_wait(self) -> timedelta | None:
        """Return how long its jobs wait for spot before on-demand is allowed; None where nothing waits for that."""
        return next((one.part.want.spot_wait for one in self.slices if one.part.want.spot_wait), None)

    @property
    def no_room(self) -> Shut | None:
        """Return the limit that kept it from asking for more."""
        return next((shut for shut in self.shut.values() if shut.code == LIMIT_REACHED), None)

    def later(self, leg: int) -> list[tuple[int, tuple[Rung, ...]]]:
        """Return what it asks for after a call for a leg, how many and from which rungs; () where a part may do."""
        if not self.whole:
            return []
        held = stand(self.aim, self.attempts, self.left)
        missing = [(one.count - held.have(one.index), one.rungs) for one in self.aim.legs if one.index != leg]
        return [(count, rungs) for count, rungs in missing if count > 0]

    def why_short(self) -> Failure:
        """Return the limit that was reached, else the last refusal of EC2."""
        if self.no_room is not None:
            return Failure(LIMIT_REACHED, self.no_room.why, ExitCode.BUDGET)
        for attempt in reversed(self.attempts):
            if attempt.answer is not None and attempt.answer.refusals:
                refusal = attempt.answer.refusals[0]
                end = Failure.of_ladder(GiveUp(refusal.code, refusal.message, refusal.verdict))
                return end.for_want_of_spot(self.spot_wait)
        return Failure("short", "not all instances came up").for_want_of_spot(self.spot_wait)


class Climber:
    """Takes gangs up their ladders, one call at a time."""

    def __init__(self, doors: Doors, memory: Memory) -> None:
        self._doors, self._memory = doors, memory
        self._room = Room(doors)

    def step(self, run: GangRun) -> None:
        """Make at most one call for a gang, and note on it where it stands. Raises LedgerError, StoppingError."""
        run.until, run.was_short, run.gives_way = None, False, False
        shut = self._memory.shut(run.name, run.aim) | run.shut
        decision = next_step(run.aim, run.attempts, self._doors.clock.now(), run.deadline, shut, run.left)
        self._give_back_surplus(run, decision.kept)
        match decision.step:
            case Done():
                run.done = True
            case Wait(until, for_probe):
                run.until, run.gives_way = until, for_probe
            case GiveUp() as end:
                self._end(run, end)
            case Settle(attempt):
                self._settle(run, attempt)
            case AskAgain(attempt):
                self._call(run, attempt, frozenset())
            case Ask() as ask:
                self._ask(run, ask)

    def _end(self, run: GangRun, end: GiveUp) -> None:
        """Give a gang up, or be content with what came where that is allowed."""
        if not run.whole and run.launched:
            run.done = True
            return
        self._give_back_surplus(run, frozenset())
        failure = replace(_failure(run, end), not_before=self._memory.opens_at(run.name, run.aim))
        run.failure = failure.for_want_of_spot(run.spot_wait)
        for intent in {one.intent.intent_id: one.intent for one in run.slices}.values():
            strays(self._doors.about(**run.names), intent, run.attempts, end.reason)
        self.remove_groups(run)

    def remove_groups(self, run: GangRun) -> None:
        """Remove the placement groups made for a gang that has come to nothing."""
        for name in sorted(run.groups):
            remove_group(self._doors.about(**run.names), name, run.gang.gang_id)

    def _give_back_surplus(self, run: GangRun, kept: frozenset[int]) -> None:
        """End what tries have launched and the gang has no use for: in the same flow, before anything else is asked."""
        loose = [
            one.instance_id
            for attempt in run.attempts
            if attempt.number not in kept
            for one in launched_by(attempt)
            if one.instance_id not in run.gone
        ]
        if loose:
            run.write_answers(self._doors)
            give_back(self._doors.about(**run.names), loose, "a gang is whole or nothing", run.gang.gang_id)
            run.gone.update(loose)

    # -- a new call

    def _ask(self, run: GangRun, ask: Ask) -> None:
        leg = run.aim.legs[ask.leg]
        pools, probed = self._memory.claim(run.name, run.aim, leg, ask.rung, ask.pools)
        if not pools:
            return  # others are trying these pools: the memory says so now, and the next step looks elsewhere
        later, one = run.later(ask.leg), run.slices[ask.leg]
        seen = self._room.look(run, _order(one, ask, pools, ""), later)
        if seen.order is None:
            self._memory.release(run.name, probed)
            self._no_room(run, ask, seen.why)
            return
        pools = seen.order.pools
        pools = self._with_templates(run, ask, pools)
        group = self._group(run, ask) if pools else None
        if not pools or group is None:
            self._memory.release(run.name, probed)
            return
        attempt = Attempt(
            one.intent.intent_id,
            ask.number,
            _order(one, ask, pools, group),
            self._doors.clock.now(),
            rung=ask.rung.key,
            leg=ask.leg,
        )
        is_new = one.intent.intent_id not in run.written
        kept, why = self._room.take(run, attempt, one.intent if is_new else None, later)
        if kept is None:
            self._memory.release(run.name, probed)
            self._no_room(run, ask, why)
            return
        attempt = kept
        run.written.add(one.intent.intent_id)
        run.attempts.append(attempt)
        self._call(run, attempt, probed)

    def _no_room(self, run: GangRun, ask: Ask, why: str) -> None:
        """Pass a rung over that a limit leaves no room for now: a cheaper one may fit."""
        for pool in ask.rung.pools:
            run.shut[stand_of(ask.rung, pool)] = Shut(LIMIT_REACHED, why, Verdict.LIMIT)
        guilty = next((one for one in run.at_once if str(one) in why), None)
        data = {"rule": guilty.label if guilty else "unknown", "limit": guilty.measure.value if guilty else "unknown"}
        self._say(run, EventKind.LIMIT_REFUSED, f"{ask.rung}: {why}", "warning", **data)

    def _with_templates(self, run: GangRun, ask: Ask, pools: Sequence[Pool]) -> tuple[Pool, ...]:
        """Give each pool the derived template its type needs; leave out those whose template cannot be made."""
        rung, base = ask.rung, run.slices[ask.leg].part.choice.fingerprint
        made: dict[str, Pool] = {}
        kept: list[Pool] = []
        for pool in pools:
            change = rung.change(pool.instance_type)
            if change is None:
                kept.append(pool)
                continue
            try:
                if pool.instance_type not in made:
                    doors = self._doors.about(**run.names)
                    template = ensure_template(doors, rung.template, change, base)
                    made[pool.instance_type] = replace(pool, template=template)
            except CloudError as error:
                if self._later(run, error):
                    return ()
                why = f"no launch template could be made for {pool.instance_type}: {error.code}: {error.why}"
                run.shut[stand_of(rung, pool)] = Shut(error.code, why, error.verdict)
                self._say(run, EventKind.LAUNCH_REFUSED, why, "warning")
            else:
                kept.append(replace(pool, template=made[pool.instance_type].template))
        return tuple(kept)

    def _group(self, run: GangRun, ask: Ask) -> str | None:
        """Return the placement group to launch into, "" for none; None where there must be one and is not."""
        rung, gang = ask.rung, run.gang
        if not rung.placement or rung.group_name:
            return rung.group_name
        leader = stand(run.aim, run.attempts, run.left).held.get(0) if run.aim.together and ask.leg else None
        if leader:
            return leader[0].order.placement_group
        # A group whose instances were given back is tied to their zone while they are ending: then another is made.
        turn = run.slices[0].intent.request_id + (f"/{len(run.left)}" if run.left else "")
        name = group_name(self._doors.config.cluster.name, gang.gang_id, turn)
        if name in run.groups:
            return name
        try:
            ensure_group(self._doors.about(**run.names), name, rung.placement, gang.gang_id)
        except CloudError as error:
            if self._later(run, error):
                return None
            why = f"no placement group could be made: {error.code}: {error.why}"
            self._say(run, EventKind.LAUNCH_REFUSED, why, "warning")
            for pool in rung.pools:
                run.shut[stand_of(rung, pool)] = Shut(error.code, why, error.verdict)
            return None
        run.groups.add(name)
        return name

    def _later(self, run: GangRun, error: CloudError) -> bool:
        """Whether to try a step before the launch again after a pause: throttled or troubled, not refused."""
        run.silent += 1
        until = self._doors.clock.now() + pause(run.silent)
        passing = error.verdict in (Verdict.TRANSIENT, Verdict.THROTTLED)
        if not passing or run.silent > RETRY_MOST or until >= run.deadline:
            return False
        self._say(run, EventKind.LAUNCH_REFUSED, f"{error.code}: {error.why or error.what}; again", "warning")
        run.until = until
        return True

    # -- the call and its answer

    def _call(self, run: GangRun, attempt: Attempt, probed: frozenset[str]) -> None:
        order = attempt.order
        data = {
            "pools": len(order.pools),
            "attempt": attempt.number,
            "rung": attempt.rung,
            "market": order.market.value,
        }
        text = f"asking EC2 for {order.count} {order.market} instance(s)"
        self._say(run, EventKind.LAUNCH_ASKED, text, "info", intent=attempt.intent_id, **data)
        self._doors.clock.sleep(timedelta(0))  # a process that stops launches nothing more: this raises then
        try:
            answer = self._doors.cloud.launch(order)
        except CloudError as error:
            if error.verdict in (Verdict.TRANSIENT, Verdict.THROTTLED):
                self._memory.release(run.name, probed)
                self._unanswered(run, attempt, error)
                return
            answer = FleetAnswer("", (), (Refusal(error.code, error.why or error.what, error.verdict),))
            self._doubt(order, error)
        answer = self._made_again(run, order, answer)
        run.silent = 0
        run.was_short = self._memory.learn(run.name, order, answer, probed, self._doors.about(**run.names))
        self._keep(run, attempt, answer)

    def _doubt(self, order: FleetOrder, error: CloudError) -> None:
        """Ask for all facts anew where EC2 says that something named is not there."""
        if error.verdict is Verdict.NOT_FOUND:
            self._doors.catalogue.forget()
            for pool in order.pools:
                forget_template(self._doors, pool.template)

    def _made_again(self, run: GangRun, order: FleetOrder, answer: FleetAnswer) -> FleetAnswer:
        """Return the answer with what EC2 does not know of what we have made (any more, or yet) as passing trouble.

        The next call, after a pause, finds it made again: EC2 is eventually consistent, and people remove things.
        """
        ours = [_NO_GROUP] if order.placement_group in run.groups else []
        ours += [_NO_TEMPLATE] if all(pool.template is not None for pool in order.pools) else []
        if answer.launched or not any(refusal.code in ours for refusal in answer.refusals):
            return answer
        run.groups.discard(order.placement_group)
        for pool in order.pools:
            forget_template(self._doors, pool.template)
        passing = [replace(one, verdict=Verdict.TRANSIENT) if one.code in ours else one for one in answer.refusals]
        return replace(answer, refusals=tuple(passing))

    def _unanswered(self, run: GangRun, attempt: Attempt, error: CloudError) -> None:
        """Wait and repeat under the same token; after too many, see by tag what was launched and stop."""
        run.silent += 1
        until = self._doors.clock.now() + pause(run.silent)
        text = f"{error.code}: {error.why or error.what}; asking again"
        data = {"codes": [error.code], "market": attempt.order.market.value, "attempt": attempt.number}
        self._say(run, EventKind.LAUNCH_REFUSED, text, "warning", intent=attempt.intent_id, **data)
        if run.silent <= RETRY_MOST and until < run.deadline:
            run.until = until
            return
        self._settle(run, attempt, error)

    def _settle(self, run: GangRun, attempt: Attempt, error: CloudError | None = None) -> None:
        """Close an unanswered call by looking for its instances; where EC2 is silent, that is the sweep's business."""
        try:
            found = self._doors.cloud.launched_for(attempt.intent_id)
        except CloudError as trouble:
            self._end(run, GiveUp(trouble.code, f"{trouble.what}: {trouble.why}", trouble.verdict))
            return
        known = {one.instance_id for tried in run.attempts for one in launched_by(tried)}
        launched = tuple(
            Launched(i.instance_id, i.instance_type, i.zone, i.subnet_id, i.market)
            for i in found
            if i.state.is_alive and i.instance_id not in known
        )
        code, why = (error.code, error.why) if error is not None else ("no-answer", "EC2's answer was lost")
        verdict = error.verdict if error is not None else Verdict.TRANSIENT
        self._keep(run, attempt, FleetAnswer("", launched, () if launched else (Refusal(code, why, verdict),)))
        if not launched:
            self._end(run, GiveUp(code, why, verdict))

    def _keep(self, run: GangRun, attempt: Attempt, answer: FleetAnswer) -> None:
        """Write the answer and its instances; a full one is written while EC2 is asked for addresses."""
        now = self._doors.clock.now()
        answered = replace(attempt, answered_at=now, answer=answer)
        one = run.slices[attempt.leg]
        rows = [instance_row(self._doors, one.intent, launched, now) for launched in answer.launched]
        run.attempts[run.attempts.index(attempt)] = answered
        short = len(answer.launched) < one.leg.count
        run.unwritten.append((answered, rows))
        if short or len(run.slices) > 1:
            run.write_answers(self._doors)
        codes = sorted({refusal.code for refusal in answer.refusals})
        text = f"EC2 launched {len(answer.launched)} of {attempt.order.count}" + (
            f" ({', '.join(codes)})" if codes else ""
        )
        kind = EventKind.LAUNCH_REFUSED if short else EventKind.LAUNCH_ANSWERED
        ids = [launched.instance_id for launched in answer.launched]
        level = "warning" if short else "info"
        data: dict[str, object] = {"fleet": answer.fleet_id, "codes": codes, "ids": ids, "rung": attempt.rung}
        data |= {"market": attempt.order.market.value, "asked": attempt.order.count, "attempt": attempt.number}
        self._say(run, kind, text, level, intent=attempt.intent_id, **data)

    def _say(self, run: GangRun, kind: EventKind, text: str, level: str, intent: str = "", **data: object) -> None:
        facts: dict[str, object] = {"group": str(run.slices[0].intent.group), **data}
        names = run.names | ({"intent_id": intent} if intent else {})
        self._doors.say(Event(kind, text, data=facts, level=level, **names))


def _order(one: Slice, ask: Ask, pools: tuple[Pool, ...], group: str) -> FleetOrder:
    rung = ask.rung
    return FleetOrder(
        token=f"{one.intent.intent_id}-{ask.number}",
        market=rung.market,
        count=ask.count,
        minimum=ask.minimum,
        pools=pools,
        template=rung.template,
        tags=one.tags,
        strategy=rung.strategy,
        single_zone=rung.single_zone and ask.count > 1,
        single_type=rung.single_type and ask.count > 1,
        placement_group=group,
        reservation=rung.reservation,
        open_reservations=rung.open_reservations,
    )


def _failure(run: GangRun, end: GiveUp) -> Failure:
    """Say why a gang came to nothing: what EC2 said, else what was known before it was asked."""
    if run.no_room is not None:
        also = "" if end.code == LIMIT_REACHED else f"; {end.code}: {end.reason}"
        return Failure(LIMIT_REACHED, run.no_room.why + also, ExitCode.BUDGET)
    dropped = [why for one in run.slices if not one.leg.rungs for why in one.part.choice.dropped]
    if run.attempts or run.shut or not dropped:
        return Failure.of_ladder(end)
    said = list(dict.fromkeys(str(one) for one in dropped))
    more = f" (and {len(said) - 3} more)" if len(said) > 3 else ""
    first = dropped[0]
    hopeless = all(one.is_hopeless for one in dropped)
    return Failure.of_ladder(GiveUp(first.code, "; ".join(said[:3]) + more, first.verdict, hopeless))
