"""What EBS volumes instances have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from asbx.aws.client import translated
from asbx.config.limits import VOLUMES_PAGE
from asbx.model.usage import Volume

# A filter takes 200 values (EC2 API reference, "List and filter resources").
_FILTER_VALUES = 200


class Volumes:
    """The port VolumeList: by attachment, many instances a call, page by page."""

    def __init__(self, ec2: Callable[[], Any]) -> None:
        self._ec2 = ec2

    def volumes(self, instance_ids: Sequence[str]) -> tuple[Volume, ...]:
        """Return the volumes attached to these instances; ids EC2 does not know are no error of a filter."""
        return tuple(
            volume
            for start in range(0, len(instance_ids), _FILTER_VALUES)
            for item in self._pages(list(instance_ids[start : start + _FILTER_VALUES]))
            for volume in _attached(item)
            if volume.instance_id in instance_ids
        )

    def _pages(self, instance_ids: list[str]) -> Iterator[dict[str, Any]]:
        arguments: dict[str, Any] = {
            "Filters": [{"Name": "attachment.instance-id", "Values": instance_ids}],
            "MaxResults": VOLUMES_PAGE,
        }
        while True:
            with translated("ec2", "DescribeVolumes"):
                page = self._ec2().describe_volumes(**arguments)
            yield from page.get("Volumes") or []
            if not page.get("NextToken"):
                return
            arguments["NextToken"] = page["NextToken"]


def _attached(item: dict[str, Any]) -> Iterator[Volume]:
    """Read one; of a volume that several instances share, it is the first one's, so that it is charged once."""
    for attachment in (item.get("Attachments") or [])[:1]:
        yield Volume(
            str(attachment.get("InstanceId", "")),
            str(item["VolumeId"]),
            str(item.get("VolumeType", "")),
            int(item.get("Size") or 0),
            int(item.get("Iops") or 0),
            int(item.get("Throughput") or 0),
        )
