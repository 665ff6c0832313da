"""What commands say to those who mistype or look closely: job names, narrow tables, options, hopeless dry runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from asbx.cli import reading
from asbx.cli.main import main
from asbx.decide.script.shell import late_options
from asbx.ledger.store import open_ledger

EXAMPLE = Path(__file__).parents[2] / "examples" / "config.yaml"


@pytest.fixture
def site(tmp_path: Path) -> str:
    """Return a configuration without Slurm, and an empty ledger."""
    config = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    config["ledger"] = {"url": f"sqlite:///{tmp_path}/ledger.db"}
    config["slurm"]["bin_path"] = str(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    open_ledger(f"sqlite:///{tmp_path}/ledger.db").close()
    return str(path)


@pytest.mark.parametrize("command", ["cost", "events"])
@pytest.mark.parametrize(("job", "code"), [("4_2", "job-unknown"), ("4x", "job-name"), ("-1", "job-name")])
def test_a_task_is_not_read_as_a_number(
    site: str, capsys: pytest.CaptureFixture[str], command: str, job: str, code: str
) -> None:
    """int("4_2") is 42: somebody else's job."""
    assert main([command, f"--job={job}", "-c", site, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == code


@pytest.mark.parametrize(
    ("command", "words"), [("cost", "nothing was launched for job 42,"), ("events", "no such events")]
)
def test_a_plain_number_asks_no_slurm(site: str, capsys: pytest.CaptureFixture[str], command: str, words: str) -> None:
    """A job of which nothing is known costs nothing."""
    assert main([command, "--job", "42", "-c", site]) == 0
    assert words in "".join(capsys.readouterr())


def test_a_table_is_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure without its last digits is another figure."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(reading, "get_terminal_size", lambda: os.terminal_size((40, 24)))
    words = [f"word-of-a-column-{number}" for number in range(6)]
    reading.show_table(("A", "B", "C", "D", "E", "F", ">USD"), [(*words, "1,234.5678")])
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == [*words, "1,234.5678"]


def test_a_usage_error_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Not "Missing parameter: zone", not a sentence without its option."""
    assert main(["lab", "pool", "set", "--type", "c7i.large"]) == 2
    assert "--zone" in capsys.readouterr().err
    assert main(["cost", "--limit", "x"]) == 2
    assert "--limit" in capsys.readouterr().err


def test_a_dry_run_that_could_launch_nothing_fails(
    site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit status is the launch's own: EFA is required, and no type of the group has it."""
    plan = tmp_path / "plan.json"
    wanted = {"should_burst": True, "mpi_configuration": {"requires_efa": True, "requires_gang_scheduling": True}}
    plan.write_text(json.dumps(wanted), encoding="utf-8")
    words = ["--config", site, "--execution-plan", str(plan), "--dry-run"]
    assert main(["resume", "aws-cpu-[001-002]", *words]) == 3
    assert "nothing would be asked of EC2" in capsys.readouterr().out
    assert main(["resume", "aws-hpc-[001-002]", *words]) == 0
    assert "nothing would be asked" not in capsys.readouterr().out


def test_a_type_nobody_has_is_no_price_to_come(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon will never learn it, so nobody is told to wait."""
    assert main(["prices", "--type", "c6i.2xlarg", "-c", site]) == 2
    assert "did you mean c6i.2xlarge?" in capsys.readouterr().err


def test_options_after_the_first_command_are_told() -> None:
    """Sbatch passes them over without a word; those in a here-document are not meant."""
    script = "#!/bin/sh\n#SBATCH -N 2\n\necho x\n#SBATCH -N 4\n#SBATCH -t 5\n"
    (note,) = late_options(script)
    assert "'#SBATCH -N 4' (and 1 more) stands after the first command, line 4" in note
    assert list(late_options("#!/bin/sh\n#SBATCH -N 2\ncat > f <<EOF\n#SBATCH -N 4\nEOF\n")) == []
    assert list(late_options("")) == []
