"""`asbx lab up` and `asbx lab down`: everything on, everything off, each safe to repeat."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from asbx.lab import accounting, controller, pair, postgres, slots
from asbx.lab.account import make_account
from asbx.lab.conf import clean_environment
from asbx.lab.daemon import start_daemon
from asbx.lab.emulation import start_emulator
from asbx.lab.layout import Layout
from asbx.lab.loopback import LOCALHOST, disguise, own_address
from asbx.lab.munge import start_munged
from asbx.lab.processes import Process, start, stop
from asbx.lab.record import Record, Wishes, load, save
from asbx.lab.site import EFA_NODES, HPC_NODES, node_names, write_config
from asbx.lab.sweep import leftovers
from asbx.lab.trouble import LabBroken, LabError

Say = Callable[[str], None]
# In the order they are ended: first who starts things, last what the others need.
_ENDING = (
    *("slurmctld-2", "slurmctld", "daemon-2", "daemon", "runner", "emulator"),
    *("slurmdbd", "mariadb", "postgres", "munged"),
)


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Let one command at a time change a lab. Raises LabError (`lab-folder`)."""
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(layout.root / "lab.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabError(
            "lab-folder", f"{layout.root} cannot be used", str(error.strerror), "choose another with --state-dir"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def up(layout: Layout, wishes: Wishes, say: Say) -> tuple[Record, bool]:
    """Start a lab; return its record, and False if it was up already.

    Raises LabError for wishes that cannot be met, LabBroken when a part does not start; then nothing is left running.
    """
    with locked(layout):
        known = load(layout)
        if known is not None and known.processes:
            _check_still_up(layout, known)
            return known, False
        _check_wishes(layout, wishes, known)
        try:
            return _start_all(layout, wishes, say), True
        except (LabError, OSError):
            _end_all(layout, load(layout))
            raise


def down(layout: Layout, say: Say) -> bool:
    """End everything the lab started, and only that; return False when there was nothing to end.

    Works even where the folder was removed under a running lab: its processes carry its mark.
    """
    if not layout.root.exists():
        said = _end_marked(layout)
    else:
        with locked(layout):
            said = _end_all(layout, load(layout))
    for line in said:
        say(line)
    return bool(said)


def _check_still_up(layout: Layout, record: Record) -> None:
    dead = [one.name for one in record.processes if not one.is_alive and one.name != "daemon"]
    if dead or not record.is_ready:
        what = f"{', '.join(dead)} died" if dead else "it was interrupted while it started"
        raise LabBroken(
            "lab-broken", f"the lab in {layout.root} is only partly up", what, "end it with `asbx lab down`"
        )


def _check_wishes(layout: Layout, wishes: Wishes, known: Record | None) -> None:
    foreign = [path.name for path in layout.root.iterdir() if path.name != "lab.lock"]
    if known is None and foreign:
        raise LabError(
            "lab-folder",
            f"{layout.root} is not empty and holds no lab",
            f"it has {', '.join(sorted(foreign)[:5])}",
            "choose another folder with --state-dir",
        )
    if wishes.controllers > 1 and wishes.ledger != "postgres":
        raise LabError(
            "lab-ledger",
            "two controllers cannot share an SQLite file",
            "each works on a host of its own",
            "ask for --ledger postgres too",
        )
    most = slots.MOST_NODES - HPC_NODES - EFA_NODES
    if wishes.nodes < 1 or (wishes.machines and wishes.nodes > most):
        raise LabError(
            "lab-nodes",
            f"a lab cannot have {wishes.nodes} nodes",
            f"from 1 to {most} fit the ports of a lab whose machines boot",
            "ask for fewer, or use --no-machines",
        )


def _start_all(layout: Layout, wishes: Wishes, say: Say) -> Record:
    _fresh_folders(layout)
    ports = wishes.nodes + HPC_NODES + EFA_NODES if wishes.machines else 1
    slot, claim = slots.claim(layout.root, own_address() or LOCALHOST, ports)
    two = wishes.controllers > 1
    record = Record(cluster=f"lab{slot.number}", wishes=wishes, slot=slot, disguise=disguise(layout, always=two))
    if two:
        _name_hosts(layout, record)
    environ = clean_environment(layout, record)

    def started(process: Process) -> None:
        nonlocal record
        record = record.with_process(process)
        save(layout, record)

    with claim:
        save(layout, record)
        say(f"cluster {record.cluster} on {slot.network}.0.0/16, ports from {slot.claim_port}")
        started(start_munged(layout, environ))
        emulator, url = start_emulator(layout, wishes, environ)
        record = replace(record, emulator_url=url)
        started(emulator)
        if wishes.ledger == "postgres":
            started(_ledger_server(layout))
            say("ledger: PostgreSQL")
        say(f"EC2 emulator at {url}")
        config = write_config(layout, record, make_account(layout, record))
        controller.write_files(layout, record, config, node_names(record))
        if wishes.accounting:
            database, password = accounting.start_database(layout, record, environ)
            started(database)
            started(accounting.start_slurmdbd(layout, record, password, environ))
            accounting.register_cluster(layout, record, environ)
            say("accounting: MariaDB and slurmdbd")
        for host in pair.hosts(layout, record):
            started(controller.start_slurmctld(layout, record, environ, host))
        say(f"slurmctld on {slot.address}:{slot.slurmctld_port} with {len(node_names(record))} cloud nodes")
        idle = [] if wishes.machines else ["--idle"]
        command = [sys.executable, "-m", "asbx.lab.runner", "--state-dir", str(layout.root)]
        command += ["--claim", str(claim.fileno()), *idle]
        started(start("runner", command, layout.log / "runner.log", environ, pass_fds=[claim.fileno()]))
    if wishes.daemon:
        for host in pair.hosts(layout, record):
            record = start_daemon(layout, record, host.number)
        say("ASBX daemon")
    record = replace(record, is_ready=True)
    save(layout, record)
    return record


def _name_hosts(layout: Layout, record: Record) -> None:
    """Let both hosts' names mean their addresses."""
    with (layout.run / "hosts").open("a", encoding="utf-8") as file:
        file.write(pair.hosts_file(layout, record))


def _ledger_server(layout: Layout) -> Process:
    folder = pair.ledger_folder(layout)
    layout.root.chmod(0o711)  # the server may run as another user, who must get to its folder
    postgres.make(folder)
    return postgres.serve(folder, layout.log / "postgres.log")


def _fresh_folders(layout: Layout) -> None:
    """Throw away what an earlier lab left in this folder, then make the folders anew."""
    for path in layout.own_folders():
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    for path in (layout.slurm_conf, layout.config, layout.emulator_file):
        path.unlink(missing_ok=True)
    # Other users must pass through run/ to munged's socket and through spool/ to the plans folder, and nothing else.
    for private, mode in (("run", 0o755), ("spool", 0o711), ("state", 0o700), ("database", 0o700)):
        (layout.root / private).chmod(mode)


def _end_all(layout: Layout, record: Record | None) -> list[str]:
    """End every process of the lab; return a line for each."""
    said: list[str] = []
    if record is None:
        return _end_marked(layout)
    for name in _ENDING:
        process = record.process(name)
        if process is not None:
            if process.is_alive:
                said.append(f"{name} (pid {process.pid}) ended")
            stop([process])
    said += _end_marked(layout)
    save(layout, replace(record, processes=(), is_ready=False))
    layout.emulator_file.unlink(missing_ok=True)
    return said


def _end_marked(layout: Layout) -> list[str]:
    """End what carries the lab's mark, recorded or not."""
    rest = leftovers(layout)
    if not rest:
        return []
    stop(rest, patience_s=12.0)
    return [f"{len(rest)} process(es) of machines, jobs and hooks ended"]
