"""Call the real sbatch as its user would: their words, their environment, its own output and exit status."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asbx.errors import SlurmError

# `Submitted batch job 7`, `Submitted batch job 7 on cluster c`; with --parsable `7` or `7;c` (sbatch(1), "OUTPUT").
_JOB_ID = re.compile(r"^(?:Submitted batch job )?(\d{1,10})(?:;\S+| on cluster \S+)?$", re.MULTILINE)
# What a shell says of a program that a signal ended.
_BY_SIGNAL = 128


@dataclass(frozen=True)
class Answer:
    """How sbatch ended. out: what it printed, "" where that went to the caller's stdout unread."""

    status: int
    out: str = ""

    @property
    def job_id(self) -> int | None:
        """Return the job's id, where it was read."""
        found = _JOB_ID.search(self.out)
        return int(found[1]) if found else None


def find(bin_path: Path | None) -> str:
    """Return sbatch: the user's own on PATH, else Slurm's folder of the configuration. Raises SlurmError."""
    path = shutil.which("sbatch") or (shutil.which("sbatch", path=str(bin_path)) if bin_path else None)
    if path is None:
        raise SlurmError("slurm-missing", "there is no sbatch on PATH", "", "install Slurm's client commands here")
    return path


def submit(program: str, words: Sequence[str], script: bytes | None, *, read: bool) -> Answer:
    """Run sbatch to its end. script: for its stdin, None: the caller's. read: keep its stdout instead of passing it on.

    Raises SlurmError (`slurm-missing`).
    """
    done = _run([program, *words], script, read=read)
    status = done.returncode if done.returncode >= 0 else _BY_SIGNAL - done.returncode
    return Answer(status, (done.stdout or b"").decode("utf-8", "replace"))


def _run(command: list[str], script: bytes | None, *, read: bool) -> subprocess.CompletedProcess[bytes]:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        return subprocess.run(
            command,
            input=script,
            stdout=subprocess.PIPE if read else None,
            check=False,
        )
    except OSError as error:
        raise SlurmError("slurm-missing", f"{command[0]} cannot be run", str(error.strerror), "") from None
