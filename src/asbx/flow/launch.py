"""Launch one intent: take step after step of its ladder until it is done, must wait, or gives up.

The intent and each call are in the ledger before EC2 hears of them, the answer before anything is done with it, so that
a crash between any two lines is picked up by calling this again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from asbx.config.limits import RETRY_MOST
from asbx.decide.bind import Pair, pair
from asbx.decide.ladder import Ask, AskAgain, Done, GiveUp, Settle, Wait, next_step, pause
from asbx.decide.rungs import Rung
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Launched, Refusal, Verdict
from asbx.model.record import Attempt, InstanceRow, Intent
from asbx.ports import CloudError

End = Done | GiveUp | Wait


@dataclass
class Launch:
    """An intent on its way.

    attempts mirrors the ledger; silent counts calls in a row that got no answer. is_new: the intent is not in the
    ledger yet. unwritten: full answers that are written while EC2 is asked for addresses.
    """

    intent: Intent
    rungs: tuple[Rung, ...]
    whole: bool
    deadline: datetime
    tags: tuple[tuple[str, str], ...]
    attempts: list[Attempt] = field(default_factory=list)
    silent: int = 0
    is_new: bool = False
    unwritten: list[tuple[Attempt, list[InstanceRow]]] = field(default_factory=list)

    @property
    def launched(self) -> tuple[Launched, ...]:
        """Return the instances that stay."""
        kept = [a for a in self.attempts if a.answer is not None]
        if self.whole:
            kept = [a for a in kept if a.answer is not None and len(a.answer.launched) >= a.order.count]
        return tuple(instance for a in kept if a.answer is not None for instance in a.answer.launched)

    def pairs(self, ready: Mapping[str, Instance]) -> tuple[Pair, ...]:
        """Pair the intent's nodes with its instances that are ready (instance id -> instance)."""
        return pair(self.intent.nodes, [ready[i.instance_id] for i in self.launched if i.instance_id in ready])


def advance(doors: Doors, launch: Launch) -> End:
    """Go on until there is nothing to do now. Every turn makes at most one call, and the ladder ends."""
    while True:
        step = next_step(
            launch.rungs,
            len(launch.intent.nodes),
            whole=launch.whole,
            attempts=launch.attempts,
            now=doors.clock.now(),
            deadline=launch.deadline,
        )
        if isinstance(step, Done | GiveUp | Wait):
            return step
        end = _take(doors, launch, step)
        if end is not None:
            return end


def _take(doors: Doors, launch: Launch, step: Ask | AskAgain | Settle) -> End | None:
    if isinstance(step, Settle):
        return _settle(doors, launch, step.attempt)
    if isinstance(step, AskAgain):
        return _call(doors, launch, step.attempt)
    attempt = Attempt(launch.intent.intent_id, step.number, _order(launch, step), doors.clock.now())
    doors.ledger.add_attempt(attempt, launch.intent if launch.is_new else None)
    launch.is_new = False
    launch.attempts.append(attempt)
    return _call(doors, launch, attempt)


def _order(launch: Launch, step: Ask) -> FleetOrder:
    rung = launch.rungs[step.rung]
    return FleetOrder(
        token=f"{launch.intent.intent_id}-{step.number}",
        market=rung.market,
        count=step.count,
        minimum=step.minimum,
        pools=rung.pools,
        template=rung.template,
        tags=launch.tags,
        strategy=rung.strategy,
        single_zone=rung.single_zone and step.count > 1,
    )


def _call(doors: Doors, launch: Launch, attempt: Attempt) -> End | None:
    order = attempt.order
    doors.say(
        _event(
            launch,
            EventKind.LAUNCH_ASKED,
            f"asking EC2 for {order.count} {order.market} instance(s)",
            pools=len(order.pools),
            attempt=attempt.number,
        )
    )
    doors.clock.sleep(timedelta(0))  # a process that stops launches nothing more: this raises then
    try:
        answer = doors.cloud.launch(order)
    except CloudError as error:
        if error.verdict in (Verdict.TRANSIENT, Verdict.THROTTLED):
            return _unanswered(doors, launch, attempt, error)
        refusal = Refusal(error.code, error.why or error.what, error.verdict)
        answer = FleetAnswer("", (), (refusal,))
    launch.silent = 0
    _keep(doors, launch, attempt, answer)
    return None


def _unanswered(doors: Doors, launch: Launch, attempt: Attempt, error: CloudError) -> End | None:
    """Wait and repeat under the same token; after too many, see by tag what was launched and stop."""
    launch.silent += 1
    now = doors.clock.now()
    until = now + pause(launch.silent)
    doors.say(
        _event(
            launch,
            EventKind.LAUNCH_REFUSED,
            f"{error.code}: {error.why or error.what}; asking again",
            "warning",
        )
    )
    if launch.silent <= RETRY_MOST and until < launch.deadline:
        return Wait(until)
    return _settle(doors, launch, attempt, error)


def _settle(doors: Doors, launch: Launch, attempt: Attempt, error: CloudError | None = None) -> End | None:
    """Close an unanswered call by looking for its instances. An EC2 that does not answer is the sweep's business."""
    try:
        found = doors.cloud.launched_for(launch.intent.intent_id)
    except CloudError as trouble:
        return GiveUp(trouble.code, f"{trouble.what}: {trouble.why}")
    known = {i.instance_id for a in launch.attempts if a.answer is not None for i in a.answer.launched}
    launched = tuple(
        Launched(i.instance_id, i.instance_type, i.zone, i.subnet_id, i.market)
        for i in found
        if i.state.is_alive and i.instance_id not in known
    )
    code, why = (error.code, error.why) if error is not None else ("no-answer", "EC2's answer was lost")
    verdict = error.verdict if error is not None else Verdict.TRANSIENT
    refusals = () if launched else (Refusal(code, why, verdict),)
    _keep(doors, launch, attempt, FleetAnswer("", launched, refusals))
    return None if launched else GiveUp(code, why, verdict)


def _keep(doors: Doors, launch: Launch, attempt: Attempt, answer: FleetAnswer) -> None:
    """Write the answer and its instances; give back at once what a whole launch cannot use."""
    now = doors.clock.now()
    answered = replace(attempt, answered_at=now, answer=answer)
    rows = [_row(doors, launch.intent, instance, now) for instance in answer.launched]
    launch.attempts[launch.attempts.index(attempt)] = answered
    short = len(answer.launched) < attempt.order.count
    launch.unwritten.append((answered, rows))
    if short:
        write_answers(doors, launch)
    kind = EventKind.LAUNCH_REFUSED if short else EventKind.LAUNCH_ANSWERED
    text = f"EC2 launched {len(answer.launched)} of {attempt.order.count}"
    codes = sorted({refusal.code for refusal in answer.refusals})
    doors.say(
        _event(
            launch,
            kind,
            text + (f" ({', '.join(codes)})" if codes else ""),
            "warning" if short else "info",
            fleet=answer.fleet_id,
            codes=codes,
            ids=[i.instance_id for i in answer.launched],
        )
    )
    if short and launch.whole and answer.launched:
        give_back(
            doors,
            [i.instance_id for i in answer.launched],
            "a gang is whole or nothing",
            launch.intent.gang_id,
        )


def write_answers(doors: Doors, launch: Launch) -> None:
    """Put answers into the ledger. Until then the call counts as unanswered: a crash repeats its token."""
    while launch.unwritten:
        doors.ledger.answer_attempt(*launch.unwritten[0])
        launch.unwritten.pop(0)


def give_back(doors: Doors, instance_ids: Sequence[str], why: str, gang_id: str = "") -> None:
    """End instances that cannot be used. What EC2 does not confirm stays open in the ledger for the sweep."""
    if not instance_ids:
        return
    try:
        ended = doors.cloud.terminate(instance_ids)
    except AsbxError as error:
        doors.say(
            Event(
                EventKind.GIVEN_BACK,
                f"{len(instance_ids)} instance(s) could not be ended: {error}; the next reconcile pass does it",
                gang_id=gang_id,
                level="error",
                data={"ids": list(instance_ids)},
            )
        )
        return
    doors.ledger.end_instances(ended, why, doors.clock.now())
    doors.say(
        Event(
            EventKind.GIVEN_BACK,
            f"{len(ended)} instance(s) given back: {why}",
            gang_id=gang_id,
            level="warning",
            data={"ids": list(ended)},
        )
    )


def _row(doors: Doors, intent: Intent, launched: Launched, now: datetime) -> InstanceRow:
    return InstanceRow(
        instance_id=launched.instance_id,
        intent_id=intent.intent_id,
        gang_id=intent.gang_id,
        jobs=intent.jobs,
        group=intent.group,
        user=intent.user,
        account=intent.account,
        instance_type=launched.instance_type,
        zone=launched.zone,
        subnet_id=launched.subnet_id,
        market=launched.market,
        launched_at=now,
        price=doors.prices.known(launched.instance_type, launched.zone, launched.market),
    )


def _event(launch: Launch, kind: EventKind, text: str, level: str = "info", **data: object) -> Event:
    intent = launch.intent
    job = intent.jobs[0] if len(intent.jobs) == 1 else None
    facts = {"intent": intent.intent_id, "group": str(intent.group), **data}
    return Event(kind, text, intent.request_id, intent.gang_id, job, data=facts, level=level)
