"""Describing, tagging and ending instances of the pretend EC2, asked by plain boto3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.contract.emulator import Emulator, Ground, described, fleet, ids_of, prepare, start, until


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


def launched(ec2: Any, ground: Ground, count: int, *pools: str, **changes: Any) -> list[str]:
    """Launch, and return the ids."""
    return ids_of(ec2.create_fleet(**fleet(ground, count, *pools, **changes)))


def states(ec2: Any, ids: list[str]) -> set[str]:
    """Return the states instances are in."""
    return {instance["State"]["Name"] for instance in described(ec2, ids).values()}


def code_of(call: Any, **asked: Any) -> str:
    """Return the error code of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**asked)
    return str(caught.value.response["Error"]["Code"])


def test_instances_move_through_their_states_by_time(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Pending, running, shutting-down, terminated, each in its turn."""
    ids = launched(ec2, ground, 2)
    assert states(ec2, ids) == {"pending"}
    until(lambda: states(ec2, ids) == {"running"})
    answer = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
    assert {(c["PreviousState"]["Name"], c["CurrentState"]["Name"]) for c in answer} == {("running", "shutting-down")}
    until(lambda: states(ec2, ids) == {"terminated"})
    (one, _) = described(ec2, ids).values()
    assert "PrivateIpAddress" not in one
    assert one["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    rows = [row for row in emulator.lab("GET", "instances") if row["id"] in ids]
    assert all(row["terminated_at"] > row["launched_at"] for row in rows)


def test_terminating_twice_is_no_error_and_one_bad_id_spares_all(ec2: Any, ground: Ground) -> None:
    """TerminateInstances is idempotent, and all or nothing."""
    ids = launched(ec2, ground, 2)
    bad = [*ids, "i-0123456789abcdef0"]
    assert code_of(ec2.terminate_instances, InstanceIds=bad) == "InvalidInstanceID.NotFound"
    assert code_of(ec2.terminate_instances, InstanceIds=[*ids, "nonsense"]) == "InvalidInstanceID.Malformed"
    assert states(ec2, ids) <= {"pending", "running"}
    assert code_of(ec2.terminate_instances, InstanceIds=ids, DryRun=True) == "DryRunOperation"
    assert states(ec2, ids) <= {"pending", "running"}
    ec2.terminate_instances(InstanceIds=ids)
    ec2.terminate_instances(InstanceIds=ids)


def test_a_private_address_is_there_at_once_and_belongs_to_the_subnet(ec2: Any, ground: Ground) -> None:
    """Each instance has a loopback address of its own, and EC2's host name for it."""
    instances = described(ec2, launched(ec2, ground, 3, "c7i.large b"))
    addresses = {i["PrivateIpAddress"] for i in instances.values()}
    assert len(addresses) == 3
    assert all(address.startswith("127.16.") and 16 <= int(address.split(".")[2]) < 32 for address in addresses)
    for instance in instances.values():
        name = instance["PrivateIpAddress"].replace(".", "-")
        assert instance["PrivateDnsName"] == f"ip-{name}.us-east-2.compute.internal"


def test_eventual_consistency_can_be_ordered(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """New ids unknown for a while, then known without an address, then complete."""
    emulator.lab("POST", "knobs", {"unknown": 0.6, "address": 1.2})
    try:
        ids = launched(ec2, ground, 1)
    finally:
        emulator.lab("POST", "knobs", {"unknown": 0, "address": 0})
    assert code_of(ec2.describe_instances, InstanceIds=ids) == "InvalidInstanceID.NotFound"
    assert code_of(ec2.create_tags, Resources=ids, Tags=[{"Key": "k", "Value": "v"}]) == "InvalidInstanceID.NotFound"
    listed = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": ids}])
    assert listed["Reservations"] == []

    def known() -> dict[str, Any]:
        found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": ids}])["Reservations"]
        return dict(found[0]["Instances"][0]) if found else {}

    first = until(known)
    assert "PrivateIpAddress" not in first
    until(lambda: "PrivateIpAddress" in known())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tag:asbx:intent", "filter-1"),
        ("tag:asbx:intent", "filter-?"),
        ("tag:asbx:intent", "filt*"),
        ("tag-key", "asbx:intent"),
        ("instance-lifecycle", "spot"),
        ("instance-type", "c6i.large"),
        ("availability-zone", "us-east-2c"),
    ],
)
def test_filters_find_what_they_say(ec2: Any, ground: Ground, name: str, value: str) -> None:
    """Each filter finds the one launch made for it, and nothing that does not fit."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "asbx:intent", "Value": "filter-1"}]}]
    launched(ec2, ground, 1)
    (wanted,) = launched(ec2, ground, 1, "c6i.large c", market="spot", TagSpecifications=tags)
    found = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
    ids = {i["InstanceId"] for r in found for i in r["Instances"]}
    assert wanted in ids
    live = {"Name": "instance-state-name", "Values": ["terminated"]}
    assert ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}, live])["Reservations"] == []
    assert len(ids) < sum(len(r["Instances"]) for r in ec2.describe_instances()["Reservations"])


def test_filters_by_reservation_index_and_state(ec2: Any, ground: Ground) -> None:
    """The filters a burst needs to find one instance among its siblings."""
    ids = launched(ec2, ground, 3)
    reservation = described(ec2, ids)[ids[0]]["ReservationId"]
    filters = [
        {"Name": "reservation-id", "Values": [reservation]},
        {"Name": "launch-index", "Values": ["2"]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    (found,) = ec2.describe_instances(Filters=filters)["Reservations"]
    assert [i["InstanceId"] for i in found["Instances"]] == [ids[2]]
    wrong = [{"Name": "no-such-filter", "Values": ["x"]}]
    assert code_of(ec2.describe_instances, Filters=wrong) == "InvalidParameterValue"


def test_pages_hold_what_was_asked_for_and_lose_nobody(ec2: Any, ground: Ground) -> None:
    """MaxResults counts instances, NextToken goes on, and neither goes with ids."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "page", "Value": "yes"}]}]
    ids = launched(ec2, ground, 13, TagSpecifications=tags)
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "tag:page", "Values": ["yes"]}], PaginationConfig={"PageSize": 5}
    )
    sizes, seen = [], []
    for page in pages:
        found = [i["InstanceId"] for r in page["Reservations"] for i in r["Instances"]]
        sizes.append(len(found))
        seen.extend(found)
    assert sizes == [5, 5, 3]
    assert sorted(seen) == sorted(ids)
    assert code_of(ec2.describe_instances, InstanceIds=ids, MaxResults=5) == "InvalidParameterCombination"


def test_tags_follow_ec2s_rules(ec2: Any, ground: Ground) -> None:
    """Many resources in one call; aws: refused, long values refused, unknown ids refused, none half-done."""
    ids = launched(ec2, ground, 4)
    ec2.create_tags(Resources=ids, Tags=[{"Key": "asbx:nodes", "Value": "x" * 256}])
    assert all({"Key": "asbx:nodes", "Value": "x" * 256} in i["Tags"] for i in described(ec2, ids).values())
    for tag, code in (
        ({"Key": "aws:mine", "Value": "v"}, "InvalidParameterValue"),
        ({"Key": "k", "Value": "x" * 257}, "InvalidParameterValue"),
        ({"Key": "x" * 129, "Value": "v"}, "InvalidParameterValue"),
        ({"Key": "not/for/metadata", "Value": "v"}, "InvalidParameterValue"),
    ):
        assert code_of(ec2.create_tags, Resources=ids, Tags=[tag]) == code
    unknown = [*ids, "i-0123456789abcdef0"]
    half = {"Resources": unknown, "Tags": [{"Key": "half", "Value": "done"}]}
    assert code_of(ec2.create_tags, **half) == "InvalidInstanceID.NotFound"
    many = [f"i-{n:017x}" for n in range(1001)]
    assert code_of(ec2.create_tags, Resources=many, Tags=[{"Key": "k", "Value": "v"}]) == "InvalidParameterValue"
    assert not any(t["Key"] == "half" for i in described(ec2, ids).values() for t in i["Tags"])
    ec2.delete_tags(Resources=ids, Tags=[{"Key": "asbx:nodes"}])
    assert not any(t["Key"] == "asbx:nodes" for i in described(ec2, ids).values() for t in i["Tags"])


def test_tags_of_the_store_still_work(ec2: Any, ground: Ground) -> None:
    """Subnets and templates are moto's; their tags are found as before."""
    subnet = ground.subnets["us-east-2a"]
    ec2.create_tags(Resources=[subnet], Tags=[{"Key": "Name", "Value": "burst-a"}])
    found = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["burst-a"]}])["Subnets"]
    assert [s["SubnetId"] for s in found] == [subnet]


def test_status_shows_what_runs(ec2: Any, ground: Ground) -> None:
    """DescribeInstanceStatus: running and well; nothing impaired, no events."""
    ids = launched(ec2, ground, 2)
    until(lambda: states(ec2, ids) == {"running"})
    found = ec2.describe_instance_status(InstanceIds=ids)["InstanceStatuses"]
    assert {s["InstanceStatus"]["Status"] for s in found} == {"ok"}
    impaired = [{"Name": "instance-status.status", "Values": ["impaired"]}]
    assert ec2.describe_instance_status(Filters=impaired)["InstanceStatuses"] == []


def test_status_shows_what_is_wrong(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Checks fail from the moment on, events stay after they are over, filters find both, and bad ones are refused."""
    ids = launched(ec2, ground, 6)
    until(lambda: states(ec2, ids) == {"running"})
    emulator.lab("POST", f"machines/{ids[0]}", {"state": "impaired", "what": "system"})
    emulator.lab("POST", f"machines/{ids[1]}", {"state": "event", "code": "instance-stop", "not_before": 3600})

    def found(name: str, value: str) -> list[str]:
        asked = [{"Name": name, "Values": [value]}]
        return [s["InstanceId"] for s in ec2.describe_instance_status(Filters=asked)["InstanceStatuses"]]

    assert found("system-status.status", "impaired") == [ids[0]]
    assert found("system-status.reachability", "failed") == [ids[0]]
    assert found("instance-status.status", "impaired") == []
    assert found("event.code", "instance-stop") == [ids[1]]
    (status,) = ec2.describe_instance_status(InstanceIds=[ids[0]])["InstanceStatuses"]
    (detail,) = status["SystemStatus"]["Details"]
    assert detail["ImpairedSince"].tzinfo is not None
    emulator.lab("POST", f"machines/{ids[1]}", {"state": "well"})
    (status,) = ec2.describe_instance_status(InstanceIds=[ids[1]])["InstanceStatuses"]
    (event,) = status["Events"]
    assert event["Description"].startswith("[Completed] ")
    first = ec2.describe_instance_status(MaxResults=5)
    assert len(first["InstanceStatuses"]) == 5
    assert ec2.describe_instance_status(MaxResults=5, NextToken=first["NextToken"])["InstanceStatuses"]
    bad = [{"Name": "tag:asbx:cluster", "Values": ["lab"]}]
    assert code_of(ec2.describe_instance_status, Filters=bad) == "InvalidParameterValue"
    both = {"InstanceIds": ids[:1], "MaxResults": 5}
    assert code_of(ec2.describe_instance_status, **both) == "InvalidParameterCombination"
    ec2.terminate_instances(InstanceIds=ids)
    assert found("system-status.status", "impaired") == [], "running instances only"


def test_a_console_is_posted_or_latest(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Without Latest there is nothing while the machine runs; types that are not Nitro refuse Latest."""
    (new,), (old,) = launched(ec2, ground, 1, "c7i.large a"), launched(ec2, ground, 1, "m4.large a")
    for one in (new, old):
        place = emulator.state_dir / "machines" / one / "console.log"
        place.parent.mkdir(parents=True)
        place.write_text("x" * 70_000 + "end\n", encoding="utf-8")
    assert "Output" not in ec2.get_console_output(InstanceId=new)
    # botocore's own clients decode what EC2 sends in base64 (its handler for this call).
    latest = ec2.get_console_output(InstanceId=new, Latest=True)["Output"]
    assert latest.endswith("end\n")
    assert len(latest) == 64 * 1024
    assert code_of(ec2.get_console_output, InstanceId=old, Latest=True) == "UnsupportedOperation"
    ec2.terminate_instances(InstanceIds=[new, old])
    assert ec2.get_console_output(InstanceId=old)["Output"].endswith("end\n")
    assert code_of(ec2.get_console_output, InstanceId="i-0000000000000dead") == "InvalidInstanceID.NotFound"


def test_run_instances_serves_clients_without_fleets(ec2: Any, ground: Ground) -> None:
    """One call, one reservation, at least MinCount or none, idempotent by token."""
    asked = {
        "LaunchTemplate": {"LaunchTemplateId": ground.template},
        "InstanceType": "m6i.large",
        "MinCount": 1,
        "MaxCount": 3,
        "ClientToken": "run-1",
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": ground.subnets["us-east-2c"], "Groups": [ground.group]}],
    }
    first = ec2.run_instances(**asked)
    again = ec2.run_instances(**asked)
    assert [i["AmiLaunchIndex"] for i in first["Instances"]] == [0, 1, 2]
    assert [i["InstanceId"] for i in again["Instances"]] == [i["InstanceId"] for i in first["Instances"]]
    assert {i["State"]["Name"] for i in first["Instances"]} == {"pending"}
    ids = [i["InstanceId"] for i in first["Instances"]]
    assert {i["Placement"]["AvailabilityZone"] for i in described(ec2, ids).values()} == {"us-east-2c"}


def test_prices_are_told_the_way_aws_tells_them(emulator: Emulator, ec2: Any) -> None:
    """Spot history from the market, and the Pricing service's JSON inside JSON."""
    key = {"type": "c5.large", "zone": "us-east-2b", "market": "spot"}
    emulator.lab("POST", "prices", {**key, "usd": "0.0123"})
    rows = ec2.describe_spot_price_history(
        InstanceTypes=["c5.large"],
        AvailabilityZone="us-east-2b",
        ProductDescriptions=["Linux/UNIX"],
        StartTime=time.time(),
    )["SpotPriceHistory"]
    assert [(r["SpotPrice"], r["ProductDescription"]) for r in rows] == [("0.012300", "Linux/UNIX")]
    assert ec2.describe_spot_price_history(InstanceTypes=["hpc7a.96xlarge"])["SpotPriceHistory"] == []
    pricing = emulator.client("pricing")
    filters = [
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-2"},
        {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "c7i.large"},
        {"Type": "TERM_MATCH", "Field": "operatingSystem", "Value": "Linux"},
    ]
    (entry,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    (term,) = json.loads(entry)["terms"]["OnDemand"].values()
    (rate,) = term["priceDimensions"].values()
    assert Decimal(rate["pricePerUnit"]["USD"]) == Decimal("0.08925")


def test_scores_and_reservations_answer(ec2: Any) -> None:
    """Placement scores by zone id, and an empty list of capacity reservations."""
    asked = {"InstanceTypes": ["c7i.large", "c6i.large", "c5.large"], "TargetCapacity": 4}
    scores = ec2.get_spot_placement_scores(**asked, SingleAvailabilityZone=True)["SpotPlacementScores"]
    assert {s["AvailabilityZoneId"] for s in scores} == {"use2-az1", "use2-az2", "use2-az3"}
    one = ec2.get_spot_placement_scores(InstanceTypes=["c7i.large"], TargetCapacity=4, SingleAvailabilityZone=True)
    assert max(s["Score"] for s in one["SpotPlacementScores"]) < min(s["Score"] for s in scores)
    assert ec2.describe_capacity_reservations()["CapacityReservations"] == []


def test_hundreds_at_once(ec2: Any, ground: Ground) -> None:
    """A thousand in one /20 subnet; five hundred more are launched, tagged, described and ended in one call each."""
    assert len(launched(ec2, ground, 1000)) == 1000
    ids = launched(ec2, ground, 500, "c7i.large b")
    ec2.create_tags(Resources=ids, Tags=[{"Key": "k", "Value": "v"}])
    rows = described(ec2, ids)
    assert len(rows) == 500
    assert len({row["PrivateIpAddress"] for row in rows.values()}) == 500
    ended = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
    assert {row["InstanceId"] for row in ended} == set(ids)
