"""Placement groups of the pretend EC2, asked by plain boto3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.emulator import (
    Emulator,
    Ground,
    code_of,
    codes,
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


def bound(emulator: Emulator, kind: str, zone: str, in_group: int | None, market: str = "on-demand") -> None:
    """Bound what one cluster group holds of a pool."""
    emulator.lab("POST", "pools", {"type": kind, "zone": f"us-east-2{zone}", "market": market, "in_group": in_group})


def test_one_cluster_group_holds_no_more_than_its_bound_and_another_is_another(
    emulator: Emulator, ec2: Any, ground: Ground
) -> None:
    """The bound is a group's own, is no bound on the pool, and its refusal names the pool."""
    for name in ("tight-1", "tight-2"):
        ec2.create_placement_group(GroupName=name, Strategy="cluster")
    bound(emulator, "c7i.large", "a", 3)
    answer = ec2.create_fleet(**placed(fleet(ground, 5), "tight-1"))
    assert len(ids_of(answer)) == 3
    (error,) = answer["Errors"]
    assert error["ErrorCode"] == "InsufficientInstanceCapacity"
    assert "c7i.large" in error["ErrorMessage"]
    assert "us-east-2a" in error["ErrorMessage"]
    assert len(ids_of(ec2.create_fleet(**placed(fleet(ground, 3), "tight-2")))) == 3
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 9)))) == 9
    bound(emulator, "c7i.large", "a", None)


def test_a_gang_beyond_the_bound_gets_nothing_or_another_type(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """MinTargetCapacity sees the bound; a type with room serves; ended instances make room."""
    ec2.create_placement_group(GroupName="gang", Strategy="cluster")
    bound(emulator, "c6i.large", "a", 2)
    options = {"MinTargetCapacity": 4, "SingleInstanceType": True, "SingleAvailabilityZone": True}
    answer = ec2.create_fleet(**placed(fleet(ground, 4, "c6i.large a", OnDemandOptions=options), "gang"))
    assert (answer["Instances"], codes(answer)) == ([], ["InsufficientInstanceCapacity"])
    both = fleet(ground, 4, "c6i.large a", "m6i.large a", OnDemandOptions=options)
    answer = ec2.create_fleet(**placed(both, "gang"))
    assert [(i["InstanceType"], len(i["InstanceIds"])) for i in answer["Instances"]] == [("m6i.large", 4)]
    ids = ids_of(ec2.create_fleet(**placed(fleet(ground, 2, "c6i.large a"), "gang")))
    assert codes(ec2.create_fleet(**placed(fleet(ground, 1, "c6i.large a"), "gang")))
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids).values()} == {"terminated"})
    assert len(ids_of(ec2.create_fleet(**placed(fleet(ground, 2, "c6i.large a"), "gang")))) == 2
    bound(emulator, "c6i.large", "a", None)


def test_a_cluster_group_stays_in_one_zone_even_within_one_call(ec2: Any, ground: Ground) -> None:
    """Both markets of one call, and later calls, keep to the zone of what is in the group."""
    ec2.create_placement_group(GroupName="one-zone", Strategy="cluster")
    mixed = fleet(ground, 4, "c7i.large a", "c7i.large b", "m7i.large b", market="spot")
    mixed["TargetCapacitySpecification"]["OnDemandTargetCapacity"] = 2
    mixed["OnDemandOptions"] = {"AllocationStrategy": "prioritized"}
    mixed["LaunchTemplateConfigs"][0]["Overrides"][2]["Priority"] = 0
    answer = ec2.create_fleet(**placed(mixed, "one-zone"))
    assert {item["AvailabilityZone"] for item in answer["Instances"]} == {"us-east-2b"}
    assert len(ids_of(answer)) == 4
    elsewhere = ec2.create_fleet(**placed(fleet(ground, 1, "c7i.large c"), "one-zone"))
    assert codes(elsewhere) == ["InsufficientInstanceCapacity"]


def test_types_that_cannot_be_in_a_group_fail_alone(ec2: Any, ground: Ground) -> None:
    """The strategies of DescribeInstanceTypes decide, override by override; spread takes burstable types."""
    ec2.create_placement_group(GroupName="mixed", Strategy="cluster")
    ec2.create_placement_group(GroupName="apart", Strategy="spread")
    (facts,) = ec2.describe_instance_types(InstanceTypes=["t3.large"])["InstanceTypes"]
    assert "cluster" not in facts["PlacementGroupInfo"]["SupportedStrategies"]
    answer = ec2.create_fleet(**placed(fleet(ground, 2, "t3.large a", "c7i.large a"), "mixed"))
    assert codes(answer) == ["InvalidParameterCombination"]
    assert [item["InstanceType"] for item in answer["Instances"]] == ["c7i.large"]
    assert ids_of(ec2.create_fleet(**placed(fleet(ground, 1, "t3.large a"), "apart")))


def test_a_spread_group_holds_seven_in_a_zone(ec2: Any, ground: Ground) -> None:
    """Seven of all types together, in each zone; the eighth is refused for capacity."""
    ec2.create_placement_group(GroupName="spread", Strategy="spread")
    answer = ec2.create_fleet(**placed(fleet(ground, 5, "c7i.large a"), "spread"))
    assert len(ids_of(answer)) == 5
    answer = ec2.create_fleet(**placed(fleet(ground, 9, "c6i.large a", "c7i.large b"), "spread"))
    assert {(i["AvailabilityZone"], len(i["InstanceIds"])) for i in answer["Instances"]} == {
        ("us-east-2a", 2),
        ("us-east-2b", 7),
    }
    assert codes(answer) == ["InsufficientInstanceCapacity"]


def test_an_unknown_group_bars_its_override_alone(ec2: Any, ground: Ground) -> None:
    """InvalidPlacementGroup.Unknown beside the instances of the others."""
    asked = fleet(ground, 1, "c6i.large a", "c7i.large a")
    asked["LaunchTemplateConfigs"][0]["Overrides"][0]["Placement"] = {"GroupName": "nobody"}
    answer = ec2.create_fleet(**asked)
    assert codes(answer) == ["InvalidPlacementGroup.Unknown"]
    assert [item["InstanceType"] for item in answer["Instances"]] == ["c7i.large"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"GroupName": "x" * 256, "Strategy": "cluster"}, "InvalidParameterValue"),
        ({"GroupName": "gr\u00fcn", "Strategy": "cluster"}, "InvalidParameterValue"),
        ({"GroupName": "p0", "Strategy": "partition", "PartitionCount": 0}, "InvalidParameterValue"),
        ({"GroupName": "p8", "Strategy": "partition", "PartitionCount": 8}, "InvalidParameterValue"),
        ({"GroupName": "c2", "Strategy": "cluster", "PartitionCount": 2}, "InvalidParameterCombination"),
    ],
)
def test_bad_groups_are_refused(ec2: Any, asked: dict[str, Any], code: str) -> None:
    """Names of at most 255 ASCII characters; partitions from 1 to 7, and only where they belong."""
    assert code_of(ec2.create_placement_group, **asked) == code


def test_a_partition_group_says_how_many_partitions_it_has(ec2: Any, ground: Ground) -> None:
    """The number asked for, and instances launch into it."""
    ec2.create_placement_group(GroupName="parts", Strategy="partition", PartitionCount=3)
    (group,) = ec2.describe_placement_groups(GroupNames=["parts"])["PlacementGroups"]
    assert group["PartitionCount"] == 3
    assert len(ids_of(ec2.create_fleet(**placed(fleet(ground, 9), "parts")))) == 9


def test_an_override_takes_no_placement_but_the_group(ec2: Any, ground: Ground) -> None:
    """CreateFleet documents the other members of Placement as not supported."""
    asked = placed(fleet(ground, 1), "parts")
    asked["LaunchTemplateConfigs"][0]["Overrides"][0]["Placement"]["PartitionNumber"] = 1
    assert code_of(ec2.create_fleet, **asked) == "InvalidParameterCombination"


def test_groups_are_found_by_tag_and_limited_to_five_hundred(ec2: Any) -> None:
    """Filters with wildcards; the group that is one too many is refused; deleting makes room."""
    tags = [{"ResourceType": "placement-group", "Tags": [{"Key": "asbx:cluster", "Value": "lab"}]}]
    there = len(ec2.describe_placement_groups()["PlacementGroups"])
    for number in range(500 - there):
        ec2.create_placement_group(GroupName=f"many-{number}", Strategy="cluster", TagSpecifications=tags)
    full = {"GroupName": "one-more", "Strategy": "cluster"}
    assert code_of(ec2.create_placement_group, **full) == "PlacementGroupLimitExceeded"
    filters = [{"Name": "tag:asbx:cluster", "Values": ["la*"]}]
    assert len(ec2.describe_placement_groups(Filters=filters)["PlacementGroups"]) == 500 - there
    ec2.delete_placement_group(GroupName="many-0")
    ec2.create_placement_group(**full)
