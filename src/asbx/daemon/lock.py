"""One worker at a time: whoever takes requests from the spool holds this lock, daemon and inline worker alike.

Whoever exports the jobs the epilog has noted holds one of the same kind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from asbx.errors import ConfigError

_POLL_S = 0.05


@contextmanager
def worker_lock(runtime: Path, patience: timedelta, name: str = "worker.lock") -> Iterator[bool]:
    """Hold the lock while the block runs; yield False if it could not be had within the patience.

    Raises ConfigError (`runtime-folder`) when the lock file cannot be made.
    """
    path = runtime / name
    try:
        runtime.mkdir(parents=True, exist_ok=True, mode=0o755)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(
            "runtime-folder",
            f"{path} cannot be opened",
            str(error.strerror),
            "make the folder writable for SlurmUser, or name another in the configuration (section paths)",
        ) from None
    try:
        yield _acquire(handle, patience)
    finally:
        os.close(handle)  # which releases the lock


def _acquire(handle: int, patience: timedelta) -> bool:
    give_up = time.monotonic() + patience.total_seconds()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= give_up:
                return False
            time.sleep(_POLL_S)
        else:
            return True
