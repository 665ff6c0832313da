"""What EC2 says of instances that are not well: status checks, scheduled events, console output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from asbx.aws import answers
from asbx.aws.client import translated
from asbx.config.limits import CONSOLE_MAX_BYTES, STATUS_PAGE
from asbx.model.health import InstanceHealth
from asbx.model.market import Verdict
from asbx.ports import CloudError

# Filters of one call must all fit, so it takes three calls; they are what Karpenter and ParallelCluster ask. There is
# no filter by tag: the answer is about the whole region.
_QUESTIONS = (
    ("instance-status.status", ["impaired"]),
    ("system-status.status", ["impaired"]),
    ("event.code", ["instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"]),
)
# Then asking in another way would be in vain.
_FINAL = (Verdict.PERMISSION, Verdict.THROTTLED, Verdict.TRANSIENT)


class Wellbeing:
    """The part of the door `Cloud` that is about sick machines."""

    def __init__(self, ec2: Callable[[], Any]) -> None:
        self._ec2 = ec2

    def unwell(self) -> tuple[InstanceHealth, ...]:
        """Ask three times, whatever the number of instances: only trouble is told."""
        found: dict[str, InstanceHealth] = {}
        for name, values in _QUESTIONS:
            for health in self._status([{"Name": name, "Values": values}]):
                found[health.instance_id] = health
        return tuple(found.values())

    def _status(self, filters: list[dict[str, Any]]) -> Iterator[InstanceHealth]:
        arguments: dict[str, Any] = {"Filters": filters, "MaxResults": STATUS_PAGE}
        while True:
            with translated("ec2", "DescribeInstanceStatus"):
                page = self._ec2().describe_instance_status(**arguments)
            yield from answers.statuses(page)
            if not page.get("NextToken"):
                return
            arguments["NextToken"] = page["NextToken"]

    def console(self, instance_id: str) -> str:
        """Return the latest output where the type tells it (Nitro), else what EC2 posted at the last change of state.

        Without `Latest` there is nothing until some minutes after the boot (EC2 API reference, GetConsoleOutput;
        NixOS/amis #4), with it some types refuse (virt-s1/avocado-cloud PR 8).
        """
        try:
            latest = self._console(instance_id, latest=True)
        except CloudError as error:
            if error.verdict in _FINAL:
                raise
            latest = ""
        return latest or self._console(instance_id, latest=False)

    def _console(self, instance_id: str, *, latest: bool) -> str:
        with translated("ec2", "GetConsoleOutput"):
            raw = self._ec2().get_console_output(InstanceId=instance_id, Latest=latest)
        # botocore has turned EC2's base64 into text already (handlers.decode_console_output).
        text = str(raw.get("Output") or "")
        return text.encode()[-CONSOLE_MAX_BYTES:].decode(errors="ignore")
