"""Say in our own words why the database cannot serve, going by SQLite's result codes and SQL states, never by texts."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, StatementError

from asbx.config.limits import LEDGER_BUSY
from asbx.errors import LedgerError


class _Words(NamedTuple):
    code: str
    what: str
    hint: str


_BUSY_HINT = "see which program has it open (`fuser FILE`); then do this again"
_REBUILD = "stop the daemon; restore a backup, or run `asbx ledger rebuild`, which keeps the damaged file"
_DEFECT = "this is a defect: please report it with the log"
_NO_INTENT = _Words("ledger-no-intent", "an attempt or instance was recorded without its intent", _DEFECT)
_NO_TEXT = _Words(
    "ledger-text", "a text holds bytes that no database can keep", "check the encoding of the job's plan and names"
)
_UNREADABLE = _Words(
    "ledger-value",
    "a value cannot be written to or read from the ledger",
    "was it edited by hand, or written by a newer version? Restore it from a backup",
)
_OTHER = _Words("ledger-failed", "the database refused", "look at the reason; check `ledger.url`")
# Keys: SQLite result codes, first the extended name, then the primary one (https://sqlite.org/rescode.html).
_SQLITE = {
    "SQLITE_BUSY": _Words(
        "ledger-busy",
        f"another program kept the ledger locked for {LEDGER_BUSY.total_seconds():.0f} s",
        _BUSY_HINT,
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
        "create its folder, owned by the user that runs slurmctld, or correct `paths.state` or `ledger.url`; "
        "a read-only file system will not do",
    ),
    "SQLITE_CORRUPT": _Words("ledger-corrupt", "the ledger's file is damaged", _REBUILD),
    "SQLITE_NOTADB": _Words("ledger-corrupt", "the ledger's file is not an SQLite database", _REBUILD),
    "SQLITE_FULL": _Words(
        "ledger-full",
        "the ledger cannot grow",
        "free space on its file system; nothing is launched until then",
    ),
    "SQLITE_IOERR": _Words(
        "ledger-io", "the ledger's file cannot be read or written", "check the disk and the kernel's log"
    ),
    "SQLITE_CONSTRAINT_FOREIGNKEY": _NO_INTENT,
}
_AWAY = _Words(
    "ledger-away",
    "the database server does not answer",
    "requests rest until it does; check the server, and host, user and password in `ledger.url`",
)
_SERVER_BUSY = _Words(
    "ledger-busy",
    f"the database did not get to it within {LEDGER_BUSY.total_seconds():.0f} s",
    "look for long transactions and load on the server (pg_stat_activity)",
)
_DENIED = _Words(
    "ledger-read-only", "the database does not let us", "let the user of `ledger.url` own its database's schema"
)
# Keys: SQL states, the whole one first, then the class
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_SQLSTATE = {
    "08": _AWAY,
    "57P01": _AWAY,  # the server is being shut down
    "57P02": _AWAY,  # it crashed
    "57P03": _AWAY,  # it starts
    "57014": _SERVER_BUSY,  # statement_timeout
    "55P03": _SERVER_BUSY,  # lock_timeout
    "25P03": _SERVER_BUSY,  # idle_in_transaction_session_timeout
    "40": _SERVER_BUSY,  # deadlock, serialization failure
    "53100": _Words(
        "ledger-full", "the database's disk is full", "free space on the server; nothing is launched until then"
    ),
    "53": _SERVER_BUSY,  # memory, connections
    "25006": _Words(
        "ledger-read-only",
        "the database takes no writes",
        "is it a standby? Name the primary, or both, in `ledger.url`",
    ),
    "28": _DENIED,
    "42501": _DENIED,
    "3D000": _Words("ledger-cannot-open", "there is no such database", "create it: `createdb -O USER NAME`"),
    "42P01": _Words(
        "ledger-corrupt",
        "a table of the ledger is gone",
        "restore the database from a dump, or give `ledger.url` an empty one and run `asbx ledger rebuild`",
    ),
    "XX": _Words(
        "ledger-corrupt",
        "the database's files are damaged",
        "restore it from a dump, or give `ledger.url` an empty one and run `asbx ledger rebuild`",
    ),
    "58": _Words("ledger-io", "the database cannot read or write its files", "check the server's disk and log"),
    "23503": _NO_INTENT,
    "22021": _NO_TEXT,
    "22P05": _NO_TEXT,
    "22": _UNREADABLE,
}


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
    words = _words(origin)
    return LedgerError(words.code, words.what, f"{place}: {' '.join(str(origin).split())}", words.hint)


def _words(origin: BaseException) -> _Words:
    """Find what an error means: by SQLite's code, by its SQL state, else by its kind."""
    name = getattr(origin, "sqlite_errorname", "")
    state = getattr(origin, "sqlstate", None) or ""
    primary = "_".join(name.split("_")[:2])
    if name or state:
        return _SQLITE.get(name) or _SQLITE.get(primary) or _SQLSTATE.get(state) or _SQLSTATE.get(state[:2]) or _OTHER
    return _by_kind(origin)


def _by_kind(origin: BaseException) -> _Words:
    """Tell errors without a code apart: a driver's own, which no server has seen, and those of Python."""
    kinds = {kind.__name__ for kind in type(origin).__mro__}  # DB-API 2.0 (PEP 249) names them for every driver
    if "OperationalError" in kinds:
        return _AWAY  # no connection, so nobody who could have given a state
    if "TimeoutError" in kinds:
        return _SERVER_BUSY  # no connection of the pool became free
    if isinstance(origin, UnicodeEncodeError) or "DataError" in kinds:
        return _NO_TEXT  # psycopg refuses NUL bytes by itself
    return _UNREADABLE if isinstance(origin, ValueError | ArithmeticError) else _OTHER


def is_conflict(error: DBAPIError) -> bool:
    """Whether a unique index refused a row (SQLite's code, or SQL state 23505 of other databases)."""
    name = getattr(error.orig, "sqlite_errorname", "")
    state = getattr(error.orig, "sqlstate", "")
    return name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY") or state == "23505"
