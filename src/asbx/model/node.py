"""A node as Slurm shows it: a base state and a set of flags, never a string to compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeView:
    """One row of the node table.

    state: base state in capitals (IDLE, ALLOCATED, MIXED, DOWN, UNKNOWN, ...).
    flags: POWERED_DOWN, POWERING_UP, POWERING_DOWN, NOT_RESPONDING, DRAIN, CLOUD, ... (slurm.conf(5), scontrol(1)).
    instance_id: "" before Slurm 23.11.
    """

    name: str
    state: str
    flags: frozenset[str]
    address: str
    hostname: str
    reason: str = ""
    instance_id: str = ""

    @property
    def is_powered_down(self) -> bool:
        """Whether Slurm holds it for off (or going off), so that nothing should run behind it."""
        return bool(self.flags & {"POWERED_DOWN", "POWERING_DOWN"}) and "POWERING_UP" not in self.flags
