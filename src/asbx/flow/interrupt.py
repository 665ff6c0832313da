"""What AWS announces, acted on: drain the node, remember the pool, hand the jobs to the evacuation.

Messages come at least once and in no order, and the queue has those of the whole account. A message is done when its
node is drained; what follows is kept by Slurm, in the drain reason.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asbx.config.limits import NOTICE_HANDLERS, NOTICE_LATE, NOTICES_REMEMBERED, SPOT_NOTICE
from asbx.decide import interrupt as decide
from asbx.decide.interrupt import ENDS, RECLAIM, Case, Response
from asbx.decide.shortage import reclaimed
from asbx.decide.shortage_key import capacity_key
from asbx.errors import AsbxError
from asbx.flow.doors import Doors
from asbx.flow.evacuate import Evacuation
from asbx.flow.markets import remember
from asbx.flow.rows import names
from asbx.model.event import Event, EventKind
from asbx.model.market import Instance, InstanceState, Market
from asbx.model.notice import Message, Notice, NoticeKind
from asbx.model.record import Binding, InstanceRow

# Events read when a program begins: those of two busy minutes.
_LOOK_BACK = 2000
_SAID: Mapping[NoticeKind, tuple[EventKind, str]] = {
    NoticeKind.SPOT_INTERRUPTION: (EventKind.SPOT_INTERRUPTED, "will be taken back by EC2"),
    NoticeKind.REBALANCE: (EventKind.REBALANCE_RECOMMENDED, "may soon be taken back by EC2"),
    NoticeKind.HEALTH: (EventKind.HEALTH_SCHEDULED, "has a scheduled event"),
    NoticeKind.RESERVATION_INTERRUPTION: (EventKind.RESERVATION_INTERRUPTED, "loses its capacity reservation"),
}


@dataclass
class Interruptions:
    """One for each process. seen: what was counted, by kind of notice, beside `foreign` and `again`.

    spare: lets no job that has not run yet be lost with nodes.
    """

    doors: Doors
    spare: Callable[[Sequence[str]], None] = lambda _: None
    evacuation: Evacuation = field(init=False)
    seen: Counter[str] = field(default_factory=Counter)
    _acted: dict[tuple[str, NoticeKind], None] = field(default_factory=dict)
    _rows: Mapping[str, InstanceRow] = field(default_factory=dict)  # live instances, as of the last warnings
    _pool: Executor | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start with nothing in hand."""
        self.evacuation = Evacuation(self.doors)

    # -- the queue

    def turn(self, is_ours: Callable[[], bool] = lambda: True) -> int:
        """Wait for messages, act on them, and delete those that are done; return how many came. Raises AsbxError.

        is_ours: asked after the wait; messages that came to a controller on standby come again, to the other.
        """
        assert self.doors.notices is not None
        messages = self.doors.notices.receive()
        if messages and is_ours():
            done = self.take(messages)
            if done:
                self.doors.notices.done(done)
        return len(messages)

    def take(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Act on messages, several at once, and return the handles of those that are done. Raises LedgerError."""
        bindings = {binding.instance_id: binding for binding in self.doors.ledger.live_bindings()}
        self._count(messages)
        if any(message.notice.kind in _SAID for message in messages):
            self._rows = {row.instance_id: row for row in self.doors.ledger.instances(live_only=True)}
        if self._pool is None:
            self._pool = self.doors.workers.pool(NOTICE_HANDLERS, "notice")
        answers = self._pool.map(lambda message: self._one(message, bindings), messages)
        return tuple(message.handle for message, is_done in zip(messages, answers, strict=True) if is_done)

    def close(self) -> None:
        """Let nobody work any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, messages: Sequence[Message]) -> None:
        odd = Counter(m.notice.detail for m in messages if m.notice.kind is NoticeKind.UNKNOWN)
        with self._lock:
            self.seen.update(message.notice.kind.value for message in messages)
        if odd:
            count = sum(odd.values())
            text = f"{count} message(s) on the queue that nobody here reads: {'; '.join(sorted(odd)[:3])}"
            self.doors.say(Event(EventKind.NOTICE_UNKNOWN, text, level="debug", data={"count": count}))

    def _one(self, message: Message, bindings: Mapping[str, Binding]) -> bool:
        """Act on one message; False: it is to come again."""
        notice = message.notice
        mine = [bindings[one] for one in notice.instances if one in bindings]
        try:
            if not mine:
                return self._without_node(message)
            return False not in [self._on_node(message, binding) for binding in mine]
        except AsbxError as error:
            text = f"{notice.kind} of {', '.join(notice.instances[:3])}: {error}; the message comes again"
            self.doors.say(Event(EventKind.PASS_FAILED, text, level="warning"))
            return False

    def _without_node(self, message: Message) -> bool:
        """Be done with what is not ours; an instance of ours that has no node yet may have one when it comes again."""
        notice = message.notice
        if decide.response_to(notice.kind, self.doors.config.interruptions) is not Response.EVACUATE:
            self._tally("foreign" if notice.instances else "")
            return True
        if _is_late(message) or self._rows.keys().isdisjoint(notice.instances):
            self._tally("foreign")
            return True
        return False

    def _tally(self, what: str) -> None:
        if what:
            with self._lock:
                self.seen[what] += 1

    # -- one node

    def _on_node(self, message: Message, binding: Binding) -> bool:
        notice = message.notice
        if notice.kind is NoticeKind.STATE_CHANGE:
            return self._lost(message, binding)
        if notice.kind not in _SAID:
            return True
        key = (binding.instance_id, notice.kind)
        with self._lock:
            if key in self._acted:
                self.seen["again"] += 1
                return True
        self._warned(notice, binding, message.received_at)
        with self._lock:
            self._acted[key] = None
            while len(self._acted) > NOTICES_REMEMBERED:
                del self._acted[next(iter(self._acted))]
        return True

    def _warned(self, notice: Notice, binding: Binding, received: datetime) -> None:
        """Drain first: that is what must be quick. Raises SlurmError or LedgerError, and is done again then."""
        case = decide.open_case(notice, binding, self.doors.config.interruptions, received)
        is_news = decide.stronger(case, self.evacuation.case(case.node))
        if case.response is Response.DRAIN and is_news and self._is_drained(case.node):
            is_news = False  # somebody drained it for a reason of their own, which ours must neither replace nor end
        drained: datetime | None = None
        if case.response is not Response.IGNORE and is_news:
            self.doors.scheduler.drain([case.node], decide.reason(case, notice.detail))
            drained = self.doors.clock.now()
            self.evacuation.open(case)
        if notice.kind is NoticeKind.SPOT_INTERRUPTION:
            self._short(self._rows.get(case.instance_id))
        self._say(notice, case, received, drained)

    def _is_drained(self, node: str) -> bool:
        """Whether a node is drained for another reason than a notice."""
        views = (view for view in self.doors.scheduler.nodes() if view.name == node)
        return any("DRAIN" in view.flags and not view.reason.startswith("asbx:") for view in views)

    def _short(self, row: InstanceRow | None) -> None:
        """Remember the pool of an instance as short."""
        if row is not None:
            now = self.doors.clock.now()
            key = capacity_key(row.market, row.instance_type, row.zone, placed=False)
            self.doors.ledger.change_shortage(key, lambda old: reclaimed(old, key, now))
            remember(self.doors, row, now)

    def _say(self, notice: Notice, case: Case, received: datetime, drained: datetime | None) -> None:
        kind, words = _SAID[notice.kind]
        data: dict[str, object] = {"response": case.response.name.lower(), "detail": notice.detail}
        if notice.sent_at is not None:
            data["age_s"] = round((received - notice.sent_at).total_seconds(), 3)
        if drained is not None:
            data["drained_s"] = round((drained - received).total_seconds(), 3)
        then = f"; drained after {data['drained_s']} s" if drained is not None else ""
        when = f" at {case.ends_at:%H:%M:%S} UTC" if case.ends_at else ""
        text = f"{case.node}: {case.instance_id} {words}{when}{then}"
        level = "info" if drained is None else "warning"
        about = names(self._rows.get(case.instance_id))
        said = Event(kind, text, node=case.node, instance_id=case.instance_id, data=data, level=level, **about)
        self.doors.say(said)

    # -- an instance that is gone

    def _lost(self, message: Message, binding: Binding) -> bool:
        """Take a node DOWN whose instance ends without our doing, so that its jobs are requeued at once.

        A node that Slurm powers down, and a request that works on it, are behind most of these messages: not ours to
        judge then. Nor is one that has not registered: that is a failed boot (flow/boots), which is counted. Where EC2
        itself shows the instance running, the message is old (it was stopped and started again) or early, or false:
        it is asked again when the message comes again, and the sweep looks anyhow.
        """
        doors, instance, notice = self.doors, binding.instance_id, message.notice
        if instance in self.evacuation.ending:
            return True
        if any(binding.node in request.nodes for request in doors.ledger.open_requests()):
            return False
        if instance not in {one.instance_id for one in doors.ledger.live_bindings([binding.node])}:
            return True
        view = next((view for view in doors.scheduler.nodes() if view.name == binding.node), None)
        if view is None or view.is_powered_down or "POWERING_UP" in view.flags:
            return True
        seen = () if self._is_expected(binding) else doors.cloud.describe([instance])
        if any(one.state is InstanceState.RUNNING for one in seen):
            return notice.sent_at is None or _is_late(message)
        reason = self._reason(notice, binding, seen)
        now = doors.clock.now()
        if reason == ENDS[NoticeKind.SPOT_INTERRUPTION]:
            self.evacuation.wake(one.job_id for one in doors.scheduler.tenants([binding.node]) if one.can_requeue)
        self.spare([binding.node])
        doors.scheduler.fail([binding.node], f"asbx:instance-lost {instance} is {notice.detail}: {reason}")
        doors.ledger.end_instances([instance], reason, now)
        doors.ledger.release([binding.node], now)
        self.evacuation.close(binding.node)
        text = f"{binding.node} is DOWN and its jobs are requeued: {instance} is {notice.detail} ({reason})"
        data: dict[str, object] = {"state": notice.detail}
        if notice.sent_at is not None:
            data["age_s"] = round((now - notice.sent_at).total_seconds(), 3)
        lost = Event(EventKind.INSTANCE_LOST, text, node=binding.node, instance_id=instance, data=data, level="warning")
        doors.about(**names(self._rows.get(instance))).say(lost)
        return True

    def _is_expected(self, binding: Binding) -> bool:
        """Whether EC2 has warned of it."""
        case = self.evacuation.case(binding.node)
        return case is not None and case.instance_id == binding.instance_id and case.response is Response.EVACUATE

    def _reason(self, notice: Notice, binding: Binding, seen: Sequence[Instance]) -> str:
        """Return why an instance ended; one EC2 took back without a word tells that its pool is short."""
        case = self.evacuation.case(binding.node)
        if case is not None and self._is_expected(binding):
            return ENDS[case.kind]
        if any(one.state_reason == RECLAIM for one in seen):
            rows = {row.instance_id: row for row in self.doors.ledger.instances(live_only=True)}
            self._short(rows.get(binding.instance_id))
            return ENDS[NoticeKind.SPOT_INTERRUPTION]
        return f"it was {notice.detail} behind our back"

    # -- the sweep's part

    def begin(self) -> None:
        """Go on where an earlier program stopped: with drained nodes, and with jobs it had requeued but not let go.

        Those were recorded as events. One that was put off since, because its launch failed, is left alone.
        """
        self.evacuation.forget()
        ledger, now = self.doors.ledger, self.doors.clock.now()
        told = ledger.events(limit=_LOOK_BACK)
        jobs = [e.job_id for at, e in told if e.kind is EventKind.JOB_REQUEUED and now - at < SPOT_NOTICE]
        found = {job for job in jobs if job is not None}
        put_off = ledger.setbacks(found) if found else {}
        self.evacuation.wake(found - {job for job, one in put_off.items() if one.next_at is None or one.next_at > now})
        self.run()

    def run(self) -> None:
        """Take up what nobody works on (after a restart, or marked by a node itself), and go on with all cases.

        Raises SlurmError or LedgerError when a side does not answer.
        """
        doors, policy = self.doors, self.doors.config.interruptions
        # Asked before the node table is: a node is drained first, and then in hand.
        in_hand = self.evacuation.nodes()
        now, views = doors.clock.now(), doors.scheduler.nodes()
        self.evacuation.keep(in_hand, {view.name for view in views if "DRAIN" in view.flags})
        if any(decide.marked(view, policy, now) for view in views):
            rows = {row.instance_id: row for row in doors.ledger.instances(live_only=True)}
            bindings = {b.node: b for b in doors.ledger.live_bindings()}
            held = {node: binding.instance_id for node, binding in bindings.items()}
            marks = decide.look(views, held, self.evacuation.nodes(), policy, now)
            for case in marks.found:
                self._take_up(case, rows.get(case.instance_id), now)
            if marks.undrain:
                self.evacuation.undrain(marks.undrain)
        self.evacuation.step(everything=True)

    def _take_up(self, case: Case, row: InstanceRow | None, now: datetime) -> None:
        is_spot = case.kind in (NoticeKind.SPOT_INTERRUPTION, NoticeKind.REBALANCE)
        if row is None or (is_spot and row.market is not Market.SPOT):
            return
        self.evacuation.open(case)
        if (case.instance_id, case.kind) not in self._acted and case.kind is NoticeKind.SPOT_INTERRUPTION:
            self._short(row)
        self._acted[case.instance_id, case.kind] = None
        self._say(Notice(case.kind, (case.instance_id,), "found drained"), case, now, None)

    def state(self) -> dict[str, Any]:
        """Return what `asbx status` shows."""
        with self._lock:
            counts = dict(sorted(self.seen.items()))
        return {
            "queue": self.doors.config.interruptions.queue if self.doors.notices is not None else "",
            "messages": counts,
            "nodes": sorted(self.evacuation.nodes()),
        }


def _is_late(message: Message) -> bool:
    """Whether a message is too old to become true yet."""
    sent = message.notice.sent_at
    return sent is not None and message.received_at - sent > NOTICE_LATE
