"""Which node groups a submission may land on, and how long it may run there, as far as its words tell."""

from __future__ import annotations

import re
from datetime import timedelta

from asbx.config.schema import Config, NodeGroup, Partition
from asbx.decide.script.geometry import geometry
from asbx.decide.script.sbatch import Stated, Stating
from asbx.errors import UsageError
from asbx.model.hostlist import expand
from asbx.model.names import GroupName, parse_node_name

_YES = re.compile(r"(?i)yes|true|1")


def landing(config: Config, stated: Stating) -> tuple[GroupName, ...]:
    """Return the groups, () where none of them bursts. Slurm chooses among the groups of a partition."""
    partition = stated.get("partition")
    if partition is not None and partition.value:
        wanted = partition.value.split(",")
        there = [(p, g) for p, g in config.groups() if p.partition_name in wanted]
    else:
        there = list(config.groups())
        default = [(p, g) for p, g in there if _is_default(p)]
        there = default or there
    named = _of_nodes(stated)
    found = [GroupName(p.partition_name, g.node_group_name) for p, g in there]
    return tuple(name for name in found if not named or name in named)


def _is_default(partition: Partition) -> bool:
    return any(
        key.lower() == "default" and _YES.fullmatch(str(value)) for key, value in partition.partition_options.items()
    )


def _of_nodes(stated: Stating) -> frozenset[GroupName]:
    """Return the groups of the nodes it asks for by name."""
    nodes = stated.get("nodelist")
    if nodes is None:
        return frozenset()
    try:
        names = [parse_node_name(name) for name in expand(nodes.value)]
    except UsageError:
        return frozenset()
    return frozenset(name.group for name in names if name is not None)


def longest(config: Config, name: GroupName, stated: Stating) -> tuple[timedelta | None, str]:
    """Return (time limit, who says it): the job, else DefaultTime or MaxTime of its partition (slurm.conf(5))."""
    own = geometry(stated).time_limit
    if own is not None:
        return (None if own == timedelta.max else own), "job"
    options = next((p.partition_options for p in config.slurm.partitions if p.partition_name == name.partition), {})
    told = {key.lower(): str(value) for key, value in options.items()}
    for key in ("defaulttime", "maxtime"):
        if key in told:
            limit = geometry({"time": Stated(told[key], key)}).time_limit
            return (None if limit == timedelta.max else limit), f"the partition's {key}"
    return None, "nobody"


def group_of(config: Config, name: GroupName) -> NodeGroup:
    """Return a group that `landing` has named."""
    group = config.group(name)
    assert group is not None, name
    return group
