"""The database behind the ledger: its engine, its transactions, and no foreign error out of them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from asbx.errors import LedgerError
from asbx.ledger import tables as t
from asbx.ledger.engine import READ
from asbx.ledger.faults import ledger_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


class Database:
    """Transactions over an engine. May be shared between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        is_sqlite = engine.dialect.name == "sqlite"
        # For messages: the file, or the URL with its password hidden.
        self.place = (is_sqlite and engine.url.database) or str(engine.url)
        self._file = Path(self.place) if is_sqlite else None
        self._kept: tuple[int, int] | None = None
        # Our turn as the working controller; None: not one of a pair, or only looking.
        self.epoch: int | None = None
        # SQLite lets waiting writers race; among the threads of one program a lock keeps them in line.
        self._turn = Lock() if is_sqlite else nullcontext()

    def close(self) -> None:
        """Close the connections; the ledger opens new ones if it is used again."""
        self.engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Let only LedgerError out: no foreign error passes this door."""
        try:
            yield
        except (SQLAlchemyError, ValueError, ArithmeticError) as error:
            raise ledger_error(error, self.place) from error

    @contextmanager
    def transaction(self, mode: str, *, fenced: bool = True) -> Iterator[Connection]:
        """Do all of it or nothing; mode: READ, WRITE or WRITE_LAZILY of ledger/engine.py.

        Raises LedgerError: `ledger-relieved` where this program's turn is over (fenced), `ledger-gone` where the file
        is not the one that was opened.
        """
        turn = nullcontext() if mode == READ else self._turn
        self._refuse_other_file()
        with (
            self.translated(),
            turn,
            self.engine.connect().execution_options(asbx=mode) as connection,
            connection.begin(),
        ):
            if fenced and self.epoch is not None:
                self._refuse_relieved(connection, mode)
            yield connection

    def _refuse_relieved(self, connection: Connection, mode: str) -> None:
        query = select(t.control.c.epoch)
        now = connection.execute(query if mode == READ else query.with_for_update(read=True)).scalar_one()
        if self.epoch is not None and now != self.epoch:
            raise relieved(self.epoch, now)

    def remember_file(self) -> None:
        """Note which file is open: one that is removed or replaced under a running program is written in vain."""
        self._kept = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _refuse_other_file(self) -> None:
        if self._kept is not None and self._identity() != self._kept:
            raise LedgerError(
                "ledger-gone",
                "the ledger's file was removed or replaced while it was open",
                f"{self.place} is not the file this program has opened",
                "put it back, or stop the daemon and run `asbx ledger rebuild`; then start the daemon",
            )


def relieved(mine: int, now: int) -> LedgerError:
    """Return what a program is told that works no more."""
    return LedgerError(
        "ledger-relieved",
        "this controller works no more: the other one has taken over",
        f"its turn was number {mine}, the ledger is at {now}",
        "nothing is lost: the daemon beside the acting slurmctld goes on with every open request",
    )
