"""The pretend EC2's other doors: instance metadata, the lab's controls, faults, and HTTP itself."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from tests.contract.emulator import USER_DATA, Emulator, Ground, described, fleet, ids_of, prepare, start, until


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module."""
    running = start(tmp_path_factory.mktemp("emulator"), "--boot", "1.5")
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
    """Return a way to order faults, and forget them afterwards."""
    yield lambda **body: emulator.lab("POST", "faults", body)
    emulator.lab("DELETE", "faults")


def launched(ec2: Any, ground: Ground, count: int = 1, **changes: Any) -> list[str]:
    """Launch, and return the ids."""
    return ids_of(ec2.create_fleet(**fleet(ground, count, **changes)))


# -- instance metadata


def test_metadata_wants_the_token_handshake(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """401 without a token, 400 for a PUT without a time to live, 404 for a stranger."""
    one, other = launched(ec2, ground, 2)
    assert emulator.metadata(one, "meta-data/instance-id")[0] == 401
    assert emulator.metadata(one, "api/token", "PUT")[0] == 400
    assert emulator.metadata(one, "api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="99999")[0] == 400
    assert emulator.metadata("i-0123456789abcdef0", "api/token", "PUT")[0] == 404
    foreign = emulator.token(other)
    assert emulator.metadata(one, "meta-data/instance-id", X_aws_ec2_metadata_token=foreign)[0] == 401
    assert emulator.read(one, "meta-data/instance-id") == (200, one)


def test_metadata_tells_an_instance_who_it_is(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """What a node needs to find its name: reservation, index, address, user data, identity."""
    ids = launched(ec2, ground, 2)
    instance = described(ec2, ids)[ids[1]]
    expected = {
        "meta-data/instance-type": "c7i.large",
        "meta-data/placement/availability-zone": "us-east-2a",
        "meta-data/ami-launch-index": "1",
        "meta-data/reservation-id": instance["ReservationId"],
        "meta-data/local-ipv4": instance["PrivateIpAddress"],
        "meta-data/local-hostname": instance["PrivateDnsName"],
        "meta-data/mac": instance["NetworkInterfaces"][0]["MacAddress"],
        "meta-data/instance-life-cycle": "on-demand",
        "user-data": USER_DATA,
    }
    assert {path: emulator.read(ids[1], path)[1] for path in expected} == expected
    document = json.loads(emulator.read(ids[1], "dynamic/instance-identity/document")[1])
    assert (document["region"], document["instanceId"]) == ("us-east-2", ids[1])
    assert emulator.read(ids[1], "meta-data/spot/instance-action")[0] == 404
    assert "placement/" in emulator.read(ids[1], "meta-data/")[1].split("\n")


def test_tags_in_metadata_are_live(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """A CreateTags after the launch is seen by the instance."""
    (one,) = launched(ec2, ground)
    assert emulator.read(one, "meta-data/tags/instance/asbx:nodes")[0] == 404
    ec2.create_tags(Resources=[one], Tags=[{"Key": "asbx:nodes", "Value": "r-1=aws-cpu-[0-3]"}])
    assert emulator.read(one, "meta-data/tags/instance/asbx:nodes") == (200, "r-1=aws-cpu-[0-3]")
    assert "asbx:nodes" in emulator.read(one, "meta-data/tags/instance")[1].split("\n")


def test_tags_stay_hidden_unless_the_template_shows_them(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """InstanceMetadataTags is off by default, as in EC2."""
    data = {"ImageId": "ami-0123456789abcdef0"}
    made = ec2.create_launch_template(LaunchTemplateName="shy", LaunchTemplateData=data)
    shy = Ground(ground.vpc, ground.subnets, ground.group, made["LaunchTemplate"]["LaunchTemplateId"])
    (one,) = launched(ec2, shy)
    ec2.create_tags(Resources=[one], Tags=[{"Key": "some/path", "Value": "v"}])
    assert emulator.read(one, "meta-data/tags/instance")[0] == 404


def test_a_spot_reclaim_is_announced_and_then_happens(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """The notice is in the metadata at once; the instance ends when it said it would."""
    (one,) = launched(ec2, ground, market="spot")
    emulator.lab("POST", f"machines/{one}", {"state": "interrupted", "notice": 0.7})
    action = json.loads(emulator.read(one, "meta-data/spot/instance-action")[1])
    assert action["action"] == "terminate"
    assert described(ec2, [one])[one]["State"]["Name"] in ("pending", "running")
    until(lambda: described(ec2, [one])[one]["State"]["Name"] == "terminated")
    assert described(ec2, [one])[one]["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    (plain,) = launched(ec2, ground)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.lab("POST", f"machines/{plain}", {"state": "interrupted"})


# -- the lab's door


def test_machines_say_what_to_boot_and_what_to_stop(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """The instance runner's list: boot time, address, user data, metadata address; ended ones apart."""
    begin = time.time()
    one, two = launched(ec2, ground, 2)
    wanted = {m["id"]: m for m in emulator.lab("GET", "machines")["wanted"]}
    assert begin + 1.5 <= wanted[one]["boot_at"] <= time.time() + 1.5
    assert wanted[one]["private_ip"] == described(ec2, [one])[one]["PrivateIpAddress"]
    assert wanted[one]["imds"] == f"{emulator.url}/_imds/{one}"
    assert not wanted[one]["hang"]
    emulator.lab("POST", f"machines/{one}", {"state": "hung"})
    ec2.terminate_instances(InstanceIds=[two])
    now = emulator.lab("GET", "machines")
    assert [m["hang"] for m in now["wanted"] if m["id"] == one] == [True]
    assert two in now["gone"]


def test_a_machine_can_die_or_shut_itself_down(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Killed: gone at once. Stopped itself: shut down as EC2 does it. Both found by node name too."""
    one, two = launched(ec2, ground, 2)
    ec2.create_tags(Resources=[one], Tags=[{"Key": "asbx:node", "Value": "aws-cpu-001"}])
    emulator.lab("POST", "machines/aws-cpu-001", {"state": "killed"})
    assert described(ec2, [one])[one]["State"]["Name"] == "terminated"
    emulator.lab("POST", f"machines/{two}", {"state": "stopped-itself"})
    assert described(ec2, [two])[two]["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        emulator.lab("POST", "machines/aws-cpu-001", {"state": "killed"})


def test_instances_are_listed_with_what_the_lab_promises(emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Keys of the contract; node, job and gang come from tags."""
    tags = {"asbx:node": "aws-cpu-007", "asbx:job": "41", "asbx:gang": "g-1"}
    spec = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
    (one,) = launched(ec2, ground, TagSpecifications=spec)
    (row,) = [r for r in emulator.lab("GET", "instances") if r["id"] == one]
    assert (row["node"], row["job"], row["gang"]) == ("aws-cpu-007", "41", "g-1")
    assert (row["type"], row["zone"], row["market"]) == ("c7i.large", "us-east-2a", "on-demand")
    assert row["price"] == "0.08925"
    assert {"launched_at", "terminated_at", "placement_group", "subnet", "private_ip", "launch_index"} <= set(row)


def test_calls_are_counted_and_the_lab_itself_is_not(emulator: Emulator, ec2: Any) -> None:
    """Only AWS calls count; reset starts again."""
    assert emulator.lab("DELETE", "calls") == {}
    ec2.describe_instances()
    ec2.describe_instances()
    emulator.lab("GET", "instances")
    assert emulator.lab("GET", "calls") == {"DescribeInstances": 2}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("pools", {"type": "c7i.large", "zone": "us-east-2a", "market": "barter", "capacity": 1}),
        ("pools", {"type": "c7i.large", "zone": "us-east-2a", "market": "spot", "capacity": -1}),
        ("pools", {"zone": "us-east-2a", "market": "spot", "capacity": 1}),
        ("prices", {"type": "c7i.large", "zone": "us-east-2a", "market": "spot", "usd": "cheap"}),
        ("prices", {"type": "c7i.large", "zone": "us-east-2a", "market": "spot", "usd": "NaN"}),
        ("knobs", {"speed": 3}),
        ("knobs", {"pending": "long"}),
        ("faults", {"code": "InternalError"}),
        ("faults", {"action": "CreateFleet"}),
        ("faults", {"action": "CreateFleet", "code": "X", "then": "explode"}),
    ],
)
def test_nonsense_at_the_labs_door_is_refused_in_words(emulator: Emulator, path: str, body: dict[str, Any]) -> None:
    """HTTP 400 with a sentence, and nothing changed."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        emulator.lab("POST", path, body)
    with caught.value as error:
        assert error.code == 400
        assert json.load(error)["error"]


# -- faults


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InsufficientInstanceCapacity", None, 400),
        ("InsufficientInstanceCapacity", 500, 500),
        ("RequestLimitExceeded", None, 503),
        ("UnauthorizedOperation", None, 403),
    ],
)
def test_a_fault_strikes_as_often_as_ordered(
    ec2: Any, ground: Ground, faults: Any, code: str, status: int | None, expected: int
) -> None:
    """The next call fails with code and HTTP status; the one after it works."""
    faults(action="CreateFleet", code=code, times=1, **({"status": status} if status else {}))
    with pytest.raises(ClientError) as caught:
        launched(ec2, ground)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == expected
    assert launched(ec2, ground)


def test_a_fault_can_sit_inside_the_answer(ec2: Any, ground: Ground, faults: Any) -> None:
    """Throttling inside Errors[] with HTTP 200, which no SDK retries."""
    faults(action="CreateFleet", code="RequestLimitExceeded", then="refuse-overrides")
    answer = ec2.create_fleet(**fleet(ground, 2))
    assert [e["ErrorCode"] for e in answer["Errors"]] == ["RequestLimitExceeded"]
    assert answer["Instances"] == []
    assert launched(ec2, ground)


def test_a_delay_is_only_a_delay(ec2: Any, faults: Any) -> None:
    """Latency without a code."""
    faults(action="DescribeInstances", latency=0.4)
    begin = time.monotonic()
    ec2.describe_instances()
    assert time.monotonic() - begin >= 0.4


def test_a_dropped_answer_has_happened_all_the_same(emulator: Emulator, ec2: Any, ground: Ground, faults: Any) -> None:
    """The connection breaks, the instances exist, and the token finds them."""
    faults(action="CreateFleet", then="drop-answer")
    asked = fleet(ground, 3, ClientToken="lost-1")
    with pytest.raises(ConnectionClosedError):
        ec2.create_fleet(**asked)
    lost = ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["lost-1"]}])["Reservations"]
    ids = {i["InstanceId"] for r in lost for i in r["Instances"]}
    assert len(ids) == 3
    assert set(ids_of(ec2.create_fleet(**asked))) == ids
    assert emulator.lab("GET", "faults") == []


# -- HTTP


def test_actions_that_do_not_exist_are_refused_as_ec2_refuses(emulator: Emulator, ec2: Any) -> None:
    """XML and 400, never a page of HTML that SDKs retry."""
    for call in (ec2.create_capacity_reservation_fleet, ec2.describe_instance_event_windows):
        shape = {"InstanceTypeSpecifications": [{}], "TotalTargetCapacity": 1}
        asked = shape if call == ec2.create_capacity_reservation_fleet else {}
        with pytest.raises(ClientError) as caught:
            call(**asked)
        assert caught.value.response["Error"]["Code"] == "InvalidAction"
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        ec2.stop_instances(InstanceIds=["i-0123456789abcdef0"])
    assert emulator.lab("GET", "calls")["StopInstances"] == 1
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        ec2.describe_subnets(Filters=[{"Name": "no-such-filter", "Values": ["x"]}])


def test_a_connection_serves_many_calls(emulator: Emulator, ec2: Any) -> None:
    """HTTP/1.1 keep-alive: the same socket answers again and again, and EC2's answers do not end it."""
    with closing(http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=10)) as connection:
        sockets = set()
        for _ in range(5):
            connection.request("GET", "/_lab/calls")
            answer = connection.getresponse()
            assert (answer.status, answer.version) == (200, 11)
            answer.read()
            sockets.add(connection.sock)
        assert len(sockets - {None}) == 1
    headers = ec2.describe_instances()["ResponseMetadata"]["HTTPHeaders"]
    assert int(headers["content-length"]) > 0
    assert headers.get("connection", "keep-alive") == "keep-alive"


def test_other_services_of_the_store_answer(emulator: Emulator) -> None:
    """STS, SQS and SSM are moto's, behind the same address."""
    assert emulator.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert "events" in emulator.client("sqs").create_queue(QueueName="events")["QueueUrl"]
    retrying = emulator.client("ssm", config=Config(retries={"mode": "standard"}))
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    assert retrying.get_parameter(Name=name)["Parameter"]["Value"].startswith("ami-")
