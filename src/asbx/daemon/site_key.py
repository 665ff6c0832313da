"""The site's secret that makes pseudonyms: made on first use, for its owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from asbx.errors import ConfigError

_NAME = "learning.key"
_BYTES = 32


def site_key(state: Path) -> bytes:
    """Return the key below paths.state; made, mode 0600, where there is none.

    Raises ConfigError (`site-key`) where it cannot be read or made, or others may read it.
    """
    path = state / _NAME
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise _trouble(path, error.strerror or str(error)) from None


def _make(path: Path) -> None:
    """Make a whole key, unless somebody else makes one meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{_NAME}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
            if os.geteuid() == 0:  # the user that the daemon runs as must be able to read it, too
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode) or seen.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _trouble(path, "others may read it, so they could find out who is meant")
        text = file.read(2 * _BYTES + 2).strip()
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise _trouble(path, f"it does not hold {2 * _BYTES} hexadecimal digits")
    return key


def _trouble(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "site-key",
        "pseudonyms cannot be made: the site's key is not usable",
        f"{path}: {why}",
        "run this as the user that owns paths.state, and keep the key to it (chmod 600)",
    )
