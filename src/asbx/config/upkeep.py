"""Sections of the configuration about what the daemon does beside launches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asbx.config.section import Section


class Reconcile(Section):
    """How patient the sweep for stray instances is."""

    interval_seconds: int = Field(default=60, gt=0)
    """Time between two sweeps."""
    orphan_grace_seconds: int = Field(default=120, ge=0)
    """How long an instance must be found without a node before it is ended."""
    drift: Literal["ignore", "report", "drain"] = "report"
    """What becomes of nodes that run with what the configuration no longer has: another instance type, launch template
    or group. `drain`: they take no new job and are powered down once idle. Jobs are never killed for it."""
