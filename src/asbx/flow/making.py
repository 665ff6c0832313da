"""Make what a launch needs in EC2 besides instances - placement groups, derived launch templates - and remove it.

Each is in the ledger before EC2 hears of it, so nothing made is ever forgotten; making what is there is no error.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from asbx.config.limits import GROUPS_AT_ONCE, TEMPLATE_UNUSED, TEMPLATE_USED
from asbx.decide.place import template_name
from asbx.flow.doors import Doors
from asbx.model.catalogue import TemplateChange
from asbx.model.event import Event, EventKind
from asbx.model.gang import job_of
from asbx.model.market import Template, Verdict
from asbx.model.record import Resource, ResourceKind
from asbx.ports import CloudError


def _tags(doors: Doors, gang_id: str = "") -> dict[str, str]:
    tags = {"ManagedBy": "aws-slurm-burst", "asbx:cluster": doors.config.cluster.name}
    return tags | ({"asbx:gang": gang_id[:256]} if gang_id else {})


def ensure_group(doors: Doors, name: str, strategy: str, gang_id: str) -> None:
    """Make a gang's placement group. Raises CloudError where EC2 refuses, LedgerError before EC2 is asked."""
    now = doors.clock.now()
    doors.ledger.add_resource(Resource(ResourceKind.PLACEMENT_GROUP, name, gang_id, now, now))
    doors.cloud.make_group(name, strategy, _tags(doors, gang_id))
    text = f"placement group {name} ({strategy}) made"
    doors.say(Event(EventKind.RESOURCE_MADE, text, gang_id=gang_id, job_id=job_of(gang_id)))


def ensure_template(doors: Doors, base: Template, change: TemplateChange, fingerprint: str) -> Template:
    """Return the launch template that is `base` with a change, making it where it is not there yet.

    Its name holds the content, so the same base and change are made once and found again after a restart.
    Raises CloudError where EC2 refuses.
    """
    name = template_name(doors.config.cluster.name, fingerprint or repr(base), repr(change))
    now = doors.clock.now()
    known = {row.name: row for row in doors.ledger.resources(ResourceKind.TEMPLATE)}
    row = known.get(name)
    # Used later than written down means made: between the two another request must make it too, which is no error.
    if row is None or row.used_at <= row.created_at or now - row.used_at >= TEMPLATE_USED:
        begun = Resource(ResourceKind.TEMPLATE, name, "", row.created_at if row else now, row.used_at if row else now)
        doors.ledger.add_resource(begun)
        try:
            made = doors.cloud.make_template(name, base, change, _tags(doors))
        except CloudError:
            _make_again(doors, name)
            raise
        doors.ledger.add_resource(replace(begun, used_at=doors.clock.now() + timedelta(microseconds=1)))
        if row is None:
            doors.say(
                Event(EventKind.RESOURCE_MADE, f"launch template {name} made from {base.template_id or base.name}")
            )
        return made
    return Template(name=name, version="1")


def forget_template(doors: Doors, template: Template | None) -> None:
    """Make a derived template again next time: EC2 says that it, or something else, is not there."""
    if template is not None and template.name:
        _make_again(doors, template.name)


def _make_again(doors: Doors, name: str) -> None:
    """Take a template for begun, not for made. It stays in the ledger: it may be there, and is removed once unused."""
    now = doors.clock.now()
    doors.ledger.end_resource(ResourceKind.TEMPLATE, name, now)
    doors.ledger.add_resource(Resource(ResourceKind.TEMPLATE, name, "", now, now))


def remove_group(doors: Doors, name: str, gang_id: str = "") -> CloudError | None:
    """Remove a placement group; while instances that are ending are in it, or EC2 refuses, the sweep comes again.

    Returns the refusal. Raises LedgerError.
    """
    try:
        gone = doors.cloud.remove_group(name)
    except CloudError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"placement group {name} is still there: {error}", gang_id=gang_id))
        return error
    if gone:
        doors.ledger.end_resource(ResourceKind.PLACEMENT_GROUP, name, doors.clock.now())
        text = f"placement group {name} removed"
        doors.say(Event(EventKind.RESOURCE_REMOVED, text, gang_id=gang_id, job_id=job_of(gang_id)))
    return None


def tidy(doors: Doors, now: datetime) -> None:
    """Remove placement groups no live instance was launched into, and templates nobody has used for long.

    Groups are read before requests: one that is being launched into belongs to a request that is open then. Where EC2
    is throttling or away, the rest waits for the next pass. Raises LedgerError.
    """
    idle = unused(doors, now)
    groups = [row for row in idle if row.kind is ResourceKind.PLACEMENT_GROUP][:GROUPS_AT_ONCE]
    for row in [*groups, *(row for row in idle if row.kind is ResourceKind.TEMPLATE)]:
        is_group = row.kind is ResourceKind.PLACEMENT_GROUP
        error = remove_group(doors, row.name, row.gang_id) if is_group else _remove_template(doors, row, now)
        if error is not None and error.verdict in (Verdict.THROTTLED, Verdict.TRANSIENT):
            return


def unused(doors: Doors, now: datetime) -> list[Resource]:
    """Return what `tidy` would remove. Raises LedgerError."""
    groups = doors.ledger.resources(ResourceKind.PLACEMENT_GROUP)
    used, busy = (_used_groups(doors), _launching(doors)) if groups else (set(), set())
    idle = [row for row in groups if row.name not in used and row.gang_id not in busy]
    templates = doors.ledger.resources(ResourceKind.TEMPLATE)
    return idle + [row for row in templates if now - row.used_at >= TEMPLATE_UNUSED]


def _used_groups(doors: Doors) -> set[str]:
    """Return the placement groups of live instances; a gang may have left one, or have come up outside of its own."""
    live = doors.ledger.instances(live_only=True)
    ids = {row.instance_id for row in live}
    attempts = doors.ledger.attempts_of({row.intent_id for row in live})
    return {
        attempt.order.placement_group
        for attempt in attempts
        if attempt.answer is not None and any(one.instance_id in ids for one in attempt.answer.launched)
    }


def _launching(doors: Doors) -> set[str]:
    """Return the gangs of open requests."""
    found: set[str] = set()
    for request in doors.ledger.open_requests():
        found |= {f"job-{job.job_id}" for job in request.jobs} | {f"plan-{request.request_id}"}
        found |= {intent.gang_id for intent in doors.ledger.intents(request.request_id)}
    return found


def _remove_template(doors: Doors, row: Resource, now: datetime) -> CloudError | None:
    """Remove a derived template; return EC2's refusal. Raises LedgerError."""
    try:
        doors.cloud.remove_template(row.name)
    except CloudError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"launch template {row.name} is still there: {error}"))
        return error
    doors.ledger.end_resource(ResourceKind.TEMPLATE, row.name, now)
    doors.say(Event(EventKind.RESOURCE_REMOVED, f"launch template {row.name} removed: nobody used it any more"))
    return None
