"""The lean reader of DescribeInstances against botocore's own parser, on the emulator's real answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.emulator import IMAGE, Emulator, Ground, fleet, ids_of, prepare, start

from asbx.aws import answers, lean


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Start one emulator for this module."""
    running = start(Path(tmp_path_factory.mktemp("lean")))
    # Between two looks nothing may change by itself, such as pending into running.
    running.lab("POST", "knobs", {"pending": 0})
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ground(emulator: Emulator) -> Ground:
    """Return subnets and a template."""
    return prepare(emulator.client())


def test_both_readers_give_the_same_instances(emulator: Emulator, ground: Ground) -> None:
    """Spot and on-demand, several reservations, tags and addresses: field by field alike."""
    plain, quick = emulator.client(), emulator.client()
    lean.install(quick)
    ids = [
        one
        for market in ("spot", "on-demand")
        for one in ids_of(plain.create_fleet(**fleet(ground, 7, "c7i.large a", market=market)))
    ]
    plain.create_tags(Resources=ids[:3], Tags=[{"Key": "asbx:nodes", "Value": "r=a & <b>"}])
    slow = plain.describe_instances(InstanceIds=ids)
    fast = quick.describe_instances(InstanceIds=ids)
    assert list(answers.instances(fast)) == list(answers.instances(slow))
    assert len(list(answers.instances(fast))) == 14
    assert fast["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_both_readers_tell_group_efa_and_end(emulator: Emulator, ground: Ground) -> None:
    """What a gang's instances say beside the rest."""
    plain, quick = emulator.client(), emulator.client()
    lean.install(quick)
    plain.create_placement_group(GroupName="lean", Strategy="cluster")
    plain.create_launch_template(
        LaunchTemplateName="lean",
        LaunchTemplateData={
            "ImageId": IMAGE,
            "NetworkInterfaces": [{"DeviceIndex": 0, "InterfaceType": "efa", "Groups": [ground.group]}],
        },
    )
    asked = fleet(ground, 3, "c6i.32xlarge a")
    asked["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"] = {
        "LaunchTemplateName": "lean",
        "Version": "1",
    }
    asked["LaunchTemplateConfigs"][0]["Overrides"][0]["Placement"] = {"GroupName": "lean"}
    ids = ids_of(plain.create_fleet(**asked))
    plain.terminate_instances(InstanceIds=ids[:1])
    slow = sorted(answers.instances(plain.describe_instances(InstanceIds=ids)), key=lambda one: one.instance_id)
    fast = sorted(answers.instances(quick.describe_instances(InstanceIds=ids)), key=lambda one: one.instance_id)
    assert [(one.placement_group, one.efa, one.state_reason) for one in fast] == [
        (one.placement_group, one.efa, one.state_reason) for one in slow
    ]
    assert {one.placement_group for one in fast} == {"lean"}
    assert max(one.efa for one in fast) == 1
    assert {one.state_reason for one in fast} == {"", "Client.UserInitiatedShutdown"}


def test_pages_go_on(emulator: Emulator, ground: Ground) -> None:
    """The token of the next page is there with both."""
    plain, quick = emulator.client(), emulator.client()
    lean.install(quick)
    plain.create_fleet(**fleet(ground, 12, "c7i.large a"))
    fast = quick.describe_instances(MaxResults=5)
    assert bool(fast["NextToken"])
    assert len(list(answers.instances(fast))) >= 5


def test_errors_are_left_to_the_sdk(emulator: Emulator) -> None:
    """An unknown id is the same ClientError as ever."""
    quick = emulator.client()
    lean.install(quick)
    with pytest.raises(quick.exceptions.ClientError, match=r"InvalidInstanceID\.NotFound"):
        quick.describe_instances(InstanceIds=["i-0123456789abcdef0"])
