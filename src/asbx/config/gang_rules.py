"""Rules about how gangs are launched: placement groups, EFA, capacity reservations, and what Slurm is told of topology.

Sources: EC2 user guide, "Placement groups", "Elastic Fabric Adapter" and "Capacity Blocks for ML".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from asbx.config.limits import BLOCK_ENDS_EARLY
from asbx.config.problem import Key, Problem
from asbx.config.schema import Config, NodeGroup

# DescribeCapacityReservations; the same of Capacity Blocks.
_RESERVATION = re.compile(r"cr-[0-9a-f]+")


def gang_problems(config: Config, group: NodeGroup, at: Key) -> Iterator[Problem]:
    """Find what cannot work in a node group."""
    seen: set[str] = set()
    for index, name in enumerate(group.capacity_reservations):
        if not _RESERVATION.fullmatch(name):
            yield Problem(
                (*at, "capacity_reservations", index), f"must be the id of a reservation (cr-..), not {name!r}"
            )
        elif name in seen:
            yield Problem((*at, "capacity_reservations", index), f"{name} is in the list twice")
        seen.add(name)
    if group.reservations_only and not group.capacity_reservations:
        yield Problem((*at, "reservations_only"), "leaves nothing to launch: capacity_reservations is empty")
    if config.mpi.force_cluster_placement_group and group.placement not in ("auto", "cluster"):
        yield Problem(
            (*at, "placement"), f"is {group.placement}, but mpi.force_cluster_placement_group refuses all but cluster"
        )


def gang_warnings(config: Config, group: NodeGroup, at: Key) -> Iterator[Problem]:
    """Find what will not do what it says in a node group."""
    if group.placement_group_name and group.placement == "none":
        yield Problem((*at, "placement_group_name"), "is not used: placement is none")
    if "efa_interfaces" in group.model_fields_set and (group.efa or config.mpi.efa_default) == "disabled":
        key = "efa" if group.efa else "mpi.efa_default"
        yield Problem((*at, "efa_interfaces"), f"is used only by jobs that ask for EFA: {key} is disabled")
    if group.mixed_types and len(group.launch_template_overrides) == 1:
        yield Problem((*at, "mixed_types"), "changes nothing: launch_template_overrides has one type")
    if group.most_extra_nodes and group.strategy != "gang":
        yield Problem(
            (*at, "most_extra_nodes"), f"serves only jobs that ask for strategy=gang: strategy is {group.strategy}"
        )


def topology_problems(config: Config) -> Iterator[Problem]:
    """Find topology files that no slurmctld would find."""
    file = config.slurm.topology_file
    if file is not None and not file.is_absolute():
        yield Problem(("slurm", "topology_file"), f"must be an absolute path, not {str(file)!r}")


def site_warnings(config: Config) -> Iterator[Problem]:
    """Find what will disappoint whatever the group."""
    if config.slurm.topology_file is not None and config.slurm.topology == "none":
        yield Problem(("slurm", "topology_file"), "is not used: slurm.topology is none")
    early = int(BLOCK_ENDS_EARLY.total_seconds())
    if config.reservations.drain_before_end_seconds <= early:
        yield Problem(
            ("reservations", "drain_before_end_seconds"),
            f"leaves jobs no time: EC2 ends the instances of a Capacity Block from {early} seconds before its end on",
        )
