"""Look for the companion projects' programs: other people's, so each answer is short, in time, and plain text."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from asbx.config.limits import COMPANION_MAX_BYTES

# What a companion's program may find in its environment: nothing of credentials.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SLURM_CONF")


@dataclass(frozen=True)
class Said:
    """What a program printed. status: None where it was ended; why says whether it took or printed too much."""

    text: str
    status: int | None
    why: str = ""


def locate(command: str) -> Path | None:
    """Return where a program is, None where there is none that may be run."""
    found = shutil.which(command) if command.strip() else None
    return Path(found) if found else None


def ask(path: Path, *arguments: str, patience: timedelta, slurm_conf: Path | None = None) -> Said:
    """Run a program and return what it printed, on either stream; it and whatever it started end with us."""
    environ = {name: value for name in _KEPT if (value := os.environ.get(name))}
    if slurm_conf is not None:
        environ["SLURM_CONF"] = str(slurm_conf)
    try:
        process = subprocess.Popen(
            [str(path), *arguments],
            env=environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Said("", None, f"it cannot be run: {error.strerror or error}")
    try:
        raw, why = _read(process, patience)
    finally:
        # Its children may hold the pipe open and go on without it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()
        status = process.wait()
    return Said(plain(raw), None if why else status, why)


def _read(process: subprocess.Popen[bytes], patience: timedelta) -> tuple[bytes, str]:
    """Return what it printed until it ended, and why it was stopped before."""
    assert process.stdout is not None
    ends, raw = time.monotonic() + patience.total_seconds(), b""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = ends - time.monotonic()
            if left <= 0 or not ready.select(left):
                return raw, f"no answer in {patience.total_seconds():g} s"
            piece = os.read(process.stdout.fileno(), COMPANION_MAX_BYTES)
            if not piece:
                return raw, _end(process, ends, patience)
            raw += piece
            if len(raw) > COMPANION_MAX_BYTES:
                return raw[:COMPANION_MAX_BYTES], f"it prints more than {COMPANION_MAX_BYTES} bytes"


def _end(process: subprocess.Popen[bytes], ends: float, patience: timedelta) -> str:
    try:
        process.wait(max(ends - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return f"it did not end within {patience.total_seconds():g} s"
    return ""


def plain(raw: bytes) -> str:
    """Return bytes as text a terminal may show: no control characters but newlines, whatever the bytes are."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\t", " ")
    return "".join(letter if letter == "\n" or letter.isprintable() else "?" for letter in text)
