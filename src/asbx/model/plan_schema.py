"""The JSON Schema of execution plans: what both JSON dialects may hold. The reader stays the judge; this tells editors.

Every key may be null, and keys nobody knows are allowed, as the reader has it. Sources: the advisor's documented plan,
and plans it really wrote.
"""

from __future__ import annotations

from typing import Any

from asbx.model.plan import KEYS
from asbx.model.plan_json import INSTANCE_TYPE, SUBNET, ZONE

_TEXT: dict[str, Any] = {"type": ["string", "null"], "maxLength": 1024}
_FLAG: dict[str, Any] = {"type": ["boolean", "null"]}
_NUMBER: dict[str, Any] = {"type": ["number", "null"], "minimum": 0}
_COUNT: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0}
_DURATION: dict[str, Any] = {
    "type": ["integer", "string", "null"],
    "minimum": 0,
    "description": "whole nanoseconds, or Go's form (2h30m0s)",
}
_MAP: dict[str, Any] = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_OPTIONS = ["", "spot", "on-demand", "mixed", None]
_PLACEMENTS = ["", "cluster", "partition", "spread", None]


def _list(pattern: str = "") -> dict[str, Any]:
    items: dict[str, Any] = {"type": "string", "maxLength": 1024}
    return {"type": ["array", "null"], "maxItems": 200, "items": items | ({"pattern": pattern} if pattern else {})}


_ZONES = _list(f"^{ZONE.pattern}$")
_KINDS: dict[str, dict[str, Any]] = {
    "should_burst": {"type": "boolean", "description": "false: nothing is launched and the job is told"},
    "confidence_level": {"type": ["number", "null"]},
    "optimization_applied": _list(),
    "recommendation_reasoning": _list(),
    "instance_types": _list(f"^{INSTANCE_TYPE.pattern}$")
    | {"description": "in order of preference; those the node group has count"},
    "instance_count": _COUNT,
    "purchasing_option": {"enum": _OPTIONS},
    "max_spot_price": _NUMBER | {"description": "USD an hour and instance; 0: no limit"},
    "subnet_ids": _list(f"^{SUBNET.pattern}$"),
    "security_group_ids": _list() | {"description": "only those of the node group"},
    "iam_instance_profile": _TEXT | {"description": "only that of the node group"},
    "launch_template_name": _TEXT | {"description": "the node group's, or one that a rule of the policy grants"},
    "launch_template_id": _TEXT | {"description": "the node group's, or one that a rule of the policy grants"},
    "user_data": _TEXT | {"description": "refused: it is the launch template's"},
    "placement_group": {"enum": _PLACEMENTS},
    "placement_group_type": {"enum": _PLACEMENTS},
    "availability_zones": _ZONES,
    "spot_interruption_tolerance": _NUMBER,
    "process_count": _COUNT,
    "processes_per_node": _COUNT,
    "efa_generation": _COUNT,
    "mpi_tuning_params": _MAP,
    "job_id": {"type": ["string", "integer", "null"], "pattern": "^[0-9]{0,10}$"},
    "decision_factors": _list(),
    "tags": _MAP | {"maxProperties": 15},
    "expected_runtime": _DURATION,
}
_FLAGS = (
    "enable_spot",
    "spot_fleet_request",
    "fallback_to_on_demand",
    "is_mpi_job",
    "requires_gang_scheduling",
    "requires_efa",
    "enhanced_networking",
    "single_az_required",
    "enable_efa",
    "enable_sr_iov",
    "prefer_spot",
    "allow_mixed_pricing",
)
_NUMBERS = (
    "max_total_cost",
    "max_duration_hours",
    "max_cost_per_hour",
    "cost_alert_threshold",
    "auto_terminate_hours",
    "cost_tolerance",
    "scaling_efficiency",
    "network_utilization",
    "cpu_efficiency_target",
    "memory_efficiency_target",
)


def plan_schema() -> dict[str, Any]:
    """Return it (draft 2020-12)."""
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Execution plan",
        "type": "object",
        "required": ["should_burst"],
        "properties": {},
    }
    sections = {"": root}
    for name, keys in KEYS.items():
        if name:
            above, _, last = name.rpartition(".")
            sections[name] = {"type": ["object", "null"], "properties": {}}
            sections[above]["properties"][last] = sections[name]
        sections[name]["properties"] |= {key: _kind(key) for key in keys.split()}
    return root


def _kind(key: str) -> dict[str, Any]:
    if key in _FLAGS:
        return _FLAG
    if key in _NUMBERS:
        return _NUMBER
    return _KINDS.get(key, _TEXT)
