"""Which nodes are ours: every node of the configuration, by name and by group."""

from __future__ import annotations

from asbx.config.schema import Config
from asbx.model.hostlist import expand
from asbx.model.names import GroupName


class Territory:
    """Made once for a configuration: ten thousand names are looked up in every pass."""

    def __init__(self, config: Config) -> None:
        self.nodes: dict[GroupName, tuple[str, ...]] = {
            GroupName(partition.partition_name, group.node_group_name): expand(partition.node_range(group))
            for partition, group in config.groups()
        }
        self._group_of = {node: group for group, nodes in self.nodes.items() for node in nodes}

    def group_of(self, node: str) -> GroupName | None:
        """Return the group a node is of, None for one that is not ours."""
        return self._group_of.get(node)
