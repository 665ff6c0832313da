"""What EC2 says of the health of instances, as far as it is bad news."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ScheduledEvent:
    """Something AWS means to do to an instance.

    code: instance-reboot, system-reboot, system-maintenance, instance-retirement or instance-stop. not_before: None
    where AWS tells none. is_over: completed or called off.
    """

    event_id: str
    code: str
    description: str
    not_before: datetime | None = None
    is_over: bool = False


@dataclass(frozen=True)
class InstanceHealth:
    """The status checks of an instance and the events that await it. What EC2 says of its EBS volumes is not read."""

    instance_id: str
    instance_impaired: bool = False
    system_impaired: bool = False
    events: tuple[ScheduledEvent, ...] = ()
