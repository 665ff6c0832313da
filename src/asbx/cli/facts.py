"""What is known about a node group's pools when nobody may be asked."""

from __future__ import annotations

from asbx.aws.bundled import BundledCatalogue, bundled
from asbx.config.schema import NodeGroup
from asbx.decide.preflight import Known


def may_have_efa(group: NodeGroup) -> bool:
    """Whether a type of the group has EFA, or is too new for the bundled table to know."""
    table = bundled()
    kinds = [override.instance_type for override in group.launch_template_overrides]
    return any(kind not in table or table[kind].efa > 0 for kind in kinds)


def bundled_facts(group: NodeGroup) -> Known:
    """Return the bundled facts about a group's types; its subnets, template and quotas stay unknown."""
    kinds = [override.instance_type for override in group.launch_template_overrides]
    catalogue = BundledCatalogue(group.region)
    return Known(types=catalogue.types(kinds), zones=catalogue.zones(kinds))
