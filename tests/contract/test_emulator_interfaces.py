"""Network interfaces of the pretend EC2: cards, EFA, addresses, firewalls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.emulator import (
    Emulator,
    Ground,
    codes,
    described,
    fleet,
    ids_of,
    placed,
    prepare,
    start,
    with_template,
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


NIC = dict[str, Any]


def efa(card: int, device: int, kind: str = "efa-only", **more: Any) -> NIC:
    """Return an interface of a launch template."""
    return {"NetworkCardIndex": card, "DeviceIndex": device, "InterfaceType": kind, **more}


PRIMARY = efa(0, 0, "efa")


@pytest.mark.parametrize(
    ("pool", "nics", "code"),
    [
        ("c7i.large a", [PRIMARY], "InvalidParameterCombination"),
        ("c7i.large a", [efa(0, 0, "interface"), efa(0, 1)], "InvalidParameterCombination"),
        ("hpc7a.96xlarge b", [efa(0, 0)], "InvalidParameterCombination"),
        ("hpc7a.96xlarge b", [efa(0, 0, "efa-max")], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(2, 1)], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(1, 2)], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(1, 1), efa(1, 1)], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(0, 1)], "AttachmentLimitExceeded"),
        ("hpc7a.96xlarge b", [efa(0, 0, "interface"), PRIMARY], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [{"InterfaceType": "efa"}], "MissingParameter"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(1, 1, AssociatePublicIpAddress=False)], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(1, 1, PrivateIpAddress="127.16.16.9")], "InvalidParameterValue"),
        ("hpc7a.96xlarge b", [PRIMARY, efa(1, 1, Ipv4PrefixCount=1)], "InvalidParameterValue"),
        (
            "hpc7a.96xlarge b",
            [efa(0, 0, "efa", AssociatePublicIpAddress=True), efa(1, 1)],
            "InvalidParameterCombination",
        ),
        ("c6i.32xlarge a", [PRIMARY, efa(0, 1)], "AttachmentLimitExceeded"),
        ("c6i.large a", [efa(0, n, "interface") for n in range(4)], "InvalidParameterValue"),
    ],
)
def test_interfaces_a_type_cannot_have_bar_its_override(
    emulator: Emulator, ec2: Any, ground: Ground, pool: str, nics: list[NIC], code: str
) -> None:
    """Each rule by its own code, and no capacity is taken."""
    grouped = [{**nic, "Groups": [ground.group]} for nic in nics]
    name = f"nics-{len(ec2.describe_launch_templates()['LaunchTemplates'])}"
    made = with_template(ec2, ground, name, NetworkInterfaces=grouped)
    answer = ec2.create_fleet(**fleet(made, 1, pool))
    assert (answer["Instances"], codes(answer)) == ([], [code])
    kind = pool.split(maxsplit=1)[0]
    assert not [row for row in emulator.lab("GET", "pools") if row["type"] == kind and row["in_use"]]


def test_one_layout_bars_only_the_types_it_does_not_fit(ec2: Any, ground: Ground) -> None:
    """The check is by override: two cards fit one type and not another of the same call."""
    nics = [{**nic, "Groups": [ground.group]} for nic in (PRIMARY, efa(1, 1))]
    made = with_template(ec2, ground, "two-cards", NetworkInterfaces=nics)
    answer = ec2.create_fleet(**fleet(made, 2, "c6i.32xlarge b", "c6in.32xlarge b"))
    assert [(i["InstanceType"], len(i["InstanceIds"])) for i in answer["Instances"]] == [("c6in.32xlarge", 2)]
    assert codes(answer) == ["InvalidParameterValue"]


def test_interfaces_and_group_are_described_as_launched(ec2: Any, ground: Ground) -> None:
    """Kinds, cards, devices, groups of each interface; an address only where there is one; the placement group."""
    other = ec2.create_security_group(GroupName="efa", Description="efa", VpcId=ground.vpc)["GroupId"]
    nics = [
        {**efa(0, 0, "interface"), "Groups": [ground.group]},
        {**efa(0, 1), "Groups": [other]},
        {**efa(1, 1), "Groups": [ground.group, other]},
    ]
    made = with_template(ec2, ground, "layout-b", NetworkInterfaces=nics)
    ec2.create_placement_group(GroupName="hpc", Strategy="cluster")
    ids = ids_of(ec2.create_fleet(**placed(fleet(made, 2, "hpc7a.96xlarge b"), "hpc")))
    for instance in described(ec2, ids).values():
        shown = [
            (
                nic["InterfaceType"],
                nic["Attachment"]["NetworkCardIndex"],
                nic["Attachment"]["DeviceIndex"],
                [group["GroupId"] for group in nic["Groups"]],
                "PrivateIpAddress" in nic,
            )
            for nic in instance["NetworkInterfaces"]
        ]
        assert shown == [
            ("interface", 0, 0, [ground.group], True),
            ("efa-only", 0, 1, [other], False),
            ("efa-only", 1, 1, [ground.group, other], False),
        ]
        assert instance["Placement"]["GroupName"] == "hpc"
        assert instance["PrivateIpAddress"] == instance["NetworkInterfaces"][0]["PrivateIpAddress"]


def test_efa_takes_an_address_each_and_efa_only_none(ec2: Any, ground: Ground) -> None:
    """A small subnet tells the two apart."""
    small = ec2.create_subnet(VpcId=ground.vpc, CidrBlock="127.16.90.0/28", AvailabilityZone="us-east-2b")
    subnet = small["Subnet"]["SubnetId"]

    def free() -> int:
        return int(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"])

    for name, second, left in (("all-efa", efa(1, 1, "efa"), 9), ("one-address", efa(1, 1), 8)):
        nics = [{**nic, "Groups": [ground.group]} for nic in (PRIMARY, second)]
        made = with_template(ec2, ground, name, NetworkInterfaces=nics)
        asked = fleet(made, 1, "hpc7a.96xlarge b")
        asked["LaunchTemplateConfigs"][0]["Overrides"][0]["SubnetId"] = subnet
        assert ids_of(ec2.create_fleet(**asked))
        assert free() == left


def test_firewalls_are_checked_by_interface(ec2: Any, ground: Ground) -> None:
    """Unknown, of another network, or named twice over: each has EC2's code."""
    vpc = ec2.create_vpc(CidrBlock="127.99.0.0/16")["Vpc"]["VpcId"]
    foreign = ec2.create_security_group(GroupName="foreign", Description="foreign", VpcId=vpc)["GroupId"]
    nics = [{**PRIMARY, "Groups": [ground.group]}, {**efa(1, 1), "Groups": ["sg-0123456789abcdef0"]}]
    strange = [{**PRIMARY, "Groups": [ground.group]}, {**efa(1, 1), "Groups": [foreign]}]
    twice = {"NetworkInterfaces": [{**PRIMARY, "Groups": [ground.group]}], "SecurityGroupIds": [ground.group]}
    for name, data, code in (
        ("unknown", {"NetworkInterfaces": nics}, "InvalidGroup.NotFound"),
        ("foreign", {"NetworkInterfaces": strange}, "InvalidParameter"),
        ("twice", twice, "InvalidParameterCombination"),
    ):
        made = with_template(ec2, ground, name, **data)
        assert codes(ec2.create_fleet(**fleet(made, 1, "hpc7a.96xlarge b"))) == [code]
