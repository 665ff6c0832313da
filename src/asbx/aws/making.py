"""What is made for gangs in EC2 beside instances: placement groups and derived launch templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asbx.aws.client import translated
from asbx.aws.requests import template_named
from asbx.aws.templates import create_launch_template
from asbx.config.limits import PARTITIONS
from asbx.model.catalogue import TemplateChange
from asbx.model.market import Template, Verdict
from asbx.ports import CloudError


class Making:
    """The part of the Cloud port that makes and removes groups and templates. client: returns the EC2 client."""

    def __init__(self, client: Callable[[], Any]) -> None:
        self._client = client

    def make_group(self, name: str, strategy: str, tags: Mapping[str, str]) -> None:
        """Make a placement group; a name is unique in an account and region, so one that is there is ours."""
        asked: dict[str, Any] = {"GroupName": name, "Strategy": strategy}
        if tags:
            body = [{"Key": key, "Value": value} for key, value in tags.items()]
            asked["TagSpecifications"] = [{"ResourceType": "placement-group", "Tags": body}]
        if strategy == "partition":
            asked["PartitionCount"] = PARTITIONS
        with _fine("InvalidPlacementGroup.Duplicate"), translated("ec2", "CreatePlacementGroup"):
            self._client().create_placement_group(**asked)

    def remove_group(self, name: str) -> bool:
        """Remove a placement group, unless instances are in it."""
        try:
            with _fine("InvalidPlacementGroup.Unknown"), translated("ec2", "DeletePlacementGroup"):
                self._client().delete_placement_group(GroupName=name)
        except CloudError as error:
            if error.code != "InvalidPlacementGroup.InUse":
                raise
            return False
        return True

    def make_template(self, name: str, base: Template, change: TemplateChange, tags: Mapping[str, str]) -> Template:
        """Make a derived template; its name tells base and change, so one of that name is the same."""
        shape = self._client().meta.service_model.shape_for("RequestLaunchTemplateData")
        asked = create_launch_template(name, self._data(base), change, tags, shape)
        with _fine("InvalidLaunchTemplateName.AlreadyExistsException"), translated("ec2", "CreateLaunchTemplate"):
            self._client().create_launch_template(**asked)
        # By name in both cases, not by the id EC2 gave: an order repeated after a crash must be the same order.
        return Template(name=name, version="1")

    def remove_template(self, name: str) -> None:
        """Remove a launch template with all its versions; instances launched from it stay."""
        with _fine("InvalidLaunchTemplateName.NotFoundException"), translated("ec2", "DeleteLaunchTemplate"):
            self._client().delete_launch_template(LaunchTemplateName=name)

    def _data(self, template: Template) -> dict[str, Any]:
        with translated("ec2", "DescribeLaunchTemplateVersions"):
            raw = self._client().describe_launch_template_versions(
                **template_named(template), Versions=[template.version]
            )
        versions = raw.get("LaunchTemplateVersions") or []
        if not versions:
            raise CloudError(
                "InvalidLaunchTemplateId.VersionNotFound",
                "the launch template has no such version",
                f"{template.template_id or template.name} has no version {template.version}",
                "check the ids and names in the configuration",
                Verdict.NOT_FOUND,
            )
        data: dict[str, Any] = versions[0].get("LaunchTemplateData") or {}
        return data


@contextmanager
def _fine(code: str) -> Iterator[None]:
    """Let one refusal pass: what was asked for is so already."""
    try:
        yield
    except CloudError as error:
        if error.code != code:
            raise
