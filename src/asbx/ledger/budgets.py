"""Budgets in the database: a book for each period, a row for each hold, a row for each launch the service knows.

A book is changed only by whoever holds its budget's lock: SQLite's BEGIN IMMEDIATE, an advisory lock on PostgreSQL,
taken in the order of the names, so that two who need several never wait for each other. So `take` sees every hold that
was had before, and what it allows is written before anybody else is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select, update

from asbx.ledger import tables as t
from asbx.ledger.engine import READ, WRITE, batches, lock_key, put, put_all
from asbx.model.budget import Book, Entry, EntryState, Hold, HoldState, Taken

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection, RowMapping

    from asbx.ledger.database import Database
    from asbx.ports.budget import Judge


@dataclass
class _Taking:
    """Holds being taken, one launch after the other. books: as they stand; there: what is held already."""

    books: dict[tuple[str, str], Book]
    there: Collection[tuple[str, str]]
    judge: Judge
    taken: list[Hold] = field(default_factory=list)
    changed: set[tuple[str, str]] = field(default_factory=set)

    def take(self, holds: Sequence[Hold]) -> Taken:
        missing = [one for one in holds if (one.key, one.budget) not in self.there]
        short = next(filter(None, (self.judge(one, self.books) for one in missing)), None)
        for one in missing if short is None else ():
            page = (one.budget, one.period)
            self.books[page] = replace(self.books[page], held=self.books[page].held + one.usd)
            self.changed.add(page)
            self.taken.append(one)
        return Taken(short, tuple(self.books[one.budget, one.period] for one in holds))


class BudgetBooks:
    """The door `Budgets` over a ledger's database. May be shared between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- holds

    def take(self, launches: Sequence[Sequence[Hold]], previous: Mapping[str, str], judge: Judge) -> tuple[Taken, ...]:
        """Take the holds of launches, of each all or none."""
        every = [one for holds in launches for one in holds]
        pages = {(one.budget, one.period) for one in every}
        pages |= {(one.budget, previous[one.budget]) for one in every if previous.get(one.budget)}
        with self._database.transaction(WRITE) as connection:
            _lock(connection, [one.budget for one in every])
            there = {
                (one.key, one.budget)
                for batch in batches(sorted({one.key for one in every}))
                for one in _holds_of(connection, batch)
                if one.state is not HoldState.RELEASED
            }
            books = {page: _book(connection, *page) for page in sorted(pages)}
            taking = _Taking(books, there, judge)
            told = tuple(taking.take(holds) for holds in launches)
            put_all(connection, t.budget_books, [asdict(books[page]) for page in sorted(taking.changed)])
            put_all(connection, t.budget_holds, [_hold_row(one) for one in taking.taken])
        return told

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

    def taken(self, account: str, transactions: Iterable[str]) -> frozenset[str]:
        """Return which of these transactions of an account are of some launch of ours."""
        c = t.budget_entries.c
        mine = select(c.transaction).where(c.account == account)
        wanted = sorted(set(transactions) - {""})
        with self._database.transaction(READ) as connection:
            return frozenset(
                name
                for batch in batches(wanted)
                for name in connection.execute(mine.where(c.transaction.in_(batch))).scalars()
            )

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
