"""Give instances their rows in the ledger when the answer that launched them never came: their cost must be counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asbx.flow.doors import Doors
from asbx.model.market import FleetAnswer, Instance, Launched
from asbx.model.names import GroupName
from asbx.model.record import InstanceRow


def adopt(doors: Doors, instances: Sequence[Instance]) -> None:
    """Answer the unanswered calls behind these instances from what EC2 shows. Raises LedgerError.

    Where all calls were answered, and none of the answers names an instance, it is added to the last one's.
    """
    by_intent: dict[str, list[Instance]] = {}
    for instance in instances:
        by_intent.setdefault(instance.tags.get("asbx:intent", ""), []).append(instance)
    for intent_id, members in by_intent.items():
        known = {row.instance_id for row in doors.ledger.instances(intent_id=intent_id)}
        strays = [instance for instance in members if instance.instance_id not in known]
        calls = sorted(doors.ledger.attempts(intent_id), key=lambda one: (one.answered_at is None, one.number))
        if strays and calls:
            launched = tuple(Launched(i.instance_id, i.instance_type, i.zone, i.subnet_id, i.market) for i in strays)
            said = calls[-1].answer or FleetAnswer("")
            answer = replace(said, launched=(*said.launched, *launched))
            attempt = replace(calls[-1], answered_at=calls[-1].answered_at or doors.clock.now(), answer=answer)
            doors.ledger.answer_attempt(attempt, [row_of(doors, instance) for instance in strays])


def row_of(doors: Doors, instance: Instance) -> InstanceRow:
    """Return the row of an instance as its tags tell it."""
    tags = instance.tags
    return InstanceRow(
        instance_id=instance.instance_id,
        intent_id=tags.get("asbx:intent", ""),
        gang_id=tags.get("asbx:gang", ""),
        jobs=tuple(int(job) for job in tags.get("asbx:job", "").split(",") if job.isdigit()),
        group=GroupName(tags.get("asbx:partition", ""), tags.get("asbx:nodegroup", "")),
        user=tags.get("asbx:user", ""),
        account=tags.get("asbx:account", ""),
        instance_type=instance.instance_type,
        zone=instance.zone,
        subnet_id=instance.subnet_id,
        market=instance.market,
        launched_at=instance.launched_at,
        price=doors.prices.hourly(instance.instance_type, instance.zone, instance.market),
    )
