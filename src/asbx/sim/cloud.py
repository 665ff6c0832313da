"""EC2 in virtual time: the door `Cloud` over the shared market model.

It behaves as EC2 does where flows depend on it: it takes its time, shows things late, throttles, loses answers, runs
out of capacity, takes spot instances back and loses zones. What a fleet gets is for asbx.sim.market to say.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from asbx.aws.answers import verdict_of
from asbx.config.limits import DESCRIBE_BATCH, FLEET_MAX_NODES, TAG_BATCH, TERMINATE_BATCH, TOPOLOGY_BATCH
from asbx.model.catalogue import TemplateChange
from asbx.model.health import InstanceHealth
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Launched, Refusal, Template
from asbx.ports import CloudError
from asbx.sim.fleet import FleetSpec, Offer, Share, Strategy
from asbx.sim.hub import SECOND, Hub
from asbx.sim.machine import BY_USER, RECLAIMED, Machine
from asbx.sim.market import Market as Pools
from asbx.sim.market import Refusal as Refused
from asbx.sim.prices import Lifecycle, PoolKey
from asbx.sim.scenario import Ec2, Incidents

# EC2 shows a terminated instance for about an hour (EC2 API reference, DescribeInstances).
_SHOWN_ENDED = 3600 * SECOND
# From the end until EC2 says `terminated`, and lets go of the placement group.
_ENDING = 30 * SECOND
_WARNING_S = 120  # EC2 user guide, "Spot Instance interruption notices"
_LATELY = 600 * SECOND
_EVERY = ("InsufficientInstanceCapacity", "the zone is out of order")


def refused(code: str, why: str = "") -> CloudError:
    """Return a refusal of a whole call."""
    return CloudError(code, "EC2 refused", why or code, "", verdict_of(code))


class SimCloud:
    """The pretend EC2.

    busy: lets a call take time. calls: EC2 action -> how many calls. on_boot, on_end, on_warning: who is told when a
    machine is about to serve, has ended, or is to be taken back. trouble: code every call is refused with, "" for none.
    """

    def __init__(self, hub: Hub, ec2: Ec2, incidents: Incidents, chance: random.Random) -> None:
        self.hub, self._ec2, self._incidents, self._chance = hub, ec2, incidents, chance
        self.pools = Pools()
        self.calls: Counter[str] = Counter()
        self.machines: dict[str, Machine] = {}
        self.alive: dict[str, Machine] = {}
        self.groups: dict[str, str] = {}
        self.templates: dict[str, tuple[Template, TemplateChange]] = {}
        self.dark_zones: set[str] = set()
        self.trouble = ""
        self._trouble_us = -_LATELY
        self.reclaims = 0
        self.is_calm = False
        self.busy: Callable[[float], None] = lambda _: None
        self.on_launch: Callable[[FleetOrder, Sequence[Machine], Sequence[Refused]], None] = lambda *_: None
        self.on_terminate: Callable[[Machine], None] = lambda _: None
        self.on_boot: Callable[[Machine], None] = lambda _: None
        self.on_end: Callable[[Machine], None] = lambda _: None
        self.on_warning: Callable[[Machine], None] = lambda _: None
        self._of_intent: dict[str, list[Machine]] = {}
        self._answers: dict[str, tuple[FleetOrder, FleetAnswer]] = {}
        self._in_group: Counter[str] = Counter()
        self._bucket = (0, float(ec2.launch_bucket))  # when it was last looked at, and what it held

    # -- the door

    def launch(self, order: FleetOrder) -> FleetAnswer:
        """Launch once per token."""
        lost = self._begin("CreateFleet", self._ec2.launch, can_be_lost=True)
        if order.token in self._answers:
            answer = self._answer_again(order)
        else:
            self._refuse_impossible(order)
            self._throttle(order)
            answer = self._fulfil(order)
            self._answers[order.token] = (order, answer)
        self._end(lost)
        return answer

    def describe(self, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        """Return what can be seen of these."""
        self._begin("DescribeInstances", self._ec2.call, len(instance_ids), DESCRIBE_BATCH)
        now = self.hub.now_us
        found = (self.machines.get(one) for one in dict.fromkeys(instance_ids))
        return tuple(machine.view(now) for machine in found if machine and machine.is_shown(now, _SHOWN_ENDED))

    def owned(self, cluster: str) -> tuple[Instance, ...]:
        """Return the cluster's instances that may still cost money."""
        self._begin("DescribeInstances", self._ec2.call, len(self.alive), 1000)
        now = self.hub.now_us
        return tuple(
            machine.view(now)
            for machine in self.alive.values()
            if machine.shows_us <= now and machine.tags.get("asbx:cluster") == cluster
        )

    def launched_for(self, intent_id: str) -> tuple[Instance, ...]:
        """Return the instances of an intent that may still cost money."""
        self._begin("DescribeInstances", self._ec2.call)
        now = self.hub.now_us
        mine = self._of_intent.get(intent_id, [])
        return tuple(one.view(now) for one in mine if one.ended_us is None and one.shows_us <= now)

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """End instances; return those EC2 knows, which are ending or ended now."""
        lost = self._begin("TerminateInstances", self._ec2.call, len(instance_ids), TERMINATE_BATCH, can_be_lost=True)
        now = self.hub.now_us
        found = (self.machines.get(one) for one in dict.fromkeys(instance_ids))
        known = [machine for machine in found if machine and machine.is_shown(now, _SHOWN_ENDED)]
        for machine in known:
            if machine.ended_us is None:
                self.on_terminate(machine)
                self.end(machine, BY_USER)
        self._end(lost)
        return tuple(machine.instance_id for machine in known)

    def tag(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Put tags on all of these. One unknown id fails the call, as in EC2."""
        lost = self._begin("CreateTags", self._ec2.call, len(instance_ids), TAG_BATCH, can_be_lost=True)
        now = self.hub.now_us
        some = [self.machines.get(one) for one in instance_ids]
        if any(one is None or not one.is_shown(now, _SHOWN_ENDED) for one in some):
            raise refused("InvalidInstanceID.NotFound", ",".join(instance_ids[:3]))
        for machine in some:
            if machine is not None:
                machine.tag(tags)
        self._end(lost)

    def make_group(self, name: str, strategy: str, tags: Mapping[str, str]) -> None:
        """Make a placement group, unless one of that name is there."""
        del tags
        self._begin("CreatePlacementGroup", self._ec2.call)
        self.groups.setdefault(name, strategy)

    def remove_group(self, name: str) -> bool:
        """Remove a placement group that no instance is in; one that ends is still in it."""
        self._begin("DeletePlacementGroup", self._ec2.call)
        if self._in_group[name]:
            return False
        self.groups.pop(name, None)
        return True

    def make_template(self, name: str, base: Template, change: TemplateChange, tags: Mapping[str, str]) -> Template:
        """Make a derived template, unless one of that name is there."""
        del tags
        self._begin("CreateLaunchTemplate", self._ec2.call)
        self.templates.setdefault(name, (base, change))
        return Template(name=name, version="1")

    def remove_template(self, name: str) -> None:
        """Remove a derived template; instances launched from it stay."""
        self._begin("DeleteLaunchTemplate", self._ec2.call)
        self.templates.pop(name, None)

    def topology(self, instance_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Tell nothing: the market model knows no network below the zone."""
        self._begin("DescribeInstanceTopology", self._ec2.call, len(instance_ids), TOPOLOGY_BATCH)
        return {}

    def unwell(self) -> tuple[InstanceHealth, ...]:
        """Tell of nothing: machines here die, they are not ill."""
        self._begin("DescribeInstanceStatus", self._ec2.call, 3)
        return ()

    def console(self, instance_id: str) -> str:
        """Return nothing: what a machine writes is not part of this world."""
        self._begin("GetConsoleOutput", self._ec2.call)
        if instance_id not in self.machines:
            raise refused("InvalidInstanceID.NotFound", instance_id)
        return ""

    # -- what calls have in common

    def _begin(
        self, action: str, span: tuple[float, float], size: int = 1, batch: int = 1, *, can_be_lost: bool = False
    ) -> bool:
        """Count calls and let them take their time; return whether the answer is going to be lost."""
        count = max(-(-size // batch), 1)
        self.calls[action] += count
        low, high = span
        self.busy(count * (low + (high - low) * self._chance.random()))
        if self.trouble:
            self._trouble_us = self.hub.now_us
            raise refused(self.trouble)
        return can_be_lost and not self.is_calm and self._chance.random() < self._incidents.lost_answers

    @property
    def trouble_lately(self) -> bool:
        """Whether calls have failed within the last minutes, so that ends may not have been confirmed."""
        return self.hub.now_us - self._trouble_us < _LATELY

    def _end(self, lost: bool) -> None:
        if lost:
            self._trouble_us = self.hub.now_us
            raise refused("RequestTimeout", "the answer was lost")

    def _throttle(self, order: FleetOrder) -> None:
        """Take launches out of the bucket. AWS, "Request throttling for the Amazon EC2 API", resource rate."""
        if not self._ec2.launch_bucket:
            return
        since, held = self._bucket
        held = min(held + (self.hub.now_us - since) / SECOND * self._ec2.launch_rate, self._ec2.launch_bucket)
        self._bucket = (self.hub.now_us, held)
        if order.count > held:
            raise refused("RequestLimitExceeded", "Request limit exceeded.")
        self._bucket = (self.hub.now_us, held - order.count)

    # -- a fleet

    def _answer_again(self, order: FleetOrder) -> FleetAnswer:
        first, answer = self._answers[order.token]
        if first != order:
            raise refused("IdempotentParameterMismatch", f"token {order.token}")
        return answer

    def _refuse_impossible(self, order: FleetOrder) -> None:
        if not order.pools or not 0 < order.count <= FLEET_MAX_NODES or order.minimum > order.count:
            raise refused("InvalidParameterValue", "pools, count or minimum")
        if order.minimum and not (order.single_zone or order.single_type):
            # CreateFleet: MinTargetCapacity needs SingleAvailabilityZone or SingleInstanceType.
            raise refused("InvalidParameterCombination", "a minimum over zones and types")
        if order.placement_group and order.placement_group not in self.groups:
            raise refused("InvalidPlacementGroup.Unknown", order.placement_group)

    def _fulfil(self, order: FleetOrder) -> FleetAnswer:
        market = Lifecycle(order.market.value)
        offers = tuple(self._offer(order, place) for place in range(len(order.pools)))
        strategy = Strategy(order.strategy) if order.strategy else Strategy.LOWEST_PRICE
        spec = FleetSpec(
            market,
            order.count,
            offers,
            strategy,
            single_type=order.single_type,
            single_zone=order.single_zone,
            minimum=order.minimum,
        )
        allocation = self.pools.launch(spec, self.hub.now_us / SECOND)
        fleet = f"fleet-{len(self._answers) + 1}"
        born = [machine for share in allocation.shares for machine in self._start(order, share, fleet)]
        self.on_launch(order, born, allocation.refusals)
        launched = (Launched(m.instance_id, m.key.instance_type, m.key.zone, m.subnet, order.market) for m in born)
        refusals = (
            Refusal(r.code, r.message, verdict_of(r.code), r.offer.instance_type, r.offer.zone, r.offer.subnet_id)
            for r in allocation.refusals
        )
        return FleetAnswer(fleet, tuple(launched), tuple(refusals))

    def _offer(self, order: FleetOrder, place: int) -> Offer:
        pool = order.pools[place]
        zone = pool.zone or pool.subnet_id.removeprefix("subnet-")
        kind = self.groups.get(order.placement_group, "")
        return Offer(
            place,
            pool.instance_type,
            zone,
            pool.subnet_id,
            priority=float(place),
            max_price=Decimal(pool.max_price) if pool.max_price else None,
            barred=_EVERY if zone in self.dark_zones else None,
            cluster=order.placement_group if kind == "cluster" else "",
            spread=order.placement_group if kind == "spread" else "",
        )

    def _start(self, order: FleetOrder, share: Share, fleet: str) -> list[Machine]:
        key = PoolKey(share.offer.instance_type, share.offer.zone, Lifecycle(order.market.value))
        reservation = f"r-{fleet[6:]}-{share.offer.position}"
        template = (order.pools[share.offer.position].template or order.template).name
        some = []
        for index in range(share.count):
            machine = Machine(
                self.hub, f"i-{len(self.machines) + 1:017x}", key, share.offer.subnet_id, self._address(), reservation,
                index, dict(order.tags), order.placement_group, self._efa(template), share.price, self.hub.now_us,
            )  # fmt: skip
            self._plan_its_life(machine)
            some.append(machine)
        return some

    def _address(self) -> str:
        number = len(self.machines) + 1
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def _efa(self, template: str) -> int:
        """Return how many EFA interfaces a derived template gives; a base template has none."""
        if template not in self.templates:
            return 0
        base, change = self.templates[template]
        if not change.interfaces:
            return self._efa(base.name)
        return sum(interface.kind != "interface" for interface in change.interfaces)

    # -- a machine's life

    def _plan_its_life(self, machine: Machine) -> None:
        """Draw when it is seen, runs, boots, and whether something comes between."""
        self.machines[machine.instance_id] = self.alive[machine.instance_id] = machine
        self._of_intent.setdefault(machine.tags.get("asbx:intent", ""), []).append(machine)
        if machine.placement_group:
            self._in_group[machine.placement_group] += 1
        draw = self._chance.random
        machine.shows_us += self._draw(self._ec2.visible)
        machine.runs_us += self._draw(self._ec2.pending)
        boots_us = machine.runs_us + self._draw(self._ec2.boot)
        if self.is_calm:
            self.hub.at(boots_us, lambda: self._boot(machine))
            return
        fate = draw()
        if fate < self._incidents.dies_early:
            dies_us = round(machine.runs_us + draw() * (boots_us - machine.runs_us))
            self.hub.at(dies_us, lambda: self.end(machine, "Server.InternalError"))
        elif fate >= self._incidents.dies_early + self._incidents.never_boots:
            self.hub.at(boots_us, lambda: self._boot(machine))
        rate = self._incidents.spot_reclaims_per_day
        if machine.key.market is Lifecycle.SPOT and rate:
            self.hub.after(self._chance.expovariate(rate / 86_400), lambda: self._warn(machine))

    def _draw(self, span: tuple[float, float]) -> int:
        low, high = span
        return round((low + (high - low) * self._chance.random()) * SECOND)

    def _boot(self, machine: Machine) -> None:
        if machine.ended_us is None:
            self.on_boot(machine)

    def _warn(self, machine: Machine) -> None:
        if machine.ended_us is None and not self.is_calm:
            self.reclaims += 1
            self.on_warning(machine)
            self.hub.after(_WARNING_S, lambda: self.end(machine, RECLAIMED))

    def end(self, machine: Machine, reason: str) -> None:
        """End a machine, if it is alive; its place is free again."""
        if machine.ended_us is not None:
            return
        machine.end(reason, self.hub.now_us, tells_when=self._ec2.tells_end or reason == BY_USER)
        del self.alive[machine.instance_id]
        kind = self.groups.get(machine.placement_group, "")
        self.pools.release(machine.key, group=machine.placement_group if kind in ("cluster", "spread") else "")
        if machine.placement_group:
            name = machine.placement_group
            self.hub.at(self.hub.now_us + _ENDING, lambda: self._in_group.subtract([name]))
        self.on_end(machine)

    # -- the world

    def of_intent(self, intent_id: str) -> Sequence[Machine]:
        """Return all machines ever launched for an intent."""
        return self._of_intent.get(intent_id, ())

    def add_stranger(self, number: int, cluster: str) -> Machine:
        """Run an instance of somebody else that carries our cluster's name."""
        zone = self._ec2.zones[number % len(self._ec2.zones)]
        key = PoolKey("t3.micro", zone, Lifecycle.ON_DEMAND)
        tags = {"asbx:cluster": cluster, "asbx:intent": f"of-somebody-{number}"}
        machine = Machine(
            self.hub, f"i-stranger{number:03d}", key, f"subnet-{zone}", "10.255.255.1", f"r-stranger-{number}", 0, tags,
            "", 0, Decimal(0), self.hub.now_us,
        )  # fmt: skip
        self.machines[machine.instance_id] = self.alive[machine.instance_id] = machine
        self.pools.take(key, 1)
        return machine

    def lose_zone(self, zone: str, kills: float) -> None:
        """Let a zone go dark, and instances of it die."""
        self.dark_zones.add(zone)
        for machine in [one for one in self.alive.values() if one.key.zone == zone]:
            if self._chance.random() < kills:
                self.end(machine, "Server.InternalError")

    def move_prices(self, types: Sequence[str], seed: int) -> None:
        """Let every spot price take a step: one of its own, so that a pool costs the same whatever else is bought."""
        at = self.hub.now_us / SECOND
        for zone in self._ec2.zones:
            for kind in types:
                key = PoolKey(kind, zone, Lifecycle.SPOT)
                price = self.pools.prices.price(key, at)
                if price is not None:
                    chance = random.Random(f"{seed}/{kind}/{zone}/{self.hub.now_us}").random()
                    step = 1 + self._ec2.spot_price_step * (2 * chance - 1)
                    self.pools.prices.set(key, (price * Decimal(f"{step:.4f}")).quantize(Decimal("0.0001")), at)
