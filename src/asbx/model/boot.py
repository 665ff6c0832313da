"""Instances that never became nodes, and what follows for their node group."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from asbx.model.names import GroupName


class BootTrouble(StrEnum):
    """How a boot failed. Stable: scripts match on them."""

    NEVER_REGISTERED = "never-registered"  # ResumeTimeout passed
    ENDED_ITSELF = "ended-itself"  # the machine powered off, or EC2 could not start it
    BAD_REGISTRATION = "bad-registration"  # slurmd came with less than slurm.conf promises


@dataclass(frozen=True)
class BootFailure:
    """An instance that was bound to a node and never served as one. There is one for an instance, whatever is seen.

    launched_at: EC2's word. detail: Slurm's or EC2's own words, or code.
    """

    instance_id: str
    group: GroupName
    node: str
    trouble: BootTrouble
    detail: str
    jobs: tuple[int, ...]
    instance_type: str
    zone: str
    launched_at: datetime
    failed_at: datetime


@dataclass(frozen=True)
class Breaker:
    """What stops launches for a node group whose instances do not boot.

    closed_at, closed_until: nothing is launched between; None while the group is open. closings: how often in a row
    it closed, which sets the pause. streak: failures in a row when it closed last. probe_until, probe_by: one launch
    tries it. cleared_at: failures before this moment do not count any more, an administrator said so.
    """

    group: GroupName
    closed_at: datetime | None = None
    closed_until: datetime | None = None
    closings: int = 0
    streak: int = 0
    probe_until: datetime | None = None
    probe_by: str = ""
    cleared_at: datetime | None = None


@dataclass(frozen=True)
class Console:
    """The end of what a machine wrote on its console. It may hold what its user data printed."""

    instance_id: str
    text: str
    taken_at: datetime


@dataclass(frozen=True)
class Service:
    """One time an instance was bound to a node. ended_at, end_reason: of the instance."""

    node: str
    instance_id: str
    instance_type: str
    zone: str
    market: str
    launched_at: datetime | None
    bound_at: datetime
    registered_at: datetime | None
    released_at: datetime | None
    ended_at: datetime | None
    end_reason: str
