"""A queue that brings messages at least once, and EventBridge's messages to put into it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.fakes.clock import FakeClock
from tests.fakes.faults import Faults

from asbx.aws.notices_parse import read_notice
from asbx.errors import AsbxError
from asbx.model.notice import Message

SPOT = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
STATE = "EC2 Instance State-change Notification"
RESERVATION = "EC2 Capacity Reservation Instance Interruption Warning"


def event(kind: str, instance: str, at: datetime, source: str = "aws.ec2", **detail: Any) -> dict[str, Any]:
    """Return a message of EC2's, as EventBridge hands it on."""
    return {
        "version": "0",
        "id": "1e5527d7-bb36-4607-3370-4164db56a40e",
        "detail-type": kind,
        "source": source,
        "account": "123456789012",
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "region": "us-east-2",
        "resources": [f"arn:aws:ec2:us-east-2:123456789012:instance/{instance}"],
        "detail": {"instance-id": instance, **detail},
    }


def health(instances: Sequence[str], at: datetime, **changes: Any) -> dict[str, Any]:
    """Return a message of AWS Health about scheduled retirement."""
    detail = {
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "eventTypeCategory": "scheduledChange",
        "affectedEntities": [{"entityValue": one} for one in instances],
    }
    return {**event("AWS Health Event", "i-00000000", at, "aws.health"), "detail": {**detail, **changes}}


@dataclass
class FakeNotices:
    """The door `Notices`. waiting: bodies by handle; what is not done comes again at each receive."""

    clock: FakeClock
    waiting: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _faults: Faults = field(default_factory=Faults)

    def receive(self) -> tuple[Message, ...]:
        """Return at most ten messages."""
        with self._faults.call("receive"):
            now = self.clock.now()
            return tuple(Message(handle, read_notice(body), now) for handle, body in list(self.waiting.items())[:10])

    def done(self, handles: Sequence[str]) -> None:
        """Forget messages."""
        with self._faults.call("done"):
            for handle in handles:
                self.waiting.pop(handle, None)

    # -- the other side

    def put(self, body: dict[str, Any] | str) -> str:
        """Put a message into the queue."""
        handle = f"h-{next(self._numbers)}"
        self.waiting[handle] = body if isinstance(body, str) else json.dumps(body)
        return handle

    def fail_next(self, method: str, error: AsbxError, *, times: int = 1) -> None:
        """Let the next calls fail."""
        self._faults.add(method, error, times=times)
