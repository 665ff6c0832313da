"""Look at what EC2 launched before Slurm hears of it: alive, running, and where and how it was ordered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from asbx.config.limits import (
    ADDRESS_DEADLINE,
    DESCRIBE_FIRST_PAUSE,
    DESCRIBE_LONGEST_PAUSE,
    DESCRIBE_PAUSE_FACTOR,
)
from asbx.decide.rungs import Rung
from asbx.flow.doors import Doors
from asbx.model.market import FleetOrder, Instance, InstanceState, Verdict
from asbx.ports import CloudError


def come_up(
    doors: Doors, instance_ids: Sequence[str], must_run: Collection[str] = (), until: datetime | None = None
) -> dict[str, Instance]:
    """Ask EC2 until every instance has an address, and those of must_run run, with growing pauses and a deadline.

    Returns those that are alive and have an address (and run, where they must); the rest died or stayed nameless.
    until: for must_run; bare metal takes minutes to run. Raises CloudError for what does not pass by itself.
    """
    give_up = doors.clock.now() + ADDRESS_DEADLINE
    give_up_running = max(until or give_up, give_up)
    pause = DESCRIBE_FIRST_PAUSE
    ready: dict[str, Instance] = {}
    missing = list(dict.fromkeys(instance_ids))
    nameless = set(missing)
    while missing:
        dead: set[str] = set()
        for instance in _describe(doors, missing):
            one = instance.instance_id
            if not instance.state.is_alive:
                dead.add(one)
            elif instance.private_ip:
                nameless.discard(one)
                if one not in must_run or instance.state is InstanceState.RUNNING:
                    ready[one] = instance
        missing = [one for one in missing if one not in ready and one not in dead]
        if dead and not dead.isdisjoint(must_run):
            break  # the gang is not whole any more: nobody waits for the others
        next_look = doors.clock.now() + pause
        if missing and (next_look > give_up_running or (next_look > give_up and not nameless.isdisjoint(missing))):
            break
        if missing:
            doors.clock.sleep(pause)
            pause = min(pause * DESCRIBE_PAUSE_FACTOR, DESCRIBE_LONGEST_PAUSE)
    return ready


def _describe(doors: Doors, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
    try:
        return doors.cloud.describe(instance_ids)
    except CloudError as error:
        if error.verdict in (Verdict.TRANSIENT, Verdict.THROTTLED):
            return ()  # the deadline of the poll bounds this
        raise


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


def network(doors: Doors, ready: Mapping[str, Instance]) -> dict[str, tuple[str, ...]]:
    """Return instance id -> its place in the network, where EC2 tells it; {} where it does not, or may not be asked."""
    try:
        return doors.cloud.topology(list(ready))
    except CloudError:
        return {}  # names in launch order serve as well
