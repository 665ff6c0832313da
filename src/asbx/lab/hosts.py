"""The hosts of a pair as a whole: one dies with all that runs on it, and comes back."""

from __future__ import annotations

import signal

from asbx.lab import controller, pair
from asbx.lab.conf import clean_environment
from asbx.lab.daemon import NAME, end_process, start_daemon
from asbx.lab.layout import Layout
from asbx.lab.processes import send
from asbx.lab.record import Record, save
from asbx.lab.trouble import LabError


def kill_host(layout: Layout, record: Record, number: int) -> Record:
    """End slurmctld and daemon of a host by SIGKILL, both at once; return the record."""
    host = _host(layout, record, number)
    names = [host.process("slurmctld"), host.process(NAME)]
    for name in names:
        known = record.process(name)
        if known is not None:
            send(known, signal.SIGKILL)
    for name in names:
        record = end_process(layout, record, name, kill=True)
    return record


def start_host(layout: Layout, record: Record, number: int) -> Record:
    """Start both again; slurmctld takes control where it is the first in order. Raises LabBroken."""
    host = _host(layout, record, number)
    known = record.process(host.process("slurmctld"))
    if known is None or not known.is_alive:
        environ = clean_environment(layout, record)
        record = record.with_process(controller.start_slurmctld(layout, record, environ, host))
        save(layout, record)
    return start_daemon(layout, record, number)


def _host(layout: Layout, record: Record, number: int) -> pair.Host:
    if not pair.is_pair(record):
        raise LabError(
            "lab-no-pair",
            "this lab has one controller",
            "a host that dies needs another that takes over",
            "start it with --controllers 2 --ledger postgres",
        )
    return pair.Host(layout, number)
