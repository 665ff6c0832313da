"""Budgets in the database: a book for each period, a row for each hold, a row for each launch the service knows.

A book is changed only by whoever holds its budget's lock: SQLite's BEGIN IMMEDIATE, an advisory lock on PostgreSQL,
taken in the order of the names, so that two who need several never wait for each other. So `take` sees every hold that
was had before, and what it allows is written before anybody else is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select, update

from asbx.ledger import tables as t
from asbx.ledger.engine import READ, WRITE, batches, lock_key, put
from asbx.model.budget import Book, Entry, EntryState, Hold, HoldState, Taken

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection, RowMapping

    from asbx.ledger.database import Database
    from asbx.ports.budget import Judge


class BudgetBooks:
    """The door `Budgets` over a ledger's database. May be shared between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- holds

    def take(self, holds: Sequence[Hold], previous: Mapping[str, str], judge: Judge) -> Taken:
        """Take the holds of one launch, all or none."""
        with self._database.transaction(WRITE) as connection:
            _lock(connection, [one.budget for one in holds])
            there = {one.budget: one for one in _holds_of(connection, [one.key for one in holds][:1])}
            missing = [one for one in holds if one.budget not in there or there[one.budget].state is HoldState.RELEASED]
            books: dict[tuple[str, str], Book] = {}
            for one in holds:
                for period in filter(None, (one.period, previous.get(one.budget, ""))):
                    books[one.budget, period] = _book(connection, one.budget, period)
            for one in missing:
                short = judge(one, books)
                if short is not None:
                    return Taken(short, tuple(books[each.budget, each.period] for each in holds))
            for one in missing:
                old = books[one.budget, one.period]
                books[one.budget, one.period] = replace(old, held=old.held + one.usd)
                put(connection, t.budget_books, asdict(books[one.budget, one.period]))
                put(connection, t.budget_holds, _hold_row(one))
            return Taken(None, tuple(books[one.budget, one.period] for one in holds))

    def release(self, keys: Iterable[str], at: datetime, why: str) -> tuple[Hold, ...]:
        """Give back what is held under these keys."""

        def released(one: Hold) -> Hold:
            return replace(one, state=HoldState.RELEASED, ended_at=at, why=why)

        done: list[Hold] = []
        for batch in batches(sorted(set(keys))):
            with self._database.transaction(WRITE) as connection:
                done += _end(connection, batch, released)
        return tuple(done)

    def settle(self, key: str, usd: Decimal, at: datetime, why: str = "") -> tuple[Hold, ...]:
        """Charge what a launch cost in place of what is held for it."""

        def settled(one: Hold) -> Hold:
            return replace(one, state=HoldState.SETTLED, spent=usd, ended_at=at, why=why or one.why)

        with self._database.transaction(WRITE) as connection:
            return tuple(_end(connection, [key], settled))

    def holds(
        self, *, state: HoldState | None = None, job_id: int | None = None, limit: int | None = None
    ) -> tuple[Hold, ...]:
        """Return holds, oldest first."""
        c = t.budget_holds.c
        query = select(t.budget_holds).order_by(c.taken_at.desc(), c.key.desc(), c.budget.desc())
        query = query if limit is None else query.limit(limit)
        query = query if state is None else query.where(c.state == state.value)
        query = query if job_id is None else query.where(c.job_id == job_id)
        with self._database.transaction(READ) as connection:
            return tuple(_hold_of(row) for row in reversed(connection.execute(query).mappings().all()))

    # -- books

    def books(self) -> tuple[Book, ...]:
        """Return every book, by budget and period."""
        query = select(t.budget_books).order_by(t.budget_books.c.budget, t.budget_books.c.period)
        with self._database.transaction(READ) as connection:
            return tuple(Book(**row) for row in connection.execute(query).mappings())

    def grant(self, budget: str, period: str, usd: Decimal) -> Book:
        """Add to what one period of a budget may spend."""
        with self._database.transaction(WRITE) as connection:
            _lock(connection, [budget])
            old = _book(connection, budget, period)
            # What was told of a smaller limit may have to be told anew of the larger one.
            new = replace(old, granted=old.granted + usd, alerted=0 if usd > 0 else old.alerted)
            put(connection, t.budget_books, asdict(new))
            return new

    def alert(self, budget: str, period: str, level: int) -> bool:
        """Note that a level is told."""
        c = t.budget_books.c
        lower = and_(c.budget == budget, c.period == period, c.alerted < level)
        with self._database.transaction(WRITE) as connection:
            _lock(connection, [budget])
            return connection.execute(update(t.budget_books).where(lower).values(alerted=level)).rowcount == 1

    # -- the budget service

    def entries(self, states: Iterable[EntryState], *, job_id: int | None = None) -> tuple[Entry, ...]:
        """Return launches in one of these states there (of a job), oldest first."""
        c = t.budget_entries.c
        query = select(t.budget_entries).where(c.state.in_([one.value for one in states])).order_by(c.asked_at, c.key)
        query = query if job_id is None else query.where(c.job_id == job_id)
        with self._database.transaction(READ) as connection:
            return tuple(_entry_of(row) for row in connection.execute(query).mappings())

    def entry(self, key: str) -> Entry | None:
        """Return where a launch stands there."""
        with self._database.transaction(READ) as connection:
            return _entry(connection, key)

    def transactions(self, account: str) -> frozenset[str]:
        """Return the transactions of an account that are of some launch of ours."""
        c = t.budget_entries.c
        with self._database.transaction(READ) as connection:
            found = connection.execute(select(c.transaction).where(c.account == account, c.transaction != ""))
            return frozenset(found.scalars())

    def change_entry(self, key: str, change: Callable[[Entry | None], Entry | None]) -> Entry | None:
        """Read one, let `change` say what becomes of it, write and return that."""
        with self._database.transaction(WRITE) as connection:
            lock_key(connection, f"budget-entry/{key}")
            old = _entry(connection, key)
            new = change(old)
            if new is None or new == old:
                return old
            put(connection, t.budget_entries, asdict(new) | {"key": key, "state": new.state.value})
            return replace(new, key=key)


def _lock(connection: Connection, budgets: Iterable[str]) -> None:
    for name in sorted(set(budgets)):
        lock_key(connection, f"budget/{name}")


def _end(connection: Connection, keys: Sequence[str], end: Callable[[Hold], Hold]) -> list[Hold]:
    """End what is held under these keys, and take it out of the books. Whoever comes second finds nothing held.

    Keys and budgets of a hold never change, so they may be read before the lock; the state is read behind it.
    """
    _lock(connection, [one.budget for one in _holds_of(connection, keys)])
    ended = []
    for one in _holds_of(connection, keys):
        if one.state is not HoldState.HELD:
            continue
        new = end(one)
        old = _book(connection, one.budget, one.period)
        book = replace(old, held=old.held - one.usd, spent=old.spent + (new.spent or 0))
        put(connection, t.budget_books, asdict(book))
        put(connection, t.budget_holds, _hold_row(new))
        ended.append(new)
    return ended


def _book(connection: Connection, budget: str, period: str) -> Book:
    c = t.budget_books.c
    query = select(t.budget_books).where(c.budget == budget, c.period == period)
    row = connection.execute(query).mappings().first()
    return Book(budget, period) if row is None else Book(**row)


def _holds_of(connection: Connection, keys: Sequence[str]) -> list[Hold]:
    query = select(t.budget_holds).where(t.budget_holds.c.key.in_(keys))
    query = query.order_by(t.budget_holds.c.key, t.budget_holds.c.budget)
    return [_hold_of(row) for row in connection.execute(query).mappings()]


def _hold_row(one: Hold) -> dict[str, Any]:
    return asdict(one) | {"state": one.state.value}


def _hold_of(row: RowMapping) -> Hold:
    return Hold(**{**row, "state": HoldState(row["state"])})


def _entry(connection: Connection, key: str) -> Entry | None:
    row = connection.execute(select(t.budget_entries).where(t.budget_entries.c.key == key)).mappings().first()
    return None if row is None else _entry_of(row)


def _entry_of(row: RowMapping) -> Entry:
    return Entry(**{**row, "state": EntryState(row["state"])})
