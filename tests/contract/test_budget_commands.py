"""`asbx budget` over a real ledger, from the command line to the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.site import config

from asbx.cli.main import main
from asbx.ledger.budgets import BudgetBooks
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.budget import Entry, EntryState, Hold, HoldState
from asbx.model.event import EventKind

NOW = datetime.now(UTC)
PERIOD = f"{NOW:%Y-%m}-01"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Write a configuration with three budgets and a service, its ledger beside it."""
    raw = config(tmp_path).model_dump(mode="json", exclude_defaults=True)
    raw["budgets"] = {
        "rules": [
            {"name": "physics", "accounts": ["phys*"], "limit_usd": "1000"},
            {"name": "course", "limit_usd": "50", "period": "once", "starts": "2020-01-01"},
            {"name": "later", "limit_usd": "50", "period": "once", "starts": "2999-01-01"},
        ]
    }
    raw["asbb"] = {"url": "http://127.0.0.1:9"}
    path = tmp_path / "aws-burst.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    (tmp_path / "state").mkdir()
    return path


@pytest.fixture
def ledger(settings: Path) -> Iterator[SqlLedger]:
    """Fill a ledger: job 7 holds 12.50 of physics, job 6 has cost 3.25; one launch at the service is stuck."""
    with closing(open_ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")) as opened:
        books = BudgetBooks(opened)
        for job, usd in ((6, "4"), (7, "12.50")):
            one = Hold(
                f"r-{job}/{job}", "physics", PERIOD, job, f"r-{job}", "ada", "phys-1", Decimal(usd), NOW, why="x"
            )
            books.take([[one]], {}, lambda *_: None)
        books.settle("r-6/6", Decimal("3.25"), NOW)
        stuck = Entry("r-6/6", 6, "6", "r-6", "phys-1", EntryState.STUCK, NOW, "txn_6", said="500 gone")
        books.change_entry("r-6/6", lambda _: stuck)
        yield opened


def run(capsys: pytest.CaptureFixture[str], settings: Path, *arguments: str) -> Any:
    """Run a command line with --json; it must end with status 0."""
    assert main(["budget", *arguments, "--json", "--config", str(settings)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("ledger")
def test_the_list_tells_how_each_budget_stands(capsys: pytest.CaptureFixture[str], settings: Path) -> None:
    """Limit, spent, held and left; a budget that is not in force has nothing."""
    physics, course, later = run(capsys, settings)["budgets"]
    assert [physics[key] for key in ("limit_usd", "spent_usd", "held_usd", "left_usd")] == [
        "1000.00",
        "3.25",
        "12.50",
        "984.25",
    ]
    assert physics["from"].startswith(PERIOD)
    assert course["until"] is None
    assert (later["from"], later["left_usd"]) == (None, "0.00")


@pytest.mark.usefixtures("ledger")
def test_the_list_fits_eighty_columns(capsys: pytest.CaptureFixture[str], settings: Path) -> None:
    """With the service below it, and who must look."""
    assert main(["budget", "--config", str(settings)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["BUDGET", "FROM", "UNTIL", "LIMIT", "SPENT", "HELD", "LEFT", "FORECAST"]
    assert max(len(line.rstrip()) for line in lines[:4]) <= 80
    assert any("984.25" in line for line in lines)
    assert any("not in force" in line for line in lines)
    assert any("somebody must look at 1" in line for line in lines)


@pytest.mark.usefixtures("ledger")
def test_holds_are_listed(capsys: pytest.CaptureFixture[str], settings: Path) -> None:
    """Those that hold, of one job, or all; options may stand before the name, too."""
    assert [one["job_id"] for one in run(capsys, settings, "holds")["holds"]] == [7]
    assert [one["state"] for one in run(capsys, settings, "holds", "--all")["holds"]] == ["settled", "held"]
    assert [one["spent_usd"] for one in run(capsys, settings, "holds", "--job", "6")["holds"]] == ["3.25"]
    assert main(["budget", "--config", str(settings), "--json", "holds"]) == 0
    assert json.loads(capsys.readouterr().out)["holds"][0]["why"] == "x"
    assert main(["budget", "holds", "--config", str(settings)]) == 0
    assert "12.50" in capsys.readouterr().out


def test_an_administrator_releases_once(capsys: pytest.CaptureFixture[str], settings: Path, ledger: SqlLedger) -> None:
    """And it is in the events of the job."""
    assert [one["held_usd"] for one in run(capsys, settings, "release", "7")["released"]] == ["12.50"]
    assert run(capsys, settings, "release", "7") == {"released": []}
    assert BudgetBooks(ledger).holds(job_id=7)[0].state is HoldState.RELEASED
    assert [event.kind for _, event in ledger.events(job_id=7)] == [EventKind.BUDGET_RELEASED]


def test_a_grant_adds_to_the_period(capsys: pytest.CaptureFixture[str], settings: Path, ledger: SqlLedger) -> None:
    """Of this budget alone; it can be taken back."""
    assert run(capsys, settings, "grant", "physics", "250.50")["left_usd"] == "1234.75"
    assert run(capsys, settings, "grant", "physics", "-50.50")["limit_usd"] == "1200.00"
    assert [event.kind for _, event in ledger.events()] == [EventKind.BUDGET_GRANTED] * 2
    assert main(["budget", "grant", "physics", "1", "--config", str(settings)]) == 0
    assert "1201.00" in capsys.readouterr().out


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grant", "nobody", "5"], "there is no budget 'nobody'"),
        (["grant", "later", "5"], "not in force"),
        (["grant", "physics", "1e9"], "no amount"),
        (["grant", "physics", "NaN"], "no amount"),
        (["grant", "physics", "1.005"], "no amount"),
        (["release", "0"], "greater than"),
        (["release", "seven"], "integer"),
        (["service", "--close", "r-7/7"], "nothing is stuck"),
    ],
)
def test_nonsense_is_refused(
    capsys: pytest.CaptureFixture[str], settings: Path, arguments: list[str], said: str
) -> None:
    """As an error of use."""
    assert main(["budget", *arguments, "--config", str(settings)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("ledger")
def test_what_is_stuck_at_the_service_is_shown_and_laid_to_rest(
    capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    """By whoever has looked at it."""
    (one,) = run(capsys, settings, "service")["launches"]
    assert (one["key"], one["state"], one["transaction"], one["said"]) == ("r-6/6", "stuck", "txn_6", "500 gone")
    assert main(["budget", "service", "--config", str(settings)]) == 0
    assert "txn_6" in capsys.readouterr().out
    assert run(capsys, settings, "service", "--close", "r-6/6")["launches"] == []


def test_without_budgets_that_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The command is there for everybody."""
    raw = config(tmp_path).model_dump(mode="json", exclude_defaults=True)
    path = tmp_path / "bare.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    (tmp_path / "state").mkdir()
    open_ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.db'}").close()
    assert main(["budget", "--config", str(path)]) == 0
    assert "no budget is configured" in capsys.readouterr().out
