"""What EC2 says, as values: grouped ids, errors beside instances, the table of codes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asbx.aws.answers import _CODES, VERDICTS, fleet_answer, instances, verdict_of
from asbx.model.market import Instance, Market, Verdict


def test_all_ids_of_a_group_are_ours() -> None:
    """One item of the answer holds several ids; reading only the first loses instances that run for ever."""
    answer = fleet_answer(
        {
            "FleetId": "fleet-1",
            "Instances": [
                {"InstanceIds": ["i-1", "i-2"], "InstanceType": "c7i.large", "Lifecycle": "spot",
                 "LaunchTemplateAndOverrides": {"Overrides": {"SubnetId": "subnet-a", "AvailabilityZone": "z"}}},
                {"InstanceIds": ["i-3"], "InstanceType": "m7i.large", "Lifecycle": "on-demand", "SubnetId": "subnet-b"},
            ],
        }
    )  # fmt: skip
    assert [launched.instance_id for launched in answer.launched] == ["i-1", "i-2", "i-3"]
    assert [launched.market for launched in answer.launched] == [Market.SPOT, Market.SPOT, Market.ON_DEMAND]
    assert [launched.subnet_id for launched in answer.launched] == ["subnet-a", "subnet-a", "subnet-b"]


def test_errors_come_beside_instances() -> None:
    """Throttling inside Errors[] is told apart from an empty pool."""
    answer = fleet_answer(
        {
            "Errors": [
                {"ErrorCode": "InsufficientInstanceCapacity", "ErrorMessage": "none",
                 "LaunchTemplateAndOverrides": {"Overrides": {"InstanceType": "c7i.large", "SubnetId": "s"}}},
                {"ErrorCode": "RequestLimitExceeded"},
                {"ErrorCode": "BrandNewCode"},
            ]
        }
    )  # fmt: skip
    assert [r.verdict for r in answer.refusals] == [Verdict.CAPACITY, Verdict.THROTTLED, Verdict.UNKNOWN]
    assert answer.refusals[0].instance_type == "c7i.large"


def test_an_empty_answer_is_empty() -> None:
    """Missing keys are no trouble."""
    assert fleet_answer({}).launched == ()


@pytest.mark.parametrize(
    ("code", "status", "verdict"),
    [
        ("InsufficientInstanceCapacity", 500, Verdict.CAPACITY),
        ("VcpuLimitExceeded", 400, Verdict.QUOTA),
        ("InsufficientFreeAddressesInSubnet", 400, Verdict.ADDRESSES),
        ("PlacementGroupLimitExceeded", 400, Verdict.LIMIT),
        ("InvalidCapacityReservationState.PendingActivation", 400, Verdict.CAPACITY),
        ("UnauthorizedOperation", 403, Verdict.PERMISSION),
        ("BrandNewCode", 503, Verdict.TRANSIENT),
        ("BrandNewCode", 400, Verdict.UNKNOWN),
    ],
)
def test_codes_mean_what_the_table_says(code: str, status: int, verdict: Verdict) -> None:
    """The code decides; only an unknown one looks at the HTTP status."""
    assert verdict_of(code, status) == verdict


def test_no_code_stands_in_two_rows() -> None:
    """A code means one thing."""
    codes = [code for row in _CODES.values() for code in row.split()]
    assert len(codes) == len(set(codes))


def test_every_verdict_has_codes_but_unknown() -> None:
    """No row of the table is empty."""
    assert set(VERDICTS.values()) == set(Verdict) - {Verdict.UNKNOWN}


def test_the_address_is_of_device_0_on_card_0() -> None:
    """The order of interfaces in the answer says nothing (aws-parallelcluster #5682)."""
    cards = [(1, 1, "10.0.0.9"), (1, 0, "10.0.0.8"), (0, 0, "10.0.0.7"), (0, 1, "10.0.0.6")]
    item = {
        "InstanceId": "i-1",
        "InstanceType": "p5.48xlarge",
        "State": {"Name": "running"},
        "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC),
        "PrivateIpAddress": "10.0.0.9",
        "NetworkInterfaces": [
            {"PrivateIpAddress": ip, "Attachment": {"DeviceIndex": device, "NetworkCardIndex": card}}
            for device, card, ip in cards
        ],
    }
    (instance,) = instances({"Reservations": [{"ReservationId": "r-1", "Instances": [item]}]})
    assert (instance.private_ip, instance.reservation_id) == ("10.0.0.7", "r-1")


def _described(**fields: object) -> Instance:
    item = {"InstanceId": "i-1", "State": {"Name": "running"}} | fields
    (instance,) = instances({"Reservations": [{"ReservationId": "r-1", "Instances": [item]}]})
    return instance


def test_placement_and_efa_are_told() -> None:
    """The group by name, and how many interfaces are EFA of either kind."""
    kinds = ("efa", "efa-only", "interface")
    instance = _described(
        Placement={"AvailabilityZone": "us-east-2a", "GroupName": "g"},
        NetworkInterfaces=[{"InterfaceType": kind} for kind in kinds],
    )
    assert (instance.placement_group, instance.efa, instance.zone) == ("g", 2, "us-east-2a")
    assert (_described().placement_group, _described().efa) == ("", 0)


def test_a_reason_is_told_once_it_ended() -> None:
    """EC2 gives a pending instance a reason too; only that of an end is kept."""
    assert _described(StateReason={"Code": "Server.SpotInstanceTermination"}).state_reason == (
        "Server.SpotInstanceTermination"
    )
    assert _described(StateReason={"Code": "pending"}).state_reason == ""
    assert _described().state_reason == ""


@pytest.mark.parametrize(
    ("state", "said", "ended"),
    [
        ("terminated", "User initiated (2026-03-01 12:00:05 GMT)", datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)),
        ("shutting-down", "User initiated (2026-03-01 12:00:05 GMT)", datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)),
        ("terminated", "Server.SpotInstanceTermination", None),
        ("running", "User initiated (2026-03-01 12:00:05 GMT)", None),
    ],
)
def test_the_end_is_when_ec2_says(state: str, said: str, ended: datetime | None) -> None:
    """The time stands in the reason of the last change of state; that of a start is no end."""
    assert _described(State={"Name": state}, StateTransitionReason=said).ended_at == ended


def test_a_block_is_a_market_of_its_own() -> None:
    """Both answers call it by its life cycle."""
    assert _described(InstanceLifecycle="capacity-block").market is Market.CAPACITY_BLOCK
    answer = fleet_answer({"Instances": [{"InstanceIds": ["i-1"], "Lifecycle": "capacity-block"}]})
    assert answer.launched[0].market is Market.CAPACITY_BLOCK
