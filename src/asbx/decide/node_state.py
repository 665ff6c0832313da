"""What a node's state and flags mean to us: one table, first row that fits. Flags are matched as subsets, never equal.

Tokens changed in 21.08 and in later releases, and flags come together that nobody listed: exact sets are what
ParallelCluster issue 7577 and its pull requests 350 and 702 are about. Sources of meanings: slurm.conf(5), scontrol(1),
sinfo(1); what was seen on 22.05.8 and 26.05.3 is in tests/recorded and tests/unit/test_node_state.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from asbx.model.node import NodeView


class Condition(StrEnum):
    """What a node is, for whoever must decide about it."""

    FOREIGN = "foreign"
    COMING = "coming"
    GOING = "going"
    WANTED = "wanted"
    BOOT_TIMED_OUT = "boot-timed-out"
    HELD_OFF = "held-off"
    OFF_SILENT = "off-silent"
    OFF = "off"
    POWER_DOWN_ASKED = "power-down-asked"
    REBOOTING = "rebooting"
    BAD_REGISTRATION = "bad-registration"
    LOST = "lost"
    HELD_DOWN = "held-down"
    UNKNOWN = "unknown"
    COMPLETING = "completing"
    DRAINING = "draining"
    DRAINED = "drained"
    SILENT = "silent"
    UP = "up"
    # Not of a node Slurm shows, but of its absence:
    ABSENT = "absent"  # a name Slurm's node table does not have
    NOBODY = "nobody"  # no node is concerned


# Reasons slurmctld gives by itself, as administrators' reports have them (not all are in the manual), and ours. A node
# that is DOWN for another reason was set DOWN by somebody, who may not want it back yet. No reason at all is nobody's.
_SLURMS_OWN = (
    "ResumeTimeout reached",
    "Not responding",
    "Node unexpectedly rebooted",
    "Node unexpectely rebooted",  # as 22.05 and earlier spell it
    "NO NETWORK ADDRESS FOUND",
    "Low RealMemory",
    "Low socket*core*thread count",
    "Low CPUs",
    "Low TmpDisk",
    "gres/",
    "Kill task failed",
    "Prolog error",
    "Epilog error",
    "batch job complete failure",
    "asbx:",
)
_BUSY = frozenset({"ALLOCATED", "MIXED"})
_IDLE_OR_DOWN = frozenset({"IDLE", "DOWN", "UNKNOWN"})
_DOWN = frozenset({"DOWN", "ERROR"})


@dataclass(frozen=True)
class Row:
    """One row: fits a node in one of these states (any, where none is named) with all, one of, and none of these flags.

    slurms: whether the node's reason must be Slurm's or ours (True) or somebody's (False).
    """

    condition: Condition
    meaning: str
    states: frozenset[str] = frozenset()
    every: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()
    none: frozenset[str] = frozenset()
    slurms: bool | None = None

    def fits(self, state: str, flags: frozenset[str], *, slurms: bool) -> bool:
        """Whether a node is like this."""
        return (
            (not self.states or state in self.states)
            and self.every <= flags
            and (not self.some or not self.some.isdisjoint(flags))
            and self.none.isdisjoint(flags)
            and (self.slurms is None or self.slurms is slurms)
        )


def _set(*flags: str) -> frozenset[str]:
    return frozenset(flags)


TABLE: tuple[Row, ...] = (
    Row(Condition.FOREIGN, "no cloud node: Slurm never powers it up or down", none=_set("CLOUD")),
    Row(
        Condition.WANTED,
        "its power-up is asked for, and ResumeProgram has not been called yet (ResumeRate)",
        every=_set("POWERED_DOWN", "POWER_UP"),
        none=_set("POWERING_UP"),
    ),
    Row(
        Condition.COMING,
        "Slurm has asked for it and waits for its slurmd",
        some=_set("POWERING_UP", "POWER_UP"),
    ),
    Row(Condition.GOING, "SuspendProgram has run; Slurm waits for SuspendTimeout", some=_set("POWERING_DOWN")),
    Row(
        Condition.GOING,
        "its power-down is asked for, and it is off: SuspendProgram is about to run",
        every=_set("POWERED_DOWN", "POWER_DOWN"),
    ),
    Row(
        Condition.WANTED,
        "a job has it, and Slurm has not asked for it yet (ResumeRate)",
        states=_BUSY,
        every=_set("POWERED_DOWN"),
    ),
    Row(
        Condition.BOOT_TIMED_OUT,
        "DOWN and off by Slurm's own decision: it did not register within ResumeTimeout",
        states=_DOWN,
        every=_set("POWERED_DOWN"),
        slurms=True,
    ),
    Row(
        Condition.HELD_OFF,
        "off, and somebody wants it to stay so",
        states=_DOWN,
        every=_set("POWERED_DOWN"),
    ),
    Row(
        Condition.HELD_OFF,
        "off, and somebody wants it to stay so",
        every=_set("POWERED_DOWN"),
        some=_set("DRAIN", "FAIL"),
    ),
    Row(
        Condition.OFF_SILENT,
        "off, and held for not responding: newer versions schedule nothing onto it (ParallelCluster issue 7577)",
        every=_set("POWERED_DOWN", "NOT_RESPONDING"),
    ),
    Row(Condition.OFF, "off", every=_set("POWERED_DOWN")),
    Row(
        Condition.POWER_DOWN_ASKED,
        "its power-down is asked for; Slurm waits for its jobs",
        every=_set("POWER_DOWN"),
    ),
    Row(Condition.REBOOTING, "Slurm reboots it", some=_set("REBOOT_ISSUED", "REBOOT_REQUESTED", "REBOOT")),
    Row(
        Condition.BAD_REGISTRATION,
        "it registered with less than slurm.conf promises; nothing runs on it",
        states=_IDLE_OR_DOWN,
        every=_set("INVALID_REG"),
        none=_set("COMPLETING"),
        slurms=True,
    ),
    Row(
        Condition.LOST,
        "DOWN by Slurm's own decision: its slurmd does not answer or was restarted, and its jobs are gone from it",
        states=_DOWN,
        slurms=True,
    ),
    Row(Condition.HELD_DOWN, "DOWN because somebody said so", states=_DOWN),
    Row(
        Condition.UNKNOWN,
        "slurmctld has just started, or keeps the name for later",
        states=_set("UNKNOWN", "FUTURE"),
    ),
    Row(
        Condition.COMPLETING,
        "its last job has ended and is not cleaned up yet",
        states=_set("IDLE"),
        every=_set("COMPLETING"),
    ),
    Row(
        Condition.DRAINING,
        "no new job gets it; those that run go on",
        states=_BUSY,
        some=_set("DRAIN", "FAIL"),
    ),
    Row(Condition.DRAINED, "no job gets it, and none runs", some=_set("DRAIN", "FAIL")),
    Row(Condition.SILENT, "its slurmd does not answer; after SlurmdTimeout it is DOWN", every=_set("NOT_RESPONDING")),
    Row(Condition.UP, "it serves, or could"),
)


def condition(view: NodeView) -> Condition:
    """Return what a node is."""
    return _condition(view.state, view.flags, not view.reason or view.reason.startswith(_SLURMS_OWN))


@lru_cache(maxsize=4096)  # ten thousand nodes are in a handful of states
def _condition(state: str, flags: frozenset[str], slurms: bool) -> Condition:
    return next(row.condition for row in TABLE if row.fits(state, flags, slurms=slurms))


# Conditions of which none has anything running on it that Slurm knows of.
OFF = frozenset({Condition.OFF, Condition.OFF_SILENT, Condition.HELD_OFF, Condition.BOOT_TIMED_OUT, Condition.GOING})
_UP = frozenset({Condition.UP, Condition.DRAINING, Condition.DRAINED, Condition.COMPLETING, Condition.POWER_DOWN_ASKED})


def answers(view: NodeView) -> bool:
    """Whether slurmctld hears from its slurmd, as far as it says (it notices silence within SlurmdTimeout).

    One that came with less than slurm.conf promises does not serve: that is a failed boot.
    """
    return condition(view) in _UP and not view.flags & {"NOT_RESPONDING", "INVALID_REG"}
