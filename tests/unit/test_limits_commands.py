"""`asbx limits`, and limits in the dry run and in validate: what is shown, and the exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes import samples

from asbx.cli.main import main
from asbx.ledger.store import open_ledger
from asbx.model.limit import LimitMark, Measure, Step

EXAMPLE = Path(__file__).parents[2] / "examples" / "config.yaml"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a configuration with limits and a ledger with two instances of one user."""
    config: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    config["ledger"] = {"url": f"sqlite:///{tmp_path}/ledger.db"}
    config["limits"] = {
        "rules": [
            {"name": "house", "max_nodes_at_once": 3, "max_cost_per_hour_at_once": 2, "each": "user"},
            {"name": "small", "max_nodes": 2},
        ]
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.add_request(samples.request())
    call = samples.attempt()
    ledger.add_attempt(call, samples.intent())
    rows = [samples.instance_row(f"i-{number}") for number in range(2)]
    ledger.answer_attempt(replace(call, answered_at=samples.NOON, answer=samples.answer()), rows)
    ledger.set_limit_mark(LimitMark(7, 0, "limit 'house'", Measure.TOTAL, Step.WARNED, samples.NOON, samples.NOON))
    ledger.close()
    return path


def test_use_and_headroom_are_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each limit, whose use it adds up, what is left; and the jobs that have reached one."""
    assert main(["limits", "--config", str(site), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = {(row["rule"], row["limit"]): row for row in said["limits"]}
    nodes = rows["house", "max_nodes_at_once"]
    assert (nodes["of"], nodes["most"], nodes["used"], nodes["headroom"]) == ("user ada", "3", "2", "1")
    assert rows["house", "max_cost_per_hour_at_once"]["headroom"] == "1.83"
    assert rows["small", "max_nodes"]["used"] is None
    assert said["reached"][0]["job_id"] == 7
    assert main(["limits", "--config", str(site)]) == 0
    shown = capsys.readouterr().out
    assert "user ada" in shown
    assert "reached: job 7: max_total_cost of limit 'house': warned" in shown


def plan(tmp_path: Path, **sections: Any) -> Path:
    """Write an execution plan."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"should_burst": True, **sections}), encoding="utf-8")
    return path


def test_what_a_limit_refuses_ends_with_six(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The dry run and validate say which limit, and by how much."""
    five = plan(tmp_path, instance_specification={"instance_count": 5})
    nodes = "aws-cpu-[001-005]"
    assert main(["resume", nodes, "--config", str(site), "--execution-plan", str(five), "--dry-run"]) == 6
    assert "max_nodes 2 of limit 'small': the job has 5 node(s)" in capsys.readouterr().err
    assert main(["validate", "execution-plan", str(five), "--config", str(site)]) == 6
    assert "limit 'small'" in capsys.readouterr().err


def test_what_cannot_be_reckoned_is_told(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run knows no prices: it says that a limit of money was not looked at."""
    dear = plan(tmp_path, cost_constraints={"max_cost_per_hour": 1})
    words = ["resume", "aws-cpu-001", "--config", str(site), "--execution-plan", str(dear), "--dry-run", "--json"]
    assert main(words) == 0
    (launch,) = json.loads(capsys.readouterr().out)["launches"]
    assert "1 node(s) at a price that is not known" in launch["estimate"]
    assert any("its price is not known" in note for note in launch["notes"])
