"""Secrets planted wherever one may come from turn up nowhere that is kept, shown or sent on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contract import emulator
from tests.fakes.site import Site, config

from asbx.aws.catalogue import Ec2Catalogue
from asbx.aws.cloud import Ec2
from asbx.cli import main as command_line
from asbx.config.schema import Config
from asbx.daemon.clock import RealClock
from asbx.daemon.engine import Engine
from asbx.daemon.loop import Daemon
from asbx.errors import AsbxError, without_passwords
from asbx.hooks import spool
from asbx.ledger.store import open_ledger
from asbx.model.event import Event, EventKind
from asbx.slurm.process import SlurmCommands
from asbx.slurm.scontrol import Slurm
from asbx.telemetry.recorder import LedgerAndLogRecorder

CANARIES = {
    name: f"CANARY{name.upper()}0123456789"
    for name in ("secret", "token", "external", "cross", "password", "userdata", "environment", "webtoken")
}


def leaks(text: str) -> set[str]:
    """Return which secrets are in a text."""
    return {name for name, canary in CANARIES.items() if canary in text}


def raw(tmp_path: Path, **aws: Any) -> dict[str, Any]:
    """Return a configuration with a secret in every place that takes one."""
    (tmp_path / "web-token").write_text(CANARIES["webtoken"], encoding="utf-8")
    made: dict[str, Any] = json.loads(config(tmp_path).model_dump_json(exclude_unset=True))
    made["aws"] |= {
        "authentication_method": "access_keys",
        "access_keys": {
            "access_key_id": "AKIAVISIBLE",
            "secret_access_key": CANARIES["secret"],
            "session_token": CANARIES["token"],
        },
        "assume_role": {"role_arn": "arn:aws:iam::1:role/r", "external_id": CANARIES["external"]},
        "cross_account": {"target_role_arn": "arn:aws:iam::1:role/r", "external_id": CANARIES["cross"]},
        "web_identity": {"role_arn": "arn:aws:iam::1:role/r", "token_file": str(tmp_path / "web-token")},
    }
    made["aws"] |= aws
    made["ledger"] = {"url": f"postgresql://asbx:{CANARIES['password']}@db.example/asbx"}
    return made


def run(*arguments: str, environ: dict[str, str] | None = None) -> str:
    """Run asbx and return everything it said."""
    command = [sys.executable, "-m", "asbx", *arguments]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ASBX", "AWS_"))}
    done = subprocess.run(command, env=plain | (environ or {}), capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw(tmp_path)), encoding="utf-8")
    return path


def test_the_configuration_never_shows_them(file: Path, tmp_path: Path) -> None:
    """Neither as an object in a message, nor explained, nor validated, nor as a policy or stack."""
    settings = Config.model_validate(raw(tmp_path))
    assert leaks(repr(settings) + str(settings.aws) + str(settings.ledger)) == set()
    said = run("config", "explain", "--json", "--config", str(file))
    assert "(hidden)" in said
    assert leaks(said) == set()
    options = ("--config", str(file))
    for command in (("validate", "config", str(file)), ("iam", "policy", *options)):
        assert leaks(run(*command)) == set(), command


def test_wrong_ones_are_refused_without_being_repeated(file: Path, tmp_path: Path) -> None:
    """A secret of the wrong kind, in the wrong place, or in a variable that fits nowhere."""
    broken = raw(tmp_path, access_keys={"access_key_id": "", "secret_access_key": [CANARIES["secret"]]})
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(broken), encoding="utf-8")
    said = run("validate", "config", str(wrong), "--json")
    assert "secret_access_key" in said
    assert leaks(said) == set()
    names = ("AWS__ACCESS_KEYS__SECRET_ACCESS_KEY__X", "AWS__ACCESS_KEYS__SECRET", "LEDGER__URL__X", "LEDGER__URL")
    variables = {f"ASBX__{name}": f"[{CANARIES['environment']}" for name in names}
    assert leaks(run("validate", "config", str(file), environ=variables)) == set()


def test_a_ledger_that_cannot_be_opened_is_named_without_its_password(file: Path) -> None:
    """Commands that need it refuse, and the daemon, too."""
    for command in (("status",), ("daemon",), ("resume", "aws-cpu-000")):
        said = run(*command, "--config", str(file))
        assert "error" in said, command
        assert leaks(said) == set(), command


def test_errors_of_others_lose_their_passwords() -> None:
    """Drivers like to repeat the address they were given."""
    address = f"postgresql+psycopg://asbx:{CANARIES['password']}@db.example:5432/asbx?sslmode=require"
    other = f"https://db.example/x?a=1&token={CANARIES['token']}&b=2"
    for text in (address, f"cannot connect to {address}: refused", other):
        assert leaks(without_passwords(text)) == set()
        assert leaks(str(AsbxError("x", text, text, "").as_dict())) == set()
    assert without_passwords("see https://example.com/a:b@c and mail me@example.com") is not None


def test_a_report_of_an_internal_error_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file a user is asked to send on: traceback and command line, with what the environment hides left out."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("ASBX__AWS__ACCESS_KEYS__SECRET_ACCESS_KEY", CANARIES["secret"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARIES["token"])
    monkeypatch.setenv("ASBX__LEDGER__URL", f"postgresql://u:{CANARIES['password']}@h/d")

    def broken(_: list[str]) -> int:
        raise RuntimeError(f"{CANARIES['secret']} {CANARIES['token']} postgresql://u:{CANARIES['password']}@h/d")

    monkeypatch.setattr(command_line, "_run", broken)
    assert command_line.main(["status"]) == 70
    (report,) = tmp_path.glob("asbx-report-*.txt")
    assert "RuntimeError" in report.read_text(encoding="utf-8")
    assert leaks(report.read_text(encoding="utf-8") + "".join(capsys.readouterr())) == set()
    assert report.stat().st_mode & 0o077 == 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[emulator.Emulator]:
    """Return a pretend EC2 whose launch template has a secret in its user data."""
    made = emulator.start(tmp_path / "emulator")
    yield made
    made.stop()


def test_a_burst_leaves_none_in_log_and_ledger(
    machine: emulator.Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launch with a derived template, be refused, end: what is written down, and what the daemon tells, is clean."""
    monkeypatch.setattr(emulator, "USER_DATA", f"#!/bin/sh\necho {CANARIES['userdata']}\n")
    ground = emulator.prepare(machine.client())
    settings = Config.model_validate(raw(tmp_path, endpoint_url=machine.url))
    groups = settings.slurm.partitions[0].node_groups
    spec = groups[0].launch_template_specification.model_copy(
        update={"launch_template_name": "", "launch_template_id": ground.template, "version": "1"}
    )
    group = groups[0].model_copy(
        update={"launch_template_specification": spec, "subnet_ids": tuple(ground.subnets.values())}
    )
    part = settings.slurm.partitions[0].model_copy(update={"node_groups": (group,)})
    settings = settings.model_copy(update={"slurm": settings.slurm.model_copy(update={"partitions": (part,)})})
    clock = RealClock()
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    recorder = LedgerAndLogRecorder(ledger, tmp_path / "log", clock, level="debug")
    site = Site(config=settings)
    seen = Ec2Catalogue(settings.aws, clock)
    doors = replace(site.doors, cloud=Ec2(settings.aws), catalogue=seen, ledger=ledger, recorder=recorder, clock=clock)
    doors.say(Event(EventKind.PASS_FAILED, f"OperationalError: {settings.ledger.url}", level="error"))
    requests = str(settings.paths.requests)
    machine.lab("POST", "faults", {"action": "CreateFleet", "code": "UnauthorizedOperation", "times": 1})
    for kind, nodes in (("resume", "aws-cpu-004"), ("resume", "aws-cpu-[000-001]"), ("suspend", "aws-cpu-[000-001]")):
        spool.write(requests, spool.request(kind, [nodes], dict(os.environ)))
        engine = Engine(doors)
        engine.drain(timedelta(seconds=60))
        engine.close()
    assert machine.lab("GET", "calls")["TerminateInstances"] >= 1
    real = Slurm(SlurmCommands(tmp_path, tmp_path / "slurm.conf"))
    told = json.dumps(Daemon(replace(doors, scheduler=real), clock).status())
    recorder.close()
    ledger.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "log", *tmp_path.glob("ledger.db*")))
    assert b"launch-answered" in kept
    assert leaks(kept.decode("utf-8", "replace") + told) == set()
    with contextlib.suppress(FileNotFoundError):
        aside = "".join(path.read_text(encoding="utf-8") for path in settings.paths.set_aside.iterdir())
        assert leaks(aside) == set()
