"""What the daemon knows about itself: measured doors, metrics, signs of life, health. Put together for the loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from asbx.aws.answers import VERDICTS
from asbx.config.limits import HEALTH_LIFE, SCRAPE_LIFE, UNSETTLED
from asbx.daemon import health
from asbx.daemon.http import Page
from asbx.daemon.pulse import Pulse, patience
from asbx.decide.budget import Stand, stands
from asbx.decide.limits_room import Reach, of_rule
from asbx.decide.standing import Standing, by_word
from asbx.errors import AsbxError, LedgerError
from asbx.flow.doors import Doors, PriceSources
from asbx.flow.standing import standing
from asbx.hooks import spool
from asbx.model.budget import OPEN, EntryState
from asbx.model.event import Event, EventKind
from asbx.model.market import Verdict
from asbx.ports import CloudError
from asbx.telemetry.gauges import Gauges, Reading
from asbx.telemetry.measured import watched
from asbx.telemetry.metrics import CountingRecorder, Metrics

_Kind = TypeVar("_Kind")
# What our door says where EC2 said nothing (aws/client.py).
_OUR_CODES = ("aws-credentials", "aws-unreachable", "aws-request", "aws-sdk", "aws-error")
# Methods of the door Cloud, as EC2 calls what they ask first.
_ACTIONS = {
    "launch": "CreateFleet",
    "describe": "DescribeInstances",
    "owned": "DescribeInstances",
    "launched_for": "DescribeInstances",
    "terminate": "TerminateInstances",
    "tag": "CreateTags",
    "make_group": "CreatePlacementGroup",
    "remove_group": "DeletePlacementGroup",
    "make_template": "CreateLaunchTemplate",
    "remove_template": "DeleteLaunchTemplate",
    "topology": "DescribeInstanceTopology",
    "unwell": "DescribeInstanceStatus",
    "console": "GetConsoleOutput",
    "on_demand": "GetProducts",
    "volumes": "GetProducts",
    "spot": "DescribeSpotPriceHistory",
}
# The errors that say slurmctld itself does not answer; a refusal is an answer.
_SLURM_AWAY = ("slurm-silent", "slurm-missing", "slurm-conf")
_EC2_AWAY = (Verdict.TRANSIENT, Verdict.PERMISSION)


class Instruments:
    """Stands around a set of doors. doors: the same, measured. pulse: signs of life of the work behind them."""

    def __init__(self, doors: Doors) -> None:
        self._raw = doors
        self.metrics = Metrics(frozenset(VERDICTS) | frozenset(_OUR_CODES))
        self.pulse = Pulse(patience(doors.config))
        self._started = self._turned = doors.clock.now()
        self._passed: datetime | None = None
        self._on_standby = False
        self._passes: dict[str, dict[str, Any]] = {}
        self._ec2: health.Try | None = None
        self._slurm: health.Try | None = None
        self._nodes: dict[tuple[str, str, str], int] = {}
        self._nodes_at: datetime | None = None
        self._standing = _Kept[tuple[Standing, ...]](SCRAPE_LIFE)
        self._limits = _Kept[tuple[Reach, ...]](SCRAPE_LIFE)
        self._money = _Kept[tuple[tuple[Stand, ...], dict[str, int]]](SCRAPE_LIFE)
        self._checks = _Kept[tuple[health.Check, ...]](HEALTH_LIFE)
        self._page: Page | None = None
        self.metrics.read_by(Gauges(self._read))
        self.doors = replace(
            doors,
            cloud=watched(doors.cloud, self._ec2_called),
            scheduler=watched(doors.scheduler, self._slurm_called),
            ledger=watched(doors.ledger, self._ledger_called),
            price_sources=self._watched_prices(doors.price_sources),
            budgets=doors.budgets and watched(doors.budgets, self._ledger_called),
            recorder=CountingRecorder(doors.recorder, self.metrics, doors.clock.now),
        )

    # -- the page

    def open(self) -> None:
        """Serve /metrics and /healthz, where the configuration wants it and the port can be had."""
        address = self._raw.config.telemetry.address
        if address is None:
            return
        try:
            self._page = Page(address, self.metrics.registry, self.answer)
        except OSError as error:
            text = f"no metrics and no health checks on {self._raw.config.telemetry.listen}: {error.strerror or error}"
            self.doors.say(Event(EventKind.TELEMETRY_OFF, text, level="warning"))

    def close(self) -> None:
        """Stop serving."""
        if self._page is not None:
            self._page.close()

    @property
    def url(self) -> str:
        """Return where the page is, "" for nowhere."""
        return self._page.url if self._page is not None else ""

    # -- what happened

    def turned(self, *, on_standby: bool = False) -> None:
        """Note that the loop has turned. on_standby: the work is another daemon's, so no pass is due."""
        self._turned = self._raw.clock.now()
        self._on_standby = on_standby
        if on_standby:
            self._started, self._passed = self._turned, None

    def passed(self, part: str, outcome: str, seconds: float) -> None:
        """Note how a part of a reconcile pass ended."""
        now = self._raw.clock.now()
        self._passed = now
        self._passes[part] = {"at": now.isoformat(), "outcome": outcome, "seconds": round(seconds, 3)}
        self.metrics.passed(part, outcome, seconds, now)

    def _ec2_called(self, method: str, seconds: float, error: BaseException | None, _: object) -> None:
        self.metrics.ec2_call(_ACTIONS.get(method, method), seconds, error)
        away = isinstance(error, CloudError) and error.verdict in _EC2_AWAY
        self._ec2 = health.Try(self._raw.clock.now(), f"{error}" if away else "")

    def _watched_prices(self, sources: PriceSources | None) -> PriceSources | None:
        """Count calls for prices among those to EC2. That prices are not told does not make the daemon unwell."""

        def seen(method: str, seconds: float, error: BaseException | None, _: object) -> None:
            self.metrics.ec2_call(_ACTIONS.get(method, method), seconds, error)

        return None if sources is None else replace(sources, told=watched(sources.told, seen))

    def _slurm_called(self, method: str, seconds: float, error: BaseException | None, answer: Any) -> None:
        self.metrics.slurm_call(method, seconds, error)
        now = self._raw.clock.now()
        away = isinstance(error, AsbxError) and error.code in _SLURM_AWAY
        self._slurm = health.Try(now, f"{error}" if away else "")
        if method == "nodes" and error is None:
            self._nodes, self._nodes_at = self._by_group(by_word(answer)), now

    def _ledger_called(self, method: str, seconds: float, error: BaseException | None, _: object) -> None:
        self.metrics.ledger_call(method, seconds, error)

    def _by_group(self, counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str, str], int]:
        """Leave out nodes of no group of ours: whoever runs them watches them."""
        ours = {f"{p.partition_name}-{g.node_group_name}": (p, g) for p, g in self._raw.config.groups()}
        return {
            (ours[stem][0].partition_name, ours[stem][1].node_group_name, word): count
            for (stem, word), count in counts.items()
            if stem in ours
        }

    # -- what is known

    def is_alive(self) -> bool:
        """Whether all work shows signs of life."""
        return not self.pulse.stuck()

    def answer(self) -> tuple[bool, dict[str, Any]]:
        """Return the answer of /healthz, and whether it is a good one."""
        return health.report(self._checked())

    def status(self) -> dict[str, Any]:
        """Return what `asbx status` shows of this: health, passes, losses, address."""
        lines, rows = self._lost()
        return {
            "health": self.answer()[1],
            "passes": dict(self._passes),
            "lost": {"log_lines": lines, "audit_rows": rows},
            "telemetry": self.url,
        }

    def _checked(self) -> tuple[health.Check, ...]:
        return self._checks.get(self._check)

    def _check(self) -> tuple[health.Check, ...]:
        config, ledger = self._raw.config, ""
        try:
            self._raw.ledger.check()
        except LedgerError as error:
            ledger = str(error)
        interval = timedelta(seconds=config.reconcile.interval_seconds)
        now = self._raw.clock.now()
        signs = health.Signs(
            now,
            self._started,
            self._turned,
            self._passed,
            interval,
            self.pulse.stuck(),
            self._spool(now),
            ledger,
            self._ec2,
            self._slurm,
            self._on_standby,
        )
        return health.checks(signs)

    def _read(self) -> Reading:
        now = self._raw.clock.now()
        good = {check.name: check.good for check in self._checked()}
        kept = self._standing.get(self._stand)
        stood = kept[0] if kept else None
        limits = self._limits.get(self._reached)
        money = self._money.get(self._stand_money) if kept else ((), {})
        spool_now, lost = self._spool(now), self._lost()
        return Reading(stood, self._nodes, self._nodes_at, spool_now, good, lost, limits, *money)

    def _stand_money(self) -> tuple[tuple[Stand, ...], dict[str, int]]:
        """Return how budgets stand, and launches at the budget service by state."""
        books, config = self._raw.budgets, self._raw.config
        if books is None or not (config.budgets.rules or config.asbb.is_used):
            return (), {}
        try:
            states = [one.state.value for one in books.entries(OPEN | {EntryState.STUCK})]
            found = stands(config.budgets.rules, books.books(), self._raw.clock.now())
        except LedgerError:
            return (), {}
        return found, {one.value: states.count(one.value) for one in sorted(OPEN | {EntryState.STUCK})}

    def _reached(self) -> tuple[Reach, ...]:
        """Return how far the limits of what may run at once are used, () while the ledger cannot be read."""
        settings = self._raw.config.limits
        if not settings.rules:
            return ()
        try:
            use = self._raw.ledger.in_use(self._raw.clock.now() - UNSETTLED)
        except LedgerError:
            return ()
        kinds = {(row.instance_type, row.zone, row.market) for row in use.live}
        told = {kind: self._raw.prices.known(*kind) for kind in kinds}
        prices = {kind: price for kind, price in told.items() if price is not None}
        return tuple(one for rule in settings.rules for one in of_rule(settings, rule, use, prices))

    def _stand(self) -> tuple[Standing, ...]:
        """Return how things stand, () while the ledger cannot be read: its check says why."""
        try:
            sources = self._raw.price_sources
            return (standing(self._raw.ledger, self._raw.clock.now(), sources.book if sources else None),)
        except LedgerError:
            return ()

    def _spool(self, now: datetime) -> tuple[int, timedelta]:
        """Return how many requests wait, and for how long the oldest does."""
        folder = str(self._raw.config.paths.requests)
        age = 0.0
        try:
            waiting = spool.waiting(folder)
            if waiting:  # by name, and names begin with their time
                age = now.timestamp() - Path(folder, f"{waiting[0]}.json").stat().st_mtime
        except OSError:  # taken in meanwhile, or no such folder yet
            return 0, timedelta(0)
        return len(waiting), timedelta(seconds=max(age, 0))

    def _lost(self) -> tuple[int, int]:
        lines, rows = getattr(self._raw.recorder, "losses", (0, 0))
        return int(lines), int(rows)


class _Kept(Generic[_Kind]):
    """An answer that serves for a while; one asks, the others wait for it."""

    def __init__(self, life: timedelta) -> None:
        self._life = life.total_seconds()
        self._turn = Lock()
        self._asked = float("-inf")
        self._answer: _Kind | None = None

    def get(self, ask: Callable[[], _Kind]) -> _Kind:
        """Return the answer, asked for anew when it is old."""
        with self._turn:
            if self._answer is None or time.monotonic() - self._asked > self._life:
                self._answer = ask()
                self._asked = time.monotonic()
            return self._answer
