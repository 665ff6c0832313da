"""`validate` and `config` as people and scripts call them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tests.unit.test_config_load import REPOSITORY, SMALL

from asbx.cli.main import main

CONFIG = str(REPOSITORY / "config.yaml")
PLAN = str(REPOSITORY / "plan.json")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command line; return exit status, stdout and stderr."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def test_a_usable_configuration_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer says what the file means, not only that it is fine."""
    status, out, _ = run(capsys, "validate", "config", CONFIG)
    assert status == 0
    assert "aws-hpc-[001-032]: 32 nodes, mixed, c6in.32xlarge" in out
    assert "usable, no warnings" in out


def test_warnings_are_shown_and_change_no_status(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A warning is for people; scripts go on."""
    path = tmp_path / "c.yaml"
    path.write_text(SMALL + "mpi: {enable_enhanced_networking: true}\n")
    status, out, _ = run(capsys, "validate", "config", str(path), "--json")
    answer = json.loads(out)
    assert (status, answer["valid"], len(answer["warnings"])) == (0, True, 1)
    assert "mpi" in answer["warnings"][0]


def test_an_unusable_configuration_exits_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every problem is listed with its place, for people on stderr and for machines on stdout."""
    path = tmp_path / "c.yaml"
    path.write_text(SMALL.replace("region", "regin"))
    status, out, err = run(capsys, "validate", "config", str(path))
    assert (status, out) == (3, "")
    assert f"{path}:2: aws.regin is not a known key; did you mean region?" in err
    status, out, err = run(capsys, "validate", "config", str(path), "--json")
    answer = json.loads(out)
    assert (status, err, answer["valid"], answer["error"]["code"]) == (3, "", False, "config-invalid")
    assert len(answer["problems"]) == 4


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_missing_file_exits_3(capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: tuple[str, ...]) -> None:
    """No file is as clear as a wrong file."""
    status, out, err = run(capsys, "validate", "config", str(tmp_path / "nope"), *flags)
    assert status == 3
    assert "there is no file" in out + err


def test_a_plan_is_checked_against_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    """With a configuration the answer says which node group serves the plan."""
    status, out, _ = run(capsys, "validate", "execution-plan", PLAN, "--config", CONFIG)
    assert status == 0
    assert "node group aws-hpc can serve it: c6in.32xlarge, c6i.32xlarge; spot, then on-demand" in out
    assert "aws-cpu" not in out


def test_a_plan_for_unknown_types_says_what_happens(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A type the site does not offer is a warning in words: the node group's own are used."""
    path = tmp_path / "p.json"
    path.write_text(
        '{"should_burst": true, "instance_specification": {"instance_types": ["m5.xlarge"]}, "extra": 1,'
        ' "mpi_configuration": {"requires_efa": true}}'
    )
    status, out, _ = run(capsys, "validate", "execution-plan", str(path), "--config", CONFIG, "--json")
    answer = json.loads(out)
    assert (status, answer["valid"]) == (0, True)
    told = "\n".join(answer["warnings"])
    assert "m5.xlarge has no EFA" in told
    assert "its own are used" in told
    assert "unknown keys, not read: extra" in told


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'{"should_burst": 7}', b"x" * (1024 * 1024 + 1)])
def test_what_is_no_plan_exits_4(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes) -> None:
    """Whatever is in the file, the answer is short and the status 4."""
    path = tmp_path / "p.json"
    path.write_bytes(content)
    status, out, err = run(capsys, "validate", "execution-plan", str(path))
    assert (status, out) == (4, "")
    assert 0 < len(err) < 600
    status, out, _ = run(capsys, "validate", "execution-plan", str(path), "--json")
    assert (status, json.loads(out)["valid"]) == (4, False)


def test_config_prints_what_belongs_into_slurm_conf(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The printed lines, written to a file, pass the check; an empty slurm.conf does not."""
    status, out, _ = run(capsys, "config", "slurm", "--config", CONFIG, "--programs", "/opt/asbx/bin")
    assert status == 0
    assert "ResumeProgram=/opt/asbx/bin/aws-slurm-burst-resume" in out
    path = tmp_path / "slurm.conf"
    path.write_text(out)
    assert run(capsys, "config", "slurm", "--config", CONFIG, "--check", str(path))[0] == 0
    path.write_text("")
    status, out, _ = run(capsys, "config", "slurm", "--config", CONFIG, "--check", str(path), "--json")
    assert status == 3
    assert "ResumeProgram is not set" in json.loads(out)["warnings"][0]
    assert run(capsys, "config", "slurm", "--config", CONFIG, "--check", str(tmp_path / "nope"))[0] == 3


def test_config_gres_always_prints_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Without GPUs the output is still a valid gres.conf: comments only."""
    status, out, _ = run(capsys, "config", "gres", "--config", CONFIG)
    assert status == 0
    assert all(line.startswith("#") for line in out.splitlines())


def test_config_explain_shows_value_and_origin(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value says where it comes from, and secrets stay secret."""
    path = tmp_path / "c.yaml"
    path.write_text(SMALL)
    monkeypatch.setenv("ASBX__LEDGER__URL", "postgresql://asbx:hunter2@db/asbx")
    status, out, _ = run(capsys, "config", "explain", "--config", str(path))
    assert status == 0
    assert f"us-east-2  ({path}:2)" in out
    assert "(environment ASBX__LEDGER__URL)" in out
    assert "hunter2" not in out
    status, out, _ = run(capsys, "config", "explain", "aws.region", "--config", str(path), "--json")
    assert json.loads(out)["values"] == {"aws.region": {"value": "us-east-2", "origin": f"{path}:2"}}
    assert run(capsys, "config", "explain", "nonsense", "--config", str(path))[0] == 3


def test_config_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema describes every section and forbids what is unknown."""
    status, out, _ = run(capsys, "config", "schema")
    schema = json.loads(out)
    assert status == 0
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["NodeGroup"]["properties"]["max_nodes"]["description"]


def test_user_data_fits_a_launch_template(capsys: pytest.CaptureFixture[str]) -> None:
    """The user data is printed as text or as EC2's API takes it."""
    status, out, _ = run(capsys, "config", "user-data", "--conf-server", "head1")
    assert status == 0
    assert out.startswith("#!/bin/sh")
    coded = run(capsys, "config", "user-data", "--conf-server", "head1", "--base64")[1]
    assert base64.b64decode(coded).decode() == out
    assert run(capsys, "config", "user-data")[0] == 2
