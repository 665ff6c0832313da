"""`asbx cost` in every form, on a month that is settled."""

from __future__ import annotations

import csv
import getpass
import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes import billing

from asbx.cli.main import main


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a configuration with a month in its ledger; nothing here writes to it."""
    return str(billing.site(tmp_path_factory.mktemp("site"), cost={"billing_account": "123456789012"}))


def test_csv_is_the_table_with_every_digit(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows and amounts are those of --json; names a spreadsheet would run are defused."""
    options = ["--period", "2024-03", "--by", "account", "--config", site]
    assert main(["cost", *options, "--format", "csv", "--output", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["account"]: row for row in csv.DictReader(file)}
    capsys.readouterr()
    assert main(["cost", *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["account"]: row["usd"] for row in told["rows"]} == {
        name.removeprefix("'"): row["usd"] for name, row in rows.items()
    }
    assert f"'{billing.FORMULA}" in rows
    assert sum(Decimal(row["usd"]) for row in rows.values()) == Decimal(told["total_usd"])
    kinds = [name for name in rows["physics"] if name.endswith("_usd") and name != "volumes_usd"]
    for row in rows.values():
        assert sum(Decimal(row[name]) for name in kinds) == Decimal(row["usd"])


def test_csv_without_a_period_is_by_job(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To the second, a row for each job with whose it is."""
    assert main(["cost", "--format", "csv", "--config", site]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("job,user,account,seconds,usd")
    assert "\r\n" in out or out.count("\n") > 3


def test_focus_goes_to_a_file(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It costs what the table says, and says what is not in it."""
    path = tmp_path / "focus.csv"
    assert main(["cost", "-p", "2024-03", "-f", "focus", "-o", str(path), "--config", site]) == 0
    assert "i-unpriced" in capsys.readouterr().err
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert main(["cost", "-p", "2024-03", "--json", "--config", site]) == 0
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(json.loads(capsys.readouterr().out)["total_usd"])
    assert {row["BillingAccountId"] for row in rows} == {"123456789012"}


def test_one_accounts_focus_has_no_others(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is narrowed is narrowed in every form."""
    assert main(["cost", "-p", "2024-03", "-f", "focus", "-A", "chemistry", "--config", site]) == 0
    out = capsys.readouterr().out
    assert "chemistry" in out
    assert "physics" not in out


def test_focus_needs_to_know_who_pays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an account nothing is written; what is no account is refused."""
    path = str(billing.site(tmp_path))
    for option in ([], ["--billing-account", "12"]):
        assert main(["cost", "-f", "focus", "-p", "2024-03", "--config", path, *option]) == 2
        said = capsys.readouterr()
        assert "[billing-account]" in said.err
        assert said.out == ""
    assert main(["cost", "-f", "focus", "-p", "2024-03", "--config", path, "--billing-account", "210987654321"]) == 0
    assert "210987654321" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--format", "xml"], "format"),
        (["--output", "x"], "usage"),
        (["--json", "--output", "x"], "usage"),
        (["--format", "focus", "--job", "1"], "usage"),
        (["--format", "focus", "--by", "user"], "usage"),
        (["--format", "csv", "--json"], "usage"),
        (["--me", "--user", "ada"], "usage"),
        (["--period", "2024-03", "chart", "--output", "x.png"], "usage"),
        (["chart", "--output", "x.pdf"], "output"),
        (["chart", "--output", "x.png", "--kind", "pie"], "chart-kind"),
        (["chart", "--output", "x.png", "--kind", "waste", "--account", "physics"], "usage"),
        (["chart", "--output", "no/such/folder/x.png"], "output"),
        (["--format", "csv", "--output", "no/such/folder/x.csv"], "output"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    options: list[str], code: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit status 2, the code, and no file."""
    monkeypatch.setenv("ASBX_CONFIG", site)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["cost", *options]) == 2
    assert code in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_me(site: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """My own jobs, whatever account they are of; who has none sees nothing, and that is no error."""
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    options = ["cost", "--me", "--period", "2024-03", "--by", "job", "--json", "--config", site]
    assert main(options) == 0
    assert [row["job"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["2", "4"]
    monkeypatch.setattr(getpass, "getuser", lambda: "nobody-here")
    assert main(options) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []


@pytest.mark.parametrize(
    ("kind", "ending"), [("accounts", "png"), ("markets", "svg"), ("waste", "html"), ("waits", "html")]
)
def test_every_chart_and_every_form(
    kind: str, ending: str, site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Something is in each; the HTML page has the figures too."""
    path = tmp_path / f"x.{ending}"
    assert main(["cost", "chart", "-k", kind, "-p", "2024-03", "-o", str(path), "--config", site, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["empty"] is False
    data = path.read_bytes()
    assert data.startswith({"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}[ending])
    if ending == "html":
        assert b"<svg" in data
        assert b"<table>" in data
