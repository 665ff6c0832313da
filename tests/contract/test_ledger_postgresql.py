"""What the ledger on PostgreSQL promises beyond the door: a server that goes and comes, races, errors in our words."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.fakes import samples
from tests.fakes.postgres import Server, server
from tests.fakes.samples import NOON

from asbx.errors import ExitCode, LedgerError
from asbx.ledger.engine import WRITE, make_engine
from asbx.ledger.faults import ledger_error
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.ledger.tables import metadata
from asbx.model.event import Event, EventKind
from asbx.model.record import Shortage


@pytest.fixture
def url() -> str:
    """Return a database of its own."""
    return server().database()


@pytest.fixture
def ledger(url: str) -> Iterator[SqlLedger]:
    """Open it."""
    with closing(open_ledger(url)) as opened:
        yield opened


@pytest.fixture
def own() -> Iterator[Server]:
    """Return a server that may be stopped."""
    one = Server()
    yield one
    one.end()


def refused(ledger: SqlLedger) -> LedgerError:
    """Write, and return the error, checked to be one for people."""
    with pytest.raises(LedgerError) as caught:
        ledger.check()
    assert caught.value.exit_code == ExitCode.LEDGER
    assert caught.value.hint
    return caught.value


def test_tables_are_what_the_migrations_leave(url: str) -> None:
    """Nothing is declared that no migration makes, nor the other way round."""
    engine = make_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
    engine.dispose()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_comes_back_is_used_again(own: Server, number: signal.Signals) -> None:
    """Restarted or crashed: while it is away each call says so, and what was committed is there afterwards."""
    own.run("CREATE DATABASE asbx")
    with closing(open_ledger(own.url("asbx"))) as ledger:
        ledger.add_request(samples.request())
        own.stop(number)
        assert refused(ledger).code == "ledger-away"
        own.start()
        ledger.add_intent(samples.intent())
        assert ledger.open_requests() == (samples.request(),)
        # Cut off in the middle of the night, with nobody asking: no call is lost to a connection that is dead.
        own.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'asbx'")
        ledger.check()


def test_a_transaction_that_is_cut_off_leaves_nothing(ledger: SqlLedger, url: str) -> None:
    """The connection dies half-way: all of it is undone, and the next try does it."""
    engine = make_engine(url)

    def cut_off() -> None:
        with ledger.transaction(WRITE) as connection:
            connection.execute(text("UPDATE control SET beat = 99"))
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with engine.connect() as other:
                other.execute(text(f"SELECT pg_terminate_backend({pid})"))
            connection.execute(text("SELECT 1"))

    with pytest.raises(LedgerError) as caught:
        cut_off()
    engine.dispose()
    assert caught.value.code == "ledger-away"
    assert ledger.control().beat == 0


def test_the_password_is_never_shown() -> None:
    """Neither when nobody listens nor when the database is not there."""
    for bad in (
        "postgresql://ada:hunter2@127.0.0.1:1/x",
        server().url("nowhere").replace("asbx@", "asbx:hunter2@"),
        "postgresql://ada:hunter2@127.0.0.1:1/x?sslmode=nonsense",
    ):
        with pytest.raises(LedgerError) as caught:
            open_ledger(bad)
        assert caught.value.code == "ledger-away"
        assert "hunter2" not in f"{caught.value} {caught.value.as_dict()}"


def test_who_sleeps_in_a_transaction_holds_up_nobody(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped in the middle of a write is thrown out, and the other one takes over."""
    monkeypatch.setattr("asbx.ledger.engine.LEDGER_BUSY", timedelta(milliseconds=700))
    with closing(open_ledger(url)) as sleeper:
        monkeypatch.setattr("asbx.ledger.engine.LEDGER_BUSY", timedelta(seconds=20))
        with closing(open_ledger(url)) as other:
            sleeper.take_control(sleeper.control(), "ctl1", NOON)

            def sleep_in_a_write() -> None:
                with sleeper.transaction(WRITE) as connection:
                    # The row of control is held here, as in every write; nothing more is said for a while.
                    assert other.take_control(other.control(), "ctl2", NOON)
                    connection.execute(text("UPDATE control SET beat = 99"))

            with pytest.raises(LedgerError) as caught:
                sleep_in_a_write()
            assert caught.value.code in ("ledger-busy", "ledger-away")
            assert other.control().holder == "ctl2"
            assert other.control().beat == 0


def test_a_long_lock_is_given_up_in_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's open transaction keeps us waiting no longer than the limit."""
    monkeypatch.setattr("asbx.ledger.engine.LEDGER_BUSY", timedelta(milliseconds=300))
    with closing(open_ledger(url)) as waiting:
        monkeypatch.setattr("asbx.ledger.engine.LEDGER_BUSY", timedelta(seconds=20))
        with closing(open_ledger(url)) as other, other.transaction(WRITE) as connection:
            connection.execute(text("LOCK TABLE requests"))
            with pytest.raises(LedgerError) as caught:
                waiting.add_request(samples.request())
        assert caught.value.code == "ledger-busy"
        assert waiting.add_request(samples.request())


def test_no_change_of_a_shortage_is_lost(ledger: SqlLedger) -> None:
    """Eight at once count to eight times twenty, whether or not there was a row to lock at first."""

    def one_more(old: Shortage | None) -> Shortage:
        return replace(old or samples.shortage("k"), failures=old.failures + 1 if old else 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.change_shortage("k", one_more), range(160)))
    assert ledger.shortages()[0].failures == 160


def test_one_of_eight_binds_a_node(ledger: SqlLedger) -> None:
    """The database itself is the judge; the others are told what they are told on SQLite."""

    def bind(number: int) -> str:
        try:
            ledger.bind([("aws-cpu-000", samples.instance(f"i-{number}"))], NOON)
        except LedgerError as error:
            return error.code
        return "bound"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(bind, range(8))) == ["already-bound"] * 7 + ["bound"]
    assert len(ledger.live_bindings()) == 1


def test_the_first_open_is_safe_for_all() -> None:
    """Eight that meet an empty database at the same moment all get a ledger, migrated once."""
    empty = server().database(empty=True)

    def first(_: int) -> str:
        with closing(open_ledger(empty)) as one:
            one.check()
        return "open"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first, range(8))) == ["open"] * 8


def test_numbers_of_a_federation_fit(ledger: SqlLedger) -> None:
    """Job ids there use all 32 bits."""
    ledger.add_event(Event(EventKind.PLAN_NOTE, "x", job_id=2**32 - 1), NOON)
    assert len(ledger.events(job_id=2**32 - 1)) == 1


def test_a_request_with_a_null_byte_is_refused(ledger: SqlLedger) -> None:
    """No text of PostgreSQL holds one: such a request is set aside instead of blocking those behind it."""
    with pytest.raises(LedgerError) as caught:
        ledger.add_request(replace(samples.request(), plan_text="a\0b"))
    assert caught.value.code == "ledger-text"


def test_a_user_without_rights_is_told(url: str) -> None:
    """Reading is not enough."""
    database = next(part for part in url.split("/") if part.startswith("ledger_")).partition("?")[0]

    server().run("DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    server().run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database)
    with closing(open_ledger(url.replace("asbx@", "reader@"))) as ledger:
        assert ledger.open_requests() == ()
        assert refused(ledger).code == "ledger-read-only"


class _Said(Exception):  # noqa: N818  stands for a driver's error
    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("08006", "ledger-away"),
        ("57P01", "ledger-away"),
        ("57P03", "ledger-away"),
        ("57014", "ledger-busy"),
        ("55P03", "ledger-busy"),
        ("40P01", "ledger-busy"),
        ("40001", "ledger-busy"),
        ("53300", "ledger-busy"),
        ("53100", "ledger-full"),
        ("25006", "ledger-read-only"),
        ("42501", "ledger-read-only"),
        ("28P01", "ledger-read-only"),
        ("3D000", "ledger-cannot-open"),
        ("42P01", "ledger-corrupt"),
        ("XX001", "ledger-corrupt"),
        ("58030", "ledger-io"),
        ("23503", "ledger-no-intent"),
        ("22003", "ledger-value"),
        ("22021", "ledger-text"),
        ("99999", "ledger-failed"),
    ],
)
def test_every_state_has_its_words(state: str, code: str) -> None:
    """What is meant is told by the SQL state alone; unknown ones are told too."""
    error = ledger_error(DBAPIError("SELECT", {}, _Said(state)), "postgresql://ada:***@db/asbx")
    assert error.code == code
    assert error.hint
