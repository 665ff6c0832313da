"""What is counted, under which names, and that alerts and dashboard use names that exist."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from tests.fakes import samples
from tests.fakes.recorder import FakeRecorder

from asbx.decide.standing import Standing
from asbx.errors import LedgerError, SlurmError
from asbx.model.boot import Breaker
from asbx.model.event import Event, EventKind
from asbx.model.market import Verdict
from asbx.ports import CloudError
from asbx.telemetry.definitions import DEFINITIONS
from asbx.telemetry.gauges import Gauges, Reading
from asbx.telemetry.meanings import MEANINGS
from asbx.telemetry.metrics import CountingRecorder, Metrics

PACKAGING = Path(__file__).parents[2] / "packaging"
NOON = samples.NOON
# Names a series of a histogram may have beside its own.
SUFFIXES = ("", "_bucket", "_count", "_sum")
KNOWN = {one.name + suffix for one in DEFINITIONS for suffix in (SUFFIXES if one.kind == "histogram" else ("",))}
# Of a name that comes and goes with jobs there would be a new series for each, for ever.
UNBOUNDED = {"job", "job_id", "node", "instance", "instance_id", "gang", "request", "user", "account"}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample."""
    return metrics.registry.get_sample_value(f"asbx_{name}", labels)


def burst(metrics: Metrics) -> None:
    """Let a launch of two nodes happen: half of it refused, then all of it, bound after 5 s, registered after 20."""
    ids: dict[str, object] = {"market": "spot", "ids": ["i-1", "i-2"], "codes": []}
    refused: dict[str, object] = {"market": "spot", "ids": ["i-0"], "codes": ["InsufficientInstanceCapacity", "New"]}
    two: dict[str, object] = {"aws-cpu-000": "i-1", "aws-cpu-001": "i-2"}
    events = [
        (0, Event(EventKind.REQUEST_RECEIVED, "", "r-1", data={"kind": "resume"})),
        (0, Event(EventKind.LADDER_PLANNED, "", "r-1", data={"size": 2})),
        (1, Event(EventKind.LAUNCH_REFUSED, "", "r-1", data=refused, level="warning")),
        (1, Event(EventKind.GIVEN_BACK, "", "r-1", data={"ids": ["i-0"]}, level="warning")),
        (3, Event(EventKind.LAUNCH_ANSWERED, "", "r-1", data=ids)),
        (5, Event(EventKind.NODE_BOUND, "", "r-1", data=two, intent_id="x")),
        (5, Event(EventKind.REQUEST_DONE, "", "r-1", data={"kind": "resume", "seconds": 5.0})),
        (20, Event(EventKind.NODE_REGISTERED, "", data=two, intent_id="x")),
        (
            30,
            Event(EventKind.NODE_FAILED, "", "r-2", data={"code": "Made.Up", "nodes": "aws-cpu-[2-4]"}, level="error"),
        ),
    ]
    for second, event in events:
        metrics.event(event, NOON + timedelta(seconds=second))


def test_a_burst_is_counted() -> None:
    """Each event adds to what it is about; unknown codes of EC2 share one series."""
    metrics = Metrics({"InsufficientInstanceCapacity"})
    burst(metrics)
    assert value(metrics, "events_total", kind="node-bound", level="info") == 1
    assert value(metrics, "requests_finished_total", kind="resume", outcome="done") == 1
    assert value(metrics, "gang_size_nodes_sum") == 2
    assert value(metrics, "launch_calls_total", market="spot", outcome="full") == 1
    assert value(metrics, "launch_calls_total", market="spot", outcome="short") == 1
    assert value(metrics, "launch_refusals_total", market="spot", code="InsufficientInstanceCapacity") == 1
    assert value(metrics, "launch_refusals_total", market="spot", code="other") == 1
    assert value(metrics, "instances_launched_total", market="spot") == 3
    assert value(metrics, "instances_given_back_total") == 1
    assert (value(metrics, "launch_bound_seconds_count"), value(metrics, "launch_bound_seconds_sum")) == (2, 10)
    assert (value(metrics, "launch_registered_seconds_count"), value(metrics, "launch_registered_seconds_sum")) == (
        2,
        40,
    )
    assert value(metrics, "nodes_failed_total", code="other") == 3
    assert metrics.registry.get_sample_value("process_resident_memory_bytes")


def test_a_launch_that_began_before_the_daemon_has_no_latency() -> None:
    """Nothing is invented for it."""
    metrics = Metrics(())
    metrics.event(Event(EventKind.NODE_BOUND, "", "r-0", data={"aws-cpu-000": "i-1"}, intent_id="x"), NOON)
    assert value(metrics, "launch_bound_seconds_count") == 0


def test_calls_are_counted_by_how_they_end() -> None:
    """EC2 by its code, Slurm and the ledger by ours."""
    metrics = Metrics({"Throttling"})
    metrics.ec2_call("CreateFleet", 0.2, None)
    for code in ("Throttling", "Made.Up"):
        metrics.ec2_call("CreateFleet", 0.2, CloudError(code, "", "", "", Verdict.THROTTLED))
    metrics.slurm_call("bind", 0.2, SlurmError("slurm-silent", ""))
    metrics.ledger_call("bind", 0.2, LedgerError("ledger-busy", ""))
    metrics.passed("sweep", "skipped", 0.2, NOON)
    for code in ("ok", "Throttling", "other"):
        assert value(metrics, "ec2_calls_total", action="CreateFleet", code=code) == 1
    assert value(metrics, "slurm_calls_total", verb="bind", outcome="slurm-silent") == 1
    assert value(metrics, "ledger_failures_total", code="ledger-busy") == 1
    assert value(metrics, "passes_total", part="sweep", outcome="skipped") == 1
    assert value(metrics, "pass_last_success_timestamp_seconds", part="sweep") is None


def test_every_event_is_a_series_from_the_start() -> None:
    """An alert on the first orphan needs a zero before it."""
    metrics = Metrics(())
    for kind, meaning in MEANINGS.items():
        for level in meaning.levels:
            assert value(metrics, "events_total", kind=kind.value, level=level) == 0


def test_every_kind_of_event_has_a_meaning() -> None:
    """One sentence each, with a full stop."""
    assert set(MEANINGS) == set(EventKind)
    assert [kind for kind, meaning in MEANINGS.items() if not meaning.text.endswith(".")] == []


def test_an_odd_event_is_recorded_all_the_same() -> None:
    """Counting never stands in the way of the log."""
    recorder = FakeRecorder()
    odd = Event(EventKind.NODE_FAILED, "", data={"nodes": "aws-cpu-[", "code": "x"}, level="error")
    CountingRecorder(recorder, Metrics(()), lambda: NOON).record(odd)
    assert recorder.events == [odd]


def test_how_things_stand_is_read() -> None:
    """Instances and cost by group, open requests by kind; without a ledger these are missing, not zero."""
    rows = tuple(samples.instance_row(f"i-{n}", price=Decimal("0.5")) for n in range(2))
    shut = Breaker(rows[0].group, closed_at=NOON, closed_until=NOON + timedelta(minutes=5))
    now = Standing(NOON, (samples.request(),), (), rows, (samples.shortage(),), (shut,))
    metrics = Metrics(())
    reading = Reading(now, {("aws", "cpu", "idle"): 3}, NOON, (1, timedelta(seconds=4)), {"ec2": False}, (1, 2))
    metrics.read_by(Gauges(lambda: reading))
    text = generate_latest(metrics.registry).decode()
    group = rows[0].group
    at = f'nodegroup="{group.group}",partition="{group.partition}"'
    assert f'asbx_cost_usd_per_hour{{market="{rows[0].market}",{at}}} 1.0' in text
    assert 'asbx_nodes{nodegroup="cpu",partition="aws",state="idle"} 3.0' in text
    assert 'asbx_requests_open{kind="resume"} 1.0' in text
    assert f"asbx_nodegroup_closed{{{at}}} 1.0" in text
    assert 'asbx_health{check="ec2"} 0.0' in text
    assert "asbx_audit_rows_lost_total 2.0" in text
    blind = Metrics(())
    blind.read_by(Gauges(lambda: Reading(None, {}, None, (0, timedelta(0)))))
    assert "asbx_instances{" not in generate_latest(blind.registry).decode()


@pytest.mark.parametrize("one", DEFINITIONS, ids=lambda one: one.name)
def test_names_are_prometheus_own(one: object) -> None:
    """Prefix, unit and suffix as Prometheus asks; no label that grows with jobs."""
    name, kind, labels = one.name, one.kind, one.labels  # type: ignore[attr-defined]
    assert re.fullmatch(r"asbx_[a-z0-9_]+", name)
    assert name.endswith("_total") == (kind == "counter")
    assert UNBOUNDED.isdisjoint(labels)
    assert not re.search(r"_(ms|millis|minutes|kb|mb|percent)(_|$)", name)
    if kind == "histogram":
        assert name.endswith(("_seconds", "_nodes"))


def used(text: str) -> set[str]:
    """Return the metrics an expression names."""
    return set(re.findall(r"\b(asbx_[a-z0-9_]+)", text))


def test_alerts_use_names_that_exist() -> None:
    """Every alert has an expression over metrics there are, a severity, a summary and what to do."""
    rules = yaml.safe_load((PACKAGING / "prometheus/asbx-alerts.yaml").read_text())["groups"][0]["rules"]
    assert rules
    for rule in rules:
        names = used(rule["expr"])
        assert names or "up{" in rule["expr"], rule
        assert names <= KNOWN, names - KNOWN
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        for kind in re.findall(r'kind="([^"]+)"', rule["expr"]):
            assert kind in set(EventKind), kind


def test_the_dashboard_uses_names_that_exist() -> None:
    """Every panel asks for metrics there are, with labels they have."""
    board = json.loads((PACKAGING / "grafana/asbx.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert asked
    labels = {one.name: {*one.labels, "le"} for one in DEFINITIONS}
    for expr in asked:
        assert used(expr) <= KNOWN, expr
        for names in re.findall(r"by \(([^)]*)\)", expr):
            (metric, *_) = used(expr)
            assert set(names.split(", ")) <= labels[re.sub("_(bucket|sum|count)$", "", metric)], expr
