"""What is shipped beside the programs is what systemd and logrotate understand."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from asbx.config.limits import LEDGER_BUSY, SPOOL_POLL

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = ("asbx.service", "asbx-state-manager.service", "asbx-state-manager.timer")
SERVICES = [name for name in UNITS if name.endswith(".service")]
HAS_SYSTEMD = shutil.which("systemd-analyze") is not None
needs_systemd = pytest.mark.skipif(not HAS_SYSTEMD, reason="systemd-analyze is not installed on this machine")


def settings(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit; a key may come several times."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"(?m)^([A-Za-z]+)=(.*)$", (PACKAGING / name).read_text()):
        found.setdefault(key, []).append(value)
    return found


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing, given programs and a user that exist here."""
    for name in UNITS:
        text = (PACKAGING / name).read_text()
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text)
        text = re.sub(r"(?m)^(User|Group)=slurm$", r"\1=root", text)
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "asbx" in line]
    assert (done.returncode, complaints) == (0, [])


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_little_is_exposed(name: str) -> None:
    """The measure systemd has of exposure stays in its best fifth."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(PACKAGING / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze knows no --offline (it came with 250)")
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_the_watchdog_waits_for_the_slowest_turn() -> None:
    """A turn may meet a busy ledger several times over."""
    unit = settings("asbx.service")
    assert unit["Type"] == ["notify"]
    assert int(unit["WatchdogSec"][0]) > 5 * LEDGER_BUSY.total_seconds() + SPOOL_POLL.total_seconds()


def test_the_pass_and_the_daemon_exclude_each_other() -> None:
    """One of both is enough, and the timer starts the one with its name."""
    assert settings("asbx-state-manager.service")["Conflicts"] == ["asbx.service"]
    assert (PACKAGING / "asbx-state-manager.timer").with_suffix(".service").exists()


def test_rotation_asks_nothing_of_the_daemon() -> None:
    """No postrotate: the log file is opened anew by its name; no copytruncate, which loses lines."""
    text = (PACKAGING / "logrotate/asbx").read_text()
    plain = re.sub(r"(?m)^#.*$", "", text)
    assert "aws-burst.log {" in plain
    for word in ("postrotate", "copytruncate"):
        assert word not in plain
    assert "delaycompress" in plain
    if shutil.which("logrotate"):
        done = subprocess.run(
            ["logrotate", "--debug", str(PACKAGING / "logrotate/asbx")], capture_output=True, text=True, check=False
        )
        assert "unknown option" not in done.stderr + done.stdout


def test_units_have_no_repeated_section() -> None:
    """Each is a plain file of sections."""
    for name in UNITS:
        parser = configparser.RawConfigParser(strict=False)
        parser.read(PACKAGING / name)
        assert "Unit" in parser.sections()
