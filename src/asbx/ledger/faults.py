"""Say in our own words why the database cannot serve, going by SQLite's result codes, never by its texts."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, StatementError

from asbx.config.limits import LEDGER_BUSY
from asbx.errors import LedgerError


class _Words(NamedTuple):
    code: str
    what: str
    hint: str


# Keys: SQLite result codes, first the extended name, then the primary one (https://sqlite.org/rescode.html).
_TABLE = {
    "SQLITE_BUSY": _Words(
        "ledger-busy",
        f"another program kept the ledger locked for {LEDGER_BUSY.total_seconds():.0f} s",
        "see which program has it open (`fuser FILE`); then do this again",
    ),
    "SQLITE_LOCKED": _Words("ledger-busy", "the ledger is locked", "do this again"),
    "SQLITE_READONLY": _Words(
        "ledger-read-only",
        "the ledger cannot be written",
        "let the user that runs slurmctld write the file and its folder; is the disk mounted read-only?",
    ),
    "SQLITE_PERM": _Words(
        "ledger-read-only",
        "the ledger may not be opened",
        "check the owner and mode of the file and its folder",
    ),
    "SQLITE_CANTOPEN": _Words(
        "ledger-cannot-open",
        "the ledger cannot be opened",
        "create its folder, owned by the user that runs slurmctld, or correct `paths.state` or `ledger.url`",
    ),
    "SQLITE_CORRUPT": _Words(
        "ledger-corrupt", "the ledger's file is damaged", "stop the daemon and restore the file from a backup"
    ),
    "SQLITE_NOTADB": _Words(
        "ledger-corrupt",
        "the ledger's file is not an SQLite database",
        "correct `ledger.url`, or move the file away and restore it from a backup",
    ),
    "SQLITE_FULL": _Words(
        "ledger-full",
        "the ledger cannot grow",
        "free space on its file system; nothing is launched until then",
    ),
    "SQLITE_IOERR": _Words(
        "ledger-io", "the ledger's file cannot be read or written", "check the disk and the kernel's log"
    ),
    "SQLITE_CONSTRAINT_FOREIGNKEY": _Words(
        "ledger-no-intent",
        "an attempt or instance was recorded without its intent",
        "this is a defect: please report it with the log",
    ),
}
_NO_TEXT = _Words(
    "ledger-text", "a text holds bytes that no database can keep", "check the encoding of the job's plan and names"
)
_UNREADABLE = _Words(
    "ledger-value",
    "a value cannot be written to or read from the ledger",
    "was the file edited by hand, or written by a newer version? Restore it from a backup",
)
_OTHER = _Words("ledger-failed", "the database refused", "look at the reason; check `ledger.url`")


def ledger_error(error: Exception, place: str) -> LedgerError:
    """Return our error for one of SQLAlchemy's (or for text no database can hold); place: the URL or file."""
    if isinstance(error, ArgumentError | NoSuchModuleError | ModuleNotFoundError):
        return LedgerError(
            "ledger-url",
            f"{place} is not a usable database URL",
            str(error).splitlines()[0],
            "write `ledger.url` like sqlite:////var/lib/asbx/ledger.db, or install the database's driver",
        )
    # Without SQLAlchemy's wrapping, which repeats the statement and links to its own manual.
    origin = (error.orig if isinstance(error, StatementError) else None) or error
    name = getattr(origin, "sqlite_errorname", "")
    primary = "_".join(name.split("_")[:2])
    words = _TABLE.get(name) or _TABLE.get(primary) or _by_kind(origin)
    return LedgerError(words.code, words.what, f"{place}: {origin}", words.hint)


def _by_kind(origin: BaseException) -> _Words:
    if isinstance(origin, UnicodeEncodeError):
        return _NO_TEXT
    return _UNREADABLE if isinstance(origin, ValueError | ArithmeticError) else _OTHER


def is_conflict(error: DBAPIError) -> bool:
    """Whether a unique index refused a row (SQLite's code, or SQL state 23505 of other databases)."""
    name = getattr(error.orig, "sqlite_errorname", "")
    state = getattr(error.orig, "sqlstate", "")
    return name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY") or state == "23505"
