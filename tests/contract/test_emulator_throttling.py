"""Rates of the pretend EC2, and errors for some overrides of a call."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.contract.emulator import (
    Emulator,
    Ground,
    code_of,
    codes,
    fleet,
    ids_of,
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


@pytest.fixture
def faults(emulator: Emulator) -> Iterator[Any]:
    """Return a way to order faults inside CreateFleet's answer, and forget them afterwards."""

    def order(code: str, only: str = "", times: int = 1) -> None:
        inside = {"action": "CreateFleet", "then": "refuse-overrides"}
        emulator.lab("POST", "faults", {**inside, "code": code, "only": only, "times": times})

    yield order
    emulator.lab("DELETE", "faults")


def test_a_fault_can_strike_one_type_or_one_zone_of_a_call(ec2: Any, ground: Ground, faults: Any) -> None:
    """The others launch, in the same answer with HTTP 200."""
    faults("RequestLimitExceeded", "c6i.large")
    answer = ec2.create_fleet(**fleet(ground, 2, "c6i.large a", "c7i.large a"))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert codes(answer) == ["RequestLimitExceeded"]
    assert {i["InstanceType"]: len(i["InstanceIds"]) for i in answer["Instances"]} == {"c7i.large": 2}
    faults("RequestLimitExceeded", "us-east-2a")
    answer = ec2.create_fleet(**fleet(ground, 2, "c6i.large a", "c6i.large b"))
    assert {item["AvailabilityZone"] for item in answer["Instances"]} == {"us-east-2b"}


def test_several_faults_can_sit_in_one_answer(ec2: Any, ground: Ground, faults: Any) -> None:
    """Throttling beside lack of capacity and a quota, one for each override; the next call is clean."""
    wanted = {
        "c6i.large": "RequestLimitExceeded",
        "c7i.large": "InsufficientInstanceCapacity",
        "m7i.large": "VcpuLimitExceeded",
    }
    for kind, code in wanted.items():
        faults(code, kind)
    asked = fleet(ground, 2, "c6i.large a", "c7i.large a", "m7i.large a")
    answer = ec2.create_fleet(**asked)
    found = {e["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"]: e["ErrorCode"] for e in answer["Errors"]}
    assert (found, answer["Instances"]) == (wanted, [])
    assert len(ids_of(ec2.create_fleet(**asked))) == 2


def test_faults_for_all_overrides_wait_for_their_own_call(ec2: Any, ground: Ground, faults: Any) -> None:
    """Two of one kind strike two calls, in order."""
    faults("RequestLimitExceeded")
    faults("InternalError")
    assert codes(ec2.create_fleet(**fleet(ground, 1))) == ["RequestLimitExceeded"]
    assert codes(ec2.create_fleet(**fleet(ground, 1))) == ["InternalError"]
    assert ids_of(ec2.create_fleet(**fleet(ground, 1)))


def test_a_filter_without_its_fault_is_nonsense(emulator: Emulator) -> None:
    """`only` belongs to faults inside an answer."""
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.lab("POST", "faults", {"action": "CreateFleet", "code": "X", "only": "c7i.large"})


def test_launches_drain_a_bucket_that_refills(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Empty: RequestLimitExceeded with HTTP 503, nothing launched; full again after a while; off by default."""
    emulator.lab("POST", "knobs", {"launch_bucket": 10, "launch_refill": 5})
    try:
        assert len(ids_of(ec2.create_fleet(**fleet(ground, 8, ClientToken="bucket-1")))) == 8
        before = len(emulator.lab("GET", "instances"))
        with pytest.raises(ClientError) as caught:
            ec2.create_fleet(**fleet(ground, 8, ClientToken="bucket-2"))
        error = caught.value.response
        assert error["Error"]["Code"] == "RequestLimitExceeded"
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert len(emulator.lab("GET", "instances")) == before
        assert len(ids_of(ec2.create_fleet(**fleet(ground, 8, ClientToken="bucket-1")))) == 8
        nics = [{"DeviceIndex": 0, "SubnetId": ground.subnets["us-east-2a"], "Groups": [ground.group]}]
        template = {"LaunchTemplateId": ground.template}
        run = {"LaunchTemplate": template, "NetworkInterfaces": nics, "MinCount": 8, "MaxCount": 8}
        assert code_of(ec2.run_instances, **run) == "RequestLimitExceeded"

        def launched() -> list[str]:
            try:
                return ids_of(ec2.create_fleet(**fleet(ground, 8, ClientToken="bucket-2")))
            except ClientError:
                return []

        assert len(until(launched)) == 8
    finally:
        emulator.lab("POST", "knobs", {"launch_bucket": 0})
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 20)))) == 20
