"""DescribeInstances and TerminateInstances."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, invalid_value, missing
from asbx.lab.emulator.instance_xml import document, element, reservations
from asbx.lab.emulator.machine import BY_USER, Machine, Owner, State
from asbx.lab.emulator.selecting import by_ids, select
from asbx.lab.emulator.world import World

# EC2 API reference: TerminateInstances takes up to 1,000 ids.
_MOST_TERMINATED = 1000


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
