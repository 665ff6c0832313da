"""Everything that differs between databases: how they are opened, locked, synced. Other SQL is portable.

SQLite runs in WAL mode: readers never wait for a writer and a writer never for readers. Writers begin with
BEGIN IMMEDIATE, so they queue at the start (where the busy time-out works) and never fail half-way.

Durability: `synchronous=FULL`, one sync of the log per commit. NORMAL could lose the last commits in a power
cut (https://sqlite.org/pragma.html#pragma_synchronous), among them the intent of a launch EC2 has already
heard of. Audit events alone are written with NORMAL: they are many, losing one launches nothing twice, and
the next FULL commit syncs them too.

PostgreSQL runs at READ COMMITTED: what must not race takes an advisory lock or is judged by a unique index. Durability
is the server's own `synchronous_commit`, switched off for audit events alone
(https://www.postgresql.org/docs/current/wal-async-commit.html). No statement, no lock and no idle transaction lasts
longer than LEDGER_BUSY: a program that is stopped in the middle of one must not hold up the other controller's.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite

from asbx.config.limits import LEDGER_BUSY, LEDGER_CONNECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import URL, Connection, Insert
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

_T = TypeVar("_T")
# Values of the execution option "asbx".
READ, WRITE, WRITE_LAZILY, _BARE = "read", "write", "write-lazily", "bare"
_BEGIN = {
    READ: ("BEGIN",),
    WRITE: ("PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"),
    WRITE_LAZILY: ("PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE"),
    _BARE: (),
}
# Names per statement, twice in the longest one: SQLite before 3.32 took 999 (https://sqlite.org/limits.html).
_BATCH = 450
# Any fixed number of ours: PostgreSQL's advisory locks are named by numbers.
_ADVISORY_LOCK = 0x61736278
# Connections beyond the pool's own five: each thread of the daemon may have one.
_OVERFLOW = 27


def make_engine(url: str) -> Engine:
    """Return an engine that connects when first used.

    The pool keeps connections: the last one to close a WAL database pays for a checkpoint and three syncs,
    which must not happen after every transaction. They may pass between threads, never through a fork.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed)
    engine = create_engine(parsed, connect_args={"timeout": LEDGER_BUSY.total_seconds()})
    event.listen(engine, "connect", _open_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    """Return an engine that outlives its server: a connection is asked for a sign of life before each use.

    Where the URL names several servers, the one that takes writes is used (libpq, target_session_attrs).
    """
    if url.drivername == "postgresql":  # SQLAlchemy would take the driver before the present one
        url = url.set(drivername="postgresql+psycopg")
    most = round(LEDGER_BUSY.total_seconds() * 1000)
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "tcp_user_timeout")
    settings = [f"-c {name}={most}" for name in limits] + ["-c timezone=UTC"]
    asked = {
        "options": " ".join(settings),
        "connect_timeout": round(LEDGER_CONNECT.total_seconds()),
        # A server that was switched off says nothing: without this the kernel waits for a quarter of an hour.
        "tcp_user_timeout": most,
        "target_session_attrs": "read-write",
        "application_name": "asbx",
    }
    told = {key: value for key, value in asked.items() if key not in url.query}
    engine = create_engine(
        url, connect_args=told, pool_pre_ping=True, pool_timeout=LEDGER_BUSY.total_seconds(), max_overflow=_OVERFLOW
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("asbx") == WRITE_LAZILY:
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def _open_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transaction control begins too late; ours is in _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    for statement in _BEGIN[connection.get_execution_options().get("asbx", READ)]:
        connection.exec_driver_sql(statement)


@contextmanager
def bare(engine: Engine) -> Iterator[Connection]:
    """Connect without a transaction of ours, for what must not be in one."""
    with engine.connect().execution_options(asbx=_BARE) as connection:
        yield connection


def use_write_ahead_log(engine: Engine) -> None:
    """Put an SQLite file into WAL mode, which it keeps. Some network disks cannot: go on without."""
    if engine.dialect.name != "sqlite":
        return
    with bare(engine) as connection:
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def lock_schema(connection: Connection) -> None:
    """Let only one process migrate, for as long as it takes. SQLite's BEGIN IMMEDIATE did it already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout TO 0")
        connection.exec_driver_sql("SET LOCAL lock_timeout TO 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def lock_key(connection: Connection, key: str) -> None:
    """Let only one transaction at a time change what stands under a key, a row or none: none cannot be locked.

    SQLite's BEGIN IMMEDIATE did it already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:ours, hashtext(:key))"), {"ours": _ADVISORY_LOCK, "key": key}
        )


def batches(values: Iterable[_T]) -> Iterator[list[_T]]:
    """Cut a list into pieces every database takes in one statement."""
    listed = list(values)
    for start in range(0, len(listed), _BATCH):
        yield listed[start : start + _BATCH]


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, leaving those whose key is there already as they are."""
    if rows:
        connection.execute(_insert_new(connection, table), rows)


def insert_if_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row; return False, and leave what is there, where its key is taken."""
    # Without the option SQLAlchemy counts no rows of an INSERT on PostgreSQL.
    options = {"preserve_rowcount": True}
    return connection.execute(_insert_new(connection, table), row, execution_options=options).rowcount == 1


def _insert_new(connection: Connection, table: Table) -> Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh: Insert = dialect.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key.columns))
    return fresh


def put(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Write a whole row, in the place of one with its key."""
    put_all(connection, table, [row])


def put_all(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Write whole rows, which have the same columns, in the place of those with their keys."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = list(table.primary_key.columns)
    fresh = dialect.insert(table)
    rest = {name: fresh.excluded[name] for name in rows[0] if name not in table.primary_key.columns}
    connection.execute(fresh.on_conflict_do_update(index_elements=keys, set_=rest), rows)
