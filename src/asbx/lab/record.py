"""What a lab remembers about itself: wishes, slot, processes. Written at every step: a broken `up` can be undone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from asbx.lab.layout import Layout
from asbx.lab.processes import Process
from asbx.lab.slots import Slot
from asbx.lab.trouble import LabError

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What `asbx lab up` was asked for. boot_s: seconds from launch to user data. machines: whether any boot.

    controllers: one slurmctld or two. ledger: sqlite or postgres; two controllers need postgres.
    """

    nodes: int = 64
    boot_s: float = 2.0
    accounting: bool = False
    region: str = "us-east-2"
    machines: bool = True
    daemon: bool = True
    controllers: int = 1
    ledger: str = "sqlite"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A lab that is up, coming up or going down."""

    cluster: str
    wishes: Wishes
    slot: Slot
    disguise: dict[str, str]
    processes: tuple[Process, ...] = ()
    emulator_url: str = ""
    is_ready: bool = False
    format: int = field(default=_FORMAT)

    def process(self, name: str) -> Process | None:
        """Return a process by name, or None."""
        return next((one for one in self.processes if one.name == name), None)

    def with_process(self, process: Process) -> Record:
        """Return the record with a process added, in place of an older one of the same name."""
        rest = tuple(one for one in self.processes if one.name != process.name)
        return replace(self, processes=(*rest, process))

    def without_process(self, name: str) -> Record:
        """Return the record without a process."""
        return replace(self, processes=tuple(one for one in self.processes if one.name != name))


def save(layout: Layout, record: Record) -> None:
    """Write the record; readers see the old or the new one, never half of it."""
    fresh = layout.record.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    fresh.replace(layout.record)


def load(layout: Layout) -> Record | None:
    """Return the record of a lab, None where there is none. Raises LabError (`lab-record`) for a damaged one."""
    try:
        raw: dict[str, Any] = json.loads(layout.record.read_text(encoding="utf-8"))
        return Record(
            cluster=raw["cluster"],
            wishes=Wishes(**raw["wishes"]),
            slot=Slot(**raw["slot"]),
            disguise=raw["disguise"],
            processes=tuple(Process(**one) for one in raw["processes"]),
            emulator_url=raw["emulator_url"],
            is_ready=raw["is_ready"],
            format=raw["format"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(
            "lab-record",
            f"{layout.record} cannot be read",
            f"{type(error).__name__}: {error}",
            "end this lab's processes by hand and remove the file",
        ) from None


def require(layout: Layout) -> Record:
    """Return the record of a lab that is up. Raises LabError (`lab-not-up`)."""
    record = load(layout)
    if record is None or not record.is_ready:
        raise LabError("lab-not-up", f"no lab is up in {layout.root}", "", _up_hint(layout.root))
    return record


def _up_hint(root: Path) -> str:
    return f"start one with `asbx lab up --state-dir {root}`"
