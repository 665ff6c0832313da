"""Facts read from EC2's dictionaries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from asbx.aws.bundled import bundled
from asbx.aws.facts import (
    has_self_rule,
    quota_code,
    reservation_facts,
    scores_by_zone,
    subnet_facts,
    template_facts,
    type_facts,
)
from asbx.model.catalogue import Card, InterfaceSpec, SubnetFacts
from asbx.model.market import Market, Template


@pytest.mark.parametrize(
    ("market", "name", "code"),
    [
        (Market.ON_DEMAND, "c7i.large", "L-1216C47A"),
        (Market.SPOT, "im4gn.large", "L-34B43A08"),
        (Market.ON_DEMAND, "hpc7a.96xlarge", "L-F7808C92"),
        (Market.SPOT, "hpc7a.96xlarge", ""),  # not sold as spot
        (Market.ON_DEMAND, "p5.48xlarge", "L-417A185B"),
        (Market.SPOT, "p5en.48xlarge", "L-C4BD4855"),
        (Market.SPOT, "p4d.24xlarge", "L-7212CCBC"),
        (Market.ON_DEMAND, "trn1.32xlarge", "L-2C3B7624"),
        (Market.ON_DEMAND, "u-6tb1.56xlarge", "L-43DA4232"),
        (Market.ON_DEMAND, "mac2.metal", ""),  # counted in hosts
        (Market.CAPACITY_BLOCK, "p5.48xlarge", ""),  # counted in instances
        (Market.ON_DEMAND, "", ""),
    ],
)
def test_a_family_has_its_quota(market: Market, name: str, code: str) -> None:
    """The letters before the first digit choose it, so `hpc` is no `h` and `trn` no `t`."""
    assert quota_code(market, name) == code


def test_every_on_demand_type_but_mac_has_a_quota() -> None:
    """No family of the bundled table is forgotten."""
    without = {n for n, t in bundled().items() if Market.ON_DEMAND in t.markets and not quota_code(Market.ON_DEMAND, n)}
    assert all(name.startswith("mac") for name in without)


def test_a_type_is_read_with_its_cards() -> None:
    """Cards come by index, markets we do not know are left out."""
    facts = type_facts(
        {
            "InstanceType": "x.y",
            "SupportedUsageClasses": ["capacity-block", "on-demand", "brand-new"],
            "VCpuInfo": {"DefaultVCpus": 8, "DefaultCores": 4},
            "MemoryInfo": {"SizeInMiB": 1024},
            "ProcessorInfo": {"SupportedArchitectures": ["arm64"]},
            "PlacementGroupInfo": {"SupportedStrategies": ["spread"]},
            "GpuInfo": {"Gpus": [{"Count": 2}, {"Count": 1}]},
            "NetworkInfo": {
                "EfaInfo": {"MaximumEfaInterfaces": 2},
                "NetworkCards": [
                    {"NetworkCardIndex": 1, "InterfaceTypes": ["interface", "efa"], "MaximumNetworkInterfaces": 2},
                    {"NetworkCardIndex": 0},
                ],
            },
        }
    )
    assert facts.markets == (Market.ON_DEMAND, Market.CAPACITY_BLOCK)
    assert facts.cards == (Card(0, ("interface",), 1), Card(1, ("interface", "efa"), 2))
    assert (facts.cores, facts.gpus, facts.efa, facts.placement) == (4, 3, 2, ("spread",))


def test_a_subnet_is_read() -> None:
    """Zone by name and by id, and what is free."""
    item = {
        "SubnetId": "subnet-1",
        "AvailabilityZone": "us-east-2a",
        "AvailabilityZoneId": "use2-az1",
        "AvailableIpAddressCount": 7,
        "VpcId": "vpc-1",
    }
    assert subnet_facts(item) == SubnetFacts("subnet-1", "us-east-2a", "use2-az1", 7, "vpc-1")


def _version(**data: Any) -> dict[str, Any]:
    return {"VersionNumber": 4, "LaunchTemplateData": data}


def test_a_template_is_read_and_named_by_number() -> None:
    """$Default becomes the number behind it; groups are those of the primary interface."""
    asked = Template("lt-1", version="$Default")
    facts = template_facts(
        asked,
        _version(
            ImageId="ami-1",
            NetworkInterfaces=[{"DeviceIndex": 0, "Groups": ["sg-1"], "AssociatePublicIpAddress": False}],
            Placement={"GroupName": "theirs"},
            CapacityReservationSpecification={"CapacityReservationTarget": {"CapacityReservationId": "cr-1"}},
        ),
    )
    assert facts.fixed == Template("lt-1", version="4")
    assert facts.groups == ("sg-1",)
    assert facts.interfaces == (InterfaceSpec(0, 0, "interface", ("sg-1",), public=False),)
    assert (facts.placement_group, facts.reservation, facts.image_id) == ("theirs", "cr-1", "ami-1")
    assert template_facts(asked, _version(SecurityGroupIds=["sg-2"])).groups == ("sg-2",)


def test_a_fingerprint_is_of_the_content() -> None:
    """The order of members does not matter, every value does."""
    one = template_facts(Template("lt-1"), _version(ImageId="ami-1", KeyName="k"))
    same = template_facts(Template("lt-2"), _version(KeyName="k", ImageId="ami-1"))
    other = template_facts(Template("lt-1"), _version(ImageId="ami-2", KeyName="k"))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 64


def test_a_block_is_told_from_a_reservation() -> None:
    """With its window and the group it was made in."""
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    item = {
        "CapacityReservationId": "cr-1",
        "InstanceType": "p5.48xlarge",
        "AvailabilityZone": "us-east-2a",
        "AvailableInstanceCount": 3,
        "TotalInstanceCount": 4,
        "State": "active",
        "ReservationType": "capacity-block",
        "InstanceMatchCriteria": "targeted",
        "StartDate": start,
        "EndDate": end,
        "EndDateType": "limited",
        "PlacementGroupArn": "arn:aws:ec2:us-east-2:1:placement-group/theirs",
    }
    facts = reservation_facts(item)
    assert (facts.available, facts.total, facts.starts, facts.ends) == (3, 4, start, end)
    assert (facts.is_active, facts.is_block, facts.is_open, facts.placement_group) == (True, True, False, "theirs")
    plain = reservation_facts(
        item | {"ReservationType": "default", "EndDateType": "unlimited", "InstanceMatchCriteria": "open"}
    )
    assert (plain.is_block, plain.is_open, plain.ends) == (False, True, None)
    assert not reservation_facts(item | {"State": "scheduled"}).is_active
    assert not reservation_facts(item | {"LaunchStatus": "unlaunchable"}).is_active


SELF = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}
OTHER = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-2"}]}
OUT = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
TCP = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": [{"GroupId": "sg-1"}]}


@pytest.mark.parametrize(
    ("rules_in", "rules_out", "good"),
    [
        ([SELF], [SELF], True),
        ([OTHER, SELF], [TCP, OUT, SELF], True),
        ([SELF], [OUT], False),  # EFA traffic has no address: only rules that name the group match it
        ([OUT], [SELF], False),
        ([TCP], [SELF], False),  # EFA is no TCP
        ([OTHER], [SELF], False),
        ([SELF], [], False),
        ([], [SELF], False),
    ],
)
def test_efa_needs_a_rule_for_itself(rules_in: list[object], rules_out: list[object], good: bool) -> None:
    """All protocols, in and out."""
    group = {"GroupId": "sg-1", "IpPermissions": rules_in, "IpPermissionsEgress": rules_out}
    assert has_self_rule(group) is good


def test_scores_are_named_by_zone() -> None:
    """Zones nobody asked about are left out."""
    items = [{"AvailabilityZoneId": "use2-az1", "Score": 9}, {"AvailabilityZoneId": "use2-az9", "Score": 1}]
    assert scores_by_zone(items, {"use2-az1": "us-east-2a"}) == {"us-east-2a": 9}
