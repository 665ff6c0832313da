"""Everything that differs between databases: how SQLite is opened, locked, synced. Other SQL is portable.

SQLite runs in WAL mode: readers never wait for a writer and a writer never for readers. Writers begin with
BEGIN IMMEDIATE, so they queue at the start (where the busy time-out works) and never fail half-way.

Durability: `synchronous=FULL`, one sync of the log per commit. NORMAL could lose the last commits in a power
cut (https://sqlite.org/pragma.html#pragma_synchronous), among them the intent of a launch EC2 has already
heard of. Audit events alone are written with NORMAL: they are many, losing one launches nothing twice, and
the next FULL commit syncs them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite

from asbx.config.limits import LEDGER_BUSY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection
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


def make_engine(url: str) -> Engine:
    """Return an engine that connects when first used.

    The pool keeps connections: the last one to close a WAL database pays for a checkpoint and three syncs,
    which must not happen after every transaction. They may pass between threads, never through a fork.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed)
    engine = create_engine(parsed, connect_args={"timeout": LEDGER_BUSY.total_seconds()})
    event.listen(engine, "connect", _open_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transaction control begins too late; ours is in _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    for statement in _BEGIN[connection.get_execution_options().get("asbx", READ)]:
        connection.exec_driver_sql(statement)


def use_write_ahead_log(engine: Engine) -> None:
    """Put an SQLite file into WAL mode, which it keeps. Some network disks cannot: go on without."""
    if engine.dialect.name != "sqlite":
        return
    with engine.connect().execution_options(asbx=_BARE) as connection:
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def lock_schema(connection: Connection) -> None:
    """Let only one process migrate. SQLite's BEGIN IMMEDIATE did it already."""
    if connection.dialect.name == "postgresql":
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
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key.columns))
    connection.execute(statement, rows)


def put(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Write a whole row, in the place of one with its key."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = list(table.primary_key.columns)
    rest = {name: value for name, value in row.items() if name not in table.primary_key.columns}
    connection.execute(dialect.insert(table).values(row).on_conflict_do_update(index_elements=keys, set_=rest))
