"""Messages of EventBridge as values: strict, bounded, and never an error."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.notices import REBALANCE, RESERVATION, SPOT, STATE, event, health
from tests.fakes.samples import NOON

from asbx.aws.notices_parse import event_patterns, read_notice
from asbx.config.limits import NOTICE_MAX_BYTES, NOTICE_MOST_INSTANCES
from asbx.model.notice import Notice, NoticeKind

ID = "i-0123456789abcdef0"


def read(body: Any) -> Notice:
    """Read a message."""
    return read_notice(json.dumps(body))


@pytest.mark.parametrize(
    ("kind", "detail", "expected"),
    [
        (SPOT, {"instance-action": "terminate"}, (NoticeKind.SPOT_INTERRUPTION, "terminate")),
        (REBALANCE, {}, (NoticeKind.REBALANCE, "")),
        (RESERVATION, {"instance-action": "terminate"}, (NoticeKind.RESERVATION_INTERRUPTION, "terminate")),
        (f"EC2 Interruptible {RESERVATION[4:]}", {}, (NoticeKind.RESERVATION_INTERRUPTION, "")),
        *[
            (STATE, {"state": one}, (NoticeKind.STATE_CHANGE, one))
            for one in ("stopping", "stopped", "shutting-down", "terminated")
        ],
    ],
)
def test_reads_each_kind(kind: str, detail: dict[str, str], expected: tuple[NoticeKind, str]) -> None:
    """The exact names of EC2's messages, with whatever AWS may add to them."""
    notice = read(event(kind, ID, NOON, **detail, something={"new": [1]}) | {"trace-header": "x"})
    assert (notice.kind, notice.detail) == expected
    assert notice.instances == (ID,)
    assert notice.sent_at == NOON.replace(microsecond=0)


def test_reads_when_a_reservation_ends() -> None:
    """Only this message says when the instance will end."""
    notice = read(event(RESERVATION, ID, NOON, **{"instance-termination-time": "2026-03-01T12:02:00Z"}))
    assert notice.ends_at == NOON.replace(microsecond=0) + timedelta(minutes=2)


def test_reads_the_instances_of_a_health_event() -> None:
    """By id or by ARN, each once, volumes left out; not more than are to be expected."""
    arn = "arn:aws:ec2:us-east-2:123456789012:instance/i-0000000a"
    notice = read(health([ID, arn, "vol-0123456789", ID], NOON))
    assert notice.kind is NoticeKind.HEALTH
    assert notice.instances == (ID, "i-0000000a")
    assert notice.detail == "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"
    assert len(read(health([f"i-{n:08x}" for n in range(5000)], NOON)).instances) == NOTICE_MOST_INSTANCES


@pytest.mark.parametrize(
    "body",
    [
        event(STATE, ID, NOON, state="running"),
        event(STATE, ID, NOON, state="pending"),
        health([ID], NOON, eventTypeCategory="issue"),
        health([ID], NOON, service="RDS"),
        health(["vol-0123456789"], NOON),
    ],
)
def test_what_asks_for_nothing_is_not_unknown(body: dict[str, Any]) -> None:
    """An instance that starts, another service's event: understood, and left alone."""
    assert read(body).kind is NoticeKind.OTHER


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        "[" * 100_000,
        '{"a":' * 100_000,
        "x" * (NOTICE_MAX_BYTES + 1),
        json.dumps(event(SPOT, ID, NOON) | {"version": "1"}),
        json.dumps(event(SPOT, ID, NOON) | {"version": 0}),
        json.dumps(event(SPOT, ID, NOON) | {"source": "my.app"}),
        json.dumps(event(SPOT, ID, NOON) | {"source": ["aws.ec2"]}),
        json.dumps(event("EC2 Spot Instance Interruption", ID, NOON)),
        json.dumps(event(SPOT, ID, NOON) | {"detail": None}),
        json.dumps(event(SPOT, ID, NOON) | {"detail": "terminate"}),
        json.dumps(event(SPOT, "i-; scontrol shutdown", NOON)),
        json.dumps(event(SPOT, "i-12345", NOON)),
        json.dumps(event(STATE, ID, NOON, state=3)).replace(ID, "x"),
    ],
    ids=range(17),
)
def test_nonsense_is_unknown(body: str) -> None:
    """Whatever lies in the queue, no instance is named by it."""
    notice = read_notice(body)
    assert notice.kind in {NoticeKind.UNKNOWN, NoticeKind.OTHER}
    assert notice.instances == ()
    assert len(notice.detail) < 300


@pytest.mark.parametrize("time", ["", "yesterday", 7, None, "2026-03-01T12:00:00", "9" * 200])
def test_a_time_nobody_understands_is_no_time(time: object) -> None:
    """The message counts all the same."""
    notice = read(event(SPOT, ID, NOON) | {"time": time})
    assert notice.kind is NoticeKind.SPOT_INTERRUPTION
    assert notice.sent_at is None


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([SPOT, STATE, "AWS Health Event"]), st.data())
def test_any_change_of_a_message_is_read_or_unknown(kind: str, data: st.DataObject) -> None:
    """With any one value of it replaced by any other, reading never fails and names no other instance."""
    body = health([ID], NOON) if kind.startswith("AWS") else event(kind, ID, NOON, state="terminated")
    where: dict[str, Any] = data.draw(st.sampled_from([body, body["detail"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(_VALUES)
    assert set(read_notice(json.dumps(body)).instances) <= {ID, "i-00000000"}


def test_the_rules_let_through_what_is_read() -> None:
    """Each pattern names messages that are read here, by their exact names."""
    names = {name for pattern in event_patterns().values() for name in pattern["detail-type"]}
    assert {SPOT, REBALANCE, STATE, RESERVATION, "AWS Health Event"} <= names
    for pattern in event_patterns().values():
        for name in pattern["detail-type"]:
            source = pattern["source"][0]
            body = health([ID], NOON) if source == "aws.health" else event(name, ID, NOON, state="stopped")
            assert read(body).kind not in {NoticeKind.UNKNOWN, NoticeKind.OTHER}


def test_the_patterns_in_the_documentation_are_ours() -> None:
    """Whoever makes the rules by hand gets what the code reads."""
    page = (Path(__file__).parents[2] / "docs/how-to/spot-interruptions.md").read_text(encoding="utf-8")
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    assert shown == list(event_patterns().values())
