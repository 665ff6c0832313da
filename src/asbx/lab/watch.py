"""Watch one job burst, from outside: Slurm's tables, the emulator's truth, the job's output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asbx.lab.controller import scontrol
from asbx.lab.emulation import Control
from asbx.lab.layout import Layout
from asbx.lab.record import Record
from asbx.model.hostlist import fold
from asbx.model.node import NodeView
from asbx.slurm.parse import parse_nodes_text

# A job in one of these will never complete (squeue(1), "JOB STATE CODES").
LOST = frozenset({"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"})
_RISING = frozenset({"POWERING_UP", "POWERED_DOWN", "NOT_RESPONDING"})


@dataclass(frozen=True)
class Sight:
    """One look at everything. instances: the job's, in the emulator's words. fleets: CreateFleet calls so far."""

    job_state: str
    nodes: tuple[NodeView, ...]
    instances: tuple[dict[str, Any], ...]
    fleets: int
    output: str


@dataclass(frozen=True)
class Happening:
    """Something seen for the first time. about: which node or instance, where several go through the same."""

    name: str
    text: str
    facts: dict[str, object]
    about: str = ""


class Watch:
    """Remembers what it has told already. job nodes are known once Slurm has chosen them."""

    def __init__(self, layout: Layout, record: Record, job_id: int, output: Path) -> None:
        self._layout, self._record = layout, record
        self._job_id, self._output = job_id, output
        self._control = Control(record.emulator_url)
        self._fleets_before = int(self._control.get("calls").get("CreateFleet", 0))
        self._chosen = ""
        self._told: set[tuple[str, str]] = set()

    def look(self) -> Sight:
        """Look once. Raises LabError when the emulator is gone."""
        job = scontrol(self._layout, self._record, "-o", "show", "job", str(self._job_id))
        state = re.search(r"\bJobState=(\S+)", job)
        chosen = re.search(r"\sNodeList=([^\s(]\S*)", job)
        if chosen and chosen[1] != "(null)":
            self._chosen = chosen[1]
        table = scontrol(self._layout, self._record, "-o", "show", "node", self._chosen) if self._chosen else ""
        rows = self._control.get("instances")
        return Sight(
            job_state=state[1] if state else "",
            nodes=parse_nodes_text(table),
            instances=tuple(row for row in rows if str(self._job_id) in row["job"].split(",")),
            fleets=int(self._control.get("calls").get("CreateFleet", 0)) - self._fleets_before,
            output=self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else "",
        )

    def news(self, sight: Sight) -> Iterator[Happening]:
        """Return what was not so at the look before."""
        for happening in (*going_up(sight), *job_news(sight), *going_down(sight)):
            if (happening.name, happening.about) not in self._told:
                self._told.add((happening.name, happening.about))
                yield happening

    def has_seen(self, name: str) -> bool:
        """Whether this has happened."""
        return any(name == told for told, _ in self._told)


def going_up(sight: Sight) -> Iterator[Happening]:
    """Return what is to be told of nodes and instances coming up."""
    rising = [n.name for n in sight.nodes if "POWERING_UP" in n.flags]
    if rising:
        yield Happening("powering-up", f"Slurm powers up {fold(rising)}", {"nodes": rising})
    if sight.fleets:
        yield Happening("create-fleet", f"CreateFleet called, {sight.fleets} time(s)", {"calls": sight.fleets})
    for row in sight.instances:
        if row["state"] == "running" and row["node"]:
            what = f"{row['type']} {row['market']} in {row['zone']} at {row['price']} USD/h"
            text = f"  {row['id']} runs: {what}, for {row['node']}"
            yield Happening("instance", text, {"instance": row}, row["id"])
    for node in sight.nodes:
        if node.address != node.name and not node.flags & _RISING:
            yield Happening("registered", f"  slurmd of {node.name} registered", {"node": node.name}, node.name)


def job_news(sight: Sight) -> Iterator[Happening]:
    """Return what is to be told of the job."""
    if sight.job_state in ("RUNNING", "COMPLETING", "COMPLETED"):
        yield Happening("running", "job is running", {})
    lines = [line for line in sight.output.splitlines() if line.startswith("ring:")]
    if any("closed" in line for line in lines):
        yield Happening(
            "output", "\n".join(["the job's output:", *(f"            {one}" for one in lines)]), {"lines": lines}
        )
    if sight.job_state == "COMPLETED":
        yield Happening("completed", "job COMPLETED", {})


def going_down(sight: Sight) -> Iterator[Happening]:
    """Return what is to be told of nodes and instances going down after the job."""
    if sight.job_state != "COMPLETED":
        return
    down = [n.name for n in sight.nodes if "POWERED_DOWN" in n.flags]
    if any(n.flags & {"POWERING_DOWN", "POWERED_DOWN"} for n in sight.nodes):
        yield Happening("powering-down", f"Slurm powers down {fold(n.name for n in sight.nodes)}", {})
    gone = [row["id"] for row in sight.instances if row["state"] == "terminated"]
    if gone and len(gone) == len(sight.instances):
        yield Happening("terminated", f"{len(gone)} instances terminated", {"instances": gone})
    if down and len(down) == len(sight.nodes):
        yield Happening("powered-down", f"{fold(down)} powered down", {"nodes": down})
