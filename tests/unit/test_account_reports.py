"""An account's month: its own jobs, nobody else's."""

from __future__ import annotations

import json
import stat
from decimal import Decimal
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import billing

from asbx.cli.cost_month import file_name
from asbx.cli.main import main
from asbx.decide.cost import usd_of
from asbx.decide.meter.charges import meter
from asbx.decide.meter.spans import Bearer

_VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page that is read to its end: which elements were open, what was refused."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that opens."""
        self.seen.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without an end."""
        self.seen.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        """Expect the element that opened last."""
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all reports of the month."""
    root = tmp_path_factory.mktemp("reports")
    path = billing.site(root)
    assert main(["cost", "report", "--month", "2024-03", "--output", str(root / "out"), "--config", str(path)]) == 0
    return root / "out"


def facts(folder: Path, account: str) -> dict[str, Any]:
    """Return the facts of an account."""
    found: dict[str, Any] = json.loads((folder / f"cost-2024-03-{file_name(account)}.json").read_text("utf-8"))
    return found


def test_each_account_has_its_files(folder: Path) -> None:
    """A page and facts for each that bore something, for their owner only."""
    accounts = ("physics", "chemistry", billing.FORMULA)
    wanted = {f"cost-2024-03-{file_name(account)}.{form}" for account in accounts for form in ("html", "json")}
    assert {one.name for one in folder.iterdir()} == wanted
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}


def test_nothing_of_another_account_is_in_it(folder: Path) -> None:
    """Chemistry shares a node with physics and reads neither its user, nor its jobs, nor its instances."""
    told = facts(folder, "chemistry")
    assert [(row["job_id"], row["user"]) for row in told["jobs"]] == [(2, "bob"), (4, "bob")]
    assert told["unpriced"] == []
    for form in ("html", "json"):
        text = (folder / f"cost-2024-03-chemistry.{form}").read_text("utf-8")
        for foreign in ("physics", "ada", "eve", "i-spot", "i-unpriced", "script>1", ">3<", ">1<", ">5<", "i-shared"):
            assert foreign not in text
    # Its own it reads.
    assert facts(folder, "physics")["unpriced"] == ["i-unpriced"]


def test_accounts_add_up_to_the_jobs(folder: Path) -> None:
    """All totals together are what jobs bore, to the billionth; each is the sum of its parts."""
    every = [facts(folder, account) for account in ("physics", "chemistry", billing.FORMULA)]
    charges = [charge for one in billing.month() for charge in meter(one, one.row.ended_at or billing.BEGIN).charges]
    borne = usd_of(sum(charge.nanos for charge in charges if charge.bearer is Bearer.JOB))
    assert sum(Decimal(one["total"]) for one in every) == borne
    for one in every:
        assert one["final"]
        for parts in ("users", "types", "jobs"):
            assert sum(Decimal(row["cost"]) for row in one[parts]) == Decimal(one["total"])
        assert sum(Decimal(cost) for cost in one["kinds"].values()) == Decimal(one["total"])


def test_savings_are_of_the_same_hours(folder: Path) -> None:
    """An hour alone, half of an hour that two jobs shared, five minutes of boot for each."""
    spot = facts(folder, "physics")["spot"]
    hours = Fraction(60 + 30 + 5 + 5, 60)
    assert Fraction(spot["cost"]) == hours * Fraction(billing.SPOT) == Fraction(spot["compared"])
    assert abs(Fraction(spot["same_on_demand"]) - hours * Fraction(billing.ON_DEMAND)) < Fraction(1, 10**9)
    assert Decimal(spot["saved"]) == Decimal(spot["same_on_demand"]) - Decimal(spot["compared"])


def test_pages_are_whole_and_need_nothing(folder: Path) -> None:
    """Every element is closed, names are unique, nothing is loaded or run, and a name stays text."""
    for path in folder.glob("*.html"):
        text = path.read_text("utf-8")
        page = Page(text)
        assert page.open == []
        assert not page.seen & {"script", "link", "img", "iframe", "object"}
        assert len(page.ids) == len(set(page.ids))
        assert {"svg", "table"} <= page.seen
        assert "default-src 'none'" in text


def test_one_account_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is asked for gets a report, nothing spent too, and is told so."""
    path = folder.parent / "config.yaml"
    options = ["--month", "2024-03", "--output", str(tmp_path / "out"), "--config", str(path), "--json"]
    assert main(["cost", "report", *options, "--account", "nobody"]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)["files"]) == 2
    assert "'nobody' cost nothing" in said.err
    assert facts(tmp_path / "out", "nobody")["total"] == "0.00"


def test_a_month_is_a_month(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is refused before a file is written."""
    path = str(folder.parent / "config.yaml")
    for month in ("2024", "2024-13", "march", "2024-03-01", "30d", "0000-01"):
        assert main(["cost", "report", "--month", month, "--output", str(tmp_path / "o"), "--config", path]) == 2
        assert "[period]" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".hidden", "", "x" * 300, "a b", "-rf", "Zürich"])
def test_names_make_files_of_the_folder(name: str) -> None:
    """No account writes elsewhere, and no two write the same file."""
    found = file_name(name)
    assert "/" not in found
    assert not found.startswith((".", "-"))
    assert len(found) < 80
    assert found != file_name(f"{name}_")
