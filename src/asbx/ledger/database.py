"""The database behind the ledger: its engine, its transactions, and no foreign error out of them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from asbx.ledger.engine import READ
from asbx.ledger.faults import ledger_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


class Database:
    """Transactions over an engine. May be shared between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        is_sqlite = engine.dialect.name == "sqlite"
        # For messages: the file, or the URL with its password hidden.
        self.place = (is_sqlite and engine.url.database) or str(engine.url)
        # SQLite lets waiting writers race; among the threads of one program a lock keeps them in line.
        self._turn = Lock() if is_sqlite else nullcontext()

    def close(self) -> None:
        """Close the connections; the ledger opens new ones if it is used again."""
        self._engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Let only LedgerError out: no foreign error passes this door."""
        try:
            yield
        except (SQLAlchemyError, ValueError, ArithmeticError) as error:
            raise ledger_error(error, self.place) from error

    @contextmanager
    def transaction(self, mode: str) -> Iterator[Connection]:
        """Do all of it or nothing; mode: READ, WRITE or WRITE_LAZILY of ledger/engine.py."""
        turn = nullcontext() if mode == READ else self._turn
        with (
            self.translated(),
            turn,
            self._engine.connect().execution_options(asbx=mode) as connection,
            connection.begin(),
        ):
            yield connection
