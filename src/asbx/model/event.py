"""Something that happened, said once: log line, audit row and metric are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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
    DAEMON_STARTED = "daemon-started"
    SECURITY_WARNING = "security-warning"
    DAEMON_STOPPED = "daemon-stopped"
    PASS_FAILED = "pass-failed"  # noqa: S105
    RECONCILE_SKIPPED = "reconcile-skipped"
    LEDGER_REBUILT = "ledger-rebuilt"
    CONTROL_TAKEN = "control-taken"
    CONTROL_LEFT = "control-left"
    RECONCILE_REPORT = "reconcile-report"


@dataclass(frozen=True)
class Event:
    """A kind, one sentence for a person, and the names it is about.

    data: further facts for machines; values must be JSON-serialisable.
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
