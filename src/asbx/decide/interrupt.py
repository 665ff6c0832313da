"""What is done about an instance that EC2 will take: from a notice to the steps for its node and its jobs.

The mark of it is the node's drain reason, `asbx:KIND INSTANCE ..`: Slurm keeps it across restarts of the daemon, the
watcher on a node writes the same one, and a mark that names another instance than the node has now is an old one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from asbx.config.interruptions import Interruptions
from asbx.config.limits import EVACUATION_MARGIN, EVACUATION_OVER, SPOT_NOTICE
from asbx.model.job import Tenant
from asbx.model.node import NodeView
from asbx.model.notice import Notice, NoticeKind
from asbx.model.record import Binding

# A job, and how often it was requeued before: one that comes back is another.
Run = tuple[int, int]


class Response(IntEnum):
    """What is done about a node. A higher one takes the place of a lower one, never the other way round."""

    IGNORE = 0
    DRAIN = 1  # no new jobs; it is powered down when the last one has left
    EVACUATE = 2  # the jobs are moved too


@dataclass(frozen=True)
class Case:
    """A node whose instance will go. since: when we heard of it. ends_at: when it ends, None: at no set time."""

    node: str
    instance_id: str
    kind: NoticeKind
    response: Response
    since: datetime
    ends_at: datetime | None = None

    def is_urgent(self, now: datetime) -> bool:
        """Whether its jobs are to be looked at all the time, not only by the sweep."""
        return self.response is Response.EVACUATE and (self.ends_at is None or now < self.ends_at + EVACUATION_OVER)


@dataclass(frozen=True)
class Steps:
    """What is to be done now. left: jobs that cannot be moved. over: cases whose node has no job any more."""

    signal: tuple[Run, ...] = ()
    requeue: tuple[Run, ...] = ()
    left: tuple[Run, ...] = ()
    over: tuple[Case, ...] = ()


_REASONS = {
    NoticeKind.SPOT_INTERRUPTION: "EC2 takes its spot instance back",
    NoticeKind.REBALANCE: "EC2 may soon take its spot instance back",
    NoticeKind.RESERVATION_INTERRUPTION: "its capacity reservation is taken back",
    NoticeKind.HEALTH: "EC2 has scheduled",
}
# Why the ledger says that an instance ended.
ENDS = {
    NoticeKind.SPOT_INTERRUPTION: "spot reclaimed",
    NoticeKind.REBALANCE: "spot rebalance recommended",
    NoticeKind.RESERVATION_INTERRUPTION: "reservation reclaimed",
    NoticeKind.HEALTH: "scheduled event of EC2",
}
# EC2's code for a Spot instance that it has taken back (EC2 user guide, "Spot Instance interruptions", state reasons).
RECLAIM = "Server.SpotInstanceTermination"
_MARK = re.compile(r"asbx:([a-z-]+) (i-[0-9a-f]{8,17})\b")
_UNTIL = re.compile(r" at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z")


def response_to(kind: NoticeKind, policy: Interruptions) -> Response:
    """Return what a kind of notice asks for."""
    if kind in (NoticeKind.SPOT_INTERRUPTION, NoticeKind.RESERVATION_INTERRUPTION):
        return Response.EVACUATE
    if kind is NoticeKind.HEALTH:
        return Response.DRAIN
    if kind is NoticeKind.REBALANCE:
        return {"ignore": Response.IGNORE, "no-new-jobs": Response.DRAIN, "drain": Response.EVACUATE}[policy.rebalance]
    return Response.IGNORE


def open_case(notice: Notice, binding: Binding, policy: Interruptions, now: datetime) -> Case:
    """Return the case of a node. An interruption whose message tells no time comes two minutes after it was sent."""
    ends = notice.ends_at
    if ends is None and notice.kind in (NoticeKind.SPOT_INTERRUPTION, NoticeKind.RESERVATION_INTERRUPTION):
        ends = (notice.sent_at or now) + SPOT_NOTICE
    return Case(binding.node, binding.instance_id, notice.kind, response_to(notice.kind, policy), now, ends)


def reason(case: Case, detail: str = "") -> str:
    """Return the drain reason of a case; `marked` reads it back."""
    what = _REASONS[case.kind] + (f" {detail}" if detail and case.kind is NoticeKind.HEALTH else "")
    when = f" at {case.ends_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z" if case.ends_at else ""
    return f"asbx:{case.kind} {case.instance_id} {what}{when}"


def marked(view: NodeView, policy: Interruptions, now: datetime) -> Case | None:
    """Return the case that a node's drain reason tells of, None for a node without such a mark."""
    match = _MARK.match(view.reason) if "DRAIN" in view.flags else None
    kind = next((one for one in _REASONS if match is not None and one == match[1]), None)
    if match is None or kind is None:
        return None
    until = _UNTIL.search(view.reason)
    ends = _moment(until[1]) if until else None
    # Drained is drained, whatever the policy says by now.
    return Case(view.name, match[2], kind, max(response_to(kind, policy), Response.DRAIN), now, ends)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None


@dataclass(frozen=True)
class Marks:
    """What a look at the node table finds. found: cases to take up. undrain: nodes whose mark is an old one."""

    found: tuple[Case, ...] = ()
    undrain: tuple[str, ...] = ()


def look(
    views: Iterable[NodeView], bindings: Mapping[str, str], known: Collection[str], policy: Interruptions, now: datetime
) -> Marks:
    """Return cases nobody works on, and nodes to be used again. bindings: node -> instance. known: nodes in hand.

    A node that is off keeps DRAIN on Slurm versions that do not take it away with the power-down.
    """
    found: list[Case] = []
    undrain: list[str] = []
    for view in views:
        case = marked(view, policy, now)
        if case is None or view.name in known:
            continue
        instance = bindings.get(view.name)
        if instance == case.instance_id:
            if not view.is_powered_down:
                found.append(case)
        elif instance is not None or "POWERED_DOWN" in view.flags:
            undrain.append(view.name)
    return Marks(tuple(found), tuple(undrain))


def next_steps(
    cases: Sequence[Case],
    tenants: Sequence[Tenant],
    signalled: Mapping[Run, datetime],
    done: Collection[Run],
    policy: Interruptions,
    now: datetime,
) -> Steps:
    """Return what is due. tenants: every job on these nodes. signalled: when each was. done: requeued, or said to stay.

    A job is one thing however many of its nodes go: it is signalled once and requeued once, as a whole.
    """
    taken = {node for tenant in tenants for node in tenant.nodes}
    soonest: dict[Run, datetime | None] = {}
    by_node = {case.node: case for case in cases if case.response is Response.EVACUATE}
    movable: list[Tenant] = []
    for tenant in tenants:
        mine = [by_node[node] for node in tenant.nodes if node in by_node]
        run = (tenant.job_id, tenant.restarts)
        if mine and not tenant.is_leaving and run not in done:
            movable.append(tenant)
            soonest[run] = min((case.ends_at for case in mine if case.ends_at), default=None)
    signal, requeue, left = [], [], []
    for tenant in movable:
        run = (tenant.job_id, tenant.restarts)
        runs = tenant.state == "RUNNING"
        if policy.signal and runs and run not in signalled:
            signal.append(run)
        if not (tenant.can_requeue and policy.requeue):
            left.append(run)
        elif not (policy.signal and runs) or _may_go(signalled.get(run), soonest[run], policy.checkpoint, now):
            requeue.append(run)
    over = tuple(case for case in cases if case.node not in taken)
    return Steps(tuple(signal), tuple(requeue), tuple(left), over)


def _may_go(signalled: datetime | None, ends: datetime | None, pause: timedelta, now: datetime) -> bool:
    """Whether a signalled job has had its time."""
    if signalled is None:
        return False
    return now >= signalled + pause or (ends is not None and now >= ends - EVACUATION_MARGIN)


def stronger(case: Case, other: Case | None) -> bool:
    """Whether a case asks for more than the one already in hand for its node."""
    return other is None or other.instance_id != case.instance_id or case.response > other.response
