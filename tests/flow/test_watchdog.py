"""The watchdog is fed while the loop and the work move, and not when either hangs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest
from tests.fakes.site import Site, config

from asbx.config.limits import AWS_CONNECT_TIMEOUT, AWS_READ_TIMEOUT
from asbx.daemon.clock import RealClock
from asbx.daemon.loop import Daemon
from asbx.daemon.pulse import patience
from asbx.hooks import spool


@dataclass
class Watched:
    """A daemon whose turns the test makes. skipped: seconds its work believes to have passed beside the real ones."""

    site: Site
    daemon: Daemon
    line: socket.socket
    skipped: float = 0.0

    def turn(self) -> list[str]:
        """Let the loop turn once; return what systemd hears."""
        self.daemon._pass()
        self.daemon._tell_systemd()
        words = []
        while True:
            try:
                words.append(self.line.recv(4096, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return words

    def until_idle(self, *names: str) -> None:
        """Wait for the end of work (of these names): the first turn starts a reconcile pass."""
        heard = self.daemon._instruments.pulse._heard
        soon(lambda: not heard if not names else heard.keys().isdisjoint(names))


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Return a daemon of fakes that talks to a real socket."""
    site = Site(config(tmp_path))
    clock = RealClock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        one = Watched(site, Daemon(replace(site.doors, clock=clock), clock), line)
        one.daemon._instruments.pulse._now = lambda: time.monotonic() + one.skipped
        yield one
        clock.stop()
        one.daemon._engine.close()


def soon(what: Callable[[], object]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 20
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_an_idle_daemon_is_alive(watched: Watched) -> None:
    """Each turn feeds the watchdog; the status is said once."""
    assert watched.turn() == ["WATCHDOG=1", "STATUS=0 request(s) in work"]
    watched.until_idle()
    watched.skipped = 1e6
    assert watched.turn() == ["WATCHDOG=1"]


def test_a_pass_that_hangs_starves_the_watchdog(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns on; what hangs is named; when it moves again, so does the watchdog."""
    gate, inside, nodes = Event(), Event(), watched.site.scheduler.nodes

    def hanging() -> object:
        inside.set()
        gate.wait(20)
        return nodes()

    monkeypatch.setattr(watched.site.scheduler, "nodes", hanging)
    watched.daemon._engine.sweep_soon()
    assert inside.wait(20)
    assert "WATCHDOG=1" in watched.turn()
    watched.skipped = patience(watched.site.config).total_seconds() + 1
    assert "WATCHDOG=1" not in watched.turn()
    good, body = watched.daemon._instruments.answer()
    assert (good, body["failing"]) == (False, ["work"])
    assert "reconcile" in body["checks"]["work"]["says"]
    gate.set()
    soon(lambda: not watched.daemon._instruments.pulse.stuck())
    assert "WATCHDOG=1" in watched.turn()


def test_a_long_call_to_ec2_does_not(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that uses every retry to its last second is at work; one that waits much longer is not."""
    gate, inside, launch = Event(), Event(), watched.site.cloud.launch

    def slow(order: object) -> object:
        inside.set()
        gate.wait(20)
        return launch(order)  # type: ignore[arg-type]

    monkeypatch.setattr(watched.site.cloud, "launch", slow)
    body = spool.request("resume", ["aws-cpu-000"], {}) | {"received_at": time.time()}
    spool.write(str(watched.site.config.paths.requests), body)
    watched.turn()
    assert inside.wait(20)
    watched.until_idle("reconcile")
    longest = watched.site.config.aws.retry_max_attempts * (AWS_CONNECT_TIMEOUT + AWS_READ_TIMEOUT)
    watched.skipped = longest.total_seconds()
    assert "WATCHDOG=1" in watched.turn()
    watched.skipped *= 4
    assert "WATCHDOG=1" not in watched.turn()
    gate.set()
    soon(lambda: not watched.daemon._engine.running())
