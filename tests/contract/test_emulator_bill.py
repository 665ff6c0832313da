"""The pretend EC2's volumes and its own bill: by the second, at the price of each hour, with volumes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.contract.emulator import IMAGE, Emulator, Ground, fleet, ids_of, prepare, start, until

from asbx.aws.cloud import Ec2
from asbx.config.schema import Aws
from asbx.model.usage import Volume


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module, whose hours last a second."""
    running = start(tmp_path_factory.mktemp("emulator"))
    running.lab("POST", "knobs", {"billed_hour": 1})
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


def line_of(emulator: Emulator, instance_id: str) -> dict[str, Any]:
    """Return what is billed of an instance."""
    (found,) = [line for line in emulator.lab("GET", "bill")["instances"] if line["id"] == instance_id]
    assert isinstance(found, dict)
    return found


def test_a_price_that_changes_is_charged_from_the_next_hour_on(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Two segments whose seconds and dollars add up; what is terminated costs no more, whatever is set later."""
    key = {"type": "m5.large", "zone": "us-east-2a", "market": "on-demand"}
    emulator.lab("POST", "prices", {**key, "usd": "3600"})
    (instance_id,) = ids_of(ec2.create_fleet(**fleet(ground, 1, "m5.large a")))
    until(lambda: line_of(emulator, instance_id)["billed_seconds"] >= 2)
    emulator.lab("POST", "prices", {**key, "usd": "7200"})
    until(lambda: line_of(emulator, instance_id)["segments"][-1]["to_second"] >= 5)  # the end it shows has no fraction
    ec2.terminate_instances(InstanceIds=[instance_id])
    line = line_of(emulator, instance_id)
    first, second = line["segments"]
    assert (first["from_second"], first["to_second"]) == (0, second["from_second"])
    assert second["to_second"] == line["billed_seconds"]
    spent = Decimal(first["to_second"]) + 2 * Decimal(second["to_second"] - second["from_second"])
    assert Decimal(line["compute_usd"]) == spent
    emulator.lab("POST", "prices", {**key, "usd": "1"})
    assert line_of(emulator, instance_id) == line
    whole = emulator.lab("GET", "bill")
    assert Decimal(whole["total_usd"]) == sum(Decimal(one["usd"]) for one in whole["instances"])


def test_the_least_that_is_billed_can_be_set(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """EC2 bills 60 seconds of an instance that lived for one."""
    (instance_id,) = ids_of(ec2.create_fleet(**fleet(ground, 1, "m5.large b")))
    ec2.terminate_instances(InstanceIds=[instance_id])
    emulator.lab("POST", "knobs", {"billed_least": 60})
    try:
        assert line_of(emulator, instance_id)["billed_seconds"] == 60
    finally:
        emulator.lab("POST", "knobs", {"billed_least": 0})


def test_spot_taken_back_in_its_first_hour_is_free_but_for_its_disk(
    emulator: Emulator, ec2: Any, ground: Ground
) -> None:
    """EC2 takes it: no charge. The user ends it: the seconds used."""
    taken, ended = ids_of(ec2.create_fleet(**fleet(ground, 2, "c7i.large a", market="spot")))
    emulator.lab("POST", "knobs", {"billed_hour": 3600})
    until(lambda: line_of(emulator, ended)["billed_seconds"] >= 2)
    try:
        emulator.lab("POST", f"machines/{taken}", {"state": "interrupted", "notice": 0})
        ec2.terminate_instances(InstanceIds=[ended])
        free, paid = line_of(emulator, taken), line_of(emulator, ended)
        assert (free["is_free"], free["segments"]) == (True, [])
        assert Decimal(free["volumes_usd"]) == Decimal(free["usd"]) > 0
        assert (paid["is_free"], len(paid["segments"])) == (False, 1)
    finally:
        emulator.lab("POST", "knobs", {"billed_hour": 1})


def test_volumes_are_what_the_template_says(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """The root device of the image, made larger; a second disk; each described, and charged by the month."""
    devices = [
        {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 500, "VolumeType": "io2", "Iops": 40_000}},
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 100, "Throughput": 250, "Iops": 4000}},
    ]
    data = {"ImageId": IMAGE, "InstanceType": "c7i.large", "BlockDeviceMappings": devices}
    ec2.create_launch_template(LaunchTemplateName="disks", LaunchTemplateData=data)
    request = fleet(ground, 2, "c7i.large c")
    request["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"] = {
        "LaunchTemplateName": "disks",
        "Version": "$Latest",
    }
    ids = ids_of(ec2.create_fleet(**request))
    settings = {
        "region": "us-east-2",
        "endpoint_url": emulator.url,
        "authentication_method": "access_keys",
        "access_keys": {"access_key_id": "test", "secret_access_key": "test"},
    }
    told = Ec2(Aws.model_validate(settings)).volumes([*ids, "i-0123456789abcdef0"])
    assert {volume.instance_id for volume in told} == set(ids)
    root, data_disk = sorted((one for one in told if one.instance_id == ids[0]), key=lambda one: one.kind)
    assert root == Volume(ids[0], root.volume_id, "gp3", 100, 4000, 250)
    assert data_disk == Volume(ids[0], data_disk.volume_id, "io2", 500, 40_000, 0)
    monthly = {disk["id"]: Decimal(disk["usd_per_month"]) for disk in line_of(emulator, ids[0])["volumes"]}
    assert monthly == {root.volume_id: Decimal(18), data_disk.volume_id: Decimal("62.5") + 2080 + 364}
    ec2.terminate_instances(InstanceIds=ids)


def test_volumes_are_listed_as_ec2_does(ec2: Any, ground: Ground) -> None:
    """Pages, filters, errors; those of a terminated instance are gone."""
    ids = ids_of(ec2.create_fleet(**fleet(ground, 6, "m5.large c")))
    mine = [{"Name": "attachment.instance-id", "Values": ids}]
    first = ec2.describe_volumes(Filters=mine, MaxResults=5)
    rest = ec2.describe_volumes(Filters=mine, MaxResults=5, NextToken=first["NextToken"])
    assert (len(first["Volumes"]), len(rest["Volumes"]), rest.get("NextToken")) == (5, 1, None)
    volume = first["Volumes"][0]
    assert (volume["VolumeType"], volume["Size"], volume["State"]) == ("gp3", 8, "in-use")
    (named,) = ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"]
    assert named == volume
    for asked, code in (
        ({"VolumeIds": ["vol-0123456789abcdef0"]}, "InvalidVolume.NotFound"),
        ({"VolumeIds": ["nonsense"]}, "InvalidParameterValue"),
        ({"VolumeIds": [volume["VolumeId"]], "MaxResults": 5}, "InvalidParameterCombination"),
        ({"MaxResults": 4}, "InvalidParameterValue"),
        ({"Filters": [{"Name": "no-such", "Values": ["x"]}]}, "InvalidParameterValue"),
        ({"DryRun": True}, "DryRunOperation"),
    ):
        with pytest.raises(ClientError) as caught:
            ec2.describe_volumes(**asked)
        assert caught.value.response["Error"]["Code"] == code, asked
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: not ec2.describe_volumes(Filters=mine)["Volumes"])
