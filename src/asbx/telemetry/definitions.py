"""Every metric there is: name, type, meaning, labels. docs/reference/metrics.md is made from this table.

Names follow Prometheus: base units, the unit in the name, counters end in _total (prometheus.io, "Metric and label
naming"). Labels are bounded by the configuration and the code: never a job, a node or an instance, which come and go
(same site, "Instrumentation": do not overuse labels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

# A local call takes microseconds to milliseconds, a busy ledger 10 s (LEDGER_BUSY).
_LEDGER = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10)
# scontrol takes 10 ms when idle and SCONTROL_TIMEOUT at most.
_SLURM = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# CreateFleet takes seconds, with retries minutes.
_EC2 = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# From a second in a warm pool to half of a long ResumeTimeout.
_LAUNCH = (1, 2.5, 5, 10, 20, 30, 60, 120, 180, 300, 600, 1200)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


@dataclass(frozen=True)
class Definition:
    """A metric. meaning: one sentence, which is also its HELP line."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, meaning: str, *labels: str) -> Definition:
    return Definition(f"asbx_{name}_total", "counter", meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> Definition:
    return Definition(f"asbx_{name}", "gauge", meaning, labels)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Definition:
    return Definition(f"asbx_{name}", "histogram", meaning, labels, buckets)


# Counted from events and calls, from the start of the daemon on.
COUNTED = (
    _counter(
        "events",
        "Events said, by kind (docs/reference/events.md) and level; every kind is there from the start.",
        "kind",
        "level",
    ),
    _counter("requests_received", "Requests of Slurm's programs taken in.", "kind"),
    _counter("requests_finished", "Requests closed; outcome is done or failed.", "kind", "outcome"),
    _histogram("request_duration_seconds", "Time from Slurm's call to the end of its request.", _LAUNCH, "kind"),
    _histogram("gang_size_nodes", "Nodes of each gang that was planned.", _SIZES),
    _counter(
        "launch_calls", "Answers to CreateFleet; outcome is full or short (some or none came).", "market", "outcome"
    ),
    _counter(
        "launch_refusals",
        "Refusals of pools and calls by EC2's code; `other` for codes we do not know.",
        "code",
        "market",
    ),
    _counter("instances_launched", "Instances EC2 launched for us.", "market"),
    _counter("instances_given_back", "Instances ended at once because they were of no use."),
    _histogram("launch_bound_seconds", "Time from Slurm's call until a node has its instance, for each node.", _LAUNCH),
    _histogram(
        "launch_registered_seconds",
        "Time from Slurm's call until a reconcile pass sees a node's slurmd registered, for each node.",
        _LAUNCH,
    ),
    _counter(
        "nodes_failed",
        "Nodes told to Slurm as failed, by our code; boot-timeout: it never registered; reconcile: a pass found it.",
        "code",
    ),
    _counter(
        "limit_refusals",
        "Launches, or rungs of them, that a limit refused; rule is its name, or job for one a job set itself.",
        "rule",
        "limit",
    ),
    _counter(
        "limit_steps",
        "Steps taken about running jobs above a limit: said, warned, stopped (requeued or cancelled), ended.",
        "rule",
        "limit",
        "step",
    ),
    _counter(
        "passes",
        "Parts of reconcile passes; outcome is done, skipped (a side did not answer) or failed.",
        "part",
        "outcome",
    ),
    _histogram("pass_duration_seconds", "Time a part of a reconcile pass took.", _EC2, "part"),
    _gauge("pass_last_success_timestamp_seconds", "When a part of a reconcile pass was last done.", "part"),
    _counter(
        "ec2_calls",
        "Calls to EC2's door; code is ok, EC2's code, or `other`. Retries and pages are one call.",
        "action",
        "code",
    ),
    _histogram(
        "ec2_call_duration_seconds", "Time calls to EC2's door took, retries and pages included.", _EC2, "action"
    ),
    _counter("slurm_calls", "Calls to Slurm's door; outcome is ok or our code of the error.", "verb", "outcome"),
    _histogram(
        "slurm_call_duration_seconds",
        "Time calls to Slurm's door took; one may start several processes.",
        _SLURM,
        "verb",
    ),
    _counter("ledger_failures", "Calls the ledger refused, by our code of the error.", "code"),
    _histogram("ledger_call_duration_seconds", "Time calls to the ledger took.", _LEDGER, "operation"),
)

# Read when Prometheus asks.
READ = (
    _gauge("build_info", "1; the labels say what runs.", "version", "python"),
    _gauge("nodes", "Nodes in Slurm as last seen, by one word for their state.", "partition", "nodegroup", "state"),
    _gauge("nodes_seen_timestamp_seconds", "When Slurm's node table was last read."),
    _gauge(
        "instances",
        "Instances that run or start, as the ledger has them.",
        "partition",
        "nodegroup",
        "instance_type",
        "zone",
        "market",
    ),
    _gauge("instances_unpriced", "Running instances whose price is not known."),
    _gauge("cost_usd_per_hour", "What the running instances cost an hour.", "partition", "nodegroup", "market"),
    _gauge(
        "limit_most",
        "A limit of what may run at once, in USD an hour or instances.",
        "rule",
        "limit",
    ),
    _gauge(
        "limit_used", "Of that, in use now; of a limit for each user or account by itself, the most.", "rule", "limit"
    ),
    _gauge(
        "limit_headroom",
        "Of that, left now; of a limit for each user or account by itself, the least.",
        "rule",
        "limit",
    ),
    _gauge(
        "price_oldest_age_seconds",
        "Age of the oldest price of a running instance; source bundled: from `prices.file`.",
        "market",
        "source",
    ),
    _gauge("requests_open", "Requests that are not finished.", "kind"),
    _gauge("request_oldest_age_seconds", "Age of the oldest request that is not finished, 0 without one.", "kind"),
    _gauge("gangs_under_way", "Gangs that open requests are launching."),
    _gauge("spool_files", "Requests in the spool that are not taken in."),
    _gauge("spool_oldest_age_seconds", "Age of the oldest of them, 0 without one."),
    _gauge(
        "pool_closed_seconds",
        "Until a pool (or quota, or subnet) may be asked again; 0 while one launch tries it.",
        "pool",
        "code",
    ),
    _gauge(
        "nodegroup_closed",
        "1 while a node group launches nothing, or one launch only, as its instances do not become nodes; then 0.",
        "partition",
        "nodegroup",
    ),
    _gauge("budget_limit_usd", "What a budget may spend in its period: limit, carried over, granted.", "budget"),
    _gauge("budget_spent_usd", "What has been charged to it in that period.", "budget"),
    _gauge("budget_held_usd", "What is held of it for launches that are not charged yet.", "budget"),
    _gauge("budget_service_launches", "Launches at the budget service that are not closed, by state.", "state"),
    _gauge("health", "1 where a check of /healthz is good, 0 where it is not.", "check"),
    _counter("log_lines_lost", "Lines that could not be written to the log."),
    _counter("audit_rows_lost", "Events that could not be written to the ledger."),
)

DEFINITIONS = (*COUNTED, *READ)
BY_NAME = {one.name: one for one in DEFINITIONS}
