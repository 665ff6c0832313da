"""Slurm's programs in the pretend world: each call becomes one file in the spool and a knock, or dies on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from asbx.hooks import spool
from asbx.model.hostlist import fold
from asbx.model.job import RequestKind
from asbx.sim.hub import Hub
from asbx.sim.jobs import Job

# Where a hook may die: before it wrote anything, in the middle of the file, or between the file and the knock.
DEATHS = ("before writing", "in mid-write", "before the knock")


class Hooks:
    """ResumeProgram, SuspendProgram and ResumeFailProgram. knock: wakes the daemon, if one runs."""

    def __init__(self, hub: Hub, folder: Path, knock: Callable[[], None], on_death: Callable[[str], None]) -> None:
        self._hub, self._folder, self._knock, self._on_death = hub, folder, knock, on_death
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._number = 0
        self._doom = ""

    def doom(self, where: str) -> None:
        """Let the next call die there."""
        self._doom = where

    def call(self, kind: RequestKind, nodes: Sequence[str], jobs: Sequence[Job]) -> None:
        """Be called by slurmctld."""
        where, self._doom = self._doom, ""
        if where:
            self._on_death(f"{kind} hook, {where}")
        if where == DEATHS[0]:
            return
        now = self._hub.now()
        self._number += 1
        name = f"{int(now.timestamp() * 1e6) * 1000:020d}-{self._number}-{kind}"
        text = json.dumps(self._body(kind, nodes, jobs, now.timestamp()))
        hidden = self._folder / f".{name}"
        hidden.write_text(text[: len(text) // 2] if where == DEATHS[1] else text, encoding="utf-8")
        if where == DEATHS[1]:
            return
        hidden.rename(self._folder / f"{name}{spool.SUFFIX}")
        if where != DEATHS[2]:
            self._knock()

    def _body(self, kind: RequestKind, nodes: Sequence[str], jobs: Sequence[Job], at: float) -> dict[str, object]:
        """Return what the real hook writes (asbx.hooks.spool)."""
        folded = fold(nodes)
        resume_file = _resume_file(folded, frozenset(nodes), jobs) if kind is RequestKind.RESUME else None
        return {
            "asbx_spool": spool.FORMAT,
            "kind": kind.value,
            "nodes": folded,
            "argv": [folded],
            "received_at": at,
            "resume_file": resume_file,
            "resume_file_error": "",
            "reboot_job": "",
            "plan": None,
            "by_hand": False,
        }


def _resume_file(folded: str, nodes: frozenset[str], jobs: Sequence[Job]) -> str:
    """Return the resume file of Slurm 26.05."""
    rows = [
        {
            "job_id": job.job_id,
            "nodes_alloc": fold(job.on),
            "nodes_resume": fold([node for node in job.on if node in nodes]),
            "features": None,
            "oversubscribe": "OK" if job.cpus else "NO",
            "partition": job.group.rpartition("-")[0],
            "reservation": None,
            "extra": job.extra or None,
            "exclusive": "NO",
            "priority": job.priority,
        }
        for job in jobs
    ]
    return json.dumps({"all_nodes_resume": folded, "jobs": rows})
