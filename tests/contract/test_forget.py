"""`asbx forget`: shortages are forgotten by their keys, and that is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.site import config

from asbx.cli.main import main
from asbx.errors import ExitCode
from asbx.ledger.store import open_ledger
from asbx.model.event import EventKind

KEYS = ("capacity/spot/c7i.large/us-east-2a", "quota/spot/standard", "quota/on-demand/g")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a configuration whose ledger remembers three shortages."""
    site = config(tmp_path)
    (tmp_path / "state").mkdir()
    ledger = open_ledger(site.ledger_url)
    for key in KEYS:
        ledger.change_shortage(key, lambda _, key=key: replace(samples.shortage(), key=key))  # type: ignore[misc]
    ledger.close()
    path = tmp_path / "aws-burst.yaml"
    path.write_text(json.dumps(site.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    return path


def left(settings: Path) -> list[str]:
    """Return the keys that are remembered."""
    with_ledger = open_ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")
    try:
        return [row.key for row in with_ledger.shortages()]
    finally:
        with_ledger.close()


def test_a_pattern_names_what_is_forgotten(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quotas are forgotten, the pool is not; the ledger's events tell of it."""
    assert main(["forget", "quota/*", "--config", str(settings), "--json"]) == 0
    assert sorted(row["key"] for row in json.loads(capsys.readouterr().out)["forgotten"]) == sorted(KEYS[1:])
    assert left(settings) == [KEYS[0]]
    ledger = open_ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")
    assert [event.kind for _, event in ledger.events()] == [EventKind.SHORTAGE_FORGOTTEN] * 2
    ledger.close()


def test_a_pattern_that_fits_nothing_is_an_error(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen must not look like success; `*` means all there are, even none."""
    assert main(["forget", "quoat/*", "--config", str(settings)]) == ExitCode.USAGE
    assert "no shortage has a key like quoat/*" in capsys.readouterr().err
    assert main(["forget", "*", "--config", str(settings)]) == 0
    assert main(["forget", "*", "--config", str(settings)]) == 0
    assert left(settings) == []
