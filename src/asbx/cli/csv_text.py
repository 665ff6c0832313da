"""Tables as CSV that a spreadsheet does not take for commands.

A cell that begins with `=`, `+`, `-`, `@`, a tab or a line's end is run as a formula by common spreadsheets (OWASP,
"CSV Injection"); such text gets an apostrophe before it. Users choose the names of accounts and jobs. Numbers are left
alone: they are ours.
"""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from asbx.errors import UsageError

_COMMANDS = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def write(out: TextIO, header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> int:
    """Write a table, lines ended as RFC 4180 has them; None is an empty cell. Return how many rows."""
    writer, count = csv.writer(out, lineterminator="\r\n"), 0
    writer.writerow(header)
    for row in rows:
        writer.writerow([safe(cell) for cell in row])
        count += 1
    return count


def safe(cell: str | None) -> str:
    """Return a cell no spreadsheet runs."""
    if cell is None:
        return ""
    # Full-width signs are folded to the plain ones by some spreadsheets.
    if cell.startswith((*_COMMANDS, "\uff1d", "\uff0b", "\uff0d", "\uff20")) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def save(path: Path, header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> int:
    """Write a table to a file for its owner only, whole or not at all. Raises UsageError (`output`)."""
    part = ""
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600, never through a link
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            count = write(out, header, rows)
        Path(part).replace(path)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        raise UsageError(
            "output", f"{path} cannot be written", error.strerror or "", "name a file in a folder that may be written"
        ) from None
    return count
