"""Capacity reservations of the pretend EC2, asked by plain boto3."""

from __future__ import annotations

import urllib.error
import uuid
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


def reserve(ec2: Any, count: int, kind: str = "c7i.large", zone: str = "us-east-2a", **changes: Any) -> str:
    """Reserve capacity; return the id."""
    asked = {
        "InstanceType": kind,
        "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": zone,
        "InstanceCount": count,
        **changes,
    }
    return str(ec2.create_capacity_reservation(**asked)["CapacityReservation"]["CapacityReservationId"])


def shown(ec2: Any, reservation: str) -> dict[str, Any]:
    """Return a reservation as EC2 describes it."""
    found = ec2.describe_capacity_reservations(CapacityReservationIds=[reservation])["CapacityReservations"]
    return dict(found[0])


def available(ec2: Any, reservation: str) -> int:
    """Return its free places."""
    return int(shown(ec2, reservation)["AvailableInstanceCount"])


def targeting(ec2: Any, ground: Ground, reservation: str, **data: Any) -> Ground:
    """Return the ground with a template that targets a reservation."""
    target = {"CapacityReservationTarget": {"CapacityReservationId": reservation}}
    name = f"target-{uuid.uuid4()}"
    return with_template(ec2, ground, name, CapacityReservationSpecification=target, **data)


def bound(emulator: Emulator, kind: str, capacity: int | None, zone: str = "us-east-2a") -> None:
    """Bound a pool of on-demand capacity."""
    emulator.lab("POST", "pools", {"type": kind, "zone": zone, "market": "on-demand", "capacity": capacity})


def test_reserved_places_leave_the_pool_and_serve_open_launches_first(
    emulator: Emulator, ec2: Any, ground: Ground
) -> None:
    """Others get what is left; a launch that matches fills the reservation, then the pool."""
    bound(emulator, "c6i.large", 5)
    full = {"InstanceType": "c6i.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-2a"}
    too_many = {**full, "InstanceCount": 6}
    assert code_of(ec2.create_capacity_reservation, **too_many) == "InsufficientInstanceCapacity"
    reservation = reserve(ec2, 3, "c6i.large")
    assert [r["in_use"] for r in emulator.lab("GET", "pools") if r["type"] == "c6i.large"] == [3]
    ids = ids_of(ec2.create_fleet(**fleet(ground, 2, "c6i.large a")))
    assert available(ec2, reservation) == 1
    assert {i["CapacityReservationId"] for i in described(ec2, ids).values()} == {reservation}
    more = ec2.create_fleet(**fleet(ground, 9, "c6i.large a"))
    assert (len(ids_of(more)), codes(more)) == (3, ["InsufficientInstanceCapacity"])
    assert available(ec2, reservation) == 0
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: available(ec2, reservation) == 2)
    ec2.cancel_capacity_reservation(CapacityReservationId=reservation)
    assert (shown(ec2, reservation)["State"], available(ec2, reservation)) == ("cancelled", 0)
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 9, "c6i.large a")))) == 2
    ec2.terminate_instances(InstanceIds=ids_of(more))
    until(lambda: [r["in_use"] for r in emulator.lab("GET", "pools") if r["type"] == "c6i.large"] == [2])
    bound(emulator, "c6i.large", None)


def test_spot_and_the_unwilling_leave_open_reservations_alone(ec2: Any, ground: Ground) -> None:
    """Spot never uses one, preference none neither; capacity-reservations-only uses nothing else."""
    reservation = reserve(ec2, 2, "m6i.large")
    ec2.create_fleet(**fleet(ground, 1, "m6i.large a", market="spot"))
    none = with_template(
        ec2, ground, "unwilling", CapacityReservationSpecification={"CapacityReservationPreference": "none"}
    )
    ec2.create_fleet(**fleet(none, 1, "m6i.large a"))
    assert available(ec2, reservation) == 2
    only = {"CapacityReservationPreference": "capacity-reservations-only"}
    strict = with_template(ec2, ground, "reserved-only", CapacityReservationSpecification=only)
    answer = ec2.create_fleet(**fleet(strict, 3, "m6i.large a"))
    assert (len(ids_of(answer)), codes(answer)) == (2, ["ReservationCapacityExceeded"])
    ec2.cancel_capacity_reservation(CapacityReservationId=reservation)


def test_reserved_pools_come_first_if_the_fleet_says_so(ec2: Any, ground: Ground) -> None:
    """use-capacity-reservations-first draws on a dearer pool's reservation before the cheapest pool."""
    reservation = reserve(ec2, 2, "m7i.large", "us-east-2b")
    pools = ("c6i.large b", "m7i.large b")
    plain = ec2.create_fleet(**fleet(ground, 2, *pools))
    assert [i["InstanceType"] for i in plain["Instances"]] == ["c6i.large"]
    options = {"CapacityReservationOptions": {"UsageStrategy": "use-capacity-reservations-first"}}
    answer = ec2.create_fleet(**fleet(ground, 3, *pools, OnDemandOptions=options))
    assert {i["InstanceType"]: len(i["InstanceIds"]) for i in answer["Instances"]} == {"m7i.large": 2, "c6i.large": 1}
    assert (answer["Errors"], available(ec2, reservation)) == ([], 0)


def test_a_targeted_reservation_serves_those_that_name_it(ec2: Any, ground: Ground) -> None:
    """Not others, not beyond its places, and a full one by its own code."""
    reservation = reserve(ec2, 3, InstanceMatchCriteria="targeted")
    ec2.create_fleet(**fleet(ground, 1))
    assert available(ec2, reservation) == 3
    made = targeting(ec2, ground, reservation)
    answer = ec2.create_fleet(**fleet(made, 4))
    assert (len(ids_of(answer)), codes(answer)) == (3, ["ReservationCapacityExceeded"])
    options = {"MinTargetCapacity": 1, "SingleAvailabilityZone": True}
    again = ec2.create_fleet(**fleet(made, 1, OnDemandOptions=options))
    assert (again["Instances"], codes(again)) == ([], ["ReservationCapacityExceeded"])
    filters = [{"Name": "capacity-reservation-id", "Values": [reservation]}]
    assert len(ec2.describe_instances(Filters=filters)["Reservations"][0]["Instances"]) == 3


def test_a_target_that_cannot_serve_is_refused_by_override(ec2: Any, ground: Ground) -> None:
    """Another type or zone, an ended one, an unknown one, a malformed id, Spot: nothing launches elsewhere."""
    targeted = {"InstanceMatchCriteria": "targeted"}
    good, ended = reserve(ec2, 2, **targeted), reserve(ec2, 2, **targeted)
    ec2.cancel_capacity_reservation(CapacityReservationId=ended)
    for reservation, pool, market, code in (
        (good, "c7i.xlarge a", "on-demand", "ReservationCapacityExceeded"),
        (good, "c7i.large b", "on-demand", "ReservationCapacityExceeded"),
        (ended, "c7i.large a", "on-demand", "ReservationCapacityExceeded"),
        ("cr-0123456789abcdef0", "c7i.large a", "on-demand", "InvalidCapacityReservationId.NotFound"),
        ("cr-nonsense", "c7i.large a", "on-demand", "InvalidCapacityReservationId.Malformed"),
        (good, "c7i.large a", "spot", "InvalidParameterCombination"),
    ):
        answer = ec2.create_fleet(**fleet(targeting(ec2, ground, reservation), 1, pool, market=market))
        assert (answer["Instances"], codes(answer)) == ([], [code]), (reservation, pool)
    assert available(ec2, good) == 2


def test_a_reservation_outside_the_group_does_not_serve_a_launch_into_it(ec2: Any, ground: Ground) -> None:
    """aws-parallelcluster 4215: refused as lack of capacity; one made in the group serves, and keeps the group."""
    arn = ec2.create_placement_group(GroupName="reserved", Strategy="cluster")["PlacementGroup"]["GroupArn"]
    outside = reserve(ec2, 2, InstanceMatchCriteria="targeted")
    inside = reserve(ec2, 2, InstanceMatchCriteria="targeted", PlacementGroupArn=arn)
    assert shown(ec2, inside)["PlacementGroupArn"] == arn
    answer = ec2.create_fleet(**placed(fleet(targeting(ec2, ground, outside), 2), "reserved"))
    assert (answer["Instances"], codes(answer)) == ([], ["InsufficientInstanceCapacity"])
    ids = ids_of(ec2.create_fleet(**placed(fleet(targeting(ec2, ground, inside), 2), "reserved")))
    assert len(ids) == 2
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids).values()} == {"terminated"})
    assert code_of(ec2.delete_placement_group, GroupName="reserved") == "InvalidPlacementGroup.InUse"
    ec2.cancel_capacity_reservation(CapacityReservationId=inside)
    ec2.delete_placement_group(GroupName="reserved")


def test_an_open_reservation_outside_the_group_is_passed_over(ec2: Any, ground: Ground) -> None:
    """The launch into the group takes the pool's capacity, and the reservation stays whole."""
    ec2.create_placement_group(GroupName="passing", Strategy="cluster")
    reservation = reserve(ec2, 2, "m5.large")
    assert len(ids_of(ec2.create_fleet(**placed(fleet(ground, 2, "m5.large a"), "passing")))) == 2
    assert available(ec2, reservation) == 2


def test_places_reserved_in_a_group_count_against_what_it_holds(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """The group's bound refuses the reservation, or what would come on top of it."""
    arn = ec2.create_placement_group(GroupName="narrow", Strategy="cluster")["PlacementGroup"]["GroupArn"]
    pool = {"type": "r6i.large", "zone": "us-east-2a", "market": "on-demand"}
    emulator.lab("POST", "pools", {**pool, "in_group": 3})
    asked = {"InstanceType": "r6i.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-2a"}
    many = {**asked, "InstanceCount": 4, "PlacementGroupArn": arn}
    assert code_of(ec2.create_capacity_reservation, **many) == "InsufficientInstanceCapacity"
    reserve(ec2, 2, "r6i.large", PlacementGroupArn=arn)
    answer = ec2.create_fleet(**placed(fleet(ground, 5, "r6i.large a"), "narrow"))
    assert (len(ids_of(answer)), codes(answer)) == (3, ["InsufficientInstanceCapacity"])


def test_reservations_count_towards_the_on_demand_quota(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Reserving beyond it is refused; launching into reserved places costs no more of it."""
    emulator.lab("POST", "knobs", {"vcpus_on_demand_g": 12})
    asked = {"InstanceType": "g5.xlarge", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-2a"}
    assert code_of(ec2.create_capacity_reservation, **asked, InstanceCount=4) == "InstanceLimitExceeded"
    reserve(ec2, 2, "g5.xlarge")
    answer = ec2.create_fleet(**fleet(ground, 4, "g5.xlarge a"))
    assert (len(ids_of(answer)), codes(answer)) == (3, ["VcpuLimitExceeded"])
    emulator.lab("POST", "knobs", {"vcpus_on_demand_g": None})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"InstanceType": "c99.large"}, "InvalidInstanceType.NotFound"),
        ({"InstanceType": "hpc7a.96xlarge"}, "Unsupported"),
        ({"AvailabilityZone": "us-east-2z"}, "InvalidParameterValue"),
        ({"InstanceCount": -1}, "InvalidParameterValue"),
        ({"InstanceMatchCriteria": "some"}, "InvalidParameterValue"),
        ({"EndDateType": "limited"}, "InvalidParameterCombination"),
        ({"EndDate": 4102444800}, "InvalidParameterCombination"),
        (
            {"PlacementGroupArn": "arn:aws:ec2:us-east-2:123456789012:placement-group/x"},
            "InvalidPlacementGroup.Unknown",
        ),
        ({"DryRun": True}, "DryRunOperation"),
    ],
)
def test_bad_reservations_are_refused(ec2: Any, change: dict[str, Any], code: str) -> None:
    """By EC2's codes, and nothing is reserved."""
    before = len(ec2.describe_capacity_reservations()["CapacityReservations"])
    asked = {"InstanceType": "c7i.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-2a"}
    assert code_of(ec2.create_capacity_reservation, **{**asked, "InstanceCount": 1, **change}) == code
    assert len(ec2.describe_capacity_reservations()["CapacityReservations"]) == before


def test_reservations_are_found_by_filter_and_made_once_for_a_token(ec2: Any) -> None:
    """Tags, state, type and zone; a token repeats the answer."""
    specs = [{"ResourceType": "capacity-reservation", "Tags": [{"Key": "team", "Value": "cfd"}]}]
    changes = {"TagSpecifications": specs, "ClientToken": "reserve-1"}
    one = reserve(ec2, 1, "r7i.large", "us-east-2c", **changes)
    assert reserve(ec2, 1, "r7i.large", "us-east-2c", **changes) == one
    other = {"InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-2c", "InstanceCount": 2, **changes}
    assert code_of(ec2.create_capacity_reservation, InstanceType="r7i.large", **other) == "IdempotentParameterMismatch"
    for name, value in (
        ("tag:team", "cfd"),
        ("tag-key", "team"),
        ("instance-type", "r7i.*"),
        ("availability-zone", "us-east-2c"),
    ):
        filters = [{"Name": name, "Values": [value]}, {"Name": "state", "Values": ["active"]}]
        found = ec2.describe_capacity_reservations(Filters=filters)["CapacityReservations"]
        assert [r["CapacityReservationId"] for r in found] == [one], name
    nobody = ["cr-0123456789abcdef0"]
    code = code_of(ec2.describe_capacity_reservations, CapacityReservationIds=nobody)
    assert code == "InvalidCapacityReservationId.NotFound"
    assert code_of(ec2.cancel_capacity_reservation, CapacityReservationId=nobody[0]) == code
    ec2.create_tags(Resources=[one], Tags=[{"Key": "owner", "Value": "me"}])
    assert {tag["Key"] for tag in shown(ec2, one)["Tags"]} == {"team", "owner"}


def test_a_reservation_ends_at_its_end_date_and_what_runs_in_it_stays(
    emulator: Emulator, ec2: Any, ground: Ground
) -> None:
    """Expired: no places, the free ones back in the pool, the instances running."""
    row = emulator.lab("POST", "reservations", {"type": "m5.xlarge", "zone": "us-east-2a", "count": 2, "ends": 1.0})
    ids = ids_of(ec2.create_fleet(**fleet(ground, 1, "m5.xlarge a")))
    until(lambda: shown(ec2, row["id"])["State"] == "expired")
    assert available(ec2, row["id"]) == 0
    assert {i["State"]["Name"] for i in described(ec2, ids).values()} <= {"pending", "running"}
    assert [r["in_use"] for r in emulator.lab("GET", "pools") if r["type"] == "m5.xlarge"] == [1]


# -- Capacity Blocks


def block(emulator: Emulator, count: int, starts: float, ends: float, kind: str = "c5.large") -> str:
    """Make a Capacity Block; return the reservation's id."""
    body = {"type": kind, "zone": "us-east-2a", "count": count, "starts": starts, "ends": ends}
    return str(emulator.lab("POST", "blocks", body)["id"])


def into(ec2: Any, ground: Ground, reservation: str) -> Ground:
    """Return the ground with a template for a Capacity Block."""
    return targeting(ec2, ground, reservation, InstanceMarketOptions={"MarketType": "capacity-block"})


def test_a_block_serves_within_its_window_what_it_holds(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Too early and beyond its places: insufficient capacity; a part is given, whatever the minimum."""
    early = block(emulator, 2, 3600, 7200)
    assert shown(ec2, early)["State"] == "scheduled"
    answer = ec2.create_fleet(**fleet(into(ec2, ground, early), 1, "c5.large a", market="capacity-block"))
    assert (answer["Instances"], codes(answer)) == ([], ["InsufficientInstanceCapacity"])
    now = block(emulator, 2, 0, 7200)
    facts = shown(ec2, now)
    assert (facts["ReservationType"], facts["State"], facts["EndDateType"]) == ("capacity-block", "active", "limited")
    minimum = {"MinTargetCapacity": 3, "SingleAvailabilityZone": True}
    asked = fleet(into(ec2, ground, now), 3, "c5.large a", market="capacity-block", OnDemandOptions=minimum)
    answer = ec2.create_fleet(**asked)
    (item,) = answer["Instances"]
    assert (item["Lifecycle"], len(item["InstanceIds"])) == ("capacity-block", 2)
    assert codes(answer) == ["InsufficientInstanceCapacity"]
    for instance in described(ec2, item["InstanceIds"]).values():
        assert (instance["InstanceLifecycle"], instance["CapacityReservationId"]) == ("capacity-block", now)
    assert available(ec2, now) == 0
    assert code_of(ec2.cancel_capacity_reservation, CapacityReservationId=now) == "UnsupportedOperation"


def test_a_block_ends_its_instances_before_its_end(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """block_end_notice before EndDate they shut down, and from then on it takes no more."""
    emulator.lab("POST", "knobs", {"block_end_notice": 2.0})
    reservation = block(emulator, 2, 0, 3.5)
    made = into(ec2, ground, reservation)
    ids = ids_of(ec2.create_fleet(**fleet(made, 2, "c5.large a", market="capacity-block")))
    assert {i["State"]["Name"] for i in described(ec2, ids).values()} <= {"pending", "running"}
    until(lambda: {i["State"]["Name"] for i in described(ec2, ids).values()} <= {"shutting-down", "terminated"})
    assert shown(ec2, reservation)["State"] == "active"
    late = ec2.create_fleet(**fleet(made, 1, "c5.large a", market="capacity-block"))
    assert codes(late) == ["InsufficientInstanceCapacity"]
    until(lambda: shown(ec2, reservation)["State"] == "expired")
    emulator.lab("POST", "knobs", {"block_end_notice": 1800.0})


def test_a_block_must_be_asked_for_in_full(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Market type in the template, its target, and the fleet's capacity type; one block a fleet, no fallback."""
    now = block(emulator, 2, 0, 7200)
    made, plain = into(ec2, ground, now), targeting(ec2, ground, now)
    blocky = fleet(made, 1, "c5.large a", market="capacity-block")
    for asked in (
        fleet(made, 1, "c5.large a"),
        fleet(plain, 1, "c5.large a", market="capacity-block"),
        {**blocky, "TargetCapacitySpecification": {**blocky["TargetCapacitySpecification"], "SpotTargetCapacity": 1}},
        {
            **blocky,
            "OnDemandOptions": {"CapacityReservationOptions": {"UsageStrategy": "use-capacity-reservations-first"}},
        },
    ):
        assert code_of(ec2.create_fleet, **asked) == "InvalidParameterCombination"
    assert codes(ec2.create_fleet(**fleet(plain, 1, "c5.large a"))) == ["InvalidParameterCombination"]
    other = fleet(into(ec2, ground, block(emulator, 2, 0, 7200)), 1, "c5.large b", market="capacity-block")
    two = {**blocky, "LaunchTemplateConfigs": blocky["LaunchTemplateConfigs"] + other["LaunchTemplateConfigs"]}
    assert code_of(ec2.create_fleet, **two) == "InvalidParameterCombination"
    ec2.create_placement_group(GroupName="blocks", Strategy="cluster")
    assert codes(ec2.create_fleet(**placed(blocky, "blocks"))) == ["InsufficientInstanceCapacity"]


def test_run_instances_into_a_block_that_has_not_begun(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """RunInstances has a code of its own for it."""
    early = into(ec2, ground, block(emulator, 2, 3600, 7200))
    nics = [{"DeviceIndex": 0, "SubnetId": ground.subnets["us-east-2a"], "Groups": [ground.group]}]
    asked = {"InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, "NetworkInterfaces": nics}
    template = {"LaunchTemplateId": early.template}
    code = code_of(ec2.run_instances, **asked, LaunchTemplate=template)
    assert code == "InvalidCapacityReservationState.PendingActivation"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("blocks", {"type": "c5.large", "zone": "us-east-2a", "count": 1, "starts": 60, "ends": 10}),
        ("blocks", {"type": "c5.large", "zone": "us-east-2a", "count": 1, "starts": 0, "ends": "soon"}),
        ("blocks", {"zone": "us-east-2a", "count": 1, "starts": 0, "ends": 10}),
        ("reservations", {"type": "c5.large", "zone": "us-east-2a", "count": 0}),
        ("reservations", {"type": "c5.large", "zone": "us-east-2a", "count": 1, "match": "some"}),
        ("reservations", {"type": "c5.large", "zone": "us-east-2a", "count": 1, "group": "nobody"}),
        ("reservations", {"type": "c5.large", "zone": "us-east-2a", "count": 1, "colour": "red"}),
    ],
)
def test_nonsense_about_reservations_is_refused_in_words(emulator: Emulator, path: str, body: dict[str, Any]) -> None:
    """HTTP 400 at the lab's door."""
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.lab("POST", path, body)
