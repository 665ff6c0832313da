"""A derived launch template says what its base says, but for what was to change."""

from __future__ import annotations

import pytest
from tests.unit.golden import BASE, gang_requests, golden, template_shape

from asbx.aws.templates import launch_template
from asbx.model.catalogue import InterfaceSpec, TemplateChange
from asbx.model.market import Verdict
from asbx.ports import CloudError

RICH = {
    "SecurityGroupIds": ["sg-top"],
    "NetworkInterfaces": [
        {"DeviceIndex": 1, "NetworkCardIndex": 1, "Description": "second"},
        {
            "DeviceIndex": 0,
            "NetworkCardIndex": 0,
            "Groups": ["sg-base"],
            "Description": "first",
            "DeleteOnTermination": False,
            "Ipv6AddressCount": 1,
            "PrivateIpAddress": "10.0.0.9",
            "NetworkInterfaceId": "eni-1",
            "SubnetId": "subnet-1",
            "AssociatePublicIpAddress": True,
            "EnaQueueCount": 4,
        },
    ],
}
TWO_CARDS = (InterfaceSpec(0, 0, "efa", ("sg-1",)), InterfaceSpec(1, 1, "efa-only", ("sg-1",)))


def test_a_layout_of_two_cards_is_what_the_golden_file_says() -> None:
    """The template and the fleet that uses it, as one gang would ask for them."""
    golden("gang-two-cards", gang_requests("hpc7a.96xlarge", TWO_CARDS, "asbx-lab-12"))


def test_without_a_layout_the_base_serves() -> None:
    """No template is derived, and the fleet names the base."""
    made = gang_requests("c7i.large", (), "")
    assert set(made) == {"CreateFleet"}
    assert made["CreateFleet"]["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] == "3"


def test_what_only_answers_say_is_left_out() -> None:
    """The rest of the base stays, nested members too."""
    data = launch_template(BASE, TemplateChange(), template_shape())
    assert data["MetadataOptions"] == {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
    assert "Operator" not in data
    assert data["NetworkInterfaces"] == BASE["NetworkInterfaces"]


def test_the_primary_interface_keeps_what_fits_every_instance() -> None:
    """Its settings stay, but no subnet, no id and no single address, and no public one beside other interfaces."""
    first, second = launch_template(RICH, TemplateChange(TWO_CARDS), template_shape())["NetworkInterfaces"]
    assert first == {
        "NetworkCardIndex": 0,
        "DeviceIndex": 0,
        "InterfaceType": "efa",
        "DeleteOnTermination": False,
        "Groups": ["sg-1"],
        "Description": "first",
        "Ipv6AddressCount": 1,
        "EnaQueueCount": 4,
    }
    assert second == {
        "NetworkCardIndex": 1,
        "DeviceIndex": 1,
        "InterfaceType": "efa-only",
        "DeleteOnTermination": True,
        "Groups": ["sg-1"],
        "Description": "first",
    }


@pytest.mark.parametrize(("stated", "public"), [(None, True), (False, False), (True, True)])
def test_one_interface_may_have_a_public_address(stated: bool | None, public: bool) -> None:
    """As the layout says, or else as the base says."""
    change = TemplateChange((InterfaceSpec(0, 0, "efa", public=stated),))
    (only,) = launch_template(RICH, change, template_shape())["NetworkInterfaces"]
    assert only["AssociatePublicIpAddress"] is public


def test_groups_move_into_the_interfaces() -> None:
    """EC2 takes them in one place; a layout without groups takes the base's, wherever they were."""
    change = TemplateChange((InterfaceSpec(0, 0, "efa"),))
    data = launch_template({"SecurityGroupIds": ["sg-top"]}, change, template_shape())
    assert data["NetworkInterfaces"][0]["Groups"] == ["sg-top"]
    assert "SecurityGroupIds" not in data
    assert launch_template(RICH, change, template_shape())["NetworkInterfaces"][0]["Groups"] == ["sg-base"]


def test_groups_by_name_cannot_move() -> None:
    """Interfaces take ids only, and losing the groups in silence would open or close the node."""
    named = {"SecurityGroups": ["nodes"]}
    assert launch_template(named, TemplateChange(TWO_CARDS), template_shape())["NetworkInterfaces"]
    with pytest.raises(CloudError) as caught:
        launch_template(named, TemplateChange((InterfaceSpec(0, 0, "efa"),)), template_shape())
    assert caught.value.verdict is Verdict.INVALID


def test_a_reservation_is_targeted_and_a_block_is_a_market() -> None:
    """Both are said in the template: a fleet's override cannot."""
    data = launch_template(
        {"InstanceMarketOptions": {"MarketType": "spot"}}, TemplateChange((), "cr-1", is_block=True), template_shape()
    )
    assert data["CapacityReservationSpecification"]["CapacityReservationTarget"] == {"CapacityReservationId": "cr-1"}
    assert data["InstanceMarketOptions"] == {"MarketType": "capacity-block"}
