"""Node names: `<partition>-<nodegroup>-<number>`. The name alone tells partition and group."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The group holds no hyphen, so a partition may (upstream's own examples have one and fail its own validator).
_NODE = re.compile(r"(?P<partition>[A-Za-z0-9][A-Za-z0-9_-]*)-(?P<group>[A-Za-z0-9]+)-(?P<number>[0-9]{1,9})")


@dataclass(frozen=True, order=True)
class GroupName:
    """A node group within a partition."""

    partition: str
    group: str

    def __str__(self) -> str:
        """Return `partition-group`, the common prefix of its nodes."""
        return f"{self.partition}-{self.group}"


@dataclass(frozen=True)
class NodeName:
    """A node name taken apart; `text` is the name as Slurm writes it, with its padding."""

    text: str
    group: GroupName
    number: int


def parse_node_name(text: str) -> NodeName | None:
    """Take a node name apart, or return None when it is not one of ours by shape."""
    match = _NODE.fullmatch(text)  # `$` would let a line end through
    if match is None:
        return None
    return NodeName(text, GroupName(match["partition"], match["group"]), int(match["number"]))
