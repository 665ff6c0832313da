"""Other people's programs: each answer in time, short, and plain; `validate integration` over them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.site import config

from asbx.cli.main import main
from asbx.config.limits import COMPANION_MAX_BYTES
from asbx.daemon.companions import Said, ask, locate, plain
from asbx.decide.companions import abilities, version, wish

REAL_HELP = """AWS SLURM Burst Advisor

Usage:
  asba [command]

Available Commands:
  burst           Submit a job
  execution-plan  Write a plan
  help            Help; see also analyze

Flags:
  -h, --help   help for asba
"""
PATIENCE = timedelta(seconds=0.3)


def program(folder: Path, name: str, body: str) -> Path:
    """Write a shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_an_answer(tmp_path: Path) -> None:
    """Both streams, the status, and no environment but what a program needs."""
    path = program(tmp_path, "asba", 'echo out; echo err >&2; echo "$AWS_SECRET_ACCESS_KEY$SLURM_CONF"; exit 3')
    os.environ["AWS_SECRET_ACCESS_KEY"] = "hunter2"
    try:
        said = ask(path, patience=timedelta(seconds=20), slurm_conf=Path("/etc/x"))
    finally:
        del os.environ["AWS_SECRET_ACCESS_KEY"]
    assert said == Said("out\nerr\n/etc/x\n", 3)


@pytest.mark.parametrize("body", ["sleep 60", "sleep 60 & exit 0", "exec >&- 2>&-; sleep 60", "yes | cat"])
def test_nobody_is_waited_for(tmp_path: Path, body: str) -> None:
    """Silence, a child that holds the pipe, a closed pipe, endless output: over in time, and nothing of it runs on."""
    path = program(tmp_path, "asba", f"echo $$ >{tmp_path}/pid; {body}")
    began = time.monotonic()
    said = ask(path, patience=PATIENCE)
    assert time.monotonic() - began < 10
    assert said.status is None
    assert said.why
    assert len(said.text) <= COMPANION_MAX_BYTES
    group = (tmp_path / "pid").read_text().strip()
    ends = time.monotonic() + 5  # SIGKILL is on its way to the last of them
    while alive(group):
        assert time.monotonic() < ends
        time.sleep(0.05)


def alive(group: str) -> list[str]:
    """Return the processes of a group that are not dead."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found += [stat.parent.name] if fields[2] == group and fields[0] != "Z" else []
    return found


def test_not_to_be_run(tmp_path: Path) -> None:
    """A file of no known form is an answer, too."""
    path = tmp_path / "asba"
    path.write_bytes(b"\x00\x01")
    path.chmod(0o755)
    assert "cannot be run" in ask(path, patience=PATIENCE).why
    assert locate(str(path)) == path
    assert locate(str(tmp_path / "nope")) is None
    assert locate(" ") is None


def test_output_is_plain() -> None:
    """No byte of it moves a cursor or sets a title."""
    assert plain(b"v1\x1b]0;title\x07\xff\r\n\tx\x00") == "v1?]0;title?\ufffd\n x?"


def test_what_a_version_is() -> None:
    """The line with a number, of a program that did not fail."""
    assert version("asba\nasba version v0.3.0-dev (abc)\n", 0) == "asba version v0.3.0-dev (abc)"
    assert version("v0.3.0", 1) is None
    assert version("\n \n", 0) is None
    assert len(version("1.0 " + "x" * 500, 0) or "") == 120


def test_what_help_shows() -> None:
    """Commands are what begins a line of help; `analyze` in a sentence is none."""
    assert abilities("asba", REAL_HELP) == {"execution-plan": True, "analyze": False}
    assert abilities("scontrol", REAL_HELP) == {}


@pytest.mark.parametrize(
    ("value", "meant"), [(True, "yes"), ("true", "yes"), ("false", "no"), (False, "no"), ("auto-detect", "if-there")]
)
def test_what_a_site_wants(value: bool | str, meant: str) -> None:
    """YAML's true and the word are one."""
    assert wish(value) == meant


def checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *, more: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any], str]:
    """Run `validate integration` for a site; return status, JSON, and what a person reads."""
    raw = config(tmp_path).model_dump(mode="json", exclude_defaults=True)
    raw["slurm"]["bin_path"] = str(tmp_path)
    raw |= more or {}
    path = tmp_path / "aws-burst.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    status = main(["validate", "integration", "--config", str(path), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert main(["validate", "integration", "--config", str(path)]) == status
    return status, answer, capsys.readouterr().out


def test_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without companions all is well, and the answer says that it works by itself."""
    monkeypatch.setenv("PATH", str(tmp_path))
    status, answer, said = checked(capsys, tmp_path)
    assert (status, answer["mode"], answer["missing"]) == (0, "standalone", [])
    assert "standalone: works without companions" in said


def test_with_companions(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real advisor's help shows what it can do; one that hangs is named, and delays nobody for long."""
    (tmp_path / "help").write_text(REAL_HELP)
    program(tmp_path, "asba", f"case $1 in --version) echo asba v0.3.0-dev;; *) /bin/cat {tmp_path}/help;; esac")
    budget = program(tmp_path, "budget", "exec /bin/sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, answer, said = checked(capsys, tmp_path, more={"asbb": {"command": str(budget), "timeout_seconds": 1}})
    assert (status, answer["mode"]) == (0, "with asba and asbb")
    assert answer["asba"]["version"] == "asba v0.3.0-dev"
    assert answer["asba"]["abilities"] == {"execution-plan": True, "analyze": False}
    assert answer["asbb"]["trouble"] == "no answer in 1 s"
    assert "can execution-plan; cannot analyze" in said


def test_a_companion_that_must_be_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enabled: true` of one that is missing is status 3; one that is not wanted is not looked for."""
    program(tmp_path, "asbb", "echo must not be started >&2; exit 9")
    monkeypatch.setenv("PATH", str(tmp_path))
    more = {"asba": {"enabled": True}, "asbb": {"enabled": "false"}}
    status, answer, said = checked(capsys, tmp_path, more=more)
    assert (status, answer["missing"], answer["asbb"]["found"]) == (3, ["asba"], False)
    assert "enabled: true" in said


def test_folders_are_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A plans folder where users may remove others' files, or that they cannot reach, is said so."""
    plans = tmp_path / "spool" / "plans"
    plans.mkdir(parents=True)
    for mode, above, words in [(0o777, 0o755, "chmod +t"), (0o700, 0o755, "chmod 1733"), (0o1733, 0o700, "is closed")]:
        plans.chmod(mode)
        plans.parent.chmod(above)
        _, answer, said = checked(capsys, tmp_path)
        assert words in answer["folders"][0]["trouble"]
        assert words in said
