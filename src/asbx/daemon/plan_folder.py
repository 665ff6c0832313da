"""The folder of execution plans. Users may leave files in it, so nothing about a file is believed but its owner.

Files are opened by name and the folder is never listed: whoever fills it with others slows nobody down.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from asbx.config.limits import PLAN_MAX_BYTES
from asbx.model.plan_file import PlanFile

_SUFFIX = ".json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# 48 bits: more than anybody puts into the folder beforehand.
_NAME_BYTES = 6
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class PlanFolder:
    """The port Plans over a folder. owners: users whose files are an administrator's."""

    def __init__(self, folder: Path, owners: frozenset[int]) -> None:
        self._folder = folder
        self._owners = owners

    def read(self, name: str) -> PlanFile | None:
        """Return a file: no link to elsewhere, no pipe to wait at, no second name of somebody's file, no giant."""
        if not _NAME.fullmatch(name):
            return None
        path = self._folder / f"{name}{_SUFFIX}"
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            links = (errno.ELOOP, errno.EMLINK)
            why = "it is a symbolic link" if error.errno in links else f"it cannot be opened: {error.strerror}"
            return self._odd(name, path, why)
        try:
            seen = os.fstat(handle)
            trouble = _trouble(seen)
            raw = b"" if trouble else os.read(handle, PLAN_MAX_BYTES + 1)
        except OSError as error:
            return self._odd(name, path, f"it cannot be read: {error.strerror}")
        finally:
            os.close(handle)
        if len(raw) > PLAN_MAX_BYTES:
            trouble = f"it has more than {PLAN_MAX_BYTES} bytes"
        try:
            text = "" if trouble else raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text, trouble = "", "it is not UTF-8 text"
        return PlanFile(name, _user(seen.st_uid), self._is_privileged(seen), text, trouble)

    def _odd(self, name: str, path: Path, why: str) -> PlanFile | None:
        """Return a file that cannot be opened, with its own owner (not that of what it points to)."""
        try:
            seen = path.lstat()
        except OSError:
            return None
        return PlanFile(name, _user(seen.st_uid), seen.st_uid in self._owners, "", why)

    def _is_privileged(self, seen: os.stat_result) -> bool:
        return seen.st_uid in self._owners and not seen.st_mode & _OTHERS_WRITE


def why_closed(folder: Path) -> str:
    """Return why this user cannot leave a plan here, "" where they can."""
    if not os.path.isdir(folder):  # noqa: PTH112  one behind a closed folder counts as absent, and does not raise
        return f"the plans folder {folder} is not there for this user"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"the plans folder {folder} is closed to this user"


def new_name() -> str:
    """Return a name nobody can guess, so that nobody has put a file there before."""
    return f"submit-{secrets.token_hex(_NAME_BYTES)}"


def leave(folder: Path, name: str, text: str) -> Path:
    """Leave a plan in the folder and return its path; a file of that name of this user's is replaced. Raises OSError.

    It is there whole or not at all, and readable for SlurmUser. A file of another user is in the way: the folder's
    sticky bit keeps everybody from replacing it (rename(2), EPERM).
    """
    path, draft = folder / f"{name}{_SUFFIX}", folder / f"{new_name()}.draft"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, 0o644)  # whatever the umask: the daemon is another user
            file.write(text)
        draft.rename(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    return path


def _trouble(seen: os.stat_result) -> str:
    if not stat.S_ISREG(seen.st_mode):
        return "it is not a regular file"
    if seen.st_nlink != 1:
        return f"it is linked from {seen.st_nlink} places"
    if seen.st_size > PLAN_MAX_BYTES:
        return f"it has {seen.st_size} bytes; {PLAN_MAX_BYTES} are allowed"
    return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
