"""Whether a running instance is still what the configuration would launch."""

from __future__ import annotations

from asbx.config.schema import NodeGroup
from asbx.model.market import Template


def drift(node: str, kind: str, group: NodeGroup | None, launched: Template | None, current: Template | None) -> str:
    """Return what the configuration says otherwise now, "" where nothing.

    group: the node's, None where the configuration has none. launched, current: the launch template then and now, with
    their version numbers; None where that is not known.
    """
    if group is None:
        return f"the configuration has no node {node} any more"
    if kind not in {override.instance_type for override in group.launch_template_overrides}:
        return f"node group {group.node_group_name} does not have the type {kind} any more"
    if launched is not None and current is not None and _differ(launched, current):
        return f"it was launched from {_shown(launched)}, and {_shown(current)} is configured now"
    return ""


def _differ(one: Template, other: Template) -> bool:
    """Compare what both name; a version that is no number (`$Default`) tells nothing."""
    if one.template_id and other.template_id:
        is_same = one.template_id == other.template_id
    elif one.name and other.name:
        is_same = one.name == other.name
    else:
        return False  # once by id and once by name: they may be the same
    numbers = one.version.isdecimal() and other.version.isdecimal()
    return not is_same or (numbers and one.version != other.version)


def _shown(template: Template) -> str:
    return f"template {template.template_id or template.name} version {template.version}"
