"""Processes of a lab: known again, ended, and nobody else's touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asbx.lab import machine_init
from asbx.lab.layout import Layout
from asbx.lab.processes import Process, birth, start, stop, wait_until
from asbx.lab.sweep import leftovers
from asbx.lab.trouble import LabBroken

_ENVIRON = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    """Start a process that would sleep for long."""
    process = start("sleeper", ["/bin/sleep", "60"], tmp_path / "log", _ENVIRON)
    yield process
    stop([process])


def test_ends_what_it_started(sleeper: Process) -> None:
    """A started process lives until it is stopped."""
    assert sleeper.is_alive
    stop([sleeper])
    assert not sleeper.is_alive


def test_never_ends_a_recycled_pid(sleeper: Process) -> None:
    """A process that only shares the pid is left alone."""
    stop([Process("another", sleeper.pid, "earlier-boot:17")])
    assert sleeper.is_alive


def test_kills_what_does_not_listen(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is killed after the patience."""
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"
    process = start("deaf", ["/bin/sh", "-c", script], tmp_path / "log", _ENVIRON)
    assert wait_until(ready.exists, 5.0)
    stop([process], patience_s=0.2)
    assert not process.is_alive


def test_starts_with_clean_signals(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A process we start hears SIGTERM even when we were started with it blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    request.addfinalizer(lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before))
    log = tmp_path / "log"
    process = start("teller", ["/bin/cat", "/proc/self/status"], log, _ENVIRON)
    assert wait_until(lambda: not process.is_alive, 5.0)
    assert "SigBlk:\t0000000000000000" in log.read_text()


def test_says_which_program_is_missing(tmp_path: Path) -> None:
    """A program that cannot be run is an error of the lab's own kind."""
    with pytest.raises(LabBroken) as error:
        start("nothing", [tmp_path / "no-such-program"], tmp_path / "log", _ENVIRON)
    assert error.value.code == "lab-start"


def test_power_switch_takes_everything_down(tmp_path: Path) -> None:
    """SIGTERM to a machine ends daemons that left their session, and what ignores signals, before the machine ends."""
    script = tmp_path / "user-data"
    script.write_text(
        "#!/bin/sh\n"
        f'setsid sh -c \'trap "" TERM; (sh -c "echo \\$\\$ > {tmp_path}/daemon; exec sleep 60" &) ; sleep 60\' &\n'
        "exit 4\n"
    )
    script.chmod(0o755)
    log = tmp_path / "console"
    machine = start("m", [sys.executable, "-I", "-S", machine_init.__file__, script], log, _ENVIRON)
    daemon = tmp_path / "daemon"
    assert wait_until(lambda: daemon.exists() and daemon.read_text().strip().isdigit(), 5.0)
    assert wait_until(lambda: "user data ended with status 4" in log.read_text(), 5.0)
    pid = int(daemon.read_text())
    assert pid in machine_init.descendants(machine.pid)
    stop([machine])
    assert birth(pid) == ""
    assert "power off" in log.read_text()


def test_sweep_finds_the_labs_own_only(tmp_path: Path) -> None:
    """Leftovers are what carries the lab's mark and what is below it; a user's shell with the lab's settings is not."""
    layout = Layout(tmp_path)
    ours = start("hook", ["/bin/sleep", "60"], tmp_path / "log", _ENVIRON | {"ASBX_LAB": str(tmp_path)})
    task = {"SLURM_CONF": str(layout.slurm_conf), "SLURMD_NODENAME": "aws-cpu-000"}
    also_ours = start("task", ["/bin/sleep", "60"], tmp_path / "log", _ENVIRON | task)
    shell = start("shell", ["/bin/sleep", "60"], tmp_path / "log", _ENVIRON | {"SLURM_CONF": str(layout.slurm_conf)})
    try:
        assert {one.pid for one in leftovers(layout)} == {ours.pid, also_ours.pid}
    finally:
        stop([ours, also_ours, shell])


def test_sweep_spares_its_own_line(tmp_path: Path) -> None:
    """A command that runs inside the lab's environment does not end itself or who called it."""
    program = (
        "import sys; from pathlib import Path\n"
        "from asbx.lab.layout import Layout; from asbx.lab.sweep import leftovers\n"
        f"sys.exit(len(leftovers(Layout(Path({str(tmp_path)!r})))))"
    )
    environ = dict(os.environ) | {"ASBX_LAB": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", program], env=environ, check=False).returncode == 0
