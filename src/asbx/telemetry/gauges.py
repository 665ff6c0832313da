"""Numbers that are read when Prometheus asks: how things stand, as metric families."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asbx import __version__
from asbx.decide.breaker import Gate, gate
from asbx.decide.budget import Stand
from asbx.decide.limits_room import Reach
from asbx.decide.standing import Standing
from asbx.model.job import RequestKind
from asbx.telemetry.definitions import BY_NAME

Rows = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True)
class Reading:
    """What is known at a scrape. standing: None while the ledger cannot be read; then what comes from it is left out.

    nodes: (partition, group, word) -> nodes, seen at nodes_at. spool: files, and the age of the oldest.
    health: check -> whether it is good. lost: log lines and audit rows. limits: of what runs at once,
    how far each is used. service: launches at the budget service by state.
    """

    standing: Standing | None
    nodes: Mapping[tuple[str, str, str], int]
    nodes_at: datetime | None
    spool: tuple[int, timedelta]
    health: Mapping[str, bool] = field(default_factory=dict)
    lost: tuple[int, int] = (0, 0)
    limits: Sequence[Reach] = ()
    budgets: Sequence[Stand] = ()
    service: Mapping[str, int] = field(default_factory=dict)


class Gauges(Collector):
    """Asks for a reading at each scrape. Labels that are gone are gone from the next answer, too."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        reading = self._read()
        yield _family("build_info", [((__version__, platform.python_version()), 1)])
        yield _family("nodes", reading.nodes.items())
        if reading.nodes_at is not None:
            yield _family("nodes_seen_timestamp_seconds", [((), reading.nodes_at.timestamp())])
        yield _family("spool_files", [((), reading.spool[0])])
        yield _family("spool_oldest_age_seconds", [((), reading.spool[1].total_seconds())])
        for name, amounts in _budgets(reading.budgets).items():
            yield _family(name, amounts)
        yield _family("budget_service_launches", [((state,), count) for state, count in reading.service.items()])
        yield _family("health", [((name,), float(good)) for name, good in reading.health.items()])
        yield _family("log_lines_lost_total", [((), reading.lost[0])])
        yield _family("audit_rows_lost_total", [((), reading.lost[1])])
        yield from _limits(reading.limits)
        if reading.standing is not None:
            yield from _standing(reading.standing)


def _budgets(found: Sequence[Stand]) -> Mapping[str, Rows]:
    return {
        "budget_limit_usd": [((one.rule.name,), float(one.limit)) for one in found],
        "budget_spent_usd": [((one.rule.name,), float(one.book.spent)) for one in found],
        "budget_held_usd": [((one.rule.name,), float(one.book.held)) for one in found],
    }


def _limits(reached: Sequence[Reach]) -> Iterable[Metric]:
    """Yield the limits; of those that are had by each user or account, the one that is fullest: users come and go."""
    fullest: dict[tuple[str, ...], Reach] = {}
    for one in sorted(reached, key=lambda one: one.used):
        fullest[one.ceiling.label, one.ceiling.measure.value] = one
    yield _family("limit_most", [(key, float(one.ceiling.most)) for key, one in fullest.items()])
    yield _family("limit_used", [(key, float(one.used)) for key, one in fullest.items()])
    yield _family("limit_headroom", [(key, float(one.headroom)) for key, one in fullest.items()])


def _standing(now: Standing) -> Iterable[Metric]:
    kinds = [kind.value for kind in RequestKind]
    counts = Counter(request.kind.value for request in now.requests)
    yield _family("requests_open", [((kind,), counts[kind]) for kind in kinds])
    yield _family("request_oldest_age_seconds", [((kind,), now.oldest(kind).total_seconds()) for kind in kinds])
    yield _family("gangs_under_way", [((), len(now.gangs))])
    instances = Counter(
        (row.group.partition, row.group.group, row.instance_type, row.zone, row.market.value) for row in now.instances
    )
    yield _family("instances", instances.items())
    yield _family("instances_unpriced", [((), now.unpriced)])
    cost: dict[tuple[str, ...], float] = {}
    for row in now.instances:
        key = (row.group.partition, row.group.group, row.market.value)
        cost[key] = cost.get(key, 0) + float(now.hourly(row) or 0)
    yield _family("cost_usd_per_hour", cost.items())
    yield _family("price_oldest_age_seconds", [(key, age.total_seconds()) for key, age in now.price_ages.items()])
    shut = [((one.group.partition, one.group.group), gate(one, now.at) is not Gate.OPEN) for one in now.breakers]
    yield _family("nodegroup_closed", shut)
    left = [((one.key, one.code), max((one.closed_until - now.at).total_seconds(), 0)) for one in now.closed]
    yield _family("pool_closed_seconds", left)


def _family(name: str, rows: Rows) -> Metric:
    one = BY_NAME[f"asbx_{name}"]
    make = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
    family = make(one.name, one.meaning, labels=one.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family
