"""CreateFleet of the pretend EC2, asked by plain boto3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.contract.emulator import Emulator, Ground, described, fleet, ids_of, prepare, start, until

ZONE = "us-east-2a"


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


@pytest.fixture
def pool(emulator: Emulator) -> Iterator[Any]:
    """Return a way to bound pools, which lifts every bound afterwards."""
    bounded: list[dict[str, Any]] = []

    def bound(kind: str, zone: str, capacity: int, market: str = "on-demand") -> None:
        key = {"type": kind, "zone": f"us-east-2{zone}", "market": market}
        emulator.lab("POST", "pools", {**key, "capacity": capacity})
        bounded.append(key)

    yield bound
    for key in bounded:
        emulator.lab("POST", "pools", {**key, "capacity": None})


def refused(ec2: Any, asked: dict[str, Any]) -> str:
    """Return the code of a refused CreateFleet."""
    with pytest.raises(ClientError) as caught:
        ec2.create_fleet(**asked)
    return str(caught.value.response["Error"]["Code"])


def test_ids_of_one_pool_come_in_one_item_with_its_place(ec2: Any, ground: Ground) -> None:
    """Grouped InstanceIds, with type, zone, zone id and subnet beside them."""
    answer = ec2.create_fleet(**fleet(ground, 5))
    (item,) = answer["Instances"]
    assert len(set(item["InstanceIds"])) == 5
    assert item["Lifecycle"] == "on-demand"
    assert (item["InstanceType"], item["AvailabilityZone"]) == ("c7i.large", ZONE)
    assert (item["AvailabilityZoneId"], item["SubnetId"]) == ("use2-az1", ground.subnets[ZONE])
    echoed = item["LaunchTemplateAndOverrides"]
    assert echoed["LaunchTemplateSpecification"] == {"LaunchTemplateId": ground.template, "Version": "1"}
    assert echoed["Overrides"] == {"InstanceType": "c7i.large", "SubnetId": ground.subnets[ZONE]}
    assert answer["Errors"] == []


def test_errors_stand_beside_instances_and_name_their_override(ec2: Any, ground: Ground, pool: Any) -> None:
    """A pool that runs out is refused by its override, while the others launch."""
    pool("c6i.large", "a", 2)
    answer = ec2.create_fleet(**fleet(ground, 5, "c6i.large a", "c7i.large b"))
    assert {(i["InstanceType"], len(i["InstanceIds"])) for i in answer["Instances"]} == {
        ("c6i.large", 2),
        ("c7i.large", 3),
    }
    (error,) = answer["Errors"]
    assert (error["ErrorCode"], error["Lifecycle"]) == ("InsufficientInstanceCapacity", "on-demand")
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "c6i.large"


def test_each_pool_is_a_reservation_and_indexes_count_within_it(ec2: Any, ground: Ground, pool: Any) -> None:
    """Launch index 0..k-1 in each pool's own reservation tells the instances apart."""
    pool("c6i.large", "a", 3)
    answer = ec2.create_fleet(**fleet(ground, 7, "c6i.large a", "c7i.large a"))
    instances = described(ec2, ids_of(answer))
    for item in answer["Instances"]:
        members = [instances[i] for i in item["InstanceIds"]]
        assert len({m["ReservationId"] for m in members}) == 1
        assert [m["AmiLaunchIndex"] for m in members] == list(range(len(members)))
    assert len({i["ReservationId"] for i in instances.values()}) == 2


def test_a_minimum_out_of_reach_launches_nothing_and_takes_nothing(
    emulator: Emulator, ec2: Any, ground: Ground, pool: Any
) -> None:
    """MinTargetCapacity: no instance, no short-lived id, no capacity taken, only errors."""
    pool("m7i.large", "a", 3)
    pool("m7i.large", "b", 3)
    before = len(emulator.lab("GET", "instances"))
    options = {"MinTargetCapacity": 5, "SingleAvailabilityZone": True}
    answer = ec2.create_fleet(**fleet(ground, 5, "m7i.large a", "m7i.large b", OnDemandOptions=options))
    assert answer["Instances"] == []
    assert {e["ErrorCode"] for e in answer["Errors"]} == {"InsufficientInstanceCapacity"}
    assert len(emulator.lab("GET", "instances")) == before
    assert {row["in_use"] for row in emulator.lab("GET", "pools") if row["type"] == "m7i.large"} == {0}


def test_a_minimum_within_reach_is_served_from_one_zone(ec2: Any, ground: Ground, pool: Any) -> None:
    """The zone that can serve all does."""
    pool("m7i.large", "a", 3)
    options = {"MinTargetCapacity": 5, "SingleAvailabilityZone": True}
    answer = ec2.create_fleet(**fleet(ground, 5, "m7i.large a", "m7i.large b", OnDemandOptions=options))
    assert {(i["AvailabilityZone"], len(i["InstanceIds"])) for i in answer["Instances"]} == {("us-east-2b", 5)}


def test_capacity_comes_back_once_instances_are_terminated(
    emulator: Emulator, ec2: Any, ground: Ground, pool: Any
) -> None:
    """Terminate, and the pool has its places again."""
    pool("r7i.large", "a", 2)
    ids = ids_of(ec2.create_fleet(**fleet(ground, 2, "r7i.large a")))
    assert not ids_of(ec2.create_fleet(**fleet(ground, 1, "r7i.large a")))
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: [r for r in emulator.lab("GET", "pools") if r["type"] == "r7i.large" and r["in_use"] == 0])
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 2, "r7i.large a")))) == 2


def test_the_same_token_gives_the_same_answer_and_launches_nothing_new(ec2: Any, ground: Ground) -> None:
    """ClientToken is idempotent; other parameters under it are refused."""
    asked = fleet(ground, 2, ClientToken="asbx-token-1")
    first = ec2.create_fleet(**asked)
    again = ec2.create_fleet(**asked)
    assert ids_of(again) == ids_of(first)
    assert again["FleetId"] == first["FleetId"]
    token = ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["asbx-token-1"]}])
    assert sum(len(r["Instances"]) for r in token["Reservations"]) == 2
    other = fleet(ground, 3, ClientToken="asbx-token-1")
    assert refused(ec2, other) == "IdempotentParameterMismatch"


def test_a_token_replays_an_answer_that_holds_only_errors(ec2: Any, ground: Ground, pool: Any) -> None:
    """Capacity that came back later does not change an answer already given."""
    pool("r6i.large", "a", 0)
    asked = fleet(ground, 1, "r6i.large a", ClientToken="asbx-token-2")
    assert not ids_of(ec2.create_fleet(**asked))
    pool("r6i.large", "a", 5)
    assert not ids_of(ec2.create_fleet(**asked))
    assert ids_of(ec2.create_fleet(**{**asked, "ClientToken": "asbx-token-3"}))


def test_the_template_and_the_calls_tags_arrive_on_everything(ec2: Any, ground: Ground) -> None:
    """Image, profile, groups, metadata options, key order of tags: what was sent is what stands."""
    tags = [{"Key": "asbx:cluster", "Value": "lab"}, {"Key": "from", "Value": "call"}]
    specs = [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "fleet")]
    answer = ec2.create_fleet(**fleet(ground, 1, TagSpecifications=specs))
    (instance,) = described(ec2, ids_of(answer)).values()
    stands = {t["Key"]: t["Value"] for t in instance["Tags"]}
    assert stands["asbx:cluster"] == "lab"
    assert stands["from"] == "call"
    assert stands["aws:ec2:fleet-id"] == answer["FleetId"]
    assert instance["ImageId"] == "ami-0123456789abcdef0"
    assert instance["IamInstanceProfile"]["Arn"].endswith(":instance-profile/node")
    assert [g["GroupId"] for g in instance["SecurityGroups"]] == [ground.group]
    assert instance["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
    volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    for resource in (volume, answer["FleetId"]):
        found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource]}])["Tags"]
        assert {"asbx:cluster": "lab"}.items() <= {t["Key"]: t["Value"] for t in found}.items()


def test_spot_instances_say_so_and_carry_a_request_id(ec2: Any, ground: Ground) -> None:
    """Lifecycle and SpotInstanceRequestId; on-demand instances have neither."""
    spot = described(ec2, ids_of(ec2.create_fleet(**fleet(ground, 1, market="spot"))))
    plain = described(ec2, ids_of(ec2.create_fleet(**fleet(ground, 1))))
    (bought,), (rented,) = spot.values(), plain.values()
    assert bought["InstanceLifecycle"] == "spot"
    assert bought["SpotInstanceRequestId"].startswith("sir-")
    assert "InstanceLifecycle" not in rented


def test_a_mixed_fleet_serves_each_market(ec2: Any, ground: Ground) -> None:
    """OnDemandTargetCapacity beside a spot default."""
    asked = fleet(ground, 5, "c7i.large a", market="spot")
    asked["TargetCapacitySpecification"]["OnDemandTargetCapacity"] = 2
    answer = ec2.create_fleet(**asked)
    assert {i["Lifecycle"]: len(i["InstanceIds"]) for i in answer["Instances"]} == {"on-demand": 2, "spot": 3}


def test_efa_interfaces_are_made_as_the_template_says(ec2: Any, ground: Ground) -> None:
    """The efa and efa-only kinds, card and device indexes; efa-only takes no address."""
    data = {
        "ImageId": "ami-0123456789abcdef0",
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": "efa", "Groups": [ground.group]},
            {"DeviceIndex": 1, "NetworkCardIndex": 1, "InterfaceType": "efa-only", "Groups": [ground.group]},
        ],
    }
    made = ec2.create_launch_template(LaunchTemplateName="efa", LaunchTemplateData=data)
    efa = Ground(ground.vpc, ground.subnets, ground.group, made["LaunchTemplate"]["LaunchTemplateId"])
    (instance,) = described(ec2, ids_of(ec2.create_fleet(**fleet(efa, 1, "hpc7a.96xlarge b")))).values()
    kinds = [
        (
            n["InterfaceType"],
            n["Attachment"]["NetworkCardIndex"],
            n["Attachment"]["DeviceIndex"],
            "PrivateIpAddress" in n,
        )
        for n in instance["NetworkInterfaces"]
    ]
    assert kinds == [("efa", 0, 0, True), ("efa-only", 1, 1, False)]
    answer = ec2.create_fleet(**fleet(efa, 1, "t3.large b"))
    assert [e["ErrorCode"] for e in answer["Errors"]] == ["InvalidParameterCombination"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Type": "maintain"}, "UnsupportedOperation"),
        ({"Type": "request"}, "UnsupportedOperation"),
        ({"OnDemandOptions": {"MinTargetCapacity": 2}}, "InvalidParameterCombination"),
        ({"OnDemandOptions": {"MinTargetCapacity": 1001, "SingleInstanceType": True}}, "InvalidParameterValue"),
        ({"OnDemandOptions": {"AllocationStrategy": "diversified"}}, "InvalidParameterValue"),
        ({"TargetCapacitySpecification": {"TotalTargetCapacity": 1001}}, "InvalidParameterValue"),
        ({"TargetCapacitySpecification": {"TotalTargetCapacity": 0}}, "InvalidParameterValue"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": "y"}]}]},
            "InvalidParameterValue",
        ),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "y" * 257}]}]},
            "InvalidParameterValue",
        ),
        (
            {"TagSpecifications": [{"ResourceType": "subnet", "Tags": [{"Key": "k", "Value": "y"}]}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_what_ec2_refuses_is_refused(ec2: Any, ground: Ground, change: dict[str, Any], code: str) -> None:
    """Each bad request has EC2's code, and launches nothing."""
    assert refused(ec2, fleet(ground, 2, **change)) == code


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ({"InstanceType": "c99.large"}, "InvalidInstanceType.NotFound"),
        ({"InstanceType": "t1.micro"}, "InvalidInstanceType.NotFound"),
        ({"InstanceType": "c7i.large", "SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound"),
        ({"InstanceType": "c7i.large", "SubnetId": "subnet-1,subnet-2"}, "InvalidParameterValue"),
        ({"InstanceType": "c7i.large", "AvailabilityZone": "us-east-2z"}, "InvalidParameterValue"),
        ({"InstanceType": "c7i.large", "ImageId": "nonsense"}, "InvalidAMIID.Malformed"),
        ({"InstanceType": "c7i.large", "MaxPrice": "0.0001"}, "InvalidParameterValue"),
        (
            {
                "InstanceType": "c7i.large",
                "InstanceRequirements": {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}},
            },
            "InvalidParameterCombination",
        ),
    ],
)
def test_bad_overrides_are_refused(ec2: Any, ground: Ground, override: dict[str, Any], code: str) -> None:
    """A wrong override fails the whole call."""
    asked = fleet(ground, 1)
    asked["LaunchTemplateConfigs"][0]["Overrides"] = [override]
    assert refused(ec2, asked) == code


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"LaunchTemplateId": "lt-0123456789abcdef0", "Version": "1"}, "InvalidLaunchTemplateId.NotFound"),
        ({"LaunchTemplateName": "nobody", "Version": "1"}, "InvalidLaunchTemplateName.NotFoundException"),
        ({"Version": "1"}, "MissingParameter"),
    ],
)
def test_unknown_templates_are_refused(ec2: Any, ground: Ground, spec: dict[str, str], code: str) -> None:
    """Template id, name, or none."""
    asked = fleet(ground, 1)
    asked["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"] = spec
    assert refused(ec2, asked) == code


def test_an_unknown_template_version_is_refused(ec2: Any, ground: Ground) -> None:
    """A version that was never made."""
    asked = fleet(ground, 1)
    asked["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] = "7"
    assert refused(ec2, asked) == "InvalidLaunchTemplateId.VersionNotFound"


def test_one_type_twice_in_one_zone_is_a_duplicate_pool(ec2: Any, ground: Ground) -> None:
    """Two subnets of one zone in one override list."""
    second = ec2.create_subnet(VpcId=ground.vpc, CidrBlock="127.16.64.0/24", AvailabilityZone=ZONE)
    asked = fleet(ground, 1)
    twin = {"InstanceType": "c7i.large", "SubnetId": second["Subnet"]["SubnetId"]}
    asked["LaunchTemplateConfigs"][0]["Overrides"].append(twin)
    assert refused(ec2, asked) == "InvalidFleetConfig"


def test_a_subnet_in_template_and_override_conflicts(ec2: Any, ground: Ground) -> None:
    """Interfaces of the template name a subnet, so the override must not."""
    nics = [{"DeviceIndex": 0, "SubnetId": ground.subnets[ZONE]}]
    data = {"ImageId": "ami-0123456789abcdef0", "NetworkInterfaces": nics}
    made = ec2.create_launch_template(LaunchTemplateName="fixed", LaunchTemplateData=data)
    fixed = Ground(ground.vpc, ground.subnets, ground.group, made["LaunchTemplate"]["LaunchTemplateId"])
    assert refused(ec2, fleet(fixed, 1)) == "InvalidParameterCombination"
    alone = fleet(fixed, 1)
    alone["LaunchTemplateConfigs"][0]["Overrides"] = [{"InstanceType": "c7i.large"}]
    assert ec2.create_fleet(**alone)["Instances"][0]["SubnetId"] == ground.subnets[ZONE]


def test_a_type_not_offered_in_the_zone_fails_alone(ec2: Any, ground: Ground) -> None:
    """The zone that lacks the type is an error beside the instances of the others."""
    answer = ec2.create_fleet(**fleet(ground, 2, "hpc7a.96xlarge a", "hpc7a.96xlarge b"))
    assert [e["ErrorCode"] for e in answer["Errors"]] == ["InvalidFleetConfiguration"]
    assert len(ids_of(answer)) == 2


def test_dry_run_launches_nothing_and_says_it_could(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """DryRunOperation for a good request, the true error for a bad one."""
    before = len(emulator.lab("GET", "instances"))
    assert refused(ec2, fleet(ground, 1, DryRun=True)) == "DryRunOperation"
    bad = fleet(ground, 1, DryRun=True, OnDemandOptions={"MinTargetCapacity": 1})
    assert refused(ec2, bad) == "InvalidParameterCombination"
    assert len(emulator.lab("GET", "instances")) == before


def test_a_small_subnet_runs_out_of_addresses_and_gets_them_back(ec2: Any, ground: Ground) -> None:
    """A /28 holds 11 instances; the twelfth is refused by name; terminated ones make room."""
    small = ec2.create_subnet(VpcId=ground.vpc, CidrBlock="127.16.80.0/28", AvailabilityZone="us-east-2b")
    subnet = small["Subnet"]["SubnetId"]
    tight = Ground(ground.vpc, {"us-east-2b": subnet}, ground.group, ground.template)
    answer = ec2.create_fleet(**fleet(tight, 12, "c7i.large b"))
    assert len(ids_of(answer)) == 11
    assert [e["ErrorCode"] for e in answer["Errors"]] == ["InsufficientFreeAddressesInSubnet"]

    def free() -> int:
        return int(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"])

    assert free() == 0
    ec2.terminate_instances(InstanceIds=ids_of(answer)[:3])
    assert until(lambda: free() == 3)


def test_a_quota_bounds_the_account(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Beyond the quota of vCPUs: VcpuLimitExceeded, and what fits launches."""
    used = sum(
        2
        for row in emulator.lab("GET", "instances")
        if row["market"] == "on-demand" and row["terminated_at"] is None and row["type"].endswith(".large")
    )
    emulator.lab("POST", "knobs", {"vcpus_on_demand": used + 5})
    answer = ec2.create_fleet(**fleet(ground, 4))
    emulator.lab("POST", "knobs", {"vcpus_on_demand": None})
    assert len(ids_of(answer)) == 2
    assert [e["ErrorCode"] for e in answer["Errors"]] == ["VcpuLimitExceeded"]


def test_placement_groups_live_and_die_as_in_ec2(ec2: Any, ground: Ground) -> None:
    """Duplicate, Unknown, InUse; a cluster group keeps to the zone of its first instance."""
    ec2.create_placement_group(GroupName="gang-1", Strategy="cluster")
    with pytest.raises(ClientError, match=r"InvalidPlacementGroup\.Duplicate"):
        ec2.create_placement_group(GroupName="gang-1", Strategy="cluster")
    with pytest.raises(ClientError, match=r"InvalidPlacementGroup\.Unknown"):
        ec2.describe_placement_groups(GroupNames=["gang-2"])
    asked = fleet(ground, 3, "c7i.large a", "c7i.large b")
    for override in asked["LaunchTemplateConfigs"][0]["Overrides"]:
        override["Placement"] = {"GroupName": "gang-1"}
    first = ec2.create_fleet(**asked)
    (zone,) = {item["AvailabilityZone"] for item in first["Instances"]}
    instances = described(ec2, ids_of(first))
    assert {i["Placement"]["GroupName"] for i in instances.values()} == {"gang-1"}
    elsewhere = {**asked, "LaunchTemplateConfigs": [dict(asked["LaunchTemplateConfigs"][0])]}
    other = next(o for o in asked["LaunchTemplateConfigs"][0]["Overrides"] if o["SubnetId"] != ground.subnets[zone])
    elsewhere["LaunchTemplateConfigs"][0]["Overrides"] = [other]
    assert [e["ErrorCode"] for e in ec2.create_fleet(**elsewhere)["Errors"]] == ["InsufficientInstanceCapacity"]
    with pytest.raises(ClientError, match=r"InvalidPlacementGroup\.InUse"):
        ec2.delete_placement_group(GroupName="gang-1")
    ec2.terminate_instances(InstanceIds=ids_of(first))
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids_of(first)).values()} == {"terminated"})
    ec2.delete_placement_group(GroupName="gang-1")


def test_fleets_can_be_described_by_id_and_deleted_with_their_instances(ec2: Any, ground: Ground) -> None:
    """An instant fleet shows only when named; deleting it terminates."""
    answer = ec2.create_fleet(**fleet(ground, 2))
    assert ec2.describe_fleets()["Fleets"] == []
    (shown,) = ec2.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert ids_of(shown) == ids_of(answer)
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        ec2.describe_fleet_instances(FleetId=answer["FleetId"])
    ec2.delete_fleets(FleetIds=[answer["FleetId"]], TerminateInstances=True)
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids_of(answer)).values()} == {"terminated"})


def test_two_emulators_side_by_side_know_nothing_of_each_other(tmp_path: Path, ec2: Any, ground: Ground) -> None:
    """Ports, instances and calls are each one's own; SIGTERM ends one cleanly and takes its file away."""
    other = start(tmp_path / "other")
    client = other.client()
    with pytest.raises(ClientError, match=r"InvalidLaunchTemplateId\.NotFound"):
        client.create_fleet(**fleet(ground, 1))
    ids = ids_of(client.create_fleet(**fleet(prepare(client), 1)))
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        ec2.describe_instances(InstanceIds=ids)
    assert other.lab("GET", "calls")["CreateFleet"] == 2
    assert other.stop() == 0
    assert not (tmp_path / "other" / "emulator.json").exists()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"UserData": "x" * 30000}, "InvalidUserData.Malformed"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": ["sg-00000000"]}]}, "InvalidGroup.NotFound"),
        ({"NetworkInterfaces": [{"DeviceIndex": 1}]}, "InvalidParameterCombination"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "InterfaceType": "efa-only"}]}, "InvalidParameterCombination"),
        ({"Placement": {"GroupName": "nobody"}}, "InvalidPlacementGroup.Unknown"),
    ],
)
def test_a_template_that_cannot_launch_is_refused_and_takes_nothing(
    emulator: Emulator, ec2: Any, ground: Ground, data: dict[str, Any], code: str
) -> None:
    """Faults of the template are errors of each override; no capacity is lost on the way."""
    whole = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "i4i.large", **data}
    made = ec2.create_launch_template(LaunchTemplateName=f"broken-{uuid.uuid4()}", LaunchTemplateData=whole)
    broken = Ground(ground.vpc, ground.subnets, ground.group, made["LaunchTemplate"]["LaunchTemplateId"])
    answer = ec2.create_fleet(**fleet(broken, 1, "i4i.large a"))
    assert [e["ErrorCode"] for e in answer["Errors"]] == [code]
    assert answer["Instances"] == []
    in_use = {row["type"]: row["in_use"] for row in emulator.lab("GET", "pools")}
    assert in_use.get("i4i.large", 0) == 0


def test_tags_that_metadata_cannot_serve_are_refused(ec2: Any, ground: Ground) -> None:
    """With InstanceMetadataTags on, a slash in a key fails the call."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "site/owner", "Value": "v"}]}]
    assert refused(ec2, fleet(ground, 1, TagSpecifications=tags)) == "InvalidParameterValue"


def test_a_template_version_begins_with_its_source(ec2: Any, ground: Ground) -> None:
    """SourceVersion: what the new version does not say is taken over."""
    data = {"InstanceType": "c6i.large"}
    ec2.create_launch_template_version(LaunchTemplateId=ground.template, SourceVersion="1", LaunchTemplateData=data)
    asked = fleet(ground, 1)
    asked["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] = "$Latest"
    asked["LaunchTemplateConfigs"][0]["Overrides"] = [{"SubnetId": ground.subnets[ZONE]}]
    answer = ec2.create_fleet(**asked)
    assert answer["Instances"][0]["LaunchTemplateAndOverrides"]["LaunchTemplateSpecification"]["Version"] == "2"
    (instance,) = described(ec2, ids_of(answer)).values()
    assert (instance["InstanceType"], instance["ImageId"]) == ("c6i.large", "ami-0123456789abcdef0")


def test_an_image_named_by_a_parameter_is_looked_up_at_launch(ec2: Any, ground: Ground) -> None:
    """The resolve:ssm: form becomes a real id."""
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    asked = fleet(ground, 1)
    asked["LaunchTemplateConfigs"][0]["Overrides"][0]["ImageId"] = f"resolve:ssm:{name}"
    (instance,) = described(ec2, ids_of(ec2.create_fleet(**asked))).values()
    assert instance["ImageId"].startswith("ami-")


def test_many_clients_at_once_share_the_market_without_a_slip(emulator: Emulator, ground: Ground, pool: Any) -> None:
    """Eight clients draw on one bounded pool: it gives what it has, once, at addresses of their own."""
    pool("m5.xlarge", "c", 60)
    clients = [emulator.client() for _ in range(8)]

    def draw(client: Any) -> list[str]:
        return [i for _ in range(3) for i in ids_of(client.create_fleet(**fleet(ground, 4, "m5.xlarge c")))]

    with ThreadPoolExecutor(8) as workers:
        ids = [instance_id for drawn in workers.map(draw, clients) for instance_id in drawn]
    assert len(ids) == len(set(ids)) == 60
    assert len({i["PrivateIpAddress"] for i in described(clients[0], ids).values()}) == 60
