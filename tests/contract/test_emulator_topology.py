"""Where the pretend EC2 says its instances are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.emulator import (
    Emulator,
    Ground,
    code_of,
    described,
    fleet,
    ids_of,
    placed,
    prepare,
    start,
    until,
)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module."""
    running = start(tmp_path_factory.mktemp("emulator"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ec2(emulator: Emulator) -> Any:
    """Return a plain EC2 client."""
    return emulator.client()


@pytest.fixture(scope="module")
def ground(ec2: Any) -> Ground:
    """Return what fleets need."""
    return prepare(ec2)


def running(ec2: Any, asked: dict[str, Any]) -> list[str]:
    """Launch and wait until all run; return the ids in order of launch."""
    ids = ids_of(ec2.create_fleet(**asked))
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids).values()} == {"running"})
    return ids


def nodes(ec2: Any, **asked: Any) -> dict[str, list[str]]:
    """Return network nodes by instance."""
    found = ec2.describe_instance_topology(**asked)["Instances"]
    return {row["InstanceId"]: row.get("NetworkNodes", []) for row in found}


def test_a_cluster_group_shares_its_upper_nodes_and_fills_lower_ones(ec2: Any, ground: Ground) -> None:
    """Three layers; four instances to the lowest node, in an order that is not the order of launch."""
    ec2.create_placement_group(GroupName="gang", Strategy="cluster")
    asked = placed(fleet(ground, 8, "hpc7a.96xlarge b"), "gang")
    ids = running(ec2, asked)
    found = nodes(ec2, InstanceIds=ids)
    assert set(found) == set(ids)
    assert {len(path) for path in found.values()} == {3}
    assert len({tuple(path[:2]) for path in found.values()}) == 1
    assert sorted(Counter(path[2] for path in found.values()).values()) == [4, 4]
    assert found[ids[0]][2] != found[ids[1]][2]
    assert nodes(ec2, InstanceIds=ids) == found
    assert set(nodes(ec2, GroupNames=["gang"])) == set(ids)
    other = running(ec2, fleet(ground, 1, "hpc7a.96xlarge b"))
    (path,) = nodes(ec2, InstanceIds=other).values()
    assert path[0] == found[ids[0]][0]
    assert path[1] != found[ids[0]][1]


def test_only_running_instances_of_supported_types_have_nodes(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Small types have none unless the lab wants to see them; pending ones have none yet."""
    ids = ids_of(ec2.create_fleet(**fleet(ground, 2)))
    emulator.lab("POST", "knobs", {"topology_all": 1, "topology_leaf": 1})
    assert set(map(tuple, nodes(ec2, InstanceIds=ids).values())) == {()}
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids).values()} == {"running"})
    assert len({path[2] for path in nodes(ec2, InstanceIds=ids).values()}) == 2
    emulator.lab("POST", "knobs", {"topology_all": 0, "topology_leaf": 4})
    assert set(map(tuple, nodes(ec2, InstanceIds=ids).values())) == {()}


def test_topology_has_ec2s_limits(ec2: Any, ground: Ground) -> None:
    """A hundred ids, no page size beside ids, pages of twenty, filters by type and zone."""
    ids = ids_of(ec2.create_fleet(**fleet(ground, 101, "c6i.large a")))
    topology = ec2.describe_instance_topology
    assert code_of(topology, InstanceIds=ids) == "InvalidParameterValue"
    assert code_of(topology, InstanceIds=ids[:5], MaxResults=5) == "InvalidParameterCombination"
    assert code_of(topology, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    assert code_of(topology, GroupNames=["nobody"]) == "InvalidPlacementGroup.Unknown"
    assert len(topology(InstanceIds=ids[:100])["Instances"]) == 100
    assert len(topology()["Instances"]) == 20
    filters = [{"Name": "instance-type", "Values": ["c6i*"]}, {"Name": "zone-id", "Values": ["use2-az1"]}]
    pages = ec2.get_paginator("describe_instance_topology").paginate(Filters=filters)
    assert {row["InstanceId"] for page in pages for row in page["Instances"]} == set(ids)
    assert code_of(topology, DryRun=True) == "DryRunOperation"
