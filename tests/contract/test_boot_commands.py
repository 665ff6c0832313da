"""`asbx explain` and `asbx boots` over a real ledger, from the command line to the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.site import config

from asbx.cli import boots, explain, page
from asbx.cli.main import main
from asbx.errors import ExitCode
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.boot import Breaker, Console
from asbx.model.event import EventKind

NOW = datetime.now(UTC)
AGO = NOW - timedelta(minutes=30)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Write a configuration whose Slurm is not there and whose ledger lies beside it."""
    site = config(tmp_path)
    raw = site.model_dump(mode="json", exclude_defaults=True)
    raw["slurm"]["bin_path"] = str(tmp_path)
    path = tmp_path / "aws-burst.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    (tmp_path / "state").mkdir()
    return path


@pytest.fixture
def ledger(settings: Path) -> Iterator[SqlLedger]:
    """Fill a ledger: aws-cpu-000 had an instance that never came, and aws-cpu is closed for it."""
    with closing(open_ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")) as opened:
        opened.add_intent(samples.intent())
        opened.answer_attempt(samples.attempt(), [samples.instance_row("i-1", launched_at=AGO)])
        opened.bind([("aws-cpu-000", samples.instance("i-1", launched_at=AGO))], AGO)
        opened.end_instances(["i-1"], "its node did not register within ResumeTimeout", NOW)
        opened.release(["aws-cpu-000"], NOW)
        opened.add_boot_failures([samples.boot_failure("i-1", launched_at=AGO, failed_at=NOW)])
        opened.add_console(Console("i-1", "one\ntwo\nasbx-node: no name\n", NOW))
        closed = Breaker(samples.CPU, NOW, NOW + timedelta(hours=1), 1, 10)
        opened.change_breaker(samples.CPU, lambda _: closed)
        yield opened


def run(capsys: pytest.CaptureFixture[str], settings: Path, *arguments: str) -> Any:
    """Run a command line with --json; it must end with status 0."""
    assert main([*arguments, "--json", "--config", str(settings)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("ledger")
def test_a_node_is_explained_to_machines(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without Slurm, the ledger still tells history, failure, console and what holds the group back."""
    told = run(capsys, settings, "explain", "aws-cpu-000")
    assert told.keys() == {"node", "slurm", "instance", "history", "failures", "console", "group", "next"}
    assert (told["slurm"], told["instance"]) == (None, None)
    (service,) = told["history"]
    assert (service["instance"], service["registered_at"]) == ("i-1", None)
    assert service["end_reason"] == "its node did not register within ResumeTimeout"
    assert [(one["instance"], one["trouble"]) for one in told["failures"]] == [("i-1", "never-registered")]
    assert told["console"]["text"].endswith("asbx-node: no name\n")
    assert (told["group"]["group"], told["group"]["state"]) == ("aws-cpu", "closed")


@pytest.mark.usefixtures("ledger")
def test_a_node_is_explained_to_people(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of the console is shown, as many lines as are wanted."""
    assert main(["explain", "aws-cpu-000", "--lines", "1", "--config", str(settings)]) == 0
    out = capsys.readouterr().out
    assert "  | asbx-node: no name" in out
    assert "  | two" not in out
    assert "never" in out
    assert "closed, 1 failure(s) in a row" in out


def test_the_page_of_a_node_fits_a_terminal_and_cuts_nothing(ledger: SqlLedger, settings: Path) -> None:
    """Eighty columns: ids, types, zones and times are whole."""
    site = config(settings.parent)
    facts = explain.explained(ledger, site, "aws-cpu-000", None, NOW)
    lines = list(page.lines(explain.rows(facts, 30), 80))
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    (one,) = facts["history"]
    for whole in (one["instance"], one["type"], one["zone"], one["launched_at"][:19], one["ended_at"][:19]):
        assert whole.replace("T", " ") in text
    assert one["end_reason"] in text


@pytest.mark.usefixtures("ledger")
def test_an_unknown_node_is_an_error(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be ours is said to be so."""
    assert main(["explain", "login-1", "--config", str(settings)]) == ExitCode.USAGE
    assert "its name is not <partition>-<nodegroup>-<number>" in capsys.readouterr().err


def test_groups_are_listed_and_reset(ledger: SqlLedger, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reset opens the group, forgives what failed before, and is written down; a wrong name is an error."""
    rows = {row["group"]: row for row in run(capsys, settings, "boots")["groups"]}
    assert (rows["aws-cpu"]["state"], rows["aws-gpu"]["state"]) == ("closed", "open")
    assert main(["boots", "--reset", "cpu", "--config", str(settings)]) == ExitCode.USAGE
    assert "there is no node group cpu" in capsys.readouterr().err
    rows = {row["group"]: row for row in run(capsys, settings, "boots", "--reset", "aws-cpu")["groups"]}
    assert (rows["aws-cpu"]["state"], rows["aws-cpu"]["failures_in_a_row"]) == ("open", 0)
    assert rows["aws-cpu"]["failures_last_day"] == 1
    assert [event.kind for _, event in ledger.events()] == [EventKind.GROUP_OPENED]
    assert main(["boots", "--config", str(settings)]) == 0
    assert "aws-cpu" in capsys.readouterr().out


def test_status_names_the_groups_that_are_not_open(ledger: SqlLedger, settings: Path) -> None:
    """The line is empty where all is well."""
    site = config(settings.parent)
    assert boots.line(ledger, site, NOW).startswith("aws-cpu closed (10 never became nodes; next try ")
    ledger.change_breaker(samples.CPU, lambda old: replace(old or Breaker(samples.CPU), closed_at=None))
    assert boots.line(ledger, site, NOW) == ""
