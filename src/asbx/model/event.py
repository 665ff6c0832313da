"""Something that happened, said once: log line, audit row and metric are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from asbx.errors import UsageError
from asbx.model.hostlist import expand


class EventKind(StrEnum):
    """Stable names; scripts match on them."""

    REQUEST_RECEIVED = "request-received"
    REQUEST_ODD = "request-odd"
    REQUEST_SET_ASIDE = "request-set-aside"
    REQUEST_DONE = "request-done"
    REQUEST_FAILED = "request-failed"
    NODE_REFUSED = "node-refused"
    LAUNCH_ASKED = "launch-asked"
    LAUNCH_ANSWERED = "launch-answered"
    LAUNCH_REFUSED = "launch-refused"
    NODE_BOUND = "node-bound"
    NODE_RELEASED = "node-released"
    NODE_FAILED = "node-failed"
    INSTANCE_ENDED = "instance-ended"
    INSTANCE_ORPHANED = "instance-orphaned"
    GIVEN_BACK = "given-back"
    LADDER_PLANNED = "ladder-planned"
    POOL_SHORT = "pool-short"
    SHORTAGE_FORGOTTEN = "shortage-forgotten"
    RESOURCE_MADE = "resource-made"
    RESOURCE_REMOVED = "resource-removed"
    NODE_REGISTERED = "node-registered"
    FENCE_PUT_UP = "fence-put-up"
    FENCE_TAKEN_DOWN = "fence-taken-down"
    NODE_DRAINED = "node-drained"
    NODE_UNDRAINED = "node-undrained"
    TOPOLOGY_WRITTEN = "topology-written"
    JOB_POSTPONED = "job-postponed"
    PLAN_NOTE = "plan-note"
    LIMIT_REFUSED = "limit-refused"
    LIMIT_ALERT = "limit-alert"
    LIMIT_WARNED = "limit-warned"
    LIMIT_STOPPED = "limit-stopped"
    BOOT_FAILED = "boot-failed"
    GROUP_CLOSED = "group-closed"
    GROUP_PROBED = "group-probed"
    GROUP_OPENED = "group-opened"
    NODE_REPLACED = "node-replaced"
    SPOT_INTERRUPTED = "spot-interrupted"
    REBALANCE_RECOMMENDED = "rebalance-recommended"
    HEALTH_SCHEDULED = "health-scheduled"
    RESERVATION_INTERRUPTED = "reservation-interrupted"
    INSTANCE_LOST = "instance-lost"
    NOTICE_UNKNOWN = "notice-unknown"
    JOB_SIGNALLED = "job-signalled"
    JOB_REQUEUED = "job-requeued"
    JOB_LEFT = "job-left"
    QUEUE_SILENT = "queue-silent"
    QUEUE_ANSWERS = "queue-answers"
    PRICES_OLD = "prices-old"
    PRICES_LEARNED = "prices-learned"
    DAEMON_STARTED = "daemon-started"
    SECURITY_WARNING = "security-warning"
    DAEMON_STOPPED = "daemon-stopped"
    TELEMETRY_OFF = "telemetry-off"
    PASS_FAILED = "pass-failed"  # noqa: S105
    RECONCILE_SKIPPED = "reconcile-skipped"
    LEDGER_REBUILT = "ledger-rebuilt"
    CONTROL_TAKEN = "control-taken"
    CONTROL_LEFT = "control-left"
    RECONCILE_REPORT = "reconcile-report"
    BUDGET_HELD = "budget-held"
    BUDGET_REFUSED = "budget-refused"
    BUDGET_RELEASED = "budget-released"
    BUDGET_SETTLED = "budget-settled"
    BUDGET_ALERT = "budget-alert"
    BUDGET_GRANTED = "budget-granted"
    BUDGET_SERVICE_AWAY = "budget-service-away"
    BUDGET_SERVICE_TOLD = "budget-service-told"
    BUDGET_SERVICE_STUCK = "budget-service-stuck"


@dataclass(frozen=True)
class Event:
    """A kind, one sentence for a person, and the names it is about.

    data: further facts for machines; values must be JSON-serialisable. intent_id: of the launch, as in the tag
    `asbx:intent`. jobs: where there are several; a single one becomes job_id.
    """

    kind: EventKind
    text: str
    request_id: str = ""
    gang_id: str = ""
    job_id: int | None = None
    node: str = ""
    instance_id: str = ""
    data: dict[str, object] = field(default_factory=dict, hash=False)
    level: str = "info"  # debug, info, warning, error
    intent_id: str = ""
    jobs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Let a single job be the job, so that it is looked for in one place."""
        if len(self.jobs) == 1:
            if self.job_id is None:
                object.__setattr__(self, "job_id", self.jobs[0])
            object.__setattr__(self, "jobs", ())

    @property
    def all_jobs(self) -> tuple[int, ...]:
        """Return every job it is about."""
        return self.jobs or (() if self.job_id is None else (self.job_id,))

    def names_node(self, node: str) -> bool:
        """Whether it is about a node: its own, one of those its data lists, or one of a folded list there."""
        if self.node == node or node in self.data:
            return True
        nodes = self.data.get("nodes")
        return isinstance(nodes, str) and _holds(nodes, node)


def _holds(folded: str, node: str) -> bool:
    try:
        return node in expand(folded)
    except UsageError:
        return False


LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Wanted:
    """Which events somebody wants to see; what is not stated leaves none out. level: the least important one."""

    job_id: int | None = None
    node: str | None = None
    request_id: str | None = None
    kinds: frozenset[EventKind] = frozenset()
    level: str = "debug"
    since: datetime | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """Return the levels that are important enough."""
        return LEVELS[LEVELS.index(self.level) :]

    def takes(self, at: datetime, event: Event) -> bool:
        """Whether an event is among them."""
        return (
            (self.job_id is None or self.job_id in event.all_jobs)
            and (self.node is None or event.names_node(self.node))
            and self.request_id in (None, event.request_id)
            and (not self.kinds or event.kind in self.kinds)
            and event.level in self.levels
            and (self.since is None or at >= self.since)
        )


EVERYTHING = Wanted()
