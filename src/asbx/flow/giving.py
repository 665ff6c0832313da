"""Give instances back that cannot be used: at once, and looked at twice. Nothing of a failed try waits for a sweep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from asbx.config.limits import GIVE_BACK_PAUSES
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.flow.rows import instance_row
from asbx.flow.volumes import note_volumes
from asbx.model.event import Event, EventKind
from asbx.model.gang import job_of
from asbx.model.market import Launched
from asbx.model.record import Attempt, Intent


def give_back(
    doors: Doors, instance_ids: Sequence[str], why: str, gang_id: str = "", *, level: str = "warning"
) -> None:
    """End instances that cannot be used. What EC2 does not confirm in time stays open in the ledger for the sweep.

    An id EC2 does not know yet is asked for again; what it has confirmed is looked at once more. Idempotent.
    """
    if not instance_ids:
        return
    left, ended = set(instance_ids), set[str]()
    trouble = "EC2 does not know them (yet)"
    for pause in GIVE_BACK_PAUSES:
        doors.clock.sleep(pause)
        try:
            done = set(doors.cloud.terminate(sorted(left)))
        except AsbxError as error:
            trouble = str(error)
            continue
        doors.ledger.end_instances(sorted(done), why, doors.clock.now())
        ended |= done
        left -= done
        if not left:
            break
    _look_again(doors, sorted(ended))
    note_volumes(doors, sorted(ended))
    _say(
        doors,
        Event(EventKind.GIVEN_BACK, why, gang_id=gang_id, job_id=job_of(gang_id), level=level),
        ended,
        left,
        trouble,
    )


def _look_again(doors: Doors, ended: Sequence[str]) -> None:
    """Ask for the ids once more and end again what still serves: two looks, as for everything that is destroyed."""
    try:
        seen = doors.cloud.describe(ended) if ended else ()
        doors.ledger.date_instances(seen)
        alive = [instance.instance_id for instance in seen if instance.state.is_alive]
        if alive:
            doors.cloud.terminate(alive)
    except AsbxError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"{len(ended)} ended instance(s) could not be seen: {error}"))


def _say(doors: Doors, event: Event, ended: Collection[str], left: Collection[str], trouble: str) -> None:
    """Say what was ended and what was not. event: with why as its text."""
    if ended:
        text = f"{len(ended)} instance(s) given back: {event.text}"
        doors.say(replace(event, text=text, data={"ids": sorted(ended)}))
    if left:
        text = f"{len(left)} instance(s) could not be ended: {trouble}; the next reconcile pass does it"
        doors.say(replace(event, text=text, level="error", data={"ids": sorted(left)}))


def strays(doors: Doors, intent: Intent, attempts: Sequence[Attempt], why: str) -> None:
    """End what EC2 shows under a failed intent's tag and no answer of it named.

    Whether a CreateFleet that missed its minimum leaves instances for a moment is not documented.
    """
    mine = [attempt for attempt in attempts if attempt.intent_id == intent.intent_id]
    if not mine or mine[-1].answer is None:
        return
    known = {i.instance_id for attempt in mine if attempt.answer is not None for i in attempt.answer.launched}
    try:
        found = doors.cloud.launched_for(intent.intent_id)
    except AsbxError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"strays of {intent.gang_id} could not be looked for: {error}"))
        return
    loose = tuple(
        Launched(i.instance_id, i.instance_type, i.zone, i.subnet_id, i.market)
        for i in found
        if i.instance_id not in known and i.state.is_alive
    )
    if not loose:
        return
    now, last = doors.clock.now(), mine[-1]
    assert last.answer is not None, "looked at above"
    answer = replace(last.answer, launched=(*last.answer.launched, *loose))
    doors.ledger.answer_attempt(replace(last, answer=answer), [instance_row(doors, intent, one, now) for one in loose])
    give_back(doors, [one.instance_id for one in loose], why, intent.gang_id)
