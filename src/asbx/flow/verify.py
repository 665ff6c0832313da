"""Look at what EC2 launched before Slurm hears of it: whether it is where and how it was ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asbx.config.limits import SECOND_LOOK_PAUSES
from asbx.decide.rungs import Rung
from asbx.flow.doors import Doors
from asbx.model.market import FleetOrder, Instance
from asbx.ports import CloudError


def wrong(instance: Instance, order: FleetOrder, rung: Rung | None) -> str:
    """Return what is not as ordered about an instance, "" where all is."""
    subnets = {pool.subnet_id for pool in order.pools}
    kinds = {pool.instance_type for pool in order.pools}
    if instance.subnet_id not in subnets:
        return f"it is in {instance.subnet_id or 'no subnet'}, not in {', '.join(sorted(subnets))}"
    if instance.instance_type not in kinds:
        return f"it is a {instance.instance_type}, not {' or '.join(sorted(kinds))}"
    if order.placement_group and instance.placement_group != order.placement_group:
        return f"it is in {instance.placement_group or 'no placement group'}, not in {order.placement_group}"
    efa = rung.efa(instance.instance_type) if rung is not None else None
    if efa is not None and instance.efa != efa:
        return f"it has {instance.efa} EFA interface(s), not {efa}"
    return ""


def apart(instances: Sequence[Instance], *, one_type: bool) -> str:
    """Return why a gang that belongs together is not, "" where it is: one subnet, one placement group, one type."""
    for what, found in (
        ("subnets", {i.subnet_id for i in instances}),
        ("placement groups", {i.placement_group for i in instances}),
        ("types", {i.instance_type for i in instances} if one_type else set[str]()),
    ):
        if len(found) > 1:
            return f"it came up in several {what}: {', '.join(sorted(one or 'none' for one in found))}"
    return ""


def seen_again(doors: Doors, first: Mapping[str, Instance]) -> dict[str, Instance]:
    """Look at instances a second time; what EC2 does not show now stays as it was first seen."""
    for pause in SECOND_LOOK_PAUSES:
        doors.clock.sleep(pause)
        try:
            seen = {instance.instance_id: instance for instance in doors.cloud.describe(list(first))}
        except CloudError:
            continue
        return {one: seen.get(one, instance) for one, instance in first.items()}
    return dict(first)


def network(doors: Doors, ready: Mapping[str, Instance]) -> dict[str, tuple[str, ...]]:
    """Return instance id -> its place in the network, where EC2 tells it; {} where it does not, or may not be asked."""
    try:
        return doors.cloud.topology(list(ready))
    except CloudError:
        return {}  # names in launch order serve as well
