"""DescribeInstances, TerminateInstances and DescribeInstanceStatus."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, invalid_combination, invalid_value, missing
from asbx.lab.emulator.instance_xml import document, element, reservations
from asbx.lab.emulator.machine import BY_USER, Machine, Owner, State
from asbx.lab.emulator.selecting import by_ids, select
from asbx.lab.emulator.world import World

# EC2 API reference: TerminateInstances takes up to 1,000 ids, DescribeInstanceStatus up to 100.
_MOST_TERMINATED = 1000
_MOST_STATUS = 100


def describe_instances(world: World, owner: Owner, params: Mapping[str, Any]) -> str:
    """Return the whole XML answer."""
    machines, token = select(world, owner, params)
    if params.get("DryRun"):
        raise DryRunClientError
    body = f"<reservationSet>{reservations(machines, world.tags, world.now())}</reservationSet>"
    if token:
        body += element("nextToken", token)
    return document("DescribeInstances", body, str(uuid.uuid4()))


def terminate_instances(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Terminate all or, when one id is bad, none. Terminating what has ended already is no error."""
    ids = list(params.get("InstanceIds") or [])
    if not ids:
        raise missing("InstanceId")
    if len(ids) > _MOST_TERMINATED:
        raise invalid_value(f"At most {_MOST_TERMINATED} instances can be terminated at once.")
    machines = by_ids(world, owner, ids)
    if params.get("DryRun"):
        raise DryRunClientError
    now = world.now()
    changes = []
    for machine in machines:
        before = machine.state(now)
        world.end(machine, BY_USER, at=now)
        changes.append(_change(machine, before, machine.state(now)))
    return {"TerminatingInstances": changes}


def _change(machine: Machine, before: State, after: State) -> dict[str, Any]:
    return {
        "InstanceId": machine.instance_id,
        "PreviousState": {"Code": before.code, "Name": before.name},
        "CurrentState": {"Code": after.code, "Name": after.name},
    }


def describe_instance_status(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Describe health: everything running is well. No scheduled events here."""
    ids = params.get("InstanceIds") or []
    if ids and params.get("MaxResults"):
        raise invalid_combination("The parameter instancesSet cannot be used with the parameter maxResults")
    if len(ids) > _MOST_STATUS:
        raise invalid_value(f"At most {_MOST_STATUS} instance ids can be described at once.")
    filters = [f for f in params.get("Filters") or [] if not _always_well(f)]
    asked = {"InstanceIds": ids, "Filters": filters}
    for name in ("MaxResults", "NextToken"):
        if params.get(name):
            asked[name] = params[name]
    if len(filters) < len(params.get("Filters") or []):
        return {"InstanceStatuses": []}
    machines, token = select(world, owner, asked)
    now = world.now()
    shown = [m for m in machines if params.get("IncludeAllInstances") or m.state(now).name == "running"]
    answer: dict[str, Any] = {"InstanceStatuses": [_status(machine, now) for machine in shown]}
    if token:
        answer["NextToken"] = token
    return answer


def _always_well(wanted: Mapping[str, Any]) -> bool:
    """Whether the filter asks for trouble, of which there is none."""
    name, values = str(wanted.get("Name", "")), set(wanted.get("Values") or [])
    troubled = name.startswith(("instance-status.", "system-status.")) and not values & {"ok", "passed"}
    return name.startswith("event.") or troubled


def _status(machine: Machine, now: float) -> dict[str, Any]:
    state = machine.state(now)
    health = "ok" if state.name == "running" else "not-applicable"
    summary = {
        "Status": health,
        "Details": [{"Name": "reachability", "Status": "passed"}] if health == "ok" else [],
    }
    return {
        "InstanceId": machine.instance_id,
        "AvailabilityZone": machine.launch.pool.zone,
        "InstanceState": {"Code": state.code, "Name": state.name},
        "InstanceStatus": summary,
        "SystemStatus": summary,
        "Events": [],
    }
