"""Charge launches once their instances are gone, give back what is held for nothing, tell the budget service.

Money follows instances: a hold stays while one that was launched for its job lives, whatever became of the job. So a
cancelled job's hold ends with its instances, and one whose launch was lost in a crash is found here, by two looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from asbx import __version__
from asbx.config.limits import ASBB_A_PASS, ASBB_SETTLES, BUDGET_PRICE_PATIENCE, BUDGET_SETTLE_GRACE
from asbx.decide.budget import key_of, shown
from asbx.decide.cost import Bill, bill_of, total
from asbx.decide.learn.evidence import Evidence, Site
from asbx.decide.learn.figures import usd
from asbx.decide.learn.reconciliation import file_name, reconciliation
from asbx.decide.meter.spans import Life
from asbx.flow.asbb import Desk
from asbx.flow.budget import alert
from asbx.flow.cost_report import rules_of
from asbx.flow.doors import Doors
from asbx.flow.lives import Lives
from asbx.model.budget import Book, Entry, EntryState, Hold, HoldState
from asbx.model.event import Event, EventKind
from asbx.model.job_instance import JobInstance
from asbx.model.record import InstanceRow
from asbx.ports import Budgets

_UNTOLD = (EntryState.CHECKING, EntryState.HELD)
_DUE = (EntryState.CHECKING, EntryState.OWED, EntryState.TELLING)


@dataclass(frozen=True)
class _Launch:
    """A launch of a job whose cost is not settled. held: what is set apart for it, here or at the service."""

    request_id: str
    job_id: int
    held: Decimal = Decimal(0)

    @property
    def key(self) -> str:
        return key_of(self.request_id, self.job_id)


@dataclass
class Budgeting:
    """One pass after the other; remembers since when launches have nothing left that lives."""

    doors: Doors
    _over: dict[str, datetime] = field(default_factory=dict)

    def run(self) -> None:
        """Do what is due. Raises LedgerError."""
        books = self.doors.budgets
        if books is None:
            return
        self._settle(books)
        if self.doors.service is not None:
            self._work_off(Desk(self.doors, books, self.doors.service))

    # -- what launches cost

    def _settle(self, books: Budgets) -> None:
        launches = {one.key: one for one in self._launches(books)}
        self._over = {key: since for key, since in self._over.items() if key in launches}
        if not launches:
            return
        under_way = {request.request_id for request in self.doors.ledger.open_requests()}
        now = self.doors.clock.now()
        # Most jobs run under their only launch: those are told by one look at what lives.
        alive = {job for row in self.doors.ledger.instances(live_only=True) for job in row.jobs}
        count = Counter(one.job_id for one in launches.values())
        for one in launches.values():
            if one.job_id in alive and count[one.job_id] == 1:
                self._over.pop(one.key, None)
                continue
            rows = self._rows(one.request_id, one.job_id)
            if one.request_id in under_way or any(row.ended_at is None for row in rows):
                self._over.pop(one.key, None)
            elif now - self._over.setdefault(one.key, now) >= BUDGET_SETTLE_GRACE:
                self._close(books, one, rows, now)

    def _launches(self, books: Budgets) -> Iterable[_Launch]:
        holds: dict[str, Hold] = {one.key: one for one in books.holds(state=HoldState.HELD)}
        if self.doors.service is not None:
            by_file = (EntryState.VOID,) if self.doors.config.asbb.reconcile == "file" else ()
            for entry in books.entries((*_UNTOLD, *by_file)):
                if entry.cost is None and key_of(entry.request_id, entry.job_id) not in holds:
                    yield _Launch(entry.request_id, entry.job_id, entry.hold or Decimal(0))
        for hold in holds.values():
            yield _Launch(hold.request_id, hold.job_id, hold.usd)

    def _rows(self, request_id: str, job_id: int) -> list[InstanceRow]:
        """Return the instances a request launched for a job."""
        ledger = self.doors.ledger
        rows = (row for intent in ledger.intents(request_id) for row in ledger.instances(intent_id=intent.intent_id))
        return [row for row in rows if job_id in row.jobs]

    def _close(self, books: Budgets, one: _Launch, rows: Sequence[InstanceRow], now: datetime) -> None:
        """Charge a launch what its instances cost the job, in place of what is held for it."""
        served = [row for row in rows if row.bound_at is not None]
        found = self._bill(served, one.job_id, now)
        cost, why = total(job.usd for job in found.jobs), ""
        if found.unpriced:
            if any(now - row.ended_at < BUDGET_PRICE_PATIENCE for row in served if row.ended_at is not None):
                return  # its price may still be learned
            cost, why = max(cost, one.held), f"no price is known of {', '.join(found.unpriced)}: charged as estimated"
        ended = books.settle(one.key, cost, now, why) if served else books.release([one.key], now, "nothing served it")
        for hold in ended:
            self._say(hold)
        if self.doors.service is not None:
            Desk(self.doors, books, self.doors.service).owe(one.request_id, one.job_id, cost)
        self._over.pop(one.key, None)
        alert(self.doors, _books_of(books.books(), ended) if ended else ())

    def _bill(self, rows: Sequence[InstanceRow], job_id: int, now: datetime) -> Bill:
        """Return what instances have cost those they were launched for, at the prices in force and with their volumes.

        All their life: who ran on them beside, and their idle tail, is held for by nobody else.
        """
        sources, config = self.doors.usage, self.doors.config
        lives = Lives(sources.book, config, now)(rows) if sources is not None else [Life(row) for row in rows]
        whole = [replace(life, runs=(), registered_at=None, is_tracked=False) for life in lives]
        return bill_of(whole, now, job_id=job_id, rules=rules_of(config))

    def _say(self, hold: Hold) -> None:
        data: dict[str, object] = {"budget": hold.budget, "held": str(hold.usd), "usd": str(hold.spent or 0)}
        if hold.state is HoldState.SETTLED:
            text = f"job {hold.job_id}: {shown(hold.spent or Decimal(0))} USD charged to budget {hold.budget}"
            text += f", {shown(hold.usd)} had been held"
            kind = EventKind.BUDGET_SETTLED
        else:
            text = f"job {hold.job_id}: {shown(hold.usd)} USD of budget {hold.budget} given back: {hold.why}"
            kind = EventKind.BUDGET_RELEASED
        self.doors.say(Event(kind, text, hold.request_id, job_id=hold.job_id, data=data))

    # -- the service

    def _work_off(self, desk: Desk) -> None:
        """Tell what is owed and look for what has no answer; once the service is away, no more in this pass."""
        now = self.doors.clock.now()
        due = [one for one in desk.books.entries(_DUE) if _is_due(one, now)]
        for entry in due[:ASBB_A_PASS]:
            if not (self._tell(desk, entry) if entry.state is EntryState.OWED else desk.look(entry)):
                break

    def _tell(self, desk: Desk, entry: Entry) -> bool:
        if self.doors.config.asbb.reconcile == "service":
            return desk.tell(entry)
        return desk.file(entry, *self._document(entry))

    def _document(self, entry: Entry) -> tuple[str, dict[str, Any]]:
        """Return name and contents of a launch's file: the export's, with the amount that is owed."""
        config, now = self.doors.config, self.doors.clock.now()
        rows = self._rows(entry.request_id, entry.job_id)
        found = self._bill(rows, entry.job_id, now)
        launches = tuple(JobInstance(row, entry.asked_at) for row in rows)
        site = Site(config.aws.region, __version__)
        evidence = Evidence(entry.job, entry.job_id, site, now, launches=launches, bill=found)
        owed = {"account": entry.account, "actual_cost": usd(entry.cost), "compute_cost": usd(entry.cost)}
        return file_name(evidence), reconciliation(evidence) | owed


def _books_of(books: Sequence[Book], holds: Sequence[Hold]) -> list[Book]:
    wanted = {(one.budget, one.period) for one in holds}
    return [one for one in books if (one.budget, one.period) in wanted]


def _is_due(entry: Entry, now: datetime) -> bool:
    """Whether something is to be done. A question whose answer a crash has lost is first its request's own business."""
    if entry.next_at is not None:
        return entry.next_at <= now
    return entry.state is EntryState.OWED or now - entry.asked_at >= ASBB_SETTLES
