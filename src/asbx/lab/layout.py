"""Where a lab keeps everything: one folder, nothing outside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from asbx.lab.trouble import LabError

# sun_path holds 107 characters (unix(7)); slurmd adds nodes/NODE/NODE_JOB.STEP, up to 50 of them.
_LONGEST = 56
# Made by us, so thrown away by the next `up` after a `down`.
_OWN = (
    "bin",
    "log",
    "machines",
    "nodes",
    "run",
    "slurm",
    "spool",
    "state",
    "tmp",
    "database",
    "demo",
    "learning",
    "postgres",
    "ctl1",
    "ctl2",
)


def default_root() -> Path:
    """Return the folder used without --state-dir."""
    if told := os.environ.get("ASBX_LAB_STATE"):
        return Path(told)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "asbx" / "lab"


@dataclass(frozen=True)
class Layout:
    """Paths of one lab. root is absolute."""

    root: Path

    @classmethod
    def at(cls, root: Path | None) -> Layout:
        """Return the layout of a folder. Raises LabError (`lab-path-long`) where sockets would not fit."""
        path = (root or default_root()).expanduser().absolute()
        if len(str(path)) > _LONGEST:
            raise LabError(
                "lab-path-long",
                f"the state folder {path} has a path of {len(str(path))} characters",
                f"unix sockets below it must fit 107 characters, so it may have {_LONGEST}",
                "choose a shorter one with --state-dir",
            )
        return cls(path)

    @property
    def record(self) -> Path:
        """What is running: ports, processes."""
        return self.root / "lab.json"

    @property
    def emulator_file(self) -> Path:
        """Written by the emulator when it is ready."""
        return self.root / "emulator.json"

    @property
    def slurm_conf(self) -> Path:
        """The cluster's slurm.conf."""
        return self.root / "slurm.conf"

    @property
    def config(self) -> Path:
        """The product's configuration."""
        return self.root / "aws-burst.yaml"

    @property
    def run(self) -> Path:
        """Sockets and pid files."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """Logs of everything."""
        return self.root / "log"

    @property
    def bin(self) -> Path:
        """Wrappers that slurmctld and the emulated machines start."""
        return self.root / "bin"

    @property
    def machines(self) -> Path:
        """A folder for each emulated instance: console log, user data."""
        return self.root / "machines"

    @property
    def munge_socket(self) -> Path:
        """Where this lab's munged listens."""
        return self.run / "munge.sock"

    @property
    def daemon_socket(self) -> Path:
        """Where the product's daemon listens."""
        return self.run / "asbx.sock"

    def node_folders(self, node: str) -> tuple[Path, Path]:
        """Return (SlurmdSpoolDir, TmpFS) of a node."""
        return self.root / "nodes" / node, self.root / "tmp" / node

    def own_folders(self) -> tuple[Path, ...]:
        """Return every folder a lab makes below its root."""
        return tuple(self.root / name for name in _OWN)
