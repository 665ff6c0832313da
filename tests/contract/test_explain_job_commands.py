"""`asbx explain JOBID` and the history of `asbx analyze`, from the command line to the exit status."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.site import config

from asbx.cli import page
from asbx.cli.main import main
from asbx.errors import ExitCode
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.job_plan import JobPlan

NOW = datetime.now(UTC)
KEYS = {
    "job",
    "slurm",
    "now",
    "next_try",
    "setback",
    "plan",
    "tries",
    "closed",
    "place",
    "instances",
    "cost",
    "history",
}
ME = pwd.getpwuid(os.getuid()).pw_name
# As sacct of 22.05.8 answers for a name.
_SACCT = """#!/bin/sh
for span in 2400 2500 2600 2700; do echo "$span|COMPLETED|$span|1"; done
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Write a configuration whose Slurm is not there and whose ledger lies beside it."""
    raw = config(tmp_path).model_dump(mode="json", exclude_defaults=True)
    raw["slurm"]["bin_path"] = str(tmp_path)
    path = tmp_path / "aws-burst.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    (tmp_path / "state").mkdir()
    return path


@pytest.fixture
def ledger(settings: Path) -> Iterator[SqlLedger]:
    """Keep by which plan job 12 went, a launch for it, and a task of an array that waits."""
    with closing(open_ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")) as opened:
        opened.add_intent(samples.intent())
        answered = replace(samples.attempt(), answer=samples.answer(), answered_at=NOW, rung="spot+cluster")
        opened.answer_attempt(answered, [samples.instance_row("i-1"), samples.instance_row("i-2")])
        opened.add_job_plans([samples.job_plan(12, "r-1", label=""), samples.job_plan(31, "r-2", label="30_1")])
        opened.set_setback(replace(samples.setback(), job_id=31, next_at=NOW + timedelta(hours=1)))
        yield opened


def told(capsys: pytest.CaptureFixture[str], settings: Path, *arguments: str) -> Any:
    """Run a command line with --json; it must end with status 0."""
    assert main([*arguments, "--json", "--config", str(settings)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("ledger")
def test_a_job_is_explained_without_slurm(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger tells the plan, the launch and the money, and that Slurm was not heard."""
    said = told(capsys, settings, "explain", "12")
    assert said.keys() == KEYS
    assert not said["slurm"]["answers"]
    assert (said["job"]["id"], said["job"]["name"], said["job"]["state"]) == (12, "ocean", None)
    assert said["plan"]["why"] == "its script: mpi"
    (rung,) = said["tries"][0]["rungs"]
    assert (rung["rung"], rung["calls"][0]["launched"]) == ("spot: c7i.large in us-east-2a", 2)
    assert [one["instance"] for one in said["instances"]] == ["i-1", "i-2"]
    assert main(["explain", "12", "--config", str(settings)]) == 0
    out = capsys.readouterr().out
    assert "slurm      does not answer" in out
    assert "its script: mpi" in out


@pytest.mark.usefixtures("ledger")
def test_a_task_is_found_by_its_name(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its number is the ledger's, and when it is tried next."""
    said = told(capsys, settings, "explain", "30_1")
    assert (said["job"]["id"], said["job"]["label"]) == (31, "30_1")
    assert said["next_try"] == (NOW + timedelta(hours=1)).isoformat()


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("target", ["999", "30_2", "12+1", "4294967296"])
def test_an_unknown_job_is_an_error(target: str, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said who was asked, and nothing is made up."""
    assert main(["explain", target, "--config", str(settings)]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert f"there is no job {target} [job-unknown]" in err
    assert "Slurm does not answer" in err


@pytest.mark.parametrize("target", ["12_", "_3", "-1", "12_3+1", "\uff11\uff12", "12 3", ""])
def test_what_is_neither_job_nor_node_is_said_to_be_so(
    target: str, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is typed: a sentence and the status of a wrong command line."""
    assert main(["explain", "--config", str(settings), "--", target]) == ExitCode.USAGE
    assert "is no node of ours" in capsys.readouterr().err


def test_a_terminal_of_80_columns_shows_whole_ids_and_times() -> None:
    """Nothing that is to be copied is folded or cut."""
    text = "aws-cpu-000 i-0123456789abcdef0 launched 2026-03-01 12:00:00 UTC, ended 2026-03-01 13:00:00 UTC (idle)"
    rows = [("history", text), ("history", f"  {text}"), ("empty", "")]
    lines = list(page.lines(rows, 80))
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("history    aws-cpu-000 i-0123456789abcdef0 launched 2026-03-01")
    assert lines[2].startswith("             aws-cpu-000 ")
    assert lines[-1] == "empty"
    assert " ".join(" ".join(lines).split()) == f"history {text} {text} empty"


def test_a_name_commands_no_terminal() -> None:
    """Escapes, line breaks and what turns the writing round are a user's words, and come out as nothing."""
    assert list(page.lines([("job", "7 a\x1b[2J\nb\u202ec: PENDING")], 80)) == ["job        7 a?[2J b?c: PENDING"]


def accounting(settings: Path) -> None:
    """Let sacct know runs of any name."""
    program = settings.parent / "sacct"
    program.write_text(_SACCT)
    program.chmod(0o755)
    (settings.parent / "slurm.conf").write_text("")
    raw = json.loads(settings.read_text())
    raw["slurm"]["config_path"] = str(settings.parent / "slurm.conf")
    settings.write_text(json.dumps(raw))


def script(settings: Path) -> str:
    """Write a job script."""
    file = settings.parent / "ocean.sbatch"
    file.write_text("#!/bin/bash\n#SBATCH -n 1 -t 4:00:00\n./ocean\n")
    return str(file)


def test_analyze_tells_what_earlier_runs_took(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By accounting, also where the ledger is not the caller's to read; --no-history asks nobody."""
    accounting(settings)
    said = told(capsys, settings, "analyze", script(settings))["components"][0]["history"]
    assert said["text"] == "from 4 earlier runs of this name on 1 node(s): 40-45 min, limit 4 h"
    assert (said["shortest_seconds"], said["longest_seconds"]) == (2400, 2700)
    assert main(["analyze", "--config", str(settings), script(settings)]) == 0
    assert "history    from 4 earlier runs of this name" in capsys.readouterr().out
    assert told(capsys, settings, "analyze", "--no-history", script(settings))["components"][0]["history"] is None


def test_analyze_without_accounting_takes_the_ledger(
    ledger: SqlLedger, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How long the nodes of earlier jobs of this user and name were there."""
    for number in range(40, 44):
        intent = f"int-{number}"
        ledger.add_intent(replace(samples.intent(intent), jobs=(number,)))
        row = samples.instance_row(f"i-{number}", launched_at=NOW - timedelta(minutes=number))
        attempt = replace(samples.attempt(intent), answer=samples.answer((f"i-{number}",)), answered_at=NOW)
        ledger.answer_attempt(attempt, [replace(row, intent_id=intent, jobs=(number,), bound_at=NOW)])
        ledger.end_instances([f"i-{number}"], "its node was powered down", NOW)
        ledger.add_job_plans([JobPlan(number, "r-9", NOW, name="ocean.sbatch", user=ME)])
    said = told(capsys, settings, "analyze", script(settings))["components"][0]["history"]
    assert (said["used"], said["runs"]) == (True, 4)
    assert "by how long their nodes were there" in said["text"]
