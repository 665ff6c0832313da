"""A folder we leave documents in for others: whole or not at all, for their owner only, and not for ever."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from asbx.errors import ConfigError


class Outbox:
    """A folder of documents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, text: str) -> Path:
        """Put a document there in the place of an earlier one, mode 0600. Raises ConfigError (`output-dir`)."""
        temporary = ""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self._folder)  # 0600, never through a link
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            path = self._folder / name
            os.replace(temporary, path)  # noqa: PTH105  one call that names both
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            raise ConfigError(
                "output-dir",
                f"{name} cannot be written to {self._folder}",
                error.strerror or str(error),
                "name a folder that may be written with --output-dir, or make it for the user that runs this",
            ) from None
        return path

    def clean(self, patterns: Sequence[str], before: datetime) -> int:
        """Delete documents last written before a moment, and what a killed writer left; return how many.

        Files only, never through a link, and only by the names we give. Never raises: what is left is old, no more.
        """
        removed = 0
        for entry in self._old(patterns, before):
            try:
                Path(entry).unlink()
            except OSError:
                continue
            removed += 1
        return removed

    def _old(self, patterns: Sequence[str], before: datetime) -> Iterator[str]:
        try:
            with os.scandir(self._folder) as entries:
                found = [one for one in entries if any(_is_ours(one.name, pattern) for pattern in patterns)]
        except OSError:
            return
        for one in found:
            try:
                seen = one.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode) and datetime.fromtimestamp(seen.st_mtime, UTC) < before:
                yield one.path


def _is_ours(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f".{pattern}.*")
