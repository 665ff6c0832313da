"""Limits while jobs run: what they have cost and how long they have run, against the limits that are about them.

Nothing is done in silence: whatever is stopped has the limit's name in its comment, in front of what stood there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.config.limits import LIMIT_LOOK_BACK
from asbx.decide import limits as about
from asbx.decide.cost import bill
from asbx.decide.limits import AT_ONCE, Owner
from asbx.decide.limits_room import Load, Reach
from asbx.decide.limits_running import WHILE_RUNNING, Due, Running, Steps, steps
from asbx.errors import SlurmError
from asbx.flow.doors import Doors
from asbx.flow.room import Room
from asbx.flow.telling import put_in_front
from asbx.model.event import Event, EventKind
from asbx.model.job import JobFacts, Tenant
from asbx.model.limit import JobLimit, LimitMark, Measure, Step
from asbx.model.market import Market
from asbx.model.record import InstanceRow

_EVENTS = {
    Step.SAID: EventKind.LIMIT_ALERT,
    Step.WARNED: EventKind.LIMIT_WARNED,
    Step.STOPPED: EventKind.LIMIT_STOPPED,
    Step.ENDED: EventKind.LIMIT_STOPPED,
}


@dataclass(frozen=True)
class Overruns:
    """One pass after the other."""

    doors: Doors

    def run(self) -> None:
        """Look at every job on our nodes and do what is due. Raises AsbxError when a side does not answer."""
        ledger, now = self.doors.ledger, self.doors.clock.now()
        marks, live = ledger.limit_marks(), ledger.instances(live_only=True)
        if not (
            self.doors.config.limits.rules or marks or ledger.job_limits({job for row in live for job in row.jobs})
        ):
            return
        jobs, idle = self._running(live, now)
        found = steps(jobs, self.reached(), marks, now, idle)
        self._do(found, now)
        here = {job.job_id for job in jobs}
        self._follow([mark for mark in marks if mark.job_id and mark.job_id not in here])

    # -- what is

    def reached(self) -> list[Reach]:
        """Return how far every limit of what runs at once is used, by those who have something. Raises LedgerError."""
        settings, room = self.doors.config.limits, Room(self.doors)
        use = room.in_use()
        owners = {about.owner_of(row) for row in use.live}
        owners |= {
            Owner(intent.user, intent.account, intent.group.partition, bool(intent.jobs)) for intent, _ in use.asked
        }
        in_order = sorted(owners, key=lambda one: (one.user, one.account, one.partition))
        ceilings = about.of_rules(settings, in_order, AT_ONCE)
        hourly = any(one.measure is Measure.HOURLY_AT_ONCE for one in ceilings)
        return room.reached(ceilings, use, room.current(set(), use) if hourly else {})

    def _running(self, live: Sequence[InstanceRow], now: datetime) -> tuple[list[Running], list[Load]]:
        """Return the jobs on our nodes, and the instances that have none."""
        bound = {one.node: one.instance_id for one in self.doors.ledger.live_bindings()}
        if not bound:
            return [], []
        tenants = self.doors.scheduler.tenants(sorted(bound))
        ids = [one.job_id for one in tenants]
        facts = {fact.job_id: fact for fact in self.doors.scheduler.jobs(ids)} if ids else {}
        rows = {row.instance_id: row for row in live}
        on = {node: rows[instance] for node, instance in bound.items() if instance in rows}
        guests: dict[str, int] = defaultdict(int)
        for tenant in tenants:
            for node in tenant.nodes:
                guests[node] += 1
        mine: dict[int, list[JobLimit]] = defaultdict(list)
        for row in self.doors.ledger.job_limits(ids):
            mine[row.job_id].append(row)
        is_about_money = self._is_about_money([row for rows_of in mine.values() for row in rows_of])
        spent = self._spent(live, set(ids), now) if is_about_money else {}
        shared = frozenset(node for node, count in guests.items() if count > 1)
        idle = [
            Load(Owner(row.user, row.account, row.group.partition, bool(row.jobs)), 1, self._price(row))
            for node, row in on.items()
            if node not in guests
        ]
        jobs = [
            self._one(tenant, facts[tenant.job_id], on, shared, spent, mine[tenant.job_id])
            for tenant in tenants
            # Of one that has left the queue meanwhile it is not known whose it was: no rule may be held against it.
            if tenant.state != "CONFIGURING" and tenant.job_id in facts
        ]
        return jobs, idle

    def _is_about_money(self, own: Sequence[JobLimit]) -> bool:
        rules = self.doors.config.limits.rules
        return any(rule.max_total_cost is not None or rule.cost_alert is not None for rule in rules) or any(
            row.measure in (Measure.TOTAL, Measure.ALERT) for row in own
        )

    def _spent(self, live: Sequence[InstanceRow], jobs: set[int], now: datetime) -> dict[int, Decimal]:
        """Return what these jobs have cost so far, their earlier runs included."""
        rows = [*live, *self.doors.ledger.instances(ended_since=now - LIMIT_LOOK_BACK)]
        mine = [row for row in {row.instance_id: row for row in rows}.values() if jobs.intersection(row.jobs)]
        found = bill(mine, now, minimum_s=self.doors.config.cost.minimum_seconds)
        return {job.job_id: job.usd for job in found.jobs}

    def _one(
        self,
        tenant: Tenant,
        fact: JobFacts,
        on: Mapping[str, InstanceRow],
        shared: frozenset[str],
        spent: Mapping[int, Decimal],
        own: Sequence[JobLimit],
    ) -> Running:
        settings = self.doors.config.limits
        nodes = tuple(node for node in tenant.nodes if node in on)
        owners = tuple(dict.fromkeys(Owner(fact.user, fact.account, on[node].group.partition) for node in nodes))
        ceilings = [*about.of_rules(settings, owners, WHILE_RUNNING), *(about.kept(settings, row) for row in own)]
        usd = sum((self._price(on[node]) for node in nodes if node not in shared), Decimal(0))
        return Running(
            tenant.job_id,
            tenant.restarts,
            nodes,
            owners,
            tenant.used or timedelta(),
            spent.get(tenant.job_id, Decimal(0)),
            usd,
            shared.intersection(nodes),
            tenant.can_requeue,
            fact.time_limit,
            tuple(ceilings),
            tenant.is_leaving,
        )

    def _price(self, row: InstanceRow) -> Decimal:
        now = self.doors.prices.hourly(row.instance_type, row.zone, row.market) if row.market is Market.SPOT else None
        price = row.price if now is None else now
        return (price or Decimal(0)) + self.doors.config.limits.volumes_usd_per_hour

    # -- what is done

    def _do(self, found: Steps, now: datetime) -> None:
        ledger = self.doors.ledger
        if found.over:
            ledger.drop_limit_marks(found.over)
        for reach in found.said:
            one = reach.ceiling
            data: dict[str, object] = {"rule": one.label, "limit": one.measure.value, "used": str(reach.used)}
            text = f"{reach}: nothing more is launched until it is below"
            self.doors.say(Event(EventKind.LIMIT_ALERT, text, data=data, level="warning"))
            ledger.set_limit_mark(LimitMark(0, 0, one.said_by, one.measure, Step.SAID, now))
        for due in found.due:
            try:
                self._step(due, now)
            except SlurmError as error:  # of one job; the next pass tries again, as nothing was kept
                text = f"{due.why}: {error}"
                self.doors.say(Event(EventKind.PASS_FAILED, text, job_id=due.job.job_id, level="warning"))

    def _step(self, due: Due, now: datetime) -> None:
        """Tell the job first, then act, then keep that it was done: what a crash parts is done once more."""
        job = due.job.job_id
        words = self._words(due)
        put_in_front(self.doors, job, words, f"asbx:limit {due.ceiling}")
        if due.step is Step.WARNED:
            self.doors.scheduler.notify(job, words)
            self.doors.scheduler.retire(due.job.nodes, f"asbx:limit job {job}: {due.ceiling}")
        elif due.step is Step.STOPPED:
            self._stop(due)
        elif due.step is Step.ENDED:
            self.doors.scheduler.fail(due.job.nodes, f"asbx:limit job {job}: {due.ceiling}")
        key = due.key
        self.doors.ledger.set_limit_mark(LimitMark(*key, due.step, now, due.due_at))
        data: dict[str, object] = {"rule": due.ceiling.label, "limit": due.ceiling.measure.value}
        data |= {"step": due.step.value, "action": due.action}
        text = f"job {job}: {words.removeprefix('asbx:')}"
        self.doors.say(Event(_EVENTS[due.step], text, job_id=job, data=data, level="warning"))

    def _stop(self, due: Due) -> None:
        job = due.job.job_id
        if due.action == "requeue" and self.doors.scheduler.requeue(job):
            return
        self.doors.scheduler.cancel([job])

    @staticmethod
    def _words(due: Due) -> str:
        past = _PAST[due.action]
        if due.action == "requeue" and due.ceiling.measure not in AT_ONCE:  # it would reach its own limit again
            past += " and held"
        ends = {
            Step.SAID: "it runs on",
            Step.WARNED: f"it will be {past} at {due.due_at:%H:%M:%S} UTC" if due.due_at else "",
            Step.STOPPED: f"it was {past}",
            Step.ENDED: "its nodes were taken",
        }
        return f"asbx:limit {due.why}; {ends[due.step]}"

    def _follow(self, marks: Sequence[LimitMark]) -> None:
        """Hold jobs that were requeued for a limit of their own, once they are PENDING: they would reach it again.

        What was done about jobs that have left the queue is forgotten.
        """
        if not marks:
            return
        states = {fact.job_id: fact.state for fact in self.doors.scheduler.jobs([mark.job_id for mark in marks])}
        for mark in marks:
            if states.get(mark.job_id) is None:
                self.doors.ledger.drop_limit_marks([mark.key])
            elif states[mark.job_id] == "PENDING" and mark.step is Step.STOPPED and mark.measure not in AT_ONCE:
                self._hold(mark)

    def _hold(self, mark: LimitMark) -> None:
        try:
            self.doors.scheduler.hold(mark.job_id)
        except SlurmError as error:  # of one job; the next pass tries again
            self.doors.say(Event(EventKind.PASS_FAILED, str(error), job_id=mark.job_id, level="warning"))
            return
        text = f"job {mark.job_id} held by {mark.rule}: change what it asks, then scontrol release {mark.job_id}"
        rule = next((one.name for one in self.doors.config.limits.rules if repr(one.name) in mark.rule), "job")
        data: dict[str, object] = {"limit": mark.measure.value, "step": Step.HELD.value, "rule": rule}
        self.doors.say(Event(EventKind.LIMIT_STOPPED, text, job_id=mark.job_id, data=data, level="warning"))
        self.doors.ledger.drop_limit_marks([mark.key])


_PAST = {"warn": "told", "requeue": "requeued", "cancel": "cancelled"}
