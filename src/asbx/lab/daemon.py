"""The product's daemon in a lab: started, stopped, and killed for crash tests."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from asbx.lab import pair
from asbx.lab.conf import clean_environment
from asbx.lab.layout import Layout
from asbx.lab.processes import Process, send, start, stop, wait_until
from asbx.lab.record import Record, save
from asbx.lab.trouble import LabBroken
from asbx.lab.wrappers import host_environment, product_environment

# A worker that a hook started is let end its work first, for up to the lab's resume_timeout.
_PATIENCE_S = 100.0
NAME = "daemon"


def start_daemon(layout: Layout, record: Record, number: int = 1) -> Record:
    """Start the daemon unless it runs; return the record. number: of which host. Raises LabBroken (`lab-daemon`)."""
    host = pair.Host(layout, number)
    name, socket_path, config = host.process(NAME), layout.daemon_socket, layout.config
    known = record.process(name)
    if known is not None and known.is_alive:
        return record
    environ = clean_environment(layout, record) | product_environment(layout, record)
    if pair.is_pair(record):
        socket_path, config = host.socket, host.config
        environ |= host_environment(host) | host.environment(record)
    log = layout.log / f"{name}.out"
    process = start(name, [sys.executable, "-m", "asbx", "daemon", "--config", str(config)], log, environ)
    record = record.with_process(process)
    save(layout, record)
    wait_until(lambda: _listens(socket_path) or not process.is_alive, _PATIENCE_S)
    if not process.is_alive or not _listens(socket_path):
        raise LabBroken("lab-daemon", "the daemon does not answer", _last_line(log), f"see {log}")
    return record


def stop_daemon(layout: Layout, record: Record, *, kill: bool, number: int = 1) -> Record:
    """End the daemon, gracefully or by SIGKILL; return the record. No daemon is no error."""
    return end_process(layout, record, pair.Host(layout, number).process(NAME), kill=kill)


def end_process(layout: Layout, record: Record, name: str, *, kill: bool) -> Record:
    """End a process of the lab and return the record without it; one that is not there is no error."""
    known = record.process(name)
    if known is None:
        return record
    if kill:
        send(known, signal.SIGKILL)
    stop([known])
    record = record.without_process(name)
    save(layout, record)
    return record


def running(record: Record) -> Process | None:
    """Return the daemon's process while it lives."""
    known = record.process(NAME)
    return known if known is not None and known.is_alive else None


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(path)) == 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
