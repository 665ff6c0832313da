"""An EC2 in memory: pools that run out, fleets that launch a part, tokens, addresses that show late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.fakes.faults import Faults

from asbx.config.limits import DESCRIBE_BATCH, FLEET_MAX_NODES, TAG_BATCH, TERMINATE_BATCH
from asbx.errors import AsbxError
from asbx.model.market import (
    FleetAnswer,
    FleetOrder,
    Instance,
    InstanceState,
    Launched,
    Market,
    Pool,
    Refusal,
    Verdict,
)
from asbx.ports import Clock, CloudError

PoolKey = tuple[str, str, Market]  # type, zone, market
_ENDING = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


def cloud_error(code: str, verdict: Verdict, why: str = "") -> CloudError:
    """Return a refusal of a whole call."""
    return CloudError(code, "EC2 refused", why, "", verdict)


@dataclass
class Machine:
    """What the fake knows of an instance."""

    instance: Instance
    launched_at: datetime
    ended_at: datetime | None = None


@dataclass
class FakeCloud:
    """The door `Cloud`. calls: EC2 action -> how many the real adapter would have made at best.

    capacity: room by (type, zone, market); pools not named have no limit. not_offered: (type, zone).
    show_after, address_after, boot_after, end_after: time from the launch (the end) until describe shows the
    instance, its address, `running` (`terminated`).
    """

    clock: Clock
    capacity: dict[PoolKey, int] = field(default_factory=dict)
    not_offered: frozenset[tuple[str, str]] = frozenset()
    show_after: timedelta = timedelta(0)
    address_after: timedelta = timedelta(0)
    boot_after: timedelta = timedelta(seconds=20)
    end_after: timedelta = timedelta(seconds=30)
    calls: Counter[str] = field(default_factory=Counter)
    orders: list[FleetOrder] = field(default_factory=list)
    _answers: dict[str, tuple[FleetOrder, FleetAnswer]] = field(default_factory=dict)
    _machines: dict[str, Machine] = field(default_factory=dict)
    _faults: Faults = field(default_factory=Faults)

    # -- the door

    def launch(self, order: FleetOrder) -> FleetAnswer:
        """Launch once per token."""
        self.calls["CreateFleet"] += 1
        self.orders.append(order)
        with self._faults.call("launch"):
            if order.token in self._answers:
                return self._answer_again(order)
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
            for instance_id in instance_ids:
                self.kill(instance_id)
            return tuple(key for key in dict.fromkeys(instance_ids) if key in self._machines)

    def tag(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Put tags on all of these. One unknown id fails the call, as in EC2."""
        self._count("CreateTags", len(instance_ids), TAG_BATCH)
        with self._faults.call("tag"):
            unknown = [key for key in instance_ids if key not in self._machines]
            if unknown:
                raise cloud_error("InvalidInstanceID.NotFound", Verdict.NOT_FOUND, ",".join(unknown))
            for instance_id in instance_ids:
                machine = self._machines[instance_id]
                machine.instance = replace(machine.instance, tags=machine.instance.tags | dict(tags))

    # -- the other side

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; after: EC2 has done it, the answer is lost."""
        self._faults.add(method, error, times=times, after=after)

    def kill(self, instance_id: str) -> None:
        """End an instance, if it is there and alive; its room is free again."""
        machine = self._machines.get(instance_id)
        if machine is None or machine.ended_at is not None:
            return
        machine.ended_at = self.clock.now()
        key = (machine.instance.instance_type, machine.instance.zone, machine.instance.market)
        if key in self.capacity:
            self.capacity[key] += 1

    def all(self) -> tuple[Instance, ...]:
        """Return every instance ever launched, as it is now, shown or not."""
        return tuple(self._now(machine) for machine in self._machines.values())

    def alive(self) -> tuple[Instance, ...]:
        """Return those that still cost money."""
        return tuple(instance for instance in self.all() if instance.state not in _ENDING)

    # -- how a fleet is filled

    def _answer_again(self, order: FleetOrder) -> FleetAnswer:
        first, answer = self._answers[order.token]
        if first != order:
            raise cloud_error("IdempotentParameterMismatch", Verdict.INVALID, f"token {order.token}")
        return answer

    @staticmethod
    def _refuse_impossible(order: FleetOrder) -> None:
        kinds = {pool.instance_type for pool in order.pools}
        if not order.pools or not 0 < order.count <= FLEET_MAX_NODES or order.minimum > order.count:
            raise cloud_error("InvalidParameterValue", Verdict.INVALID, "pools, count or minimum")
        if order.minimum and not (order.single_zone or len(kinds) == 1):
            # CreateFleet: MinTargetCapacity needs SingleAvailabilityZone or SingleInstanceType.
            raise cloud_error("InvalidParameterCombination", Verdict.INVALID, "a minimum over zones and types")

    def _fulfil(self, order: FleetOrder) -> FleetAnswer:
        fleet_id = f"fleet-{len(self._answers) + 1}"
        shares, refusals = self._choose(order)
        if sum(shares.values()) < order.minimum:
            return FleetAnswer(fleet_id, (), refusals)
        launched: list[Launched] = []
        for number, (pool, share) in enumerate(shares.items()):
            reservation = f"r-{fleet_id}-{number}"
            launched += [self._start(order, pool, reservation, index) for index in range(share)]
        return FleetAnswer(fleet_id, tuple(launched), refusals)

    def _choose(self, order: FleetOrder) -> tuple[dict[Pool, int], tuple[Refusal, ...]]:
        if not order.single_zone:
            return self._fill(order, order.pools)
        zones = dict.fromkeys(_zone(pool) for pool in order.pools)
        tries = [self._fill(order, [pool for pool in order.pools if _zone(pool) == zone]) for zone in zones]
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
            share = min(missing, self.capacity.get((pool.instance_type, _zone(pool), order.market), missing))
            missing -= share
            if share:
                shares[pool] = share
            if missing:
                refusals.append(_refusal(pool, "InsufficientInstanceCapacity", Verdict.CAPACITY))
        return shares, tuple(refusals)

    def _start(self, order: FleetOrder, pool: Pool, reservation: str, index: int) -> Launched:
        key = (pool.instance_type, _zone(pool), order.market)
        if key in self.capacity:
            self.capacity[key] -= 1
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
        )
        self._machines[instance.instance_id] = Machine(instance, self.clock.now())
        return Launched(instance.instance_id, pool.instance_type, _zone(pool), pool.subnet_id, order.market)

    # -- how an instance looks as time goes by

    def _shown(self, machines: Iterable[Machine]) -> tuple[Instance, ...]:
        now = self.clock.now()
        return tuple(self._now(machine) for machine in machines if now - machine.launched_at >= self.show_after)

    def _now(self, machine: Machine) -> Instance:
        now = self.clock.now()
        instance = machine.instance
        if machine.ended_at is not None:
            gone = now - machine.ended_at >= self.end_after
            state = InstanceState.TERMINATED if gone else InstanceState.SHUTTING_DOWN
            return replace(instance, state=state, private_ip="", private_dns="")
        age = now - machine.launched_at
        state = InstanceState.RUNNING if age >= self.boot_after else InstanceState.PENDING
        if age < self.address_after:
            return replace(instance, state=state, private_ip="", private_dns="")
        return replace(instance, state=state)

    def _count(self, action: str, size: int, batch: int) -> None:
        self.calls[action] += -(-size // batch)


def _refusal(pool: Pool, code: str, verdict: Verdict) -> Refusal:
    return Refusal(code, f"no {pool.instance_type} there", verdict, pool.instance_type, _zone(pool), pool.subnet_id)


def _zone(pool: Pool) -> str:
    """Return a pool's zone; where an order names none, `subnet-x` lies in zone x."""
    return pool.zone or f"us-east-2{pool.subnet_id[-1]}"
