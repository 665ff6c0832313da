"""Which of a pair of controllers works: the ledger's word for it, and Slurm's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Control:
    """Who works for the cluster, as the ledger has it.

    epoch: counts the changes; who wrote with an older one has been relieved. holder: the controller's name, "" when it
    has left. beat: counts up while the holder lives.
    """

    epoch: int = 0
    holder: str = ""
    beat: int = 0
    since: datetime | None = None


@dataclass(frozen=True)
class Controller:
    """A slurmctld as `scontrol ping` shows it, in the order of slurm.conf: the first that is up is in control."""

    name: str
    is_up: bool
