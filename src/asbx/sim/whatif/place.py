"""Where the jobs of a trace run: which node group, how many nodes. Their own cluster had others.

- The group: what `--map` says of the trace's partition; else the groups of the partition of that name; else all. Of
  these the first, in the configuration's order, in which it fits. GPU nodes serve jobs with GPUs only, while there
  are others.
- Nodes: as many as its processors and GPUs need. Below one node it shares the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from asbx.sim.hub import SECOND
from asbx.sim.jobs import Job
from asbx.sim.trace.job import TraceJob
from asbx.sim.whatif.site import Ground

TOO_LARGE = "larger than every node group it may run in"
NO_GPUS = "GPUs, and no node group that has any"


@dataclass(frozen=True)
class Placing:
    """How jobs are placed. groups: the trace's partition, or `*` -> `partition-group`. keep_nodes: as in the trace."""

    groups: Mapping[str, str] = field(default_factory=dict)
    keep_nodes: bool = False


@dataclass(frozen=True)
class Placed:
    """Jobs with their place, and those that have none: reason -> how many. traced: job id -> job of the trace."""

    jobs: tuple[Job, ...]
    traced: Mapping[int, TraceJob]
    refused: Mapping[str, int]


def placed(trace: Iterable[TraceJob], ground: Sequence[Ground], how: Placing) -> Placed:
    """Return fresh jobs for a run; the ids follow the trace, whatever the policy leaves out."""
    jobs, traced, refused = [], {}, Counter[str]()
    for number, one in enumerate(trace, 1):
        may = _may_use(one, ground, how.groups)
        fits = next((place for place in may if 0 < _nodes(one, place, how) <= place.nodes), None)
        if fits is None:
            refused[NO_GPUS if one.gpus and not any(place.gpus for place in may) else TOO_LARGE] += 1
            continue
        jobs.append(_job(number, one, fits, _nodes(one, fits, how)))
        traced[number] = one
    return Placed(tuple(jobs), traced, refused)


def _may_use(one: TraceJob, ground: Sequence[Ground], groups: Mapping[str, str]) -> list[Ground]:
    name = groups.get(one.partition) or groups.get("*")
    if name:
        return [place for place in ground if place.name == name]
    same = [place for place in ground if place.partition == one.partition] or list(ground)
    plain = [place for place in same if not place.gpus]
    return plain if plain and not one.gpus else same


def _nodes(one: TraceJob, place: Ground, how: Placing) -> int:
    """Return how many nodes it needs there; 0 where it cannot run there."""
    if one.gpus and not place.gpus:
        return 0
    need = max(-(-one.procs // place.cpus), -(-one.gpus // place.gpus) if one.gpus else 1)
    return max(need, one.nodes) if how.keep_nodes else need


def _job(number: int, one: TraceJob, place: Ground, nodes: int) -> Job:
    share = max(one.procs, -(-one.gpus * place.cpus // place.gpus) if one.gpus else 0)
    return Job(
        number,
        place.name,
        nodes,
        share if nodes == 1 and share < place.cpus else 0,
        round(one.run_s * SECOND),
        round(one.submit_s * SECOND),
        user=one.user or "unknown",
        account=one.account or "unknown",
        limit_us=round(one.limit_s * SECOND),
    )
