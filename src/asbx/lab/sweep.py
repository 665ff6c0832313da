"""Find what still runs of a lab when everything recorded has ended: hooks, machines, jobs."""

from __future__ import annotations

import os
from pathlib import Path

from asbx.lab.layout import Layout
from asbx.lab.machine_init import descendants
from asbx.lab.processes import Process, birth


def leftovers(layout: Layout) -> list[Process]:
    """Return processes started by the lab and everything below them.

    All of the lab's own carry its folder in the environment they were started with (ASBX_LAB); tasks of jobs carry
    the submitter's environment instead, and in it what slurmstepd adds: the cluster's SLURM_CONF and a node name.
    """
    pids: set[int] = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_ours(folder, layout):
            pid = int(folder.name)
            pids |= {pid, *descendants(pid)}
    pids -= _own_line()
    return [Process("leftover", pid, born) for pid in sorted(pids) if (born := birth(pid))]


def _is_ours(folder: Path, layout: Layout) -> bool:
    try:
        environ = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if f"ASBX_LAB={layout.root}".encode() in environ:
        return True
    is_task = any(word.startswith(b"SLURMD_NODENAME=") for word in environ)
    return is_task and f"SLURM_CONF={layout.slurm_conf}".encode() in environ


def _own_line() -> set[int]:
    """Return this process and those above it."""
    line, pid = set(), os.getpid()
    while pid > 0:
        line.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            break
    return line
