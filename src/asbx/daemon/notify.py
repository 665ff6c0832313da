"""Tell systemd how the daemon is: ready, alive, stopping, and one line of status.

One datagram for each word, as sd_notify(3) describes for those who do not link libsystemd; it promises that the
protocol stays. Without NOTIFY_SOCKET nothing is sent, and no trouble with the socket ever stops the daemon.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Speaks to the socket that systemd names in the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._said = ""

    def ready(self) -> None:
        """Say that the daemon serves."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the daemon ends by itself."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Say what `systemctl status` shows, when it changes."""
        if text != self._said:
            self._said = text
            self._send(f"STATUS={' '.join(text.split())}")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.settimeout(1.0)
            line.sendto(words.encode(), self._address)
