"""A real PostgreSQL for the tests: one server for a worker, a database of its own for whoever asks."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, text

from asbx.lab import postgres
from asbx.lab.processes import Process, send, wait_until
from asbx.ledger.store import open_ledger

_TEMPLATE = "template_ledger"
_numbers = itertools.count()


class Server:
    """A PostgreSQL in a temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="asbx-pg-"))
        self.folder.chmod(0o711)
        postgres.make(self.folder / "pg")
        self.process: Process = self.start()

    def start(self) -> Process:
        """Start it, again after a stop."""
        self.process = postgres.serve(self.folder / "pg", self.folder / "log")
        return self.process

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts its connections, SIGKILL is a crash."""
        send(self.process, number)
        assert wait_until(lambda: not self.process.is_alive, 20)
        os.waitpid(self.process.pid, 0)  # a zombie would count as the server that still runs

    def url(self, database: str) -> str:
        """Return a database's URL."""
        return postgres.url(self.folder / "pg", database)

    def run(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the server's administrator."""
        engine = create_engine(self.url(database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def database(self, *, empty: bool = False) -> str:
        """Return the URL of a new database, with a ledger's tables unless it shall be empty."""
        name = f"ledger_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name}" + ("" if empty else f" TEMPLATE {_TEMPLATE}"))
        return self.url(name)

    def end(self) -> None:
        """Leave nothing behind."""
        self.stop(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def server() -> Server:
    """Return the worker's server, started when first asked for."""
    found = Server()
    atexit.register(found.end)
    found.run(f"CREATE DATABASE {_TEMPLATE}")
    open_ledger(found.url(_TEMPLATE)).close()
    return found
