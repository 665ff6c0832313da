"""What EC2 announces, through the rules of EventBridge into the queues of SQS.

Rules, targets and queues are those of moto's stores, made by any client. Moto's own PutEvents leaves the account out of
its messages and takes 15 ms for each, so messages are written and matched here. Without a rule nothing is done at all.

Shapes: EC2 user guide, "Spot Instance interruption notices", "EC2 instance rebalance recommendations", "Instance state
change events", "Monitor interruptible Capacity Reservations"; AWS Health user guide, event schema.
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.events.models import events_backends
from moto.sqs.models import Message, sqs_backends

from asbx.lab.emulator.machine import Machine, Owner, iso_z
from asbx.lab.emulator.world import World

# Health announces a retirement two weeks ahead (EC2 user guide, "Instance retirement").
_RETIREMENT = timedelta(days=14)


class Bus:
    """Sends messages; those of state changes when their time comes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._coming: list[tuple[float, int, Machine, str]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        world.on_end = self._end_is_set

    # -- what may be announced

    def spot_warning(self, machine: Machine) -> None:
        """Tell that EC2 takes a spot instance back."""
        detail = {"instance-id": machine.instance_id, "instance-action": "terminate"}
        self._send(machine, "EC2 Spot Instance Interruption Warning", detail)

    def rebalance(self, machine: Machine) -> None:
        """Recommend to leave a spot instance."""
        self._send(machine, "EC2 Instance Rebalance Recommendation", {"instance-id": machine.instance_id})

    def reservation_warning(self, machine: Machine, ends: float) -> None:
        """Tell that an interruptible capacity reservation is taken back."""
        detail = {
            "instance-id": machine.instance_id,
            "instance-action": "terminate",
            "instance-termination-time": _seconds(ends),
        }
        self._send(machine, "EC2 Capacity Reservation Instance Interruption Warning", detail)

    def retirement(self, machine: Machine) -> None:
        """Tell, as AWS Health does, that an instance will be retired."""
        starts = datetime.fromtimestamp(self._world.now(), UTC) + _RETIREMENT
        code = "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"
        when = starts.strftime("%a, %d %b %Y %H:%M:%S GMT")
        detail = {
            "eventArn": f"arn:aws:health:{machine.launch.owner.region}::event/EC2/{code}/{uuid.uuid4()}",
            "service": "EC2",
            "eventTypeCode": code,
            "eventTypeCategory": "scheduledChange",
            "startTime": when,
            "endTime": when,
            "eventDescription": [{"language": "en_US", "latestDescription": "The instance will be retired."}],
            "affectedEntities": [{"entityValue": machine.instance_id}],
        }
        self._send(machine, "AWS Health Event", detail, source="aws.health", resources=[machine.instance_id])

    # -- states, by time

    def _end_is_set(self, machine: Machine) -> None:
        """Remember when a machine's states will change; the world's lock is held."""
        if not _rules(machine.launch.owner):
            return
        assert machine.ended_at is not None
        with self._wake:
            for when, state in ((machine.ended_at, "shutting-down"), (machine.ended_at + machine.ending, "terminated")):
                heapq.heappush(self._coming, (when, next(self._order), machine, state))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="event-bus", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._coming or self._coming[0][0] > self._world.now():
                    left = self._coming[0][0] - self._world.now() if self._coming else None
                    self._wake.wait(left)
                when, _, machine, state = heapq.heappop(self._coming)
            planned = machine.ended_at if state == "shutting-down" else machine.terminated_at
            if planned == when:  # an end that was set anew, sooner, has its own entries
                detail = {"instance-id": machine.instance_id, "state": state}
                self._send(machine, "EC2 Instance State-change Notification", detail)

    # -- sending

    def _send(
        self,
        machine: Machine,
        kind: str,
        detail: Mapping[str, Any],
        source: str = "aws.ec2",
        resources: Iterable[str] = (),
    ) -> None:
        owner, now = machine.launch.owner, self._world.now()
        arn = f"arn:aws:ec2:{owner.region}:{owner.account}:instance/{machine.instance_id}"
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": kind,
            "source": source,
            "account": owner.account,
            "time": _seconds(now),
            "region": owner.region,
            "resources": list(resources) or [arn],
            "detail": dict(detail),
        }
        for rule in _rules(owner):
            if rule.state == "ENABLED" and rule.event_pattern.matches_event(event):
                _deliver(owner, rule, json.dumps(event))


def _seconds(moment: float) -> str:
    """Return a time as EventBridge writes it."""
    return iso_z(moment)[:19] + "Z"


def _rules(owner: Owner) -> list[Any]:
    """Return an account's rules."""
    return list(events_backends[owner.account][owner.region].event_buses["default"].rules.values())


def _deliver(owner: Owner, rule: Any, body: str) -> None:
    """Put a message into the queues a rule names, past moto's send_message, which counts the whole queue each time."""
    queues = sqs_backends[owner.account][owner.region].queues
    for target in rule.targets:
        queue = queues.get(str(target.get("Arn", "")).rpartition(":")[2])
        if queue is not None:
            message = Message(str(uuid.uuid4()), body, None)
            message.mark_sent(delay_seconds=queue.delay_seconds)
            queue.add_message(message)
