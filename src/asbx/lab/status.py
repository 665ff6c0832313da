"""What of a lab runs, as facts."""

from __future__ import annotations

from typing import Any

from asbx.lab.controller import answers
from asbx.lab.emulation import Control
from asbx.lab.layout import Layout
from asbx.lab.record import Record
from asbx.lab.trouble import LabError


def lab_status(layout: Layout, record: Record | None) -> dict[str, Any]:
    """Return the state of a lab; instances: how many live, None when the emulator does not answer."""
    if record is None or not record.processes:
        return {"up": False, "state_dir": str(layout.root), "processes": {}}
    return {
        "up": record.is_ready,
        "state_dir": str(layout.root),
        "cluster": record.cluster,
        "endpoint": record.emulator_url,
        "processes": {one.name: {"pid": one.pid, "alive": one.is_alive} for one in record.processes},
        "slurm": answers(layout, record),
        "instances": _alive(record),
    }


def _alive(record: Record) -> int | None:
    try:
        rows = Control(record.emulator_url).get("instances")
    except LabError:
        return None
    return sum(1 for row in rows if row["state"] in ("pending", "running"))
