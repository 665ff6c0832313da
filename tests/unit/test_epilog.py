"""The epilog script: quick, quiet, always 0, and one worker however many jobs end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

EPILOG = Path(__file__).parents[2] / "contrib" / "epilog-asbx.sh"
# Stands in for asbx: works off the notes as they are when it looks, as export-due does.
WORKER = """#!/bin/sh
echo began >>{0}/log
[ "$1" = export-due ] || exit 9
sleep 0.1
rm -f {0}/spool/learning/[0-9]*
echo ended >>{0}/log
"""


def end_job(folder: Path, job: str, **more: str) -> int:
    """Run the epilog as slurmctld does: with the job's variables and little else, and the end of its whole group."""
    environ = {
        "SLURM_JOB_ID": job,
        "ASBX_PROGRAM": str(folder / "asbx"),
        "ASBX_SPOOL": str(folder / "spool"),
        "ASBX_EPILOG_LOG": str(folder / "epilog.log"),
    }
    script = subprocess.Popen(["/bin/sh", str(EPILOG)], env=environ | more, start_new_session=True)
    status = script.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(script.pid, signal.SIGKILL)
    return status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with the stand-in."""
    program = tmp_path / "asbx"
    program.write_text(WORKER.format(tmp_path), encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def lines(folder: Path) -> list[str]:
    """Return what the stand-in has written."""
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(folder: Path, seconds: float = 10) -> None:
    """Wait until no note is left and no worker works."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        said = lines(folder)
        if not list((folder / "spool" / "learning").glob("[0-9]*")) and said.count("began") == said.count("ended") > 0:
            return
        time.sleep(0.05)
    raise AssertionError(f"not done: {lines(folder)}")


def test_many_jobs_one_worker(folder: Path) -> None:
    """Fifteen jobs that end together: no note is lost, no two workers overlap, and few are started."""
    for job in range(1, 16):
        assert end_job(folder, str(job)) == 0
    wait_for(folder)
    said = lines(folder)
    assert said == ["began", "ended"] * (len(said) // 2)
    assert len(said) // 2 < 10


def test_it_waits_for_nobody(folder: Path) -> None:
    """It is over while the worker still works, which outlives its group."""
    assert end_job(folder, "1") == 0
    assert "ended" not in lines(folder)
    wait_for(folder)


@pytest.mark.parametrize("job", ["", "x", "1;reboot", "../1", "1 2"])
def test_no_job_no_work(folder: Path, job: str) -> None:
    """Without a job's number nothing happens, and that is no failure."""
    assert end_job(folder, job) == 0
    assert not (folder / "spool").exists()


def test_it_never_fails(folder: Path) -> None:
    """No program, a spool or a log that cannot be written: slurmctld is told 0."""
    assert end_job(folder, "1", ASBX_PROGRAM="/nowhere/asbx") == 0
    assert end_job(folder, "1", ASBX_SPOOL="/proc/nowhere") == 0
    assert end_job(folder, "2", ASBX_EPILOG_LOG="/proc/nowhere/log") == 0
    wait_for(folder)
