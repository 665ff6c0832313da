"""What the SQLite ledger promises beyond the door: migrations, errors in our own words, speed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.config import limits
from asbx.errors import ExitCode, LedgerError
from asbx.ledger import schema
from asbx.ledger.engine import make_engine
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.ledger.tables import metadata
from asbx.model.event import Event, EventKind, Wanted

NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Say where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[SqlLedger]:
    """Open a ledger in a file."""
    opened = open_ledger(f"sqlite:///{file}")
    yield opened
    opened.close()


def refusal(file: Path | str) -> LedgerError:
    """Open and write a ledger; return the error, checked to be one for people."""
    url = file if isinstance(file, str) else f"sqlite:///{file}"
    with pytest.raises(LedgerError) as caught:
        open_ledger(url).check()
    error = caught.value
    assert error.exit_code == ExitCode.LEDGER
    assert error.what
    assert error.why
    assert error.hint
    assert "sqlalche.me" not in f"{error.what} {error.why} {error.hint}"
    return error


@contextmanager
def ordinary_user(folder: Path) -> Iterator[None]:
    """Do without root's right to write everything; the folder becomes enterable."""
    if os.geteuid() != 0:
        yield
        return
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# -- schema


def test_tables_are_what_the_migrations_leave(file: Path, ledger: SqlLedger) -> None:
    """Nothing is declared that no migration makes, nor the other way round."""
    ledger.check()
    with make_engine(f"sqlite:///{file}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        connection.engine.dispose()


def test_partial_indexes_are_there(file: Path, ledger: SqlLedger) -> None:
    """The database itself refuses a second live binding (Alembic does not compare conditions)."""
    ledger.check()
    with closing(sqlite3.connect(file)) as raw:
        texts = [sql for (sql,) in raw.execute("SELECT sql FROM sqlite_master WHERE name LIKE 'one_live_%'")]
    assert len(texts) == 2
    assert all(text.startswith("CREATE UNIQUE") and "released_at IS NULL" in text for text in texts)


def test_revisions_are_listed_in_order() -> None:
    """The list that spares loading Alembic names every migration, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == schema.REVISIONS


def test_opening_again_does_not_load_alembic(file: Path, ledger: SqlLedger) -> None:
    """With nothing to migrate, the inline path does not pay for Alembic."""
    ledger.check()
    program = (
        "import sys; from asbx.ledger.store import open_ledger;"
        f"open_ledger('sqlite:///{file}'); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_ledger_is_written_ahead_and_synced(file: Path) -> None:
    """The file is in WAL mode, launches commit with FULL, events with NORMAL."""
    engine = make_engine(f"sqlite:///{file}")
    schema.prepare(engine, str(file), migrate=True)
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2]))
    ledger = SqlLedger(engine)
    ledger.add_intent(samples.intent())
    assert seen[:2] == ["PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"]
    seen.clear()
    ledger.add_event(Event(EventKind.PLAN_NOTE, "x"), NOON)
    assert seen[:2] == ["PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE"]
    seen.clear()
    ledger.check()
    assert seen[:2] == ["PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == limits.LEDGER_BUSY.total_seconds() * 1000
    engine.dispose()


def test_looking_creates_nothing(file: Path) -> None:
    """A command that only reads says that there is no ledger, and leaves none behind."""
    with pytest.raises(LedgerError) as caught:
        open_ledger(f"sqlite:///{file}", migrate=False)
    assert caught.value.code == "ledger-missing"
    assert not file.exists()


def test_an_empty_file_is_no_ledger_to_look_at(file: Path) -> None:
    """Without tables there is nothing to read; with migrate they are made."""
    file.touch()
    with pytest.raises(LedgerError) as caught:
        open_ledger(f"sqlite:///{file}", migrate=False)
    assert caught.value.code == "ledger-missing"
    open_ledger(f"sqlite:///{file}").close()
    open_ledger(f"sqlite:///{file}", migrate=False).close()


def test_what_is_written_is_read_by_the_next_program(file: Path, ledger: SqlLedger) -> None:
    """A second ledger on the same file sees what the first committed."""
    ledger.add_request(samples.request())
    with closing(open_ledger(f"sqlite:///{file}", migrate=False)) as second:
        assert second.open_requests() == ledger.open_requests()


def test_followers_get_what_is_new(ledger: SqlLedger) -> None:
    """From the mark of the last one seen, only later events come."""
    ledger.add_event(Event(EventKind.PLAN_NOTE, "one", job_id=1), NOON)
    ((mark, at, first),) = ledger.marked_events()
    assert (at, first.text) == (NOON, "one")
    ledger.add_event(Event(EventKind.PLAN_NOTE, "two", job_id=2), NOON)
    ledger.add_event(Event(EventKind.PLAN_NOTE, "three", job_id=1), NOON)
    assert [found.text for _, _, found in ledger.marked_events(after=mark)] == ["two", "three"]
    assert [found.text for _, _, found in ledger.marked_events(Wanted(job_id=1), after=mark)] == ["three"]


# -- errors


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The error says which file could not be opened and what to create."""
    error = refusal(tmp_path / "nowhere" / "ledger.db")
    assert error.code == "ledger-cannot-open"
    assert "nowhere" in error.why


def test_a_file_that_is_no_database_is_refused(file: Path) -> None:
    """Text in the place of the ledger is not overwritten."""
    file.write_text("not a database, but long enough to be looked at\n" * 50)
    assert refusal(file).code == "ledger-corrupt"
    assert file.read_text().startswith("not a database")


def test_a_damaged_file_is_refused(file: Path) -> None:
    """Pages written over are noticed when they are read."""
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        for number in range(200):
            ledger.add_request(samples.request(f"r-{number}"))
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    assert refusal(file).code == "ledger-corrupt"


def test_a_ledger_of_a_newer_program_is_refused(file: Path) -> None:
    """An old program does not write into tables it does not know."""
    open_ledger(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()
    assert refusal(file).code == "ledger-newer"


def test_a_file_that_may_not_be_written_is_refused(file: Path) -> None:
    """A read-only ledger can be opened and read; writing says what to change."""
    open_ledger(f"sqlite:///{file}").close()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    with ordinary_user(file.parent):
        error = refusal(file)
    assert error.code in ("ledger-read-only", "ledger-cannot-open")


def test_a_read_only_database_is_refused(file: Path) -> None:
    """So does a database opened for reading only."""
    open_ledger(f"sqlite:///{file}").close()
    assert refusal(f"sqlite:///file:{file}?mode=ro&uri=true").code == "ledger-read-only"


def test_a_full_disk_is_reported(file: Path) -> None:
    """When the file cannot grow, the error says so, and what was there stays readable."""
    engine = make_engine(f"sqlite:///{file}")

    def small(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.cursor().execute("PRAGMA max_page_count=30")

    schema.prepare(engine, str(file), migrate=True)
    engine.dispose()
    event.listen(engine, "connect", small)
    with closing(SqlLedger(engine)) as ledger:
        ledger.add_request(samples.request("r-small"))
        with pytest.raises(LedgerError) as caught:
            ledger.add_request(replace(samples.request("r-big"), plan_text="x" * 200_000))
        assert caught.value.code == "ledger-full"
        assert [kept.request_id for kept in ledger.open_requests()] == ["r-small"]


def test_a_locked_ledger_gives_up_in_time(file: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that never ends does not hold us for ever; readers do not wait at all."""
    ledger.check()
    monkeypatch.setattr("asbx.ledger.engine.LEDGER_BUSY", timedelta(milliseconds=100))
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as other,
        closing(open_ledger(f"sqlite:///{file}")) as waiting,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert waiting.open_requests() == ()
        with pytest.raises(LedgerError) as caught:
            waiting.add_request(samples.request())
        assert caught.value.code == "ledger-busy"
        other.execute("ROLLBACK")
        assert waiting.add_request(samples.request())


def test_a_row_that_cannot_be_read_is_reported(file: Path, ledger: SqlLedger) -> None:
    """A hand-edited order or price is an error of the ledger, not of JSON or arithmetic."""
    ledger.add_intent(samples.intent())
    ledger.answer_attempt(samples.attempt(), [samples.instance_row()])
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE attempts SET \"order\" = '{}'")
        raw.execute("UPDATE instances SET price = 'cheap'")
        raw.commit()
    for read in (lambda: ledger.attempts("int-1"), ledger.instances):
        with pytest.raises(LedgerError) as caught:
            read()
        assert caught.value.code == "ledger-value"


def test_text_no_database_takes_is_reported(ledger: SqlLedger) -> None:
    """Half a character (undecodable bytes of a command line) is refused as ours."""
    with pytest.raises(LedgerError) as caught:
        ledger.add_request(replace(samples.request(), plan_text="\udcff"))
    assert caught.value.code == "ledger-text"


def test_a_time_without_a_zone_is_reported(ledger: SqlLedger) -> None:
    """The reason is ours, without the statement and the link of the library below."""
    with pytest.raises(LedgerError) as caught:
        ledger.add_event(Event(EventKind.PLAN_NOTE, "x"), NOON.replace(tzinfo=None))
    assert caught.value.code == "ledger-value"
    assert "INSERT" not in caught.value.why


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y", "postgresql+nodriver://u:secret@h/d"])
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    """What stands in ledger.url is explained, and secrets are not repeated."""
    error = refusal(url)
    assert error.code == "ledger-url"
    assert "secret" not in str(error.as_dict())
