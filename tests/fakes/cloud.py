"""An EC2 in memory: pools that run out, fleets that launch a part, tokens, addresses that show late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock

from tests.fakes.faults import Faults

from asbx.config.limits import DESCRIBE_BATCH, FLEET_MAX_NODES, TAG_BATCH, TERMINATE_BATCH, TOPOLOGY_BATCH
from asbx.errors import AsbxError
from asbx.model.catalogue import TemplateChange
from asbx.model.health import InstanceHealth
from asbx.model.market import (
    FleetAnswer,
    FleetOrder,
    Instance,
    InstanceState,
    Launched,
    Market,
    Pool,
    Refusal,
    Template,
    Verdict,
)
from asbx.ports import Clock, CloudError

PoolKey = tuple[str, str, Market]  # type, zone, market
_ENDING = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)
_SPREAD_ROOM = 7  # instances in each zone of a spread group (EC2 user guide, "Placement strategies")
_NOT_FOUND = "InvalidLaunchTemplateName.NotFoundException"


def cloud_error(code: str, verdict: Verdict, why: str = "") -> CloudError:
    """Return a refusal of a whole call."""
    return CloudError(code, "EC2 refused", why, "", verdict)


@dataclass
class Machine:
    """What the fake knows of an instance. reservation: the capacity reservation whose place it takes."""

    is_stopped: bool = field(default=False, kw_only=True)

    instance: Instance
    launched_at: datetime
    reservation: str = ""
    ended_at: datetime | None = None


@dataclass
class FakeCloud:
    """The door `Cloud`. calls: EC2 action -> how many the real adapter would have made at best.

    capacity: room by (type, zone, market); pools not named have no limit. not_offered: (type, zone).
    group_capacity: of that, how much can be placed in one placement group. reserved: room by capacity reservation.
    refusing: pools that refuse with another code and verdict.
    groups: strategy by name of placement group. group_limit: how many there may be.
    templates: base and change by name of derived launch template.
    networks: network nodes by instance, for those whose topology EC2 tells.
    health: what is wrong with instances, by id. consoles: what they wrote, by id.
    show_after, address_after, boot_after, end_after, forget_after: time from the launch (the end) until EC2 knows the
    instance, its address, `running` (`terminated`, nothing of it any more). tells_end: whether it names the time of it.
    """

    clock: Clock
    capacity: dict[PoolKey, int] = field(default_factory=dict)
    not_offered: frozenset[tuple[str, str]] = frozenset()
    refusing: dict[PoolKey, tuple[str, Verdict]] = field(default_factory=dict)
    group_capacity: dict[PoolKey, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    group_limit: int = 500
    templates: dict[str, tuple[Template, TemplateChange]] = field(default_factory=dict)
    networks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    health: dict[str, InstanceHealth] = field(default_factory=dict)
    consoles: dict[str, str] = field(default_factory=dict)
    show_after: timedelta = timedelta(0)
    address_after: timedelta = timedelta(0)
    boot_after: timedelta = timedelta(seconds=20)
    end_after: timedelta = timedelta(seconds=30)
    forget_after: timedelta = timedelta(hours=1)
    tells_end: bool = True
    calls: Counter[str] = field(default_factory=Counter)
    orders: list[FleetOrder] = field(default_factory=list)
    _answers: dict[str, tuple[FleetOrder, FleetAnswer]] = field(default_factory=dict)
    _machines: dict[str, Machine] = field(default_factory=dict)
    _faults: Faults = field(default_factory=Faults)
    _turn: RLock = field(default_factory=RLock)
    _removed: set[str] = field(default_factory=set)  # names of templates that are gone

    # -- the door

    def launch(self, order: FleetOrder) -> FleetAnswer:
        """Launch once per token."""
        self.calls["CreateFleet"] += 1
        self.orders.append(order)
        with self._faults.call("launch"):
            if order.token in self._answers:
                return self._answer_again(order)
            with self._turn:  # gangs ask at the same time, and what is left is given once
                self._refuse_impossible(order)
                answer = self._fulfil(order)
                self._answers[order.token] = (order, answer)
            return answer

    def describe(self, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        """Return what can be seen of these."""
        self._count("DescribeInstances", len(instance_ids), DESCRIBE_BATCH)
        with self._faults.call("describe"):
            wanted = [self._machines[key] for key in dict.fromkeys(instance_ids) if key in self._machines]
            return self._shown(wanted)

    def owned(self, cluster: str) -> tuple[Instance, ...]:
        """Return the cluster's instances that may still cost money."""
        self.calls["DescribeInstances"] += 1
        with self._faults.call("owned"):
            shown = self._shown(self._machines.values())
            return tuple(
                instance
                for instance in shown
                if instance.tags.get("asbx:cluster") == cluster and instance.state not in _ENDING
            )

    def launched_for(self, intent_id: str) -> tuple[Instance, ...]:
        """Return the instances of an intent that may still cost money."""
        self.calls["DescribeInstances"] += 1
        with self._faults.call("launched_for"):
            shown = self._shown(self._machines.values())
            return tuple(
                instance
                for instance in shown
                if instance.tags.get("asbx:intent") == intent_id and instance.state not in _ENDING
            )

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """End instances; return those EC2 knows, which are ending or ended now."""
        self._count("TerminateInstances", len(instance_ids), TERMINATE_BATCH)
        with self._faults.call("terminate"):
            known = tuple(key for key in dict.fromkeys(instance_ids) if self._knows(key))
            for instance_id in known:
                self.kill(instance_id)
            return known

    def tag(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Put tags on all of these. One unknown id fails the call, as in EC2."""
        self._count("CreateTags", len(instance_ids), TAG_BATCH)
        with self._faults.call("tag"):
            unknown = [key for key in instance_ids if not self._knows(key)]
            if unknown:
                raise cloud_error("InvalidInstanceID.NotFound", Verdict.NOT_FOUND, ",".join(unknown))
            for instance_id in instance_ids:
                machine = self._machines[instance_id]
                machine.instance = replace(machine.instance, tags=machine.instance.tags | dict(tags))

    def make_group(self, name: str, strategy: str, tags: Mapping[str, str]) -> None:
        """Make a placement group, unless one of that name is there."""
        del tags
        self.calls["CreatePlacementGroup"] += 1
        with self._faults.call("make_group"):
            if name not in self.groups and len(self.groups) >= self.group_limit:
                raise cloud_error("PlacementGroupLimitExceeded", Verdict.LIMIT, name)
            self.groups.setdefault(name, strategy)

    def remove_group(self, name: str) -> bool:
        """Remove a placement group that no instance is in; one that ends is still in it."""
        self.calls["DeletePlacementGroup"] += 1
        with self._faults.call("remove_group"):
            for instance in self.all():
                if instance.placement_group == name and instance.state is not InstanceState.TERMINATED:
                    return False
            self.groups.pop(name, None)
            return True

    def make_template(self, name: str, base: Template, change: TemplateChange, tags: Mapping[str, str]) -> Template:
        """Make a derived template, unless one of that name is there."""
        del tags
        self.calls["CreateLaunchTemplate"] += 1
        with self._faults.call("make_template"):
            if base.name in self._removed:
                raise cloud_error(_NOT_FOUND, Verdict.NOT_FOUND, base.name)
            self.templates.setdefault(name, (base, change))
            self._removed.discard(name)
            return Template(name=name, version="1")

    def remove_template(self, name: str) -> None:
        """Remove a derived template; instances launched from it stay."""
        self.calls["DeleteLaunchTemplate"] += 1
        with self._faults.call("remove_template"):
            if self.templates.pop(name, None):
                self._removed.add(name)

    def topology(self, instance_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the network nodes of those that run and have any."""
        self._count("DescribeInstanceTopology", len(instance_ids), TOPOLOGY_BATCH)
        with self._faults.call("topology"):
            wanted = [self._machines[key] for key in dict.fromkeys(instance_ids) if key in self._machines]
            running = [shown.instance_id for shown in self._shown(wanted) if shown.state is InstanceState.RUNNING]
            return {name: self.networks[name] for name in running if name in self.networks}

    def unwell(self) -> tuple[InstanceHealth, ...]:
        """Return the running instances that are impaired or await an event: three questions."""
        self.calls["DescribeInstanceStatus"] += 3
        with self._faults.call("unwell"):
            running = [i.instance_id for i in self._shown(self._machines.values()) if i.state is InstanceState.RUNNING]
            return tuple(self.health[key] for key in running if key in self.health)

    def console(self, instance_id: str) -> str:
        """Return what a machine has written; one EC2 does not know is refused."""
        self.calls["GetConsoleOutput"] += 1
        with self._faults.call("console"):
            if not self._knows(instance_id):
                raise cloud_error("InvalidInstanceID.NotFound", Verdict.NOT_FOUND, instance_id)
            return self.consoles.get(instance_id, "")

    # -- the other side

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; after: EC2 has done it, the answer is lost."""
        self._faults.add(method, error, times=times, after=after)

    def add(self, instance: Instance) -> None:
        """Run an instance that somebody else has launched."""
        self._machines[instance.instance_id] = Machine(instance, self.clock.now())

    def kill(self, instance_id: str, reason: str = "Client.UserInitiatedShutdown") -> None:
        """End an instance, if it is there and alive; its room is free again. reason: EC2's StateReason code."""
        machine = self._machines.get(instance_id)
        if machine is None or machine.ended_at is not None:
            return
        machine.ended_at = self.clock.now()
        machine.instance = replace(machine.instance, state_reason=reason)
        self._take(_key(machine.instance), machine.reservation, -1)

    def stop(self, instance_id: str) -> None:
        """Stop an instance, as a person may in the console."""
        self._machines[instance_id].is_stopped = True

    def forget(self, instance_id: str) -> None:
        """Know nothing of an instance any more, as EC2 an hour after its end, or another account."""
        del self._machines[instance_id]

    def all(self) -> tuple[Instance, ...]:
        """Return every instance ever launched, as it is now, shown or not."""
        return tuple(self._now(machine) for machine in list(self._machines.values()))

    def alive(self) -> tuple[Instance, ...]:
        """Return those that still cost money."""
        return tuple(instance for instance in self.all() if instance.state not in _ENDING)

    # -- how a fleet is filled

    def _answer_again(self, order: FleetOrder) -> FleetAnswer:
        first, answer = self._answers[order.token]
        if first != order:
            raise cloud_error("IdempotentParameterMismatch", Verdict.INVALID, f"token {order.token}")
        return answer

    def _refuse_impossible(self, order: FleetOrder) -> None:
        if not order.pools or not 0 < order.count <= FLEET_MAX_NODES or order.minimum > order.count:
            raise cloud_error("InvalidParameterValue", Verdict.INVALID, "pools, count or minimum")
        if order.minimum and not (order.single_zone or order.single_type):
            # CreateFleet: MinTargetCapacity needs SingleAvailabilityZone or SingleInstanceType.
            raise cloud_error("InvalidParameterCombination", Verdict.INVALID, "a minimum over zones and types")
        for pool in order.pools:
            if (pool.template or order.template).name in self._removed:
                raise cloud_error(_NOT_FOUND, Verdict.NOT_FOUND, (pool.template or order.template).name)

    def _fulfil(self, order: FleetOrder) -> FleetAnswer:
        fleet_id = f"fleet-{len(self._answers) + 1}"
        shares, refusals = self._choose(order)
        # EC2 keeps no minimum for Capacity Blocks: its user guide says that a fleet launches what fits there.
        if sum(shares.values()) < order.minimum and order.market is not Market.CAPACITY_BLOCK:
            return FleetAnswer(fleet_id, (), refusals)
        launched: list[Launched] = []
        for number, (pool, share) in enumerate(shares.items()):
            reservation = f"r-{fleet_id}-{number}"
            launched += [self._start(order, pool, reservation, index) for index in range(share)]
        return FleetAnswer(fleet_id, tuple(launched), refusals)

    def _choose(self, order: FleetOrder) -> tuple[dict[Pool, int], tuple[Refusal, ...]]:
        """Fill from one zone, one type, or all; of several that would do, from the one with most room."""
        choices: dict[tuple[str, str], list[Pool]] = {}
        for pool in order.pools:
            alike = (_zone(pool) if order.single_zone else "", pool.instance_type if order.single_type else "")
            choices.setdefault(alike, []).append(pool)
        tries = [self._fill(order, pools) for pools in choices.values()]
        best = max(tries, key=lambda found: sum(found[0].values()))
        if sum(best[0].values()) == order.count:
            return best
        return best[0], tuple(refusal for _, refusals in tries for refusal in refusals)

    def _fill(self, order: FleetOrder, pools: Iterable[Pool]) -> tuple[dict[Pool, int], tuple[Refusal, ...]]:
        shares: dict[Pool, int] = {}
        refusals: list[Refusal] = []
        missing = order.count
        for pool in pools:
            if not missing:
                break
            if (pool.instance_type, _zone(pool)) in self.not_offered:
                refusals.append(_refusal(pool, "Unsupported", Verdict.NOT_OFFERED))
                continue
            refused = self.refusing.get((pool.instance_type, _zone(pool), order.market))
            if refused is not None:
                refusals.append(_refusal(pool, *refused))
                continue
            if order.placement_group and order.placement_group not in self.groups:
                refusals.append(_refusal(pool, "InvalidPlacementGroup.Unknown", Verdict.NOT_FOUND))
                continue
            share = max(0, min(missing, self._room(order, pool, order.count - missing)))
            missing -= share
            if share:
                shares[pool] = share
            if missing:
                code = "ReservationCapacityExceeded" if order.reservation else "InsufficientInstanceCapacity"
                refusals.append(_refusal(pool, code, Verdict.CAPACITY))
        return shares, tuple(refusals)

    def _room(self, order: FleetOrder, pool: Pool, chosen: int) -> int:
        """Return how many more fit in a pool. chosen: how many of this order go elsewhere in its placement group."""
        key = (pool.instance_type, _zone(pool), order.market)
        if order.reservation:
            room = self.reserved.get(order.reservation, order.count) - chosen
        else:
            room = self.capacity.get(key, order.count)
        if not order.placement_group:
            return room
        inside = [one for one in self.alive() if one.placement_group == order.placement_group]
        if self.groups[order.placement_group] == "spread":
            room = min(room, _SPREAD_ROOM - chosen - sum(one.zone == key[1] for one in inside))
        placed = sum(_key(one) == key for one in inside)
        return min(room, self.group_capacity.get(key, order.count + placed) - placed)

    def _take(self, key: PoolKey, reservation: str, count: int) -> None:
        """Take room away, or give it back."""
        if reservation in self.reserved:
            self.reserved[reservation] -= count
        elif key in self.capacity:
            self.capacity[key] -= count

    def _start(self, order: FleetOrder, pool: Pool, reservation: str, index: int) -> Launched:
        self._take((pool.instance_type, _zone(pool), order.market), order.reservation, 1)
        number = len(self._machines) + 1
        address = f"127.7.{number // 250}.{number % 250 + 1}"
        instance = Instance(
            f"i-{number:017x}",
            pool.instance_type,
            _zone(pool),
            pool.subnet_id,
            InstanceState.PENDING,
            order.market,
            address,
            f"ip-{address.replace('.', '-')}.ec2.internal",
            reservation,
            index,
            self.clock.now(),
            dict(order.tags),
            order.placement_group,
            self._efa((pool.template or order.template).name),
        )
        self._machines[instance.instance_id] = Machine(instance, self.clock.now(), order.reservation)
        return Launched(instance.instance_id, pool.instance_type, _zone(pool), pool.subnet_id, order.market)

    def _efa(self, template: str) -> int:
        """Return how many EFA interfaces a derived template gives; a base template has none."""
        if template not in self.templates:
            return 0
        base, change = self.templates[template]
        if not change.interfaces:
            return self._efa(base.name)
        return sum(interface.kind != "interface" for interface in change.interfaces)

    # -- how an instance looks as time goes by

    def _shown(self, machines: Iterable[Machine]) -> tuple[Instance, ...]:
        return tuple(self._now(machine) for machine in list(machines) if self._knows(machine.instance.instance_id))

    def _knows(self, instance_id: str) -> bool:
        """Whether EC2 knows an id: a fresh one not yet, one that ended long ago not any more."""
        machine, now = self._machines.get(instance_id), self.clock.now()
        if machine is None or now - machine.launched_at < self.show_after:
            return False
        return machine.ended_at is None or now - machine.ended_at < self.forget_after

    def _now(self, machine: Machine) -> Instance:
        now = self.clock.now()
        instance = machine.instance
        if machine.ended_at is not None:
            gone = now - machine.ended_at >= self.end_after
            state = InstanceState.TERMINATED if gone else InstanceState.SHUTTING_DOWN
            return replace(instance, state=state, private_ip="", private_dns="", ended_at=self._told(machine))
        if machine.is_stopped:
            return replace(instance, state=InstanceState.STOPPED)
        age = now - machine.launched_at
        state = InstanceState.RUNNING if age >= self.boot_after else InstanceState.PENDING
        if age < self.address_after:
            return replace(instance, state=state, private_ip="", private_dns="")
        return replace(instance, state=state)

    def _told(self, machine: Machine) -> datetime | None:
        """Return when EC2 says that an instance ended."""
        return machine.ended_at if self.tells_end else None

    def _count(self, action: str, size: int, batch: int) -> None:
        self.calls[action] += -(-size // batch)


def _refusal(pool: Pool, code: str, verdict: Verdict) -> Refusal:
    return Refusal(code, f"no {pool.instance_type} there", verdict, pool.instance_type, _zone(pool), pool.subnet_id)


def _zone(pool: Pool) -> str:
    """Return a pool's zone; where an order names none, `subnet-x` lies in zone x."""
    return pool.zone or f"us-east-2{pool.subnet_id[-1]}"


def _key(instance: Instance) -> PoolKey:
    return instance.instance_type, instance.zone, instance.market
