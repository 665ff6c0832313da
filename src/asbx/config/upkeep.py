"""Sections about what the daemon does beside launches: sweeps, nodes that do not come up, nodes that fall ill."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from asbx.config.limits import BOOT_FAILURES_READ
from asbx.config.section import Section


class Boots(Section):
    """What becomes of node groups whose instances do not become nodes."""

    failures_in_a_row: int = Field(default=10, ge=0, le=BOOT_FAILURES_READ)
    """After so many instances of a group that never became nodes, none between that did, no more are launched for it
    but one job at a time to try. 0: never."""
    window_seconds: int = Field(default=86_400, ge=60)
    """Failures longer ago than this do not count."""
    first_pause_seconds: int = Field(default=300, ge=1, le=86_400)
    """How long nothing is launched for such a group before the first try; it doubles with each try that fails."""
    longest_pause_seconds: int = Field(default=3600, ge=1, le=604_800)
    """The longest pause between tries."""
    console: bool = True
    """Keep the end of the console output of instances that never became nodes, for `asbx explain`. Needs
    ec2:GetConsoleOutput; whatever their user data prints is in it."""

    @property
    def window(self) -> timedelta:
        """Return how far back failures count."""
        return timedelta(seconds=self.window_seconds)


class Health(Section):
    """What is done about instances that EC2 says are unwell."""

    enabled: bool = True
    """Look at EC2's status checks and scheduled events. Needs ec2:DescribeInstanceStatus."""
    impaired_seconds: int = Field(default=180, ge=0, le=86_400)
    """How long an instance must be seen impaired before its node is drained; and how long after its registration a node
    is left alone."""

    @property
    def grace(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.impaired_seconds)


class Reconcile(Section):
    """How patient the sweep for stray instances is."""

    interval_seconds: int = Field(default=60, gt=0)
    """Time between two sweeps."""
    orphan_grace_seconds: int = Field(default=120, ge=0)
    """How long an instance must be found without a node before it is ended."""
    drift: Literal["ignore", "report", "drain"] = "report"
    """What becomes of nodes that run with what the configuration no longer has: another instance type, launch template
    or group. `drain`: they take no new job and are powered down once idle. Jobs are never killed for it."""
