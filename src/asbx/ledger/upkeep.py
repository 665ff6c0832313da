"""Look after the database as a whole: is it sound, how large is it; copy it; put a damaged file aside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, make_url, select

from asbx.errors import LedgerError
from asbx.ledger import tables as t
from asbx.ledger.engine import READ, bare
from asbx.ledger.schema import REVISIONS
from asbx.ledger.store import SqlLedger, open_ledger

if TYPE_CHECKING:
    from datetime import datetime

# What a rebuild may replace: there is nothing, or nothing that can be read.
REPLACEABLE = ("ledger-missing", "ledger-corrupt")
_FILES = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Soundness:
    """What a look at the whole database found. free: bytes within size that the next rows will use."""

    place: str
    schema: str
    size: int
    free: int
    rows: dict[str, int]


def examine(url: str) -> Soundness:
    """Read every page, and write once. Raises LedgerError for whatever is wrong; changes nothing."""
    ledger = open_ledger(url, migrate=False)
    try:
        ledger.check()
        with ledger.transaction(READ) as connection:
            size, free = _size(ledger, connection.dialect.name)
            counts = {
                table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
                for table in t.metadata.sorted_tables
            }
        return Soundness(ledger.place, REVISIONS[-1], size, free, counts)
    finally:
        ledger.close()


def _size(ledger: SqlLedger, dialect: str) -> tuple[int, int]:
    """Return (bytes, unused bytes in them). Raises LedgerError (`ledger-corrupt`) for a file that is not sound."""
    with ledger.transaction(READ) as connection:
        if dialect == "postgresql":
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()), 0
        said = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalars().all()
        orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if said != ["ok"] or orphans is not None:
            raise LedgerError(
                "ledger-corrupt",
                "the ledger's file is damaged",
                f"{ledger.place}: {said[0] if said != ['ok'] else 'rows refer to others that are not there'}",
                "stop the daemon; restore a backup, or run `asbx ledger rebuild`, which keeps the damaged file",
            )
        page, pages, unused = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_size", "page_count", "freelist_count")
        )
    return page * pages, page * unused


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite ledger, None for a server's database."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def copy(url: str, target: Path) -> None:
    """Write a compact, consistent copy to a new file, while others go on writing. Raises LedgerError."""
    if file_of(url) is None:
        raise LedgerError(
            "ledger-no-file",
            "a server's database is not copied by us",
            "",
            "use the server's own means: `pg_dump --format=custom NAME`",
        )
    if target.exists():
        raise LedgerError(
            "ledger-target", f"{target} is there already", "a backup never replaces another", "name a new file"
        )
    ledger = open_ledger(url, migrate=False)
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with ledger.translated(), bare(ledger.engine) as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(target),))
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        why = str(error.strerror)
        raise LedgerError(
            "ledger-target", f"{target} cannot be written", why, "name a file in a folder of ours"
        ) from None
    finally:
        ledger.close()


def set_aside(file: Path, at: datetime) -> tuple[Path, ...]:
    """Move a ledger's file and its log out of the way, never deleting them; return where they are now."""
    moved = []
    for suffix in _FILES:
        old = file.with_name(file.name + suffix)
        new = file.with_name(f"{file.name}.damaged-{at:%Y%m%dT%H%M%SZ}{suffix}")
        if old.exists():
            try:
                old.rename(new)
            except OSError as error:
                raise LedgerError(
                    "ledger-read-only",
                    f"{old} cannot be moved",
                    str(error.strerror),
                    "check its folder's owner and mode",
                ) from None
            moved.append(new)
    return tuple(moved)
