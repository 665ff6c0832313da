"""The unit of a launch: the nodes that must come up for a job, or a handful of loose nodes."""

from __future__ import annotations

from dataclasses import dataclass

from asbx.model.names import GroupName


@dataclass(frozen=True)
class Part:
    """The nodes of a gang that belong to one node group, sorted."""

    group: GroupName
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Gang:
    """Nodes to launch together.

    gang_id: stable for the same request, `job-12` or `loose-<request>-<n>`.
    jobs: ids of the jobs that wait for these nodes. whole: nodes of one job of several nodes, which belong together.
    size: nodes of the job, those that are up already included. others: the nodes that are.
    """

    gang_id: str
    jobs: tuple[int, ...]
    parts: tuple[Part, ...]
    whole: bool
    user: str = ""
    account: str = ""
    size: int = 1
    others: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the gang, part by part."""
        return tuple(node for part in self.parts for node in part.nodes)
