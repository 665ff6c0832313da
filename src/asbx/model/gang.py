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
    jobs: ids of the jobs that wait for these nodes, those they are launched for first.
    whole: nodes of one job of several nodes, which belong together.
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

    @property
    def asking(self) -> tuple[int, ...]:
        """Jobs whose plans and hints count. Loose nodes are of jobs that ask the same; of others they are only used."""
        return self.jobs if self.whole else self.jobs[:1]


def job_of(gang_id: str) -> int | None:
    """Return the job that a gang is named after, None for one of no job."""
    kind, _, number = gang_id.partition("-")
    return int(number) if kind == "job" and number.isascii() and number.isdecimal() else None
