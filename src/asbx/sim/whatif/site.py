"""A site's own configuration as a scenario: its node groups and rules, with pretend subnets, templates and paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from asbx.aws.bundled import bundled
from asbx.config.limits import WHATIF_RECONCILE
from asbx.config.schema import Config, NodeGroup, Partition
from asbx.sim.scenario import Ec2, Group, Scenario
from asbx.sim.whatif.market import Surroundings

_RECONCILE_S = int(WHATIF_RECONCILE.total_seconds())
# Sections whose outside is not there: files, services, the real account.
_OUTSIDE = (
    *("aws", "cluster", "paths", "logging", "ledger", "security", "telemetry", "interruptions", "prices"),
    *("analyzer", "asba", "asbb", "ecosystem", "learning"),
)
# Keys of a node group that name things of the real account.
_REAL = (
    *("capacity_reservations", "reservations_only", "placement_group_name", "security_group_ids", "tags"),
    "iam_instance_profile",
)
_TOLD = {
    "capacity_reservations": "capacity reservations are not simulated",
    "reservations_only": "capacity reservations are not simulated",
    "placement_group_name": "a placement group of its own for each gang, in the place of the site's",
}
_GRES = re.compile(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)")


@dataclass(frozen=True)
class Ground:
    """A node group jobs may run in. name: `partition-group`. cpus, gpus: of a node."""

    name: str
    partition: str
    nodes: int
    cpus: int
    gpus: int


def grounds(config: Config) -> tuple[Ground, ...]:
    """Return the node groups of a site, in the file's order."""
    return tuple(
        Ground(
            f"{partition.partition_name}-{group.node_group_name}",
            partition.partition_name,
            group.max_nodes,
            _cpus(group),
            _gpus(group),
        )
        for partition, group in config.groups()
    )


def scenario_of(config: Config, around: Surroundings, name: str, lasts: float, settles: float) -> Scenario:
    """Return the scenario of a site. lasts: seconds until the last job has come and could have run."""
    ec2 = _zoned(config, around.ec2)
    subnets = {one: f"subnet-{ec2.zones[n % len(ec2.zones)]}" for n, one in enumerate(_subnets(config))}
    raw = config.model_dump(mode="json", exclude_unset=True)
    sections = {key: value for key, value in raw.items() if key not in _OUTSIDE}
    slurm = dict(sections["slurm"])
    slurm = {key: slurm[key] for key in ("resume_timeout", "suspend_time", "suspend_timeout") if key in slurm}
    slurm["partitions"] = [
        {
            "partition_name": partition.partition_name,
            "node_groups": [_pretend(group, ec2, subnets) for group in partition.node_groups],
        }
        for partition in config.slurm.partitions
    ]
    calm = {"interval_seconds": max(config.reconcile.interval_seconds, _RECONCILE_S)}
    return Scenario(
        name=name,
        lasts=lasts,
        settles=settles,
        groups=tuple(_group(partition, group) for partition, group in config.groups()),
        cluster=around.cluster,
        ec2=ec2,
        incidents=around.incidents,
        config=sections | {"slurm": slurm, "reconcile": sections.get("reconcile", {}) | calm},
    )


def not_simulated(config: Config) -> list[str]:
    """Say which keys of a site's groups have no counterpart, one sentence each."""
    return [
        f"{partition.partition_name}-{group.node_group_name}: {_TOLD[key]}"
        for partition, group in config.groups()
        for key in _TOLD
        if key in group.model_fields_set and getattr(group, key)
    ]


def _group(partition: Partition, group: NodeGroup) -> Group:
    return Group(
        partition=partition.partition_name,
        name=group.node_group_name,
        nodes=group.max_nodes,
        cpus=_cpus(group),
        types=tuple(one.instance_type for one in group.launch_template_overrides),
        buys=group.purchasing_option,
    )


def _pretend(group: NodeGroup, ec2: Ec2, subnets: Mapping[str, str]) -> dict[str, Any]:
    raw = group.model_dump(mode="json", exclude_unset=True)
    for key in _REAL:
        raw.pop(key, None)
    for one in raw["launch_template_overrides"]:
        if one.get("subnet_id"):
            one["subnet_id"] = subnets[one["subnet_id"]]
    return raw | {
        "region": _region(ec2.zones),
        "subnet_ids": list(dict.fromkeys(subnets[one] for one in group.subnet_ids)),
        "launch_template_specification": {"launch_template_name": "sim", "version": "1"},
    }


def _region(zones: Sequence[str]) -> str:
    return zones[0][:-1]


def _subnets(config: Config) -> list[str]:
    every = [
        one
        for _, group in config.groups()
        for one in (*group.subnet_ids, *(kind.subnet_id for kind in group.launch_template_overrides))
        if one
    ]
    return list(dict.fromkeys(every))


def _zoned(config: Config, ec2: Ec2) -> Ec2:
    """Give the site a zone for each of its subnets, unless the market names its zones."""
    if "zones" in ec2.model_fields_set:
        return ec2
    letters = ascii_lowercase[: min(len(_subnets(config)), 6)]
    return ec2.model_copy(update={"zones": tuple(f"{config.aws.region}{letter}" for letter in letters)})


def _said(group: NodeGroup, key: str) -> int:
    """Return a number of what the NodeName line says; 0 where it says none. Keys count without regard to case."""
    value = {name.lower(): one for name, one in group.slurm_specifications.items()}.get(key, 0)
    return int(value) if str(value).isdigit() else 0


def _cpus(group: NodeGroup) -> int:
    """Return the CPUs of a node: as slurm.conf says, else those of its first type."""
    sockets = _said(group, "sockets") * max(_said(group, "boards"), 1)
    told = _said(group, "cpus") or sockets * max(_said(group, "corespersocket"), 1) * max(
        _said(group, "threadspercore"), 1
    )
    facts = bundled().get(group.launch_template_overrides[0].instance_type)
    return told or (facts.vcpus if facts else 1)


def _gpus(group: NodeGroup) -> int:
    gres = {name.lower(): str(one) for name, one in group.slurm_specifications.items()}.get("gres", "")
    told = sum(int(one) for one in _GRES.findall(gres))
    facts = bundled().get(group.launch_template_overrides[0].instance_type)
    return told or (facts.gpus if facts else 0)
