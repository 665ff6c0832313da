"""DescribeInstanceStatus and GetConsoleOutput: how instances are, what AWS has scheduled for them, what they wrote."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from asbx.lab.emulator.catalogue import is_nitro
from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_combination, invalid_value, missing
from asbx.lab.emulator.listing import fits, page
from asbx.lab.emulator.machine import Machine, Owner, Scheduled, iso_z
from asbx.lab.emulator.selecting import by_ids
from asbx.lab.emulator.world import World

# EC2 API reference, DescribeInstanceStatus: up to 100 ids, which exclude MaxResults; pages of 5 to 1,000.
_MOST_STATUS = 100
_SMALLEST_PAGE, _LARGEST_PAGE = 5, 1000
EVENT_CODES = ("instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop")
_WORDS = {
    "instance-reboot": "The instance is scheduled for a reboot",
    "system-reboot": "The instance's host is scheduled for a reboot",
    "system-maintenance": "The instance's host is scheduled for maintenance",
    "instance-retirement": "The instance is running on degraded hardware",
    "instance-stop": "The instance is running on degraded hardware",
}
# EC2 keeps the last 64 KB (EC2 API reference, GetConsoleOutput).
_CONSOLE_BYTES = 64 * 1024


def describe_instance_status(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Describe health and scheduled events; running instances only, unless all are asked for."""
    ids = params.get("InstanceIds") or []
    if ids and (params.get("MaxResults") or params.get("NextToken")):
        raise invalid_combination("The parameter instancesSet cannot be used with the parameter maxResults")
    if len(ids) > _MOST_STATUS:
        raise invalid_value(f"At most {_MOST_STATUS} instance ids can be described at once.")
    now = world.now()
    machines = list(by_ids(world, owner, ids) if ids else world.known(owner))
    if not params.get("IncludeAllInstances"):
        machines = [machine for machine in machines if machine.state(now).name == "running"]
    for wanted in params.get("Filters") or []:
        show = _shown(str(wanted.get("Name", "")))
        machines = [machine for machine in machines if fits(show(machine, now), wanted.get("Values") or [])]
    if params.get("DryRun"):
        raise DryRunClientError
    rows, token = page(machines, params, least=_SMALLEST_PAGE, most=_LARGEST_PAGE)
    answer: dict[str, Any] = {"InstanceStatuses": [_status(machine, now) for machine in rows]}
    return answer | ({"NextToken": token} if token else {})


def _nothing(_machine: Machine, _now: float) -> Sequence[str]:
    return ()


# EC2 API reference, DescribeInstanceStatus, Filters; the EBS, application and operator ones are always empty here.
_FILTERS: dict[str, Callable[[Machine, float], Sequence[str]]] = {
    "availability-zone": lambda m, _: [m.launch.pool.zone],
    "instance-state-code": lambda m, now: [str(m.state(now).code)],
    "instance-state-name": lambda m, now: [m.state(now).name],
    "instance-status.status": lambda m, now: [_check(m, m.impaired_at, now)],
    "instance-status.reachability": lambda m, now: [_reachability(_check(m, m.impaired_at, now))],
    "system-status.status": lambda m, now: [_check(m, m.host_impaired_at, now)],
    "system-status.reachability": lambda m, now: [_reachability(_check(m, m.host_impaired_at, now))],
    "event.code": lambda m, _: [event.code for event in m.scheduled],
    "event.description": lambda m, _: [event.description for event in m.scheduled],
    "event.instance-event-id": lambda m, _: [event.event_id for event in m.scheduled],
    "event.not-before": lambda m, _: [iso_z(event.not_before) for event in m.scheduled],
    "event.not-after": _nothing,
    "event.not-before-deadline": _nothing,
    "availability-zone-id": _nothing,
    "attached-ebs-status.status": _nothing,
    "application-status.status": _nothing,
    "operator.managed": _nothing,
    "operator.principal": _nothing,
}


def _shown(name: str) -> Callable[[Machine, float], Sequence[str]]:
    if name not in _FILTERS:
        raise invalid_value(f"The filter '{name}' is invalid")
    return _FILTERS[name]


def _check(machine: Machine, since: float | None, now: float) -> str:
    if machine.state(now).name != "running":
        return "not-applicable"
    return "ok" if since is None or now < since else "impaired"


def _reachability(check: str) -> str:
    return {"ok": "passed", "impaired": "failed"}.get(check, "")


def _status(machine: Machine, now: float) -> dict[str, Any]:
    state = machine.state(now)
    return {
        "InstanceId": machine.instance_id,
        "AvailabilityZone": machine.launch.pool.zone,
        "InstanceState": {"Code": state.code, "Name": state.name},
        "InstanceStatus": _summary(machine, machine.impaired_at, now),
        "SystemStatus": _summary(machine, machine.host_impaired_at, now),
        "Events": [_event(event) for event in machine.scheduled],
    }


def _summary(machine: Machine, since: float | None, now: float) -> dict[str, Any]:
    check = _check(machine, since, now)
    detail: dict[str, Any] = {"Name": "reachability", "Status": _reachability(check)}
    if check == "impaired" and since is not None:
        detail["ImpairedSince"] = _moment(since)
    return {"Status": check, "Details": [detail] if check in ("ok", "impaired") else []}


def _event(event: Scheduled) -> dict[str, Any]:
    return {
        "InstanceEventId": event.event_id,
        "Code": event.code,
        "Description": event.description,
        "NotBefore": _moment(event.not_before),
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def get_console_output(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a machine wrote, base64; without Latest only what was posted when its state changed last.

    Here that is its end: while it runs nothing was posted.
    """
    instance_id = str(params.get("InstanceId") or "")
    if not instance_id:
        raise missing("InstanceId")
    (machine,) = by_ids(world, owner, [instance_id])
    latest = bool(params.get("Latest"))
    kind = machine.launch.pool.instance_type
    if latest and not is_nitro(kind):
        raise Ec2Error("UnsupportedOperation", f"Instance type {kind} does not tell its latest console output.")
    if params.get("DryRun"):
        raise DryRunClientError
    now = world.now()
    text = world.console(instance_id) if latest or machine.has_ended(now) else b""
    answer: dict[str, Any] = {"InstanceId": instance_id, "Timestamp": _moment(now)}
    return answer | ({"Output": base64.b64encode(text[-_CONSOLE_BYTES:]).decode()} if text else {})


# -- what the lab does to machines


def impair(machine: Machine, body: Mapping[str, Any], now: float) -> None:
    """Let a status check fail from now on. Raises ValueError."""
    match body.get("what", "instance"):
        case "instance":
            machine.impaired_at = now
        case "system":
            machine.host_impaired_at = now
        case other:
            raise ValueError(f"what must be instance or system, not '{other}'")


def heal(machine: Machine) -> None:
    """Let all status checks pass, and complete what was scheduled, as EC2 goes on showing it for a week."""
    machine.impaired_at = machine.host_impaired_at = None
    for event in machine.scheduled:
        if not event.description.startswith("["):
            event.description = f"[Completed] {event.description}"


def schedule(machine: Machine, body: Mapping[str, Any], now: float) -> None:
    """Announce an event. Raises ValueError."""
    code, after = str(body.get("code") or ""), body.get("not_before", 0)
    if code not in EVENT_CODES:
        raise ValueError(f"code must be one of {', '.join(EVENT_CODES)}, not '{code}'")
    if not isinstance(after, int | float) or after < 0:
        raise ValueError(f"not_before must be seconds from 0, not '{after}'")
    machine.scheduled.append(Scheduled(f"instance-event-{uuid.uuid4().hex[:17]}", code, _WORDS[code], now + after))
