"""systemd hears words in datagrams, on a real socket."""

from __future__ import annotations

import socket
from pathlib import Path

from asbx.daemon.notify import Notifier


def heard(line: socket.socket) -> list[str]:
    """Return what has arrived."""
    words = []
    while True:
        try:
            words.append(line.recv(4096, socket.MSG_DONTWAIT).decode())
        except BlockingIOError:
            return words


def test_words_arrive_one_datagram_each(tmp_path: Path) -> None:
    """Ready, alive, stopping; the status only when it changes, in one line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "n"))
        systemd = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        systemd.ready()
        systemd.alive()
        systemd.status("two\nlines")
        systemd.status("two\nlines")
        systemd.stopping()
        assert heard(line) == ["READY=1", "WATCHDOG=1", "STATUS=two lines", "STOPPING=1"]


def test_an_abstract_address_is_understood(tmp_path: Path) -> None:
    """A zero byte, with which such addresses begin, is written `@`."""
    name = f"asbx-test-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert heard(line) == ["READY=1"]


def test_without_a_listener_nothing_happens(tmp_path: Path) -> None:
    """Neither without systemd nor with a socket that is gone."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
