"""What becomes of what jobs teach."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from asbx.config.section import Section

Format = Literal["asba-learning", "json", "slurm-comment", "asbb-reconciliation"]


class Learning(Section):
    """What the epilog exports of each job, and for how long it is kept."""

    output_dir: Path = Path("/var/spool/asba/learning")
    """Folder of the documents; the epilog makes it, for its own user only."""
    formats: tuple[Format, ...] = ("asba-learning",)
    """What the epilog writes of each job."""
    anonymize: bool = False
    """Let the epilog's learning documents name nobody."""
    admin_comment: bool = False
    """Let the epilog put the `slurm-comment` into the job's AdminComment, behind whatever stands there."""
    retention_days: int = Field(default=30, ge=1, le=3650)
    """Documents older than this are deleted by the epilog."""
    settle_seconds: int = Field(default=1800, ge=0, le=86_400)
    """How long the epilog waits for a job's instances to end, so that its cost is final; then it exports what there is,
    marked provisional. Idle nodes are powered down after `slurm.suspend_time`."""

    @property
    def retention(self) -> timedelta:
        """Return how long documents are kept."""
        return timedelta(days=self.retention_days)

    @property
    def settle(self) -> timedelta:
        """Return how long a job's end is waited for."""
        return timedelta(seconds=self.settle_seconds)
