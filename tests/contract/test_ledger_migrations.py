"""A ledger written by an older version is upgraded in place, and everything in it is read as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.errors import LedgerError
from asbx.ledger import schema
from asbx.ledger.engine import WRITE, make_engine
from asbx.ledger.store import open_ledger
from asbx.model.event import Event, EventKind
from asbx.model.record import Binding, ResourceKind

# As the first version wrote them, JSON without the keys that came later.
ORDER = (
    '{"token":"int-1-1","market":"on-demand","count":2,"minimum":2,"pools":[{"instance_type":"c7i.large",'
    '"subnet_id":"subnet-a","zone":"us-east-2a","max_price":""},{"instance_type":"c7i.large","subnet_id":"subnet-b",'
    '"zone":"us-east-2b","max_price":""},{"instance_type":"m7i.large","subnet_id":"subnet-a","zone":"us-east-2a",'
    '"max_price":"0.5"}],"template":{"template_id":"lt-1","name":"","version":"3"},"tags":[["asbx:cluster","slurm"],'
    '["asbx:intent","int-1"]],"strategy":"lowest-price","single_zone":false}'
)
ANSWER = (
    '{"fleet_id":"fleet-1","launched":[{"instance_id":"i-1","instance_type":"c7i.large","zone":"us-east-2a",'
    '"subnet_id":"subnet-a","market":"on-demand"},{"instance_id":"i-2","instance_type":"c7i.large","zone":'
    '"us-east-2a","subnet_id":"subnet-a","market":"on-demand"}],"refusals":[{"code":"InsufficientInstanceCapacity",'
    '"message":"no room","verdict":"capacity","instance_type":"m7i.large","zone":"us-east-2a","subnet_id":"subnet-a"}]}'
)
AT = "2026-03-01 12:00:00.123456"
ROWS = {
    "requests": ("r-1", "resume", '["aws-cpu-000", "aws-cpu-001"]', AT, "[]", "[]", None, 0, "new", "", None),
    "intents": (
        *("int-1", "r-1", "job-12", "[12]", "aws", "cpu", '["aws-cpu-000", "aws-cpu-001"]', "ada", "physics", AT),
    ),
    "attempts": ("int-1", 1, ORDER, AT, AT, ANSWER, ""),
    "instances": (
        *("i-1", "int-1", "job-12", "[12]", "aws", "cpu", "ada", "physics", "c7i.large", "us-east-2a", "subnet-a"),
        *("on-demand", AT, "0.0850", "", "", 0, "", None, None, ""),
    ),
    "bindings": (1, "aws-cpu-000", "i-1", AT, None),
    "events": (1, AT, "node-bound", "info", "bound", "r-1", "", None, "aws-cpu-000", "i-1", '{"n": 1}'),
}


def first_version(file: Path) -> None:
    """Make a database of the first version with a row in every table."""
    engine = make_engine(f"sqlite:///{file}")
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.connect().execution_options(asbx=WRITE) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with closing(sqlite3.connect(file)) as raw:
        for table, row in ROWS.items():
            raw.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        raw.commit()


def test_rows_of_the_first_version_are_read(tmp_path: Path) -> None:
    """Each row is what it was, and what the first version did not know has its default."""
    file = tmp_path / "ledger.db"
    first_version(file)
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        assert ledger.open_requests() == (samples.request(),)
        assert ledger.intents("r-1") == (samples.intent(),)
        (attempt,) = ledger.attempts("int-1")
        order = samples.order("int-1-1", minimum=2)
        assert attempt == replace(samples.attempt(), order=order, answered_at=NOON, answer=samples.answer())
        assert ledger.instances() == (samples.instance_row("i-1"),)
        assert ledger.live_bindings() == (Binding("aws-cpu-000", "i-1", NOON),)
        event = Event(
            EventKind.NODE_BOUND, "bound", request_id="r-1", node="aws-cpu-000", instance_id="i-1", data={"n": 1}
        )
        assert ledger.events() == ((NOON, event),)
        assert ledger.shortages() == ()


def test_an_upgraded_ledger_is_written_on(tmp_path: Path) -> None:
    """What was begun under the first version goes on: the same intent and order are the same, new things are kept."""
    file = tmp_path / "ledger.db"
    first_version(file)
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        ledger.add_intent(replace(samples.intent(), considered=("c7i.large",)))
        ledger.add_attempt(replace(samples.attempt(), order=samples.order("int-1-1", minimum=2)))
        ledger.register(["aws-cpu-000"], NOON)
        assert ledger.live_bindings() == (Binding("aws-cpu-000", "i-1", NOON, registered_at=NOON),)
        ledger.change_shortage("k", lambda _: samples.shortage("k"))
        ledger.add_resource(samples.resource())
        ledger.set_setback(samples.setback())
    with closing(open_ledger(f"sqlite:///{file}", migrate=False)) as again:
        assert again.shortages() == (samples.shortage("k"),)
        assert again.resources(ResourceKind.PLACEMENT_GROUP) == (samples.resource(),)
        assert again.setbacks([12]) == {12: samples.setback()}


def test_a_reader_does_not_upgrade(tmp_path: Path) -> None:
    """A command that only reads says that the daemon must be restarted, and changes nothing."""
    file = tmp_path / "ledger.db"
    first_version(file)
    with pytest.raises(LedgerError) as caught:
        open_ledger(f"sqlite:///{file}", migrate=False)
    assert caught.value.code == "ledger-older"
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
