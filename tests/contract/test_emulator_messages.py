"""What EC2 announces, through EventBridge into SQS: seen by plain boto3, and by the product's own door."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.emulator import Emulator, Ground, fleet, ids_of, prepare, start, until

from asbx.aws.notices import SqsNotices
from asbx.aws.notices_parse import event_patterns
from asbx.config.interruptions import Interruptions
from asbx.config.schema import AccessKeys, Aws
from asbx.daemon.clock import RealClock
from asbx.model.market import Verdict
from asbx.model.notice import NoticeKind
from asbx.ports import CloudError


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module."""
    running = start(tmp_path_factory.mktemp("emulator"), "--boot", "1.5")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ground(emulator: Emulator) -> Ground:
    """Return what fleets need."""
    return prepare(emulator.client())


@pytest.fixture(scope="module")
def queue(emulator: Emulator) -> str:
    """Make the queue and the rules the product's documentation names; return the queue's address."""
    sqs, events = emulator.client("sqs"), emulator.client("events")
    url = str(sqs.create_queue(QueueName="notices")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for name, pattern in event_patterns().items():
        events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def spot(emulator: Emulator, ground: Ground) -> str:
    """Launch a spot instance."""
    (one,) = ids_of(emulator.client().create_fleet(**fleet(ground, 1, market="spot")))
    return one


def door(emulator: Emulator, queue: str = "notices") -> SqsNotices:
    """Return the product's door to the queue."""
    keys = AccessKeys(access_key_id="test", secret_access_key="test")
    aws = Aws(
        region="us-east-2", endpoint_url=emulator.url, authentication_method="access_keys", access_keys=keys,
        retry_max_attempts=1,
    )  # fmt: skip
    return SqsNotices(aws, Interruptions(queue=queue), RealClock())


def drained(emulator: Emulator, url: str, wanted: int) -> list[dict[str, Any]]:
    """Take so many messages out of the queue with plain boto3, and return their bodies."""
    sqs = emulator.client("sqs")
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for one in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            found.append(json.loads(one["Body"]))
        return len(found) >= wanted

    until(enough)
    return found


def test_an_interruption_is_a_warning_and_then_two_states(emulator: Emulator, ground: Ground, queue: str) -> None:
    """As EventBridge writes them: the warning at once, shutting-down when the notice is over, then terminated."""
    one = spot(emulator, ground)
    emulator.lab("POST", f"machines/{one}", {"state": "interrupted", "notice": 0.3})
    bodies = drained(emulator, queue, 3)
    assert [body["detail-type"] for body in bodies] == [
        "EC2 Spot Instance Interruption Warning",
        *["EC2 Instance State-change Notification"] * 2,
    ]
    assert [body["detail"].get("state") for body in bodies] == [None, "shutting-down", "terminated"]
    assert {body["detail"]["instance-id"] for body in bodies} == {one}
    assert bodies[0]["detail"]["instance-action"] == "terminate"
    envelope = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
    assert all(body.keys() == envelope for body in bodies)
    assert bodies[0]["resources"] == [f"arn:aws:ec2:us-east-2:123456789012:instance/{one}"]
    assert len({body["id"] for body in bodies}) == 3


def test_our_door_reads_and_deletes(emulator: Emulator, ground: Ground, queue: str) -> None:
    """Every kind of message, by the queue's name or its address; what is done does not come again."""
    one = spot(emulator, ground)
    for state in ("rebalance", "retirement", "interrupted"):
        emulator.lab("POST", f"machines/{one}", {"state": state})
    two = spot(emulator, ground)
    emulator.lab("POST", f"machines/{two}", {"state": "reservation-interrupted"})
    found = {}
    for name in ("notices", queue):
        notices = door(emulator, name)
        for message in notices.receive():
            found[message.notice.kind] = message.notice
            assert message.notice.instances in {(one,), (two,)}
            notices.done([message.handle])
        if len(found) >= 4:
            break
    assert set(found) == {
        NoticeKind.REBALANCE,
        NoticeKind.HEALTH,
        NoticeKind.SPOT_INTERRUPTION,
        NoticeKind.RESERVATION_INTERRUPTION,
    }
    assert found[NoticeKind.RESERVATION_INTERRUPTION].ends_at is not None
    for gone in (one, two):
        emulator.lab("POST", f"machines/{gone}", {"state": "killed"})
    assert {body["detail"]["state"] for body in drained(emulator, queue, 4)} == {"shutting-down", "terminated"}


def test_a_client_that_waits_holds_nobody_up(emulator: Emulator, ground: Ground, queue: str) -> None:
    """A long poll on the empty queue: EC2 answers meanwhile, and the message that comes ends the wait."""
    one = spot(emulator, ground)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(door(emulator).receive()))
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    emulator.client().describe_instances(InstanceIds=[one])
    emulator.lab("POST", f"machines/{one}", {"state": "interrupted"})
    waiting.join(5)
    assert not waiting.is_alive()
    assert [message.notice.kind for message in got] == [NoticeKind.SPOT_INTERRUPTION]
    drained(emulator, queue, 0)


def test_a_queue_that_is_not_there_is_said_so(emulator: Emulator) -> None:
    """With a verdict, as every refusal of AWS."""
    with pytest.raises(CloudError) as refusal:
        door(emulator, "no-such-queue").receive()
    assert refusal.value.verdict is Verdict.NOT_FOUND


def test_many_ends_are_many_messages(emulator: Emulator, ground: Ground, queue: str) -> None:
    """Sixty instances end at once: all of it is announced, and EC2 is not slowed down by it."""
    ids = ids_of(emulator.client().create_fleet(**fleet(ground, 60, market="spot")))
    began = time.process_time()
    emulator.client().terminate_instances(InstanceIds=ids)
    bodies = drained(emulator, queue, 120)
    assert time.process_time() - began < 10
    assert {body["detail"]["instance-id"] for body in bodies if body["detail"].get("state") == "terminated"} >= set(ids)
