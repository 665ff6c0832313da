"""The plan that `asbx submit` attaches: of the analyzer's advice, what a plan may say without taking the site's place.

A plan stands above the node group, the analyzer below it. So what the site has decided for a group is left out, as is
what only Slurm decides: how many nodes where the user left that open, and how long the job may run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asbx.config.schema import NodeGroup
from asbx.decide.script.advice import Advice
from asbx.decide.script.as_plan import as_plan


def own_plan(advice: Advice, at: datetime, version: str, groups: Sequence[NodeGroup]) -> dict[str, Any]:
    """Return the plan, ready for JSON. groups: where the job may go, with what the policy leaves of them."""
    plan = as_plan(advice, at, version)
    spec = plan["instance_specification"]
    if not advice.geometry.nodes_stated:
        # Slurm may spread the tasks over more nodes than the analyzer would, so types for its own count are too large.
        del spec["instance_types"], spec["instance_count"], plan["mpi_configuration"]["processes_per_node"]
    elif len(groups) != 1:
        del spec["instance_types"]  # those of one group are strange to the others, and Slurm chooses the group
    sold = {market for group in groups for market in _sold(group)}
    if not sold & _sold_as(spec["purchasing_option"]):
        del spec["purchasing_option"]
    plan["mpi_configuration"]["requires_efa"] = False  # the site says whether it is preferred; without it is no failure
    if any(group.placement != "auto" for group in groups):
        plan["network_configuration"]["placement_group_type"] = ""
    plan["cost_constraints"] = {}  # the time limit is Slurm's to keep
    return plan


def _sold(group: NodeGroup) -> frozenset[str]:
    return _sold_as(group.purchasing_option)


def _sold_as(option: str) -> frozenset[str]:
    return frozenset({"spot", "on-demand"}) if option == "mixed" else frozenset({option})
