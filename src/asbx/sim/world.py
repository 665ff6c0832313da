"""A pretend world put together: Slurm, EC2, ledger, and one life of the daemon after the other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from asbx.decide.bind import name_of
from asbx.flow.doors import Doors
from asbx.model.job import RequestKind
from asbx.sim.audit import Auditor
from asbx.sim.budgets import MemoryBudgets
from asbx.sim.cloud import SimCloud
from asbx.sim.cluster import Controller
from asbx.sim.crew import Program
from asbx.sim.daemon import SimDaemon
from asbx.sim.facts import SimCatalogue, SimPrices, SimRecorder
from asbx.sim.hooks import DEATHS, Hooks
from asbx.sim.hub import SECOND, Hub
from asbx.sim.jobs import Job, work
from asbx.sim.ledger import MemoryLedger
from asbx.sim.life import Life, mortal
from asbx.sim.machine import Machine
from asbx.sim.prices import Lifecycle, PoolKey
from asbx.sim.scenario import Crash, Price, Scenario, Stock
from asbx.sim.scontrol import SimScheduler

START = datetime(2026, 3, 2, tzinfo=UTC)
# asbx-node: how long it looks for its name, and how often (node/asbx_node.py, deadline_s and longest_pause_s).
_NODE_PATIENCE_S, _NODE_PAUSE_S = 300.0, 5.0
_POWEROFF = "Client.InstanceInitiatedShutdown"


class Books(MemoryLedger):
    """The ledger, with the auditor looking on when a request ends."""

    auditor: Auditor

    @property
    def has_open_requests(self) -> bool:
        """Whether any request is not finished."""
        return bool(self._open)

    def finish_request(self, request_id: str, *, failed: bool, note: str, at: datetime) -> None:
        """Close a request; the first word stands."""
        request = self._open.get(request_id)
        super().finish_request(request_id, failed=failed, note=note, at=at)
        if request is not None:
            self.auditor.finished(request, note, at)


class World:
    """Everything of one run. deaths: where programs have died."""

    def __init__(self, scenario: Scenario, folder: Path, jobs: Sequence[Job] = ()) -> None:
        self.scenario = scenario
        self.config = scenario.site(folder)
        self._chance = {
            name: random.Random(f"{scenario.seed}/{name}") for name in ("work", "ec2", "slurm", "fate", "turn")
        }
        self.hub = Hub(START, self._chance["turn"] if scenario.shuffle else None)
        self.cloud = SimCloud(self.hub, scenario.ec2, scenario.incidents, self._chance["ec2"])
        self.controller = Controller(self.hub, self.config, scenario.cluster)
        self.scheduler = SimScheduler(self.controller, scenario.cluster.scontrol, self._chance["slurm"])
        self.ledger = Books(events_kept=0)
        self.budgets = MemoryBudgets()
        self.recorder = SimRecorder()
        self.deaths: Counter[str] = Counter()
        self.restarts = 0
        self.hooks = Hooks(self.hub, self.config.paths.requests, self._knock, self._hook_died)
        self.auditor = Auditor(self.config, self.cloud, self.controller, self.ledger, self._patience())
        self.ledger.auditor = self.auditor
        self.jobs: list[Job] = list(jobs)
        self._served: dict[str, tuple[str, str]] = {}  # machine -> node and address it has registered with
        self._life: Life | None = None
        self._daemon: SimDaemon | None = None
        self._kills_left = scenario.incidents.kills.count
        self._connect()

    def _patience(self) -> float:
        """Return how much longer than ResumeTimeout a request may take for what this scenario does to it."""
        bad = self.scenario.incidents
        away = sum(window.lasts for window in (*bad.api_outages, *bad.controller_restarts))
        pauses = sum(crash.pause for crash in bad.crashes) + (10 * bad.kills.pause[1] if bad.kills.count else 0)
        return 600 + away + pauses

    def _connect(self) -> None:
        self.controller.call = self.hooks.call
        self.cloud.on_launch, self.cloud.on_terminate = self.auditor.launched, self.auditor.ending
        self.cloud.on_boot, self.cloud.on_end = self._boots, self._ends
        self.scheduler.on_bind, self.scheduler.on_fail = self.auditor.bound, self.auditor.failing

    # -- before it begins

    def prepare(self) -> None:
        """Make nodes, pools and jobs, and plan what is to happen."""
        for partition, group in self.config.groups():
            name = f"{partition.partition_name}-{group.node_group_name}"
            cpus = next(g.cpus for g in self.scenario.groups if f"{g.partition}-{g.name}" == name)
            self.controller.add_group(name, partition.node_range(group), cpus)
        for stock in self.scenario.ec2.stock:
            self._stock(stock)
        for price in self.scenario.ec2.prices:
            self._price(price)
        for number in range(self.scenario.incidents.strangers):
            self.cloud.add_stranger(number, self.config.cluster.name)
        self.jobs = self.jobs or work(self.scenario, self._chance["work"])
        for job in self.jobs:
            self.hub.at(job.submit_us, lambda job=job: self.controller.submit(job))  # type: ignore[misc]
        self._plan_incidents()
        self.start()

    def types(self) -> list[str]:
        """Return the instance types of all groups."""
        return list(dict.fromkeys(kind for group in self.scenario.groups for kind in group.types))

    def _stock(self, stock: Stock) -> None:
        markets = (Lifecycle.SPOT, Lifecycle.ON_DEMAND) if stock.market == "*" else (Lifecycle(stock.market),)
        for kind in self.types() if stock.type == "*" else [stock.type]:
            for zone in self.scenario.ec2.zones if stock.zone == "*" else [stock.zone]:
                for market in markets:
                    self.cloud.pools.set_capacity(PoolKey(kind, zone, market), stock.capacity)
                    self.cloud.pools.set_in_group(PoolKey(kind, zone, market), stock.in_group)

    def _price(self, price: Price) -> None:
        for zone in self.scenario.ec2.zones if price.zone == "*" else [price.zone]:
            self.cloud.pools.prices.set(PoolKey(price.type, zone, Lifecycle(price.market)), price.usd, 0)

    def _plan_incidents(self) -> None:
        bad, after = self.scenario.incidents, self.hub.after
        for zone in bad.zone_outages:
            after(zone.at, lambda zone=zone: self.cloud.lose_zone(zone.zone, zone.kills))  # type: ignore[misc]
            after(zone.at + zone.lasts, lambda zone=zone: self.cloud.dark_zones.discard(zone.zone))  # type: ignore[misc]
        for outage in bad.api_outages:
            after(outage.at, lambda code=outage.code: self._set_trouble(code))  # type: ignore[misc]
            after(outage.at + outage.lasts, lambda: self._set_trouble(""))
        for window in bad.controller_restarts:
            after(window.at, lambda: self._set_away(away=True))
            after(window.at + window.lasts, lambda: self._set_away(away=False))
        for crash in bad.crashes:
            after(crash.at, lambda crash=crash: self._crash(crash))  # type: ignore[misc]
        if bad.kills.count:
            after(self._between(bad.kills.apart), self._kill_next)
        if self.scenario.ec2.spot_price_every:
            after(self.scenario.ec2.spot_price_every, self._move_prices)

    def _set_trouble(self, code: str) -> None:
        self.cloud.trouble = code

    def _set_away(self, *, away: bool) -> None:
        self.controller.is_away = away

    def _move_prices(self) -> None:
        self.cloud.move_prices(self.types(), self.scenario.seed)
        self.hub.after(self.scenario.ec2.spot_price_every, self._move_prices)

    # -- our program

    def start(self) -> None:
        """Start the daemon."""
        program = Program(self.hub)
        self._life = Life(program, self._daemon_died, lambda: self.ledger.has_open_requests)
        self.cloud.busy = self.scheduler.busy = program.busy
        prices = SimPrices(self.hub, self.cloud.pools, self.scenario.ec2.zones)
        catalogue = SimCatalogue(self.scenario.ec2.zones)
        doors = Doors(
            self.config,
            self.cloud,
            self.scheduler,
            self.ledger,
            prices,
            program,
            self.recorder,
            catalogue,
            program,
            budgets=self.budgets,
        )
        self._daemon = SimDaemon(program, mortal(doors, self._life))
        self._daemon.start()
        self.restarts += 1

    def _knock(self) -> None:
        if self._daemon is not None:
            self._daemon.knock()

    def _crash(self, crash: Crash) -> None:
        if self._life is None or self._daemon is None:
            return
        if crash.kill:
            self._life.program.kill()
        else:
            self._daemon.stop()
        self._life, self._daemon = None, None
        self.hub.after(crash.pause, self.start)

    def _kill_next(self) -> None:
        """Plan the next death at a random call."""
        kills, chance = self.scenario.incidents.kills, self._chance["fate"]
        if self._kills_left <= 0:
            return
        if chance.random() < kills.hooks:
            self.hooks.doom(chance.choice(DEATHS))
        elif self._life is None:
            self.hub.after(kills.pause[1], self._kill_next)
        else:
            self._life.doom(chance.randint(*kills.calls), after=chance.random() < 0.5)

    def _daemon_died(self, where: str) -> None:
        self._life, self._daemon = None, None
        self.hub.after(self._between(self.scenario.incidents.kills.pause), self.start)
        self._died(where)

    def _hook_died(self, where: str) -> None:
        self._died(where)

    def _died(self, where: str) -> None:
        self.deaths[where] += 1
        self._kills_left -= 1
        self.hub.after(self._between(self.scenario.incidents.kills.apart), self._kill_next)

    def _between(self, span: tuple[float, float]) -> float:
        return self._chance["fate"].uniform(*span)

    # -- machines become nodes

    def _boots(self, machine: Machine, patience: float = _NODE_PATIENCE_S) -> None:
        """Let a machine look for its name and report, as asbx-node does; without one it switches itself off."""
        if machine.ended_us is not None:
            return
        name = name_of(machine.view(self.hub.now_us))
        if name and self.controller.register(name, machine.address):
            machine.registered_us = machine.registered_us or self.hub.now_us
            self._served[machine.instance_id] = (name, machine.address)
            self.auditor.served[machine.instance_id] = name
        elif patience > 0:
            self.hub.after(_NODE_PAUSE_S, lambda: self._boots(machine, patience - _NODE_PAUSE_S))
        else:
            self.cloud.end(machine, _POWEROFF)

    def _ends(self, machine: Machine) -> None:
        name, address = self._served.pop(machine.instance_id, ("", ""))
        if name:
            self.controller.lose_contact(name, address)

    # -- the run

    def play(self, progress: Callable[[World], None] = lambda _: None) -> None:
        """Let the scenario run, then everything come to rest."""
        ends = round(self.scenario.lasts * SECOND)
        step = 3600 * SECOND
        while self.hub.now_us < ends:
            self.hub.run(min(self.hub.now_us + step, ends))
            progress(self)
        self.settle(progress)

    def play_out(self, most_s: float, progress: Callable[[World], None] = lambda _: None) -> None:
        """Let all work come and go, with what goes wrong, for so long at most; then everything come to rest."""
        comes, ends = round(self.scenario.lasts * SECOND), round(most_s * SECOND)
        while self.hub.now_us < ends and (self.controller.queued or self.hub.now_us < comes):
            self.hub.run(min(self.hub.now_us + 3600 * SECOND, ends))
            progress(self)
        self.settle(progress)

    def settle(self, progress: Callable[[World], None] = lambda _: None) -> None:
        """Let nothing go wrong any more, and what is left come to rest."""
        step, ends = 300 * SECOND, self.hub.now_us
        self._calm()
        ends += round(self.scenario.settles * SECOND)
        while self.hub.now_us < ends and not self._is_quiet():
            self.hub.run(min(self.hub.now_us + step, ends))
            progress(self)

    def _calm(self) -> None:
        """Let nothing go wrong any more."""
        self.cloud.is_calm = True
        self._kills_left = 0
        self.hooks.doom("")

    def _is_quiet(self) -> bool:
        return not self.controller.queued and self.auditor.leftovers().is_clean

    def requests(self, kind: RequestKind) -> int:
        """Return how many requests of a kind there were."""
        return sum(request.kind is kind for request in self.ledger._requests.values())  # noqa: SLF001
