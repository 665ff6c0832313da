"""What Slurm's programs leave in the spool when they are killed, and what lies aside there for long."""

from __future__ import annotations

import os
import re

# The names spool.write gives, hidden until the file is whole.
_TEMPORARY = re.compile(r"\.[0-9]{20}-[0-9]+-(resume|suspend|resume-fail)")


def temporary(folder: str, before: float) -> list[str]:
    """Return the temporary files in the spool last written before a moment (seconds since 1970), by name.

    Only names of our own making: nothing else in the folder is ever touched.
    """
    return [name for name in _old(folder, before) if _TEMPORARY.fullmatch(name)]


def aside(folder: str, before: float) -> list[str]:
    """Return the requests that were set aside before a moment, by name."""
    return [name for name in _old(folder, before) if name.endswith(".json")]


def remove(folder: str, name: str) -> None:
    """Remove a temporary file. Raises ValueError for any other name, OSError."""
    if not _TEMPORARY.fullmatch(name):
        raise ValueError(name)
    os.unlink(f"{folder}/{name}")  # noqa: PTH108


def _old(folder: str, before: float) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = [e.name for e in entries if e.is_file(follow_symlinks=False) and _is_old(e, before)]
    except OSError:
        return []  # an absent folder holds nothing; one that cannot be read is the intake's to say
    return sorted(found)


def _is_old(entry: os.DirEntry[str], before: float) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime < before
    except OSError:
        return False
