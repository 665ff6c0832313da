"""Which nodes are ours: every number of every group of the configuration, however a name pads it."""

from __future__ import annotations

from collections.abc import Iterable

from asbx.config.schema import Config
from asbx.model.names import GroupName, NodeName, parse_node_name


class Territory:
    """Made once for a configuration: ten thousand names are looked up in every pass, so they are remembered."""

    def __init__(self, config: Config) -> None:
        self.numbers = {
            GroupName(partition.partition_name, group.node_group_name): range(
                group.first_number, group.first_number + group.max_nodes
            )
            for partition, group in config.groups()
        }
        self._known: dict[str, NodeName | None] = {}

    def find(self, node: str) -> NodeName | None:
        """Return the name of a node of ours taken apart, None for one that is not ours."""
        if node not in self._known:
            name = parse_node_name(node)
            is_ours = name is not None and name.number in self.numbers.get(name.group, ())
            self._known[node] = name if is_ours else None
        return self._known[node]

    def group_of(self, node: str) -> GroupName | None:
        """Return the group a node is of, None for one that is not ours."""
        name = self.find(node)
        return None if name is None else name.group

    def lacking(self, nodes: Iterable[str]) -> dict[GroupName, list[int]]:
        """Return the numbers of each group that are not among these nodes, for groups that lack some."""
        there: dict[GroupName, set[int]] = {}
        for name in filter(None, map(self.find, nodes)):
            there.setdefault(name.group, set()).add(name.number)
        # The usual case is that none is missing: then no number is looked at.
        short = {group: numbers for group, numbers in self.numbers.items() if len(there.get(group, ())) < len(numbers)}
        return {
            group: [number for number in numbers if number not in there.get(group, ())]
            for group, numbers in short.items()
        }
