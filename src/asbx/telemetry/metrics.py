"""Numbers for Prometheus: counted from events and from the calls of doors, with a registry of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.registry import Collector

from asbx.config.limits import LAUNCHES_TIMED
from asbx.errors import AsbxError
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import expand
from asbx.ports import CloudError, Recorder
from asbx.telemetry.definitions import COUNTED, Definition
from asbx.telemetry.meanings import MEANINGS

_TYPES = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_OTHER = "other"


class Metrics:
    """All that is counted. May be shared between threads.

    codes: EC2's codes that may be a label; others are `other`, so that no answer of EC2 makes a new series for ever.
    """

    def __init__(self, codes: Collection[str]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nothing here needs
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._codes = codes
        self._all: dict[str, Any] = {one.name: _made(one, self.registry) for one in COUNTED}
        self._begun = _Recent()
        self._bound = _Recent()
        for kind, meaning in MEANINGS.items():
            for level in meaning.levels:
                self._of("events_total", kind.value, level)

    def read_by(self, collector: Collector) -> None:
        """Add what is read when Prometheus asks."""
        self.registry.register(collector)

    def _of(self, name: str, *labels: str) -> Any:
        metric = self._all[f"asbx_{name}"]
        return metric.labels(*labels) if labels else metric

    def _code(self, code: str) -> str:
        return code if code in self._codes else _OTHER

    # -- events

    def event(self, event: Event, at: datetime) -> None:
        """Count an event."""
        self._of("events_total", event.kind.value, event.level).inc()
        count = _COUNT.get(event.kind)
        if count is not None:
            count(self, event, at)

    def _received(self, event: Event, at: datetime) -> None:
        self._begun.put(event.request_id, at)
        self._of("requests_received_total", _word(event, "kind")).inc()

    def _finished(self, event: Event, _: datetime) -> None:
        kind = _word(event, "kind")
        outcome = "done" if event.kind is EventKind.REQUEST_DONE else "failed"
        self._of("requests_finished_total", kind, outcome).inc()
        self._of("request_duration_seconds", kind).observe(_number(event, "seconds"))

    def _planned(self, event: Event, _: datetime) -> None:
        self._of("gang_size_nodes").observe(_number(event, "size"))

    def _answered(self, event: Event, _: datetime) -> None:
        market = _word(event, "market")
        for code in _list(event, "codes"):
            self._of("launch_refusals_total", self._code(str(code)), market).inc()
        if "ids" not in event.data:
            return  # no answer, or nothing asked
        outcome = "full" if event.kind is EventKind.LAUNCH_ANSWERED else "short"
        self._of("launch_calls_total", market, outcome).inc()
        self._of("instances_launched_total", market).inc(len(_list(event, "ids")))

    def _given_back(self, event: Event, _: datetime) -> None:
        if event.level != "error":  # then they could not be ended
            self._of("instances_given_back_total").inc(len(_list(event, "ids")))

    def _node_bound(self, event: Event, at: datetime) -> None:
        begun = self._begun.get(event.request_id)
        if begun is None:
            return  # received by an earlier daemon
        took = (at - begun).total_seconds()
        self._bound.put(event.intent_id, begun)
        histogram = self._of("launch_bound_seconds")
        for _ in event.data:
            histogram.observe(took)

    def _node_registered(self, event: Event, at: datetime) -> None:
        begun = self._bound.get(event.intent_id)
        if begun is None:
            return
        histogram = self._of("launch_registered_seconds")
        for _ in event.data:
            histogram.observe((at - begun).total_seconds())

    def _node_failed(self, event: Event, _: datetime) -> None:
        nodes = event.data.get("nodes")
        count = len(expand(nodes)) if isinstance(nodes, str) else 1
        # Slurm's ResumeFailProgram has no code to tell; neither has a reconcile pass, which has no request either.
        code = str(event.data.get("code", "boot-timeout" if event.request_id else "reconcile"))
        known = self._code(code) if not code.islower() else code  # ours are lower case and bounded by the code
        self._of("nodes_failed_total", known).inc(count)

    def _limit_refused(self, event: Event, _: datetime) -> None:
        self._of("limit_refusals_total", _word(event, "rule"), _word(event, "limit")).inc()

    def _limit_step(self, event: Event, _: datetime) -> None:
        step = str(event.data.get("step", "said"))
        self._of("limit_steps_total", _word(event, "rule"), _word(event, "limit"), step).inc()

    # -- passes and calls

    def passed(self, part: str, outcome: str, seconds: float, at: datetime) -> None:
        """Count a part of a reconcile pass."""
        self._of("passes_total", part, outcome).inc()
        self._of("pass_duration_seconds", part).observe(seconds)
        if outcome == "done":
            self._of("pass_last_success_timestamp_seconds", part).set(at.timestamp())

    def ec2_call(self, action: str, seconds: float, error: BaseException | None) -> None:
        """Count a call to EC2."""
        code = "ok" if error is None else self._code(error.code) if isinstance(error, CloudError) else _OTHER
        self._of("ec2_calls_total", action, code).inc()
        self._of("ec2_call_duration_seconds", action).observe(seconds)

    def slurm_call(self, verb: str, seconds: float, error: BaseException | None) -> None:
        """Count a call to Slurm."""
        outcome = "ok" if error is None else error.code if isinstance(error, AsbxError) else _OTHER
        self._of("slurm_calls_total", verb, outcome).inc()
        self._of("slurm_call_duration_seconds", verb).observe(seconds)

    def ledger_call(self, operation: str, seconds: float, error: BaseException | None) -> None:
        """Count a call to the ledger."""
        if error is not None:
            self._of("ledger_failures_total", error.code if isinstance(error, AsbxError) else _OTHER).inc()
        self._of("ledger_call_duration_seconds", operation).observe(seconds)


_COUNT = {
    EventKind.REQUEST_RECEIVED: Metrics._received,  # noqa: SLF001  the table of this very class
    EventKind.REQUEST_DONE: Metrics._finished,  # noqa: SLF001
    EventKind.REQUEST_FAILED: Metrics._finished,  # noqa: SLF001
    EventKind.LADDER_PLANNED: Metrics._planned,  # noqa: SLF001
    EventKind.LAUNCH_ANSWERED: Metrics._answered,  # noqa: SLF001
    EventKind.LAUNCH_REFUSED: Metrics._answered,  # noqa: SLF001
    EventKind.GIVEN_BACK: Metrics._given_back,  # noqa: SLF001
    EventKind.NODE_BOUND: Metrics._node_bound,  # noqa: SLF001
    EventKind.NODE_REGISTERED: Metrics._node_registered,  # noqa: SLF001
    EventKind.NODE_FAILED: Metrics._node_failed,  # noqa: SLF001
    EventKind.LIMIT_REFUSED: Metrics._limit_refused,  # noqa: SLF001
    EventKind.LIMIT_ALERT: Metrics._limit_step,  # noqa: SLF001
    EventKind.LIMIT_WARNED: Metrics._limit_step,  # noqa: SLF001
    EventKind.LIMIT_STOPPED: Metrics._limit_step,  # noqa: SLF001
}


class CountingRecorder:
    """The door `Recorder` in front of another: counts each event, then passes it on."""

    def __init__(self, recorder: Recorder, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._recorder, self._metrics, self._now = recorder, metrics, now

    def record(self, event: Event) -> None:
        """Count and keep an event. Never raises: an event of odd form is counted by kind, and nothing more."""
        with suppress(ValueError, TypeError, KeyError, AsbxError):
            self._metrics.event(event, self._now())
        self._recorder.record(event)


class _Recent:
    """Moments by name, of which the oldest are forgotten."""

    def __init__(self) -> None:
        self._moments: OrderedDict[str, datetime] = OrderedDict()
        self._turn = Lock()

    def put(self, name: str, moment: datetime) -> None:
        with self._turn:
            self._moments[name] = moment
            while len(self._moments) > LAUNCHES_TIMED:
                self._moments.popitem(last=False)

    def get(self, name: str) -> datetime | None:
        with self._turn:
            return self._moments.get(name)


def _made(one: Definition, registry: CollectorRegistry) -> Any:
    more: dict[str, Any] = {"buckets": one.buckets} if one.buckets else {}
    return _TYPES[one.kind](one.name, one.meaning, one.labels, registry=registry, **more)


def _word(event: Event, name: str) -> str:
    return str(event.data.get(name, "unknown"))


def _number(event: Event, name: str) -> float:
    value = event.data.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _list(event: Event, name: str) -> list[object]:
    value = event.data.get(name)
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
