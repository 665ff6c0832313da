"""Choose instances as DescribeInstances does: by id, by filter, in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asbx.lab.emulator.errors import Ec2Error, invalid_combination, invalid_value
from asbx.lab.emulator.listing import page, pattern
from asbx.lab.emulator.machine import Machine, Owner, iso_z
from asbx.lab.emulator.world import World
from asbx.sim.market import Lifecycle

_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
# EC2 API reference, DescribeInstances: MaxResults between 5 and 1000, and not beside ids.
_SMALLEST_PAGE, _LARGEST_PAGE = 5, 1000


@dataclass(frozen=True)
class View:
    """A machine at a moment, with its tags: what filters look at."""

    machine: Machine
    tags: Mapping[str, str]
    now: float


# EC2 API reference, DescribeInstances, Filters.
_FILTERS: dict[str, Callable[[View], Sequence[str]]] = {
    "architecture": lambda v: [v.machine.launch.architecture],
    "availability-zone": lambda v: [v.machine.launch.pool.zone],
    "capacity-reservation-id": lambda v: [v.machine.capacity_reservation] if v.machine.capacity_reservation else [],
    "client-token": lambda v: [v.machine.launch.client_token],
    "iam-instance-profile.arn": lambda v: [v.machine.launch.profile_arn],
    "image-id": lambda v: [v.machine.launch.image_id],
    "instance.group-id": lambda v: v.machine.launch.groups,
    "instance-id": lambda v: [v.machine.instance_id],
    "instance-lifecycle": lambda v: _lifecycle(v.machine.launch.pool.market),
    "instance-state-code": lambda v: [str(v.machine.state(v.now).code)],
    "instance-state-name": lambda v: [v.machine.state(v.now).name],
    "instance-type": lambda v: [v.machine.launch.pool.instance_type],
    "key-name": lambda v: [v.machine.launch.key_name],
    "launch-index": lambda v: [str(v.machine.index)],
    "launch-time": lambda v: [iso_z(v.machine.launch.launched_at)],
    "network-interface.subnet-id": lambda v: [v.machine.launch.subnet_id],
    "owner-id": lambda v: [v.machine.launch.owner.account],
    "placement-group-name": lambda v: [v.machine.launch.placement_group],
    "private-dns-name": lambda v: [v.machine.private_dns] if _has_address(v) else [],
    "private-ip-address": lambda v: [v.machine.address] if _has_address(v) else [],
    "network-interface.addresses.private-ip-address": lambda v: [
        nic.address for nic in v.machine.interfaces if nic.address and _has_address(v)
    ],
    "reservation-id": lambda v: [v.machine.launch.reservation_id],
    "spot-instance-request-id": lambda v: [v.machine.spot_request_id],
    "subnet-id": lambda v: [v.machine.launch.subnet_id],
    "tag-key": lambda v: list(v.tags),
    "tag-value": lambda v: list(v.tags.values()),
    "vpc-id": lambda v: [v.machine.launch.vpc_id],
}


def _lifecycle(market: Lifecycle) -> list[str]:
    return [] if market is Lifecycle.ON_DEMAND else [market.value]


def _has_address(view: View) -> bool:
    return view.now >= view.machine.address_at and view.machine.state(view.now).name != "terminated"


def by_ids(world: World, owner: Owner, ids: Iterable[str]) -> list[Machine]:
    """Return machines in the order asked. One malformed or unknown id fails the whole call."""
    found: dict[str, Machine] = {}
    unknown = []
    for instance_id in ids:
        if not _INSTANCE_ID.fullmatch(instance_id):
            raise Ec2Error("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
        machine = world.find(owner, instance_id)
        if machine is None:
            unknown.append(instance_id)
        else:
            found[instance_id] = machine
    if unknown:
        plural = len(unknown) > 1
        text = f"The instance ID{'s' if plural else ''} '{', '.join(unknown)}' do{'' if plural else 'es'} not exist"
        raise Ec2Error("InvalidInstanceID.NotFound", text)
    return list(found.values())


def select(world: World, owner: Owner, params: Mapping[str, Any]) -> tuple[list[Machine], str]:
    """Return the machines of a DescribeInstances call and the token of the next page, "" on the last."""
    ids = params.get("InstanceIds") or []
    if ids and (params.get("MaxResults") or params.get("NextToken")):
        raise invalid_combination("The parameter instancesSet cannot be used with the parameter maxResults")
    chosen = list(by_ids(world, owner, ids) if ids else world.known(owner))
    now = world.now()
    for wanted in params.get("Filters") or []:
        chosen = _filtered(world, chosen, wanted, now)
    return page(chosen, params, least=_SMALLEST_PAGE, most=_LARGEST_PAGE)


def _filtered(world: World, machines: Sequence[Machine], wanted: Mapping[str, Any], now: float) -> list[Machine]:
    name, values = str(wanted.get("Name", "")), wanted.get("Values") or []
    attribute = _attribute(name)
    patterns = [pattern(str(value)) for value in values]
    kept = []
    for machine in machines:
        view = View(machine, world.tags.get(machine.instance_id, {}), now)
        if any(like.fullmatch(text) for text in attribute(view) for like in patterns):
            kept.append(machine)
    return kept


def _attribute(name: str) -> Callable[[View], Sequence[str]]:
    if name.startswith("tag:"):
        key = name[len("tag:") :]
        return lambda view: [view.tags[key]] if key in view.tags else []
    if name not in _FILTERS:
        raise invalid_value(f"The filter '{name}' is invalid")
    return _FILTERS[name]
