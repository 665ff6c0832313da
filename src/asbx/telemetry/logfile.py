"""A file of lines that several programs append to and logrotate moves away."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

# The group may read the log; nobody else, as it names users and their jobs.
_MODE = 0o640
_FIRST_FREE_DESCRIPTOR = 3


class LogFile:
    """Appends whole lines. Opened when first written to, again when the name leads to another file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._is_torn = False
        self._turn = Lock()

    def write(self, line: str) -> None:
        """Append a line. Raises OSError."""
        with self._turn:
            if self._is_stale():
                self._reopen()
            # One write call a line: lines of several programs do not mix (O_APPEND).
            # After a line a full disk cut short, begin a new one.
            content = ("\n" if self._is_torn else "") + line + "\n"
            encoded = content.encode("utf-8", "backslashreplace")
            written = os.write(self._descriptor, encoded)
            self._is_torn = written < len(encoded)
            if self._is_torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    # structlog calls its logger by the name of the level.
    debug = info = warning = error = critical = write

    def close(self) -> None:
        """Let the file go; the next line opens it again."""
        with self._turn:
            self._let_go()

    def _is_stale(self) -> bool:
        if self._descriptor < 0:
            return True
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _reopen(self) -> None:
        self._let_go()
        with suppress(OSError):
            # Opening tells better than mkdir what is wrong with a path.
            self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, _MODE)
        if descriptor < _FIRST_FREE_DESCRIPTOR:
            # Slurm 22.05 starts programs with 0, 1 and 2 closed: what is meant for stdout must not land here.
            low, descriptor = (
                descriptor,
                fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_DESCRIPTOR),
            )
            os.close(low)
        self._descriptor = descriptor
        self._is_torn = False

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
