"""A fence: a time in which Slurm starts no job on some nodes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# What the names of all our fences begin with; others' reservations are never touched.
FENCE_PREFIX = "asbx-"


@dataclass(frozen=True)
class Fence:
    """Jobs that would run into it do not start on its nodes; what runs already goes on. nodes: sorted."""

    name: str
    nodes: tuple[str, ...]
    starts: datetime
    ends: datetime
