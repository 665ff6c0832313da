"""The daemon's socket: hooks knock, the CLI asks for the state.

Only SlurmUser may connect (mode 0600) and root, and the kernel is asked who calls (SO_PEERCRED, unix(7)). Where the
configuration allows further users, anybody may connect and is judged by that answer alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from asbx.config.limits import STATUS_MAX_BYTES
from asbx.config.schema import Config
from asbx.errors import ConfigError

_BACKLOG = 512  # a burst of array tasks calls many hooks at once
_MOST_BYTES = 64


@dataclass(frozen=True)
class Guests:
    """Who may call. owner: whose the socket is, None for this process's own user. is_open: others may connect."""

    uids: frozenset[int]
    owner: int | None = None
    is_open: bool = False

    @classmethod
    def of(cls, uids: frozenset[int], config: Config) -> Self:
        """Return the guests of a site. A daemon of root gives the socket to SlurmUser, whose hooks must reach it."""
        me = os.geteuid()
        others = sorted(uids - {0, *config.security.allowed_uids})
        return cls(uids, others[0] if me == 0 and others else None, bool(config.security.allowed_uids))


class ControlSocket:
    """Answers one word a connection: anything wakes the daemon, `status` is answered with one JSON object."""

    def __init__(
        self, path: Path, on_nudge: Callable[[], None], status: Callable[[], dict[str, Any]], guests: Guests
    ) -> None:
        self._path = path
        self._guests = guests
        self._on_nudge = on_nudge
        self._status = status
        self._listener = _listen(path, guests)
        self._closed = False
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="control-socket", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                self._pause.wait(0.1)  # no descriptor left, for instance: it may pass
                continue
            with caller:
                caller.settimeout(1.0)
                with contextlib.suppress(OSError):
                    self._answer(caller)

    def _answer(self, caller: socket.socket) -> None:
        if _caller_uid(caller) not in self._guests.uids:
            return
        words = caller.recv(_MOST_BYTES)
        if words.startswith(b"status"):
            caller.sendall(json.dumps(self._status()).encode())
        elif words:
            self._on_nudge()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)


def _caller_uid(caller: socket.socket) -> int:
    """Return the user of the process that connected (struct ucred of unix(7): pid, uid, gid)."""
    raw = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("iII", raw)[1])


def _listen(path: Path, guests: Guests) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.unlink(missing_ok=True)  # left by a killed daemon; the worker lock says that none is alive
        listener.bind(str(path))
        if guests.owner is not None:
            os.chown(path, guests.owner, -1)
        if guests.is_open:
            path.chmod(0o666)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            "daemon-socket", f"{path} cannot be made", str(error.strerror or error), "see paths.runtime"
        ) from None
    finally:
        os.umask(mask)
    return listener


def ask(path: Path, words: str) -> dict[str, Any] | None:
    """Ask the daemon behind a socket; None when none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(5.0)
        try:
            line.connect(str(path))
            line.sendall(words.encode() + b"\n")
            line.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while piece := line.recv(65536):
                answer += piece
                if len(answer) > STATUS_MAX_BYTES:
                    return {}
        except OSError:
            return None
    try:
        return dict(json.loads(answer)) if answer else {}
    except (ValueError, TypeError, RecursionError):
        return {}
