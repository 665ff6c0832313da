"""Advice as an execution plan in the documented dialect, so that what we find is executed like ASBA's word."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from asbx.decide.script.advice import Advice
from asbx.decide.script.coupling import Coupling


def as_plan(advice: Advice, at: datetime, version: str, tags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the plan, ready for JSON. What the analyzer cannot know is left out: the node group says it."""
    limit = advice.geometry.time_limit
    hours = limit.total_seconds() / 3600 if limit is not None and limit != timedelta.max else None
    tight = advice.finding.coupling.is_tight
    per_node = advice.types[0].need.tasks if advice.types else advice.geometry.tasks_per_node
    return {
        "should_burst": True,
        "instance_specification": {
            "instance_types": [one.name for one in advice.types],
            "instance_count": advice.nodes,
            "purchasing_option": advice.purchase,
        },
        "mpi_configuration": {
            "is_mpi_job": advice.finding.coupling is Coupling.MPI,
            "process_count": advice.geometry.tasks,
            "processes_per_node": per_node,
            "requires_gang_scheduling": advice.nodes > 1,
            "mpi_implementation": advice.finding.library,
            "requires_efa": advice.efa,
        },
        "network_configuration": {
            "placement_group_type": advice.placement,
            "single_az_required": tight and advice.nodes > 1,
        },
        "cost_constraints": {"max_duration_hours": hours} if hours is not None else {},
        "execution_metadata": {
            "analysis_timestamp": at.isoformat(),
            "asba_version": f"asbx {version}",
            "decision_factors": [f"{one.about}: {one.text}"[:500] for one in advice.reasons],
            "tags": dict(tags or {}),
        },
    }
