"""What the pretend EC2 keeps and lists: types, offerings, subnets, images, firewalls, launch templates."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.emulator import (
    IMAGE,
    Emulator,
    Ground,
    code_of,
    codes,
    fleet,
    ids_of,
    prepare,
    start,
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


def named(ec2: Any, ids: list[str]) -> list[int]:
    """Return the version numbers of a template."""
    found = ec2.describe_launch_template_versions(LaunchTemplateId=ids[0])["LaunchTemplateVersions"]
    return [version["VersionNumber"] for version in found]


# -- catalogue


def test_types_are_those_of_the_region_in_pages(emulator: Emulator, ec2: Any) -> None:
    """Hundreds in pages of at most 100; a type the region lacks is unknown there."""
    filters = [{"Name": "instance-type", "Values": ["c7i.*"]}]
    assert len(ec2.describe_instance_types(Filters=filters)["InstanceTypes"]) == 11
    efa = [{"Name": "network-info.efa-supported", "Values": ["true"]}]
    pages = list(ec2.get_paginator("describe_instance_types").paginate(Filters=efa))
    assert len(pages) > 1
    assert len(pages[0]["InstanceTypes"]) == 100
    found = {kind["InstanceType"] for page in pages for kind in page["InstanceTypes"]}
    assert {"hpc7a.96xlarge", "c6i.32xlarge"} <= found
    elsewhere = emulator.client(region_name="us-east-1")
    for unknown in ("hpc7a.96xlarge", "c99.large"):
        assert code_of(elsewhere.describe_instance_types, InstanceTypes=[unknown]) == "InvalidInstanceType"
    assert code_of(ec2.describe_instance_types, InstanceTypes=["c7i.large"] * 101) == "InvalidParameterValue"


def test_facts_of_a_type_are_complete_enough_to_plan_with(ec2: Any) -> None:
    """Cores, memory, cards, EFA, strategies, usage classes."""
    (facts,) = ec2.describe_instance_types(InstanceTypes=["hpc7a.96xlarge"])["InstanceTypes"]
    assert facts["VCpuInfo"]["DefaultCores"] == 192
    assert facts["MemoryInfo"]["SizeInMiB"] == 786432
    network = facts["NetworkInfo"]
    assert (network["EfaSupported"], network["EfaInfo"]["MaximumEfaInterfaces"]) == (True, 2)
    assert [card["NetworkCardIndex"] for card in network["NetworkCards"]] == [0, 1]
    assert "efa-only" in network["NetworkCards"][1]["InterfaceTypes"]
    assert facts["SupportedUsageClasses"] == ["on-demand"]
    assert "cluster" in facts["PlacementGroupInfo"]["SupportedStrategies"]


def test_offerings_say_where_a_type_is(ec2: Any) -> None:
    """By zone or zone id, filtered by type with wildcards and by location; a strange filter is refused."""
    offerings = ec2.describe_instance_type_offerings
    hpc = [{"Name": "instance-type", "Values": ["hpc7a.*"]}]
    found = offerings(LocationType="availability-zone", Filters=hpc)["InstanceTypeOfferings"]
    assert {(row["InstanceType"], row["Location"]) for row in found} == {
        (f"hpc7a.{size}xlarge", "us-east-2b") for size in (12, 24, 48, 96)
    }
    by_id = offerings(LocationType="availability-zone-id", Filters=hpc)["InstanceTypeOfferings"]
    assert {row["Location"] for row in by_id} == {"use2-az2"}
    there = [{"Name": "location", "Values": ["us-east-2c"]}, {"Name": "instance-type", "Values": ["c7i.large"]}]
    assert len(offerings(LocationType="availability-zone", Filters=there)["InstanceTypeOfferings"]) == 1
    assert {row["LocationType"] for row in offerings()["InstanceTypeOfferings"]} == {"region"}
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone")
    assert sum(len(page["InstanceTypeOfferings"]) for page in pages) > 1000
    wrong = [{"Name": "colour", "Values": ["red"]}]
    assert code_of(offerings, Filters=wrong) == "InvalidParameterValue"


def test_subnets_count_their_free_addresses(ec2: Any, ground: Ground) -> None:
    """Ours are subtracted; found by id, network and tag; an unknown id is refused."""
    subnet = ground.subnets["us-east-2c"]

    def shown() -> dict[str, Any]:
        return dict(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0])

    before = shown()
    assert (before["AvailableIpAddressCount"], before["AvailabilityZoneId"]) == (4091, "use2-az3")
    assert (before["VpcId"], before["CidrBlock"]) == (ground.vpc, "127.16.32.0/20")
    ec2.create_fleet(**fleet(ground, 7, "c7i.large c"))
    assert shown()["AvailableIpAddressCount"] == 4084
    filters = [{"Name": "vpc-id", "Values": [ground.vpc]}, {"Name": "availability-zone", "Values": ["us-east-2c"]}]
    assert [s["SubnetId"] for s in ec2.describe_subnets(Filters=filters)["Subnets"]] == [subnet]
    assert code_of(ec2.describe_subnets, SubnetIds=["subnet-00000000"]) == "InvalidSubnetID.NotFound"


def test_images_and_firewalls_are_described(ec2: Any, ground: Ground) -> None:
    """An image with its architecture and root device; a group with its rule to itself."""
    image = ec2.register_image(Name="node", Architecture="arm64", RootDeviceName="/dev/xvda", VirtualizationType="hvm")[
        "ImageId"
    ]
    (shown,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert (shown["Architecture"], shown["RootDeviceName"], shown["State"]) == ("arm64", "/dev/xvda", "available")
    unknown = ["ami-0fedcba9876543210"]
    assert code_of(ec2.describe_images, ImageIds=unknown) == "InvalidAMIID.NotFound"
    group = ec2.create_security_group(GroupName="efa", Description="efa", VpcId=ground.vpc)["GroupId"]
    itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=itself)
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=itself)
    (facts,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    (inward,) = facts["IpPermissions"]
    assert (inward["IpProtocol"], inward["UserIdGroupPairs"][0]["GroupId"]) == ("-1", group)
    outward = [pair["GroupId"] for rule in facts["IpPermissionsEgress"] for pair in rule["UserIdGroupPairs"]]
    assert outward == [group]
    assert code_of(ec2.describe_security_groups, GroupIds=["sg-00000000"]) == "InvalidGroup.NotFound"


# -- launch templates


def test_a_template_is_made_once_and_says_what_it_was_told(ec2: Any) -> None:
    """The call's tags are the template's own; a token repeats the answer; a name is taken once."""
    data = {
        "ImageId": IMAGE,
        "UserData": base64.b64encode(b"#!/bin/sh").decode(),
        "InstanceMarketOptions": {"MarketType": "capacity-block"},
        "CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-1"}},
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": "efa", "Groups": ["sg-1"]},
            {"DeviceIndex": 1, "NetworkCardIndex": 1, "InterfaceType": "efa-only", "Groups": ["sg-1"]},
        ],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}],
    }
    tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "asbx:cluster", "Value": "lab"}]}]
    asked = {
        "LaunchTemplateName": "asbx-lab.efa/1",
        "LaunchTemplateData": data,
        "TagSpecifications": tags,
        "ClientToken": "template-1",
    }
    made = ec2.create_launch_template(**asked)["LaunchTemplate"]
    assert made["Tags"] == [{"Key": "asbx:cluster", "Value": "lab"}]
    assert ec2.create_launch_template(**asked)["LaunchTemplate"] == made
    other = {**asked, "LaunchTemplateData": {"ImageId": IMAGE}}
    assert code_of(ec2.create_launch_template, **other) == "IdempotentParameterMismatch"
    again = {**asked, "ClientToken": "template-2"}
    assert code_of(ec2.create_launch_template, **again) == "InvalidLaunchTemplateName.AlreadyExistsException"
    spec = {"LaunchTemplateId": made["LaunchTemplateId"], "Versions": ["$Latest"]}
    (version,) = ec2.describe_launch_template_versions(**spec)["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"] == data


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"LaunchTemplateName": "x" * 129}, "InvalidLaunchTemplateName.MalformedException"),
        ({"LaunchTemplateName": "a b c"}, "InvalidLaunchTemplateName.MalformedException"),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]},
            "InvalidParameterValue",
        ),
        (
            {"LaunchTemplateData": {"TagSpecifications": [{"ResourceType": "fleet", "Tags": []}]}},
            "InvalidParameterValue",
        ),
        ({"DryRun": True}, "DryRunOperation"),
    ],
)
def test_bad_templates_are_refused(ec2: Any, change: dict[str, Any], code: str) -> None:
    """Names of EC2's form; tags only on what can bear them. Names under 3 characters botocore itself refuses."""
    asked = {"LaunchTemplateName": "good", "LaunchTemplateData": {"ImageId": IMAGE}, **change}
    assert code_of(ec2.create_launch_template, **asked) == code


def test_templates_are_found_by_tag_name_and_id_in_pages(ec2: Any) -> None:
    """More than fifteen; tags set later count; unknown ones are refused."""
    tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "many", "Value": "yes"}]}]
    data = {"ImageId": IMAGE}
    for number in range(20):
        name = f"many-{number}"
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data, TagSpecifications=tags)
    filters = [{"Name": "tag:many", "Values": ["yes"]}]
    assert len(ec2.describe_launch_templates(Filters=filters)["LaunchTemplates"]) == 20
    pages = ec2.get_paginator("describe_launch_templates").paginate(Filters=filters, PaginationConfig={"PageSize": 8})
    assert [len(page["LaunchTemplates"]) for page in pages] == [8, 8, 4]
    (one,) = ec2.describe_launch_templates(LaunchTemplateNames=["many-7"])["LaunchTemplates"]
    ec2.create_tags(Resources=[one["LaunchTemplateId"]], Tags=[{"Key": "late", "Value": "1"}])
    late = [{"Name": "tag-key", "Values": ["late"]}, {"Name": "launch-template-name", "Values": ["many-*"]}]
    (found,) = ec2.describe_launch_templates(Filters=late)["LaunchTemplates"]
    assert found["LaunchTemplateId"] == one["LaunchTemplateId"]
    names, ids = ["nobody"], ["lt-0123456789abcdef0"]
    describe = ec2.describe_launch_templates
    assert code_of(describe, LaunchTemplateNames=names) == "InvalidLaunchTemplateName.NotFoundException"
    assert code_of(describe, LaunchTemplateIds=ids) == "InvalidLaunchTemplateId.NotFound"


def test_versions_come_and_go_and_numbers_do_not_return(ec2: Any, ground: Ground) -> None:
    """The default version stays; deleted ones are unknown to fleets; the next number is a new one."""
    data = {"ImageId": IMAGE, "InstanceType": "c7i.large"}
    made = ec2.create_launch_template(LaunchTemplateName="versions", LaunchTemplateData=data)
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    change = {"LaunchTemplateId": template, "SourceVersion": "1", "ClientToken": "version-2"}
    for _ in range(2):
        ec2.create_launch_template_version(**change, LaunchTemplateData={"InstanceType": "c6i.large"})
    ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData={"ImageId": IMAGE})
    assert named(ec2, [template]) == [1, 2, 3]
    answer = ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["1", "3", "9"])
    assert [v["VersionNumber"] for v in answer["SuccessfullyDeletedLaunchTemplateVersions"]] == [3]
    failed = answer["UnsuccessfullyDeletedLaunchTemplateVersions"]
    assert [v["VersionNumber"] for v in failed] == [1, 9]
    assert failed[1]["ResponseError"]["Code"] == "launchTemplateVersionDoesNotExist"
    spec = {"LaunchTemplateId": template, "Versions": ["3"]}
    assert code_of(ec2.describe_launch_template_versions, **spec) == "InvalidLaunchTemplateId.VersionNotFound"
    asked = fleet(replace(ground, template=template), 1)
    asked["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] = "3"
    assert code_of(ec2.create_fleet, **asked) == "InvalidLaunchTemplateId.VersionNotFound"
    (shown,) = ec2.describe_launch_templates(LaunchTemplateIds=[template])["LaunchTemplates"]
    assert (shown["LatestVersionNumber"], shown["DefaultVersionNumber"]) == (2, 1)
    added = ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
    assert added["LaunchTemplateVersion"]["VersionNumber"] == 4
    ec2.delete_launch_template(LaunchTemplateId=template)
    assert code_of(ec2.delete_launch_template, LaunchTemplateId=template) == "InvalidLaunchTemplateId.NotFound"
    gone = {"LaunchTemplateName": "versions"}
    assert code_of(ec2.delete_launch_template, **gone) == "InvalidLaunchTemplateName.NotFoundException"


def test_several_templates_serve_one_fleet(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Each with overrides of its own; priorities and errors count across all of them."""
    data = {
        "ImageId": IMAGE,
        "NetworkInterfaces": [{"DeviceIndex": 0, "InterfaceType": "efa", "Groups": [ground.group]}],
    }
    made = ec2.create_launch_template(LaunchTemplateName="second", LaunchTemplateData=data)
    second = replace(ground, template=made["LaunchTemplate"]["LaunchTemplateId"])
    plain, efa = fleet(ground, 5, "c7i.large a", "m7i.large b"), fleet(second, 5, "c6i.32xlarge a", "t3.large a")
    options = {"AllocationStrategy": "prioritized"}
    asked = {**plain, "LaunchTemplateConfigs": plain["LaunchTemplateConfigs"] + efa["LaunchTemplateConfigs"]}
    overrides = [o for config in asked["LaunchTemplateConfigs"] for o in config["Overrides"]]
    for override, priority in zip(overrides, (2, 1, 0, 0), strict=True):
        override["Priority"] = priority
    pool = {"type": "c6i.32xlarge", "zone": "us-east-2a", "market": "on-demand"}
    emulator.lab("POST", "pools", {**pool, "capacity": 2})
    answer = ec2.create_fleet(**asked, OnDemandOptions=options)
    launched = {
        (i["InstanceType"], i["LaunchTemplateAndOverrides"]["LaunchTemplateSpecification"]["LaunchTemplateId"]): len(
            i["InstanceIds"]
        )
        for i in answer["Instances"]
    }
    assert launched == {("c6i.32xlarge", second.template): 2, ("m7i.large", ground.template): 3}
    assert sorted(codes(answer)) == ["InsufficientInstanceCapacity", "InvalidParameterCombination"]
    assert len(ids_of(answer)) == 5
    twin = {**asked, "LaunchTemplateConfigs": [*plain["LaunchTemplateConfigs"], *plain["LaunchTemplateConfigs"]]}
    assert len(ids_of(ec2.create_fleet(**twin))) == 5
