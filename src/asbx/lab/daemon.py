"""The product's daemon in a lab: started, stopped, and killed for crash tests."""

from __future__ import annotations

import signal
import socket
import sys

from asbx.lab.conf import clean_environment
from asbx.lab.layout import Layout
from asbx.lab.processes import Process, send, start, stop, wait_until
from asbx.lab.record import Record, save
from asbx.lab.trouble import LabBroken
from asbx.lab.wrappers import product_environment

_PATIENCE_S = 20.0
NAME = "daemon"


def start_daemon(layout: Layout, record: Record) -> Record:
    """Start the daemon unless it runs; return the record. Raises LabBroken (`lab-daemon`)."""
    known = record.process(NAME)
    if known is not None and known.is_alive:
        return record
    command = [sys.executable, "-m", "asbx", "daemon", "--config", str(layout.config)]
    environ = clean_environment(layout, record) | product_environment(layout, record)
    log = layout.log / "daemon.out"
    process = start(NAME, command, log, environ)
    record = record.with_process(process)
    save(layout, record)
    wait_until(lambda: _listens(layout) or not process.is_alive, _PATIENCE_S)
    if not process.is_alive or not _listens(layout):
        raise LabBroken("lab-daemon", "the daemon does not answer", _last_line(layout), f"see {log}")
    return record


def stop_daemon(layout: Layout, record: Record, *, kill: bool) -> Record:
    """End the daemon, gracefully or by SIGKILL; return the record. No daemon is no error."""
    known = record.process(NAME)
    if known is None:
        return record
    if kill:
        send(known, signal.SIGKILL)
    stop([known])
    record = record.without_process(NAME)
    save(layout, record)
    return record


def running(record: Record) -> Process | None:
    """Return the daemon's process while it lives."""
    known = record.process(NAME)
    return known if known is not None and known.is_alive else None


def _listens(layout: Layout) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(layout.daemon_socket)) == 0


def _last_line(layout: Layout) -> str:
    lines = (layout.log / "daemon.out").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
