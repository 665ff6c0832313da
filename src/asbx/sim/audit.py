"""Watch a run keep its promises, and look at the end for what leaked, stuck or was lost.

The auditor knows the pretend world from the inside. It works out EC2's bill from the machines alone, in whole seconds
and fractions; the ledger's total comes from asbx.decide.cost, as `asbx cost` shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from asbx.config.limits import CAPACITY_COOLDOWN
from asbx.config.schema import Config
from asbx.decide.cost import bill
from asbx.flow.outcome import Outcome
from asbx.model.job import Request, RequestKind
from asbx.model.market import FleetOrder, Instance, Verdict
from asbx.model.record import InstanceRow, Intent
from asbx.sim.cloud import SimCloud
from asbx.sim.cluster import Controller
from asbx.sim.hub import SECOND
from asbx.sim.ledger import MemoryLedger
from asbx.sim.machine import BY_USER, Machine
from asbx.sim.market import Refusal
from asbx.sim.nodes import Node, Power

PROMISES = {
    1: "every instance was intended, and strangers are left alone",
    2: "a gang is whole or nothing",
    3: "a placed gang is in one subnet and one placement group",
    4: "one node, one instance; asked twice, launched once",
    5: "nothing that serves is destroyed",
    6: "every launch ends, and no pool known to be empty is asked",
    7: "every dollar is accounted for",
}
_MINIMUM_S = 60  # EC2, "Amazon EC2 On-Demand Pricing": a minimum of 60 seconds for each start
_KEPT = 20


@dataclass(frozen=True)
class Bills:
    """What EC2 charges and what the ledger says, in USD; wrong: instances whose rows differ."""

    cloud: Fraction
    ledger: Fraction
    wrong: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Whether they are the same to the cent."""
        return round(self.cloud * 100) == round(self.ledger * 100)


@dataclass(frozen=True)
class Leftovers:
    """What should not be there once everything has come to rest."""

    orphans: tuple[str, ...]
    stuck: tuple[str, ...]
    lost: tuple[int, ...]
    unended: tuple[str, ...]
    open_requests: tuple[str, ...]
    groups: tuple[str, ...]
    unfinished: tuple[int, ...]

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing."""
        every = (self.orphans, self.stuck, self.lost, self.unended, self.open_requests, self.groups, self.unfinished)
        return not any(every)


@dataclass
class Auditor:
    """Sees every launch, binding and end. broken: promise -> how often; texts: the first few of each."""

    config: Config
    cloud: SimCloud
    controller: Controller
    ledger: MemoryLedger
    patience_s: float = 0.0
    broken: Counter[int] = field(default_factory=Counter)
    texts: dict[int, list[str]] = field(default_factory=dict)
    doubles: int = 0
    served: dict[str, str] = field(default_factory=dict)  # machine -> node it has registered as
    slowest_s: float = 0.0
    _refused: dict[tuple[str, str, str, str, bool], tuple[int, int]] = field(default_factory=dict)

    def accuse(self, promise: int, text: str) -> None:
        """Note that a promise was broken."""
        self.broken[promise] += 1
        said = self.texts.setdefault(promise, [])
        if len(said) < _KEPT:
            said.append(f"{self.controller.hub.now():%d %H:%M:%S} {text}")

    # -- while it runs

    def launched(self, order: FleetOrder, born: Sequence[Machine], refusals: Sequence[Refusal]) -> None:
        """Look at what a call is about to answer."""
        tags = dict(order.tags)
        intent = self.ledger._intents.get(tags.get("asbx:intent", ""))  # noqa: SLF001  the auditor reads the books
        if intent is None or not all(tags.get(f"asbx:{key}") for key in ("cluster", "partition", "nodegroup", "gang")):
            self.accuse(1, f"token {order.token} was launched without an intent or without tags")
            return
        if not any(one.order.token == order.token for one in self.ledger.attempts(intent.intent_id)):
            self.accuse(1, f"token {order.token} is not in the ledger")
        self._once(intent, order, born)
        self._not_again(intent, order, refusals)

    def _once(self, intent: Intent, order: FleetOrder, born: Sequence[Machine]) -> None:
        alive = sum(one.ended_us is None for one in self.cloud.of_intent(intent.intent_id))
        group = self.config.group(intent.group)
        spare = group.most_extra_nodes if group is not None else 0
        if born and alive > len(intent.nodes) + spare and not self.cloud.trouble_lately:
            self.doubles += alive - len(intent.nodes) - spare
            self.accuse(4, f"{alive} instances live for the {len(intent.nodes)} nodes of {order.token}")

    def _not_again(self, intent: Intent, order: FleetOrder, refusals: Sequence[Refusal]) -> None:
        now, least = self.controller.hub.now_us, CAPACITY_COOLDOWN[0].total_seconds() * SECOND
        count, placed = max(order.minimum, 1), bool(order.placement_group)
        for pool in order.pools:
            at, size = self._refused.get(
                (intent.intent_id, pool.instance_type, pool.zone, order.market, placed), (0, 0)
            )
            if at and now - at < least / 2 and count >= size:
                self.accuse(6, f"{order.token} asked {pool.instance_type} in {pool.zone} again, known to be empty")
        for one in refusals:
            if one.code == "InsufficientInstanceCapacity":
                key = (intent.intent_id, one.offer.instance_type, one.offer.zone, order.market.value, placed)
                self._refused[key] = (now, count)

    def bound(self, rows: Sequence[tuple[str, Instance]]) -> None:
        """Look at nodes that are about to get an address."""
        for name, instance in rows:
            node = self.controller.table.nodes.get(name)
            if node is None:
                continue
            before = self.cloud.alive.get(node.instance_id)
            if before is not None and before.instance_id != instance.instance_id and node.address == before.address:
                self.accuse(4, f"{name} has {before.instance_id}, which lives, and gets {instance.instance_id}")
            other = self.served.get(instance.instance_id)
            if other is not None and other != name:
                self.accuse(4, f"{instance.instance_id} serves {other} and is bound to {name}")

    def ending(self, machine: Machine) -> None:
        """Look at a machine that is about to be ended by a call."""
        if machine.tags.get("asbx:intent", "").startswith("of-somebody"):
            self.accuse(1, f"{machine.instance_id} is somebody else's and was ended")
        node = self.controller.table.nodes.get(self.served.get(machine.instance_id, ""))
        serves = node is not None and node.address == machine.address and node.power is Power.UP
        if node is not None and serves and not node.is_down and node.jobs:
            self.accuse(5, f"{machine.instance_id} was ended under {node.name}, which runs {sorted(node.jobs)}")

    def failing(self, nodes: Sequence[Node], reason: str) -> None:
        """Look at nodes that are about to be set DOWN; one whose machine is gone serves nobody."""
        for node in nodes:
            running = [one for one in sorted(node.jobs) if self.controller.jobs[one].state == "RUNNING"]
            serves = node.power is Power.UP and not node.is_down and node.instance_id in self.cloud.alive
            if serves and running:
                self.accuse(5, f"{node.name} is set DOWN under {running}: {reason[:80]}")

    def finished(self, request: Request, note: str, at: datetime) -> None:
        """Look at a request that is over."""
        if request.kind is not RequestKind.RESUME:
            return
        took = (at - request.received_at).total_seconds()
        self.slowest_s = max(self.slowest_s, took)
        if took > self.config.slurm.resume_timeout + self.patience_s:
            self.accuse(6, f"{request.request_id} took {took:.0f} s")
        if "internal" in Outcome.from_note(note).codes:
            self.accuse(6, f"{request.request_id} ended in an internal error: {note[:200]}")
        gangs: dict[str, list[Intent]] = {}
        for intent in self.ledger.intents(request.request_id):
            gangs.setdefault(intent.gang_id, []).append(intent)
        for gang_id, intents in gangs.items():
            if gang_id.startswith("job-"):
                self._whole(gang_id, intents)

    def _whole(self, gang_id: str, intents: Sequence[Intent]) -> None:
        group = self.config.group(intents[0].group)
        machines = [one for intent in intents for one in self.cloud.of_intent(intent.intent_id)]
        if (group is not None and group.strategy == "best-effort") or any(_died(one) for one in machines):
            return
        ours = {one.instance_id: one for one in machines if one.ended_us is None}
        names = [node for intent in intents for node in intent.nodes]
        have = [b.instance_id for b in self.ledger.live_bindings(names) if b.instance_id in ours]
        if 0 < len(have) < len(names):
            self.accuse(2, f"{gang_id}: {len(have)} of {len(names)} nodes have an instance")
        placed = [ours[one] for one in have if ours[one].placement_group]
        kinds = {self.cloud.groups.get(one.placement_group, "") for one in placed}
        if placed and "cluster" in kinds and len({(one.subnet, one.placement_group) for one in placed}) > 1:
            self.accuse(3, f"{gang_id} is in several subnets or placement groups")

    # -- at the end

    def leftovers(self) -> Leftovers:
        """Return what should not be there."""
        alive = {m.instance_id for m in self.cloud.alive.values() if not m.instance_id.startswith("i-stranger")}
        jobs = self.controller.jobs.values()
        return Leftovers(
            tuple(sorted(alive)),
            tuple(
                n.name
                for n in self.controller.table.nodes.values()
                if n.shown().flags != {"CLOUD", "POWERED_DOWN"} or n.is_down
            ),
            tuple(
                job.job_id for job in jobs if job.state == "NODE_FAIL" and not job.ran and job.told.startswith("asbx:")
            ),
            tuple(row.instance_id for row in self.ledger.instances(live_only=True)),
            tuple(request.request_id for request in self.ledger.open_requests()),
            tuple(sorted(self.cloud.groups)),
            tuple(job.job_id for job in jobs if not job.is_over),
        )

    def bills(self) -> Bills:
        """Work out EC2's bill from the machines, and compare it with the ledger's."""
        now_us, until = self.controller.hub.now_us, self.controller.hub.now()
        rows = {row.instance_id: row for row in self.ledger.instances()}
        cloud, wrong = Fraction(0), []
        for machine in self.cloud.machines.values():
            if machine.instance_id.startswith("i-stranger"):
                continue
            usd = _charged(machine, now_us)
            cloud += usd
            fault = self._row_fault(machine, rows.get(machine.instance_id), usd, until)
            if fault:
                wrong.append(f"{machine.instance_id}: {fault}")
        ledger = Fraction(bill(tuple(rows.values()), until).total_usd)
        return Bills(cloud, ledger, tuple(wrong))

    def _row_fault(self, machine: Machine, row: InstanceRow | None, usd: Fraction, until: datetime) -> str:
        if row is None:
            return "the ledger does not know it"
        said = Fraction(bill([row], until).total_usd)
        if abs(said - usd) < Fraction(1, 1_000_000):
            return ""
        lasted = (row.ended_at or until) - row.launched_at
        began = self.controller.hub.moment(machine.launched_us)
        return (
            f"{float(said):.6f} for {float(usd):.6f} USD; launched {(row.launched_at - began).total_seconds():+.3f} s, "
            f"lasted {lasted.total_seconds():.3f} s, price {row.price} for {machine.price}, "
            f"bound {row.bound_at is not None}, ended as {row.end_reason!r} by {machine.end_reason}"
        )


def _died(machine: Machine) -> bool:
    return machine.ended_us is not None and machine.end_reason != BY_USER


def _charged(machine: Machine, now_us: int) -> Fraction:
    """Return what EC2 charges for a machine: by the second, begun ones in full, at least a minute."""
    ended = now_us if machine.ended_us is None else machine.ended_us
    seconds = max(_MINIMUM_S, -(-(ended - machine.launched_us) // SECOND))
    return Fraction(machine.price) * seconds / 3600


__all__ = ["PROMISES", "Auditor", "Bills", "Leftovers", "Verdict"]
