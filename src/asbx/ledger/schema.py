"""Bring a database to the schema this program knows. Alembic is loaded only when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from asbx.errors import LedgerError
from asbx.ledger.engine import WRITE, lock_schema, use_write_ahead_log

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Every revision under migrations/versions, oldest first (a test compares): asking Alembic costs 0.7 s.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
MIGRATIONS = Path(__file__).parent / "migrations"


def version(connection: Connection) -> str | None:
    """Return the revision of a database, None when it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def prepare(engine: Engine, place: str, *, migrate: bool) -> None:
    """Check the schema and, if asked to, create or upgrade it.

    Raises LedgerError: `ledger-newer` when a newer program wrote it, `ledger-missing` or `ledger-older` when
    it may not be migrated here, `ledger-closed` when this user may not look. SQLAlchemy's errors pass through.
    """
    if not migrate and engine.dialect.name == "sqlite" and not _is_there(place):
        # Looking must not create: SQLite makes an empty file of whatever it opens.
        raise _not_ready(None, place)
    with engine.connect() as connection:
        found = version(connection)
    if found == REVISIONS[-1]:
        return
    _refuse_newer(found, place)
    if not migrate:
        raise _not_ready(found, place)
    # Before the tables: whoever sees the tables can rely on the mode.
    use_write_ahead_log(engine)
    with engine.connect().execution_options(asbx=WRITE) as connection, connection.begin():
        lock_schema(connection)
        # Another process may have done it while this one waited for the lock.
        found = version(connection)
        _refuse_newer(found, place)
        if found != REVISIONS[-1]:
            upgrade(connection)


def _is_there(place: str) -> bool:
    try:
        return Path(place).exists()
    except OSError as error:  # its folder is closed to this user
        raise LedgerError(
            "ledger-closed",
            "the ledger may not be read by this user",
            f"{place}: {error.strerror}",
            "run this as SlurmUser or root",
        ) from error


def upgrade(connection: Connection) -> None:
    """Run the missing migrations inside the connection's transaction."""
    # Imported here: 0.7 s that only the first start after an installation pays.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_newer(found: str | None, place: str) -> None:
    if found is not None and found not in REVISIONS:
        raise LedgerError(
            "ledger-newer",
            "the ledger was written by a newer version of this program",
            f"{place} has schema {found}, this program knows up to {REVISIONS[-1]}",
            "install the newer version again, or restore the backup taken before the upgrade",
        )


def _not_ready(found: str | None, place: str) -> LedgerError:
    if found is None:
        return LedgerError(
            "ledger-missing",
            "there is no ledger yet",
            f"{place} holds no tables",
            "it is created by the first burst or by `asbx daemon`; is this the right configuration file?",
        )
    return LedgerError(
        "ledger-older",
        "the ledger has the schema of an older version",
        f"{place} has schema {found}, this program needs {REVISIONS[-1]}",
        "restart the daemon, which upgrades it",
    )
