"""The ledger in a database: SQLite by default, PostgreSQL for a pair of controllers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, func, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from asbx.errors import LedgerError
from asbx.ledger import calls, history, pairs
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.arrivals import Arrivals
from asbx.ledger.boots import BootMemory
from asbx.ledger.charges import Charges
from asbx.ledger.control import Controls
from asbx.ledger.engine import READ, WRITE, WRITE_LAZILY, batches, insert_if_new, insert_new, make_engine
from asbx.ledger.faults import is_conflict, ledger_error
from asbx.ledger.job_plans import JobPlans
from asbx.ledger.launches import JobLaunches
from asbx.ledger.limits import LimitBooks
from asbx.ledger.memory import Memory
from asbx.ledger.prices import PriceHistory
from asbx.ledger.retention import Retention
from asbx.ledger.schema import prepare
from asbx.ledger.spot import SpotMemory
from asbx.ledger.usage import Usage
from asbx.model.event import EVERYTHING, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import ColumnElement

    from asbx.model.event import Event
    from asbx.model.job import Request
    from asbx.model.market import Instance
    from asbx.model.record import Attempt, Binding, InstanceRow, Intent


def open_ledger(url: str, *, migrate: bool = True) -> SqlLedger:
    """Open the ledger at an SQLAlchemy URL and bring its schema up to date.

    migrate=False is for programs that only read: they neither create a database nor change one.
    Open it after a fork, not before: SQLite's connections do not survive one.
    Raises LedgerError when it cannot be opened, is damaged, or was written by a newer program.
    """
    try:
        engine = make_engine(url)
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        # Never the URL itself: it may hold a password.
        raise ledger_error(error, "ledger.url") from error
    ledger = SqlLedger(engine)
    try:
        with ledger.translated():
            prepare(engine, ledger.place, migrate=migrate)
            ledger.remember_file()
    except LedgerError:
        ledger.close()
        raise
    return ledger


class SqlLedger(
    Memory,
    BootMemory,
    JobPlans,
    Controls,
    Retention,
    JobLaunches,
    LimitBooks,
    PriceHistory,
    Charges,
    Usage,
    SpotMemory,
    Arrivals,
):
    """The door `Ledger` over SQLAlchemy Core. May be shared between threads."""

    # -- requests

    def add_request(self, request: Request) -> bool:
        """Keep a request as new; False when its id is already there."""
        with self.transaction(WRITE) as connection:
            return insert_if_new(connection, t.requests, form.request_row(request))

    def open_requests(self) -> tuple[Request, ...]:
        """Return requests not finished, oldest first."""
        query = select(t.requests).where(t.requests.c.status == form.NEW)
        with self.transaction(READ) as connection:
            found = connection.execute(query.order_by(t.requests.c.received_at, t.requests.c.request_id))
            return tuple(form.request_of(row) for row in found.mappings())

    def finish_request(self, request_id: str, *, failed: bool, note: str, at: datetime) -> None:
        """Close a request. The first word stands: closing it again changes nothing."""
        status = form.FAILED if failed else form.DONE
        mine = and_(t.requests.c.request_id == request_id, t.requests.c.status == form.NEW)
        with self.transaction(WRITE) as connection:
            connection.execute(update(t.requests).where(mine).values(status=status, note=note, finished_at=at))

    def request_outcome(self, request_id: str) -> tuple[str, str] | None:
        """Return (status, note); status is new, done or failed; None for an unknown id."""
        query = select(t.requests.c.status, t.requests.c.note).where(t.requests.c.request_id == request_id)
        with self.transaction(READ) as connection:
            row = connection.execute(query).first()
            return None if row is None else (row.status, row.note)

    # -- launches

    def add_intent(self, intent: Intent) -> None:
        """Keep an intent. Raises LedgerError (`ledger-differs`) when its id stands for another launch.

        What was considered is no part of the launch: the first account of it stays.
        """
        with self.transaction(WRITE) as connection:
            calls.keep_intent(connection, intent)

    def intents(self, request_id: str) -> tuple[Intent, ...]:
        """Return the intents of a request, oldest first."""
        query = select(t.intents).where(t.intents.c.request_id == request_id)
        with self.transaction(READ) as connection:
            found = connection.execute(query.order_by(t.intents.c.created_at, t.intents.c.intent_id))
            return tuple(form.intent_of(row) for row in found.mappings())

    def known_intents(self, intent_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these ids are ours."""
        with self.transaction(READ) as connection:
            return frozenset(
                known
                for batch in batches(intent_ids)
                for known in connection.execute(
                    select(t.intents.c.intent_id).where(t.intents.c.intent_id.in_(batch))
                ).scalars()
            )

    def add_attempt(self, attempt: Attempt, intent: Intent | None = None) -> None:
        """Keep a call before it is made (answer None), with its intent where that is not kept yet.

        Raises LedgerError: `ledger-differs` when this number stands for another order, `ledger-no-intent`.
        """
        with self.transaction(WRITE) as connection:
            calls.keep_attempt(connection, attempt, intent)

    def answer_attempt(self, attempt: Attempt, instances: Sequence[InstanceRow]) -> None:
        """Keep what EC2 said and the instances it launched, in one transaction.

        Said again, the newest answer stands; instances already there keep what is known of them.
        """
        row = form.attempt_row(attempt)
        answer = {name: row[name] for name in ("answered_at", "answer", "error")}
        with self.transaction(WRITE) as connection:
            insert_new(connection, t.attempts, [row])
            connection.execute(update(t.attempts).where(calls.this(attempt)).values(**answer))
            insert_new(connection, t.instances, [form.instance_row(instance) for instance in instances])

    def attempts(self, intent_id: str) -> tuple[Attempt, ...]:
        """Return the attempts of an intent by number."""
        query = select(t.attempts).where(t.attempts.c.intent_id == intent_id).order_by(t.attempts.c.number)
        with self.transaction(READ) as connection:
            return tuple(form.attempt_of(row) for row in connection.execute(query).mappings())

    def attempts_of(self, intent_ids: Iterable[str]) -> tuple[Attempt, ...]:
        """Return the attempts of all these intents, those of one by their number."""
        query = select(t.attempts).order_by(t.attempts.c.intent_id, t.attempts.c.number)
        with self.transaction(READ) as connection:
            return tuple(
                form.attempt_of(row)
                for batch in batches(dict.fromkeys(intent_ids))
                for row in connection.execute(query.where(t.attempts.c.intent_id.in_(batch))).mappings()
            )

    # -- instances and bindings

    def instances(
        self, *, live_only: bool = False, intent_id: str | None = None, ended_since: datetime | None = None
    ) -> tuple[InstanceRow, ...]:
        """Return instances, first launched first; live_only: without an end; ended_since: ended from then on."""
        query = select(t.instances).order_by(t.instances.c.launched_at, t.instances.c.instance_id)
        if live_only:
            query = query.where(t.instances.c.ended_at.is_(None))
        if intent_id is not None:
            query = query.where(t.instances.c.intent_id == intent_id)
        if ended_since is not None:
            query = query.where(t.instances.c.ended_at >= ended_since)
        with self.transaction(READ) as connection:
            return tuple(form.instance_of(row) for row in connection.execute(query).mappings())

    def bind(
        self, rows: Sequence[tuple[str, Instance]], at: datetime, jobs: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        """Bind nodes to instances, all or none. A pair already bound stays as it is.

        Raises LedgerError (`already-bound`) if either side has another live partner.
        """
        try:
            with self.transaction(WRITE) as connection:
                pairs.bind(connection, rows, at, jobs or {})
        except LedgerError as error:
            # Two programs at the same moment: then the unique index is the judge.
            if isinstance(error.__cause__, DBAPIError) and is_conflict(error.__cause__):
                raise pairs.already_bound(str(error.__cause__.orig)) from error
            raise

    def live_bindings(self, nodes: Sequence[str] | None = None) -> tuple[Binding, ...]:
        """Return the live bindings (of these nodes), by node name."""
        query = select(t.bindings).where(t.bindings.c.released_at.is_(None))
        with self.transaction(READ) as connection:
            if nodes is None:
                found = [form.binding_of(row) for row in connection.execute(query).mappings()]
            else:
                found = [
                    form.binding_of(row)
                    for batch in batches(dict.fromkeys(nodes))
                    for row in connection.execute(query.where(t.bindings.c.node.in_(batch))).mappings()
                ]
        return tuple(sorted(found, key=lambda binding: binding.node))

    def has_history(self, nodes: Sequence[str]) -> bool:
        """Return whether every one of these nodes was bound at some time."""
        with self.transaction(READ) as connection:
            return all(
                len(set(connection.execute(select(t.bindings.c.node).where(t.bindings.c.node.in_(batch))).scalars()))
                == len(set(batch))
                for batch in batches(dict.fromkeys(nodes))
            )

    def register(self, nodes: Sequence[str], at: datetime) -> None:
        """Note that slurmd of these nodes has registered, on the live bindings that do not say so yet."""
        with self.transaction(WRITE) as connection:
            for batch in batches(nodes):
                silent = and_(_live(batch), t.bindings.c.registered_at.is_(None))
                connection.execute(update(t.bindings).where(silent).values(registered_at=at))

    def release(self, nodes: Sequence[str], at: datetime) -> None:
        """Close the live bindings of these nodes."""
        with self.transaction(WRITE) as connection:
            for batch in batches(nodes):
                connection.execute(update(t.bindings).where(_live(batch)).values(released_at=at))

    def end_instances(self, instance_ids: Sequence[str], reason: str, at: datetime) -> None:
        """Set the end of instances that have none yet."""
        with self.transaction(WRITE) as connection:
            for batch in batches(instance_ids):
                alive = and_(t.instances.c.instance_id.in_(batch), t.instances.c.ended_at.is_(None))
                connection.execute(update(t.instances).where(alive).values(ended_at=at, end_reason=reason))

    def date_instances(self, seen: Sequence[Instance]) -> None:
        """Set when instances began, and those that are over ended, where EC2 says so."""
        if not seen:
            return
        this, is_over = t.instances.c.instance_id == bindparam("this"), t.instances.c.ended_at.is_not(None)
        began = [{"this": one.instance_id, "launched_at": one.launched_at} for one in seen]
        ended = [{"this": one.instance_id, "ended_at": one.ended_at} for one in seen if one.ended_at is not None]
        with self.transaction(WRITE) as connection:
            connection.execute(update(t.instances).where(this), began)
            if ended:
                connection.execute(update(t.instances).where(and_(this, is_over)), ended)

    def set_prices(self, prices: Mapping[str, Decimal]) -> None:
        """Set what instances cost an hour, in USD."""
        if not prices:
            return
        rows = [{"this": instance_id, "price": price} for instance_id, price in prices.items()]
        with self.transaction(WRITE) as connection:
            this = t.instances.c.instance_id == bindparam("this")
            connection.execute(update(t.instances).where(this), rows)

    # -- events

    def add_event(self, event: Event, at: datetime) -> None:
        """Keep an event. It survives a crash of the program; a power cut may take the last ones."""
        self.add_events([(event, at)])

    def add_events(self, rows: Sequence[tuple[Event, datetime]]) -> None:
        """Keep events in one transaction, in their order."""
        with self.transaction(WRITE_LAZILY) as connection:
            connection.execute(t.events.insert(), [form.event_row(event) | {"at": at} for event, at in rows])

    def events(
        self, *, job_id: int | None = None, node: str | None = None, request_id: str | None = None, limit: int = 200
    ) -> tuple[tuple[datetime, Event], ...]:
        """Return the last `limit` events, oldest first."""
        wanted = Wanted(job_id, node, request_id)
        return tuple((at, event) for _, at, event in self.marked_events(wanted, limit=limit))

    def marked_events(
        self, wanted: Wanted = EVERYTHING, *, after: int = 0, limit: int | None = None
    ) -> tuple[tuple[int, datetime, Event], ...]:
        """Return (mark, time, event), oldest first, for those who follow: only what came after a mark.

        limit: only the newest so many.
        """
        query = history.query(wanted).where(t.events.c.id > after).order_by(t.events.c.id.desc())
        with self.transaction(READ) as connection:
            return history.newest(connection.execute(query).mappings(), wanted, limit)

    def last_mark(self) -> int:
        """Return the mark of the newest event, 0 where there is none."""
        with self.transaction(READ) as connection:
            return int(connection.execute(select(func.max(t.events.c.id))).scalar() or 0)

    def is_blank(self) -> bool:
        """Return whether nothing was ever launched by it."""
        with self.transaction(READ) as connection:
            return connection.execute(select(t.intents.c.intent_id).limit(1)).first() is None

    def check(self) -> None:
        """Raise LedgerError when the database cannot be read and written."""
        with self.transaction(WRITE) as connection:
            # Changes nothing, and yet goes all the way to the disk.
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


def _live(nodes: Sequence[str]) -> ColumnElement[bool]:
    return and_(t.bindings.c.node.in_(nodes), t.bindings.c.released_at.is_(None))
