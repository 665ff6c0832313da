"""The door to EC2's instances: launch, describe, tag, terminate, in as few calls as EC2 allows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from asbx.aws import answers, lean, requests
from asbx.aws.client import client, translated
from asbx.aws.health import Wellbeing
from asbx.aws.making import Making
from asbx.aws.volumes import Volumes
from asbx.config.limits import DESCRIBE_BATCH, TAG_BATCH, TERMINATE_BATCH, TOPOLOGY_BATCH
from asbx.config.schema import Aws
from asbx.model.catalogue import TemplateChange
from asbx.model.health import InstanceHealth
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Template, Verdict
from asbx.model.usage import Volume
from asbx.ports import CloudError

_ALIVE = ["pending", "running", "stopping", "stopped"]
# A filter takes 200 values (EC2 API reference, "List and filter resources").
_FILTER_VALUES = 200
_PAGE = 1000
_Row = TypeVar("_Row")


class Ec2:
    """The Cloud port over boto3. Clients are made when first used: creating one costs 0.1 s."""

    def __init__(self, settings: Aws) -> None:
        self._making = Making(lambda: self._ec2)
        self._wellbeing = Wellbeing(lambda: self._ec2)
        self._volumes = Volumes(lambda: self._ec2)
        self._settings = settings
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _client(self, name: str, attempts: int) -> Any:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = client(self._settings, "ec2", attempts=attempts)
                lean.install(self._clients[name])
            return self._clients[name]

    @property
    def _ec2(self) -> Any:
        return self._client("ec2", 0)

    @property
    def _launcher(self) -> Any:
        return self._client("launch", 1)

    def warm(self) -> None:
        """Make the clients now, so that the first launch does not pay for them."""
        assert self._ec2
        assert self._launcher

    def launch(self, order: FleetOrder) -> FleetAnswer:
        """Call CreateFleet once."""
        with translated("ec2", "CreateFleet"):
            return answers.fleet_answer(self._launcher.create_fleet(**requests.create_fleet(order)))

    def describe(self, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        """Describe by id; where EC2 does not know one yet, ask by filter, which leaves it out instead of failing."""
        found: list[Instance] = []
        for batch in _chunks(instance_ids, DESCRIBE_BATCH):
            try:
                with translated("ec2", "DescribeInstances"):
                    found.extend(answers.instances(self._ec2.describe_instances(InstanceIds=list(batch))))
            except CloudError as error:
                if error.verdict is not Verdict.NOT_FOUND:
                    raise
                for few in _chunks(batch, _FILTER_VALUES):
                    found.extend(self._filtered({"instance-id": list(few)}))
        return tuple(found)

    def owned(self, cluster: str) -> tuple[Instance, ...]:
        """Return every instance of the cluster that may still cost money."""
        return tuple(self._filtered({"tag:asbx:cluster": [cluster], "instance-state-name": _ALIVE}))

    def launched_for(self, intent_id: str) -> tuple[Instance, ...]:
        """Return what EC2 launched for an intent, whether or not its answer reached us."""
        return tuple(self._filtered({"tag:asbx:intent": [intent_id], "instance-state-name": _ALIVE}))

    def _filtered(self, filters: Mapping[str, list[str]]) -> Iterator[Instance]:
        arguments: dict[str, Any] = {
            "Filters": [{"Name": name, "Values": values} for name, values in filters.items()],
            "MaxResults": _PAGE,
        }
        while True:
            with translated("ec2", "DescribeInstances"):
                page = self._ec2.describe_instances(**arguments)
            yield from answers.instances(page)
            if not page.get("NextToken"):
                return
            arguments["NextToken"] = page["NextToken"]

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """Terminate in batches. One unknown id fails a whole call, so then only those EC2 knows are named again."""
        ended: list[str] = []
        for batch in _chunks(instance_ids, TERMINATE_BATCH):
            try:
                ended.extend(self._terminate(batch))
            except CloudError as error:
                if error.verdict is not Verdict.NOT_FOUND:
                    raise
                known = [
                    i.instance_id
                    for few in _chunks(batch, _FILTER_VALUES)
                    for i in self._filtered({"instance-id": list(few)})
                ]
                if known:
                    ended.extend(self._terminate(known))
        return tuple(ended)

    def _terminate(self, batch: Sequence[str]) -> list[str]:
        with translated("ec2", "TerminateInstances"):
            raw = self._ec2.terminate_instances(InstanceIds=list(batch))
        return [item["InstanceId"] for item in raw.get("TerminatingInstances") or []]

    def tag(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Put the same tags on all of these."""
        body = [{"Key": key, "Value": value} for key, value in tags.items()]
        for batch in _chunks(instance_ids, TAG_BATCH):
            with translated("ec2", "CreateTags"):
                self._ec2.create_tags(Resources=list(batch), Tags=body)

    def make_group(self, name: str, strategy: str, tags: Mapping[str, str]) -> None:
        """Make a placement group."""
        self._making.make_group(name, strategy, tags)

    def remove_group(self, name: str) -> bool:
        """Remove a placement group, unless instances are in it."""
        return self._making.remove_group(name)

    def make_template(self, name: str, base: Template, change: TemplateChange, tags: Mapping[str, str]) -> Template:
        """Make a derived launch template."""
        return self._making.make_template(name, base, change, tags)

    def remove_template(self, name: str) -> None:
        """Remove a derived launch template."""
        self._making.remove_template(name)

    def unwell(self) -> tuple[InstanceHealth, ...]:
        """Return the running instances of the region that are impaired or await an event."""
        return self._wellbeing.unwell()

    def console(self, instance_id: str) -> str:
        """Return what is at hand of a machine's console output."""
        return self._wellbeing.console(instance_id)

    def volumes(self, instance_ids: Sequence[str]) -> tuple[Volume, ...]:
        """Return the volumes attached to these instances."""
        return self._volumes.volumes(instance_ids)

    def topology(self, instance_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Describe by id; a region or type that tells none leaves all or some out."""
        found: dict[str, tuple[str, ...]] = {}
        for batch in _chunks(instance_ids, TOPOLOGY_BATCH):
            try:
                with translated("ec2", "DescribeInstanceTopology"):
                    raw = self._ec2.describe_instance_topology(InstanceIds=list(batch))
            except CloudError as error:
                if error.verdict is Verdict.NOT_OFFERED or error.code == "InvalidAction":
                    return found
                raise
            found |= answers.topology(raw)
        return found


def _chunks(rows: Sequence[_Row], size: int) -> Iterator[Sequence[_Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
