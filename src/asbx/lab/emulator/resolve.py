"""Look up what a launch names in moto's store: launch templates, subnets, security groups, images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from asbx.lab.emulator.errors import Ec2Error, invalid_combination, missing
from asbx.lab.emulator.machine import Owner

_IMAGE_ID = re.compile(r"ami-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_BY_PARAMETER = "resolve:ssm:"


@dataclass(frozen=True)
class Template:
    """A version of a launch template; data: EC2's LaunchTemplateData."""

    template_id: str
    name: str
    version: int
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Subnet:
    """A subnet of the store."""

    subnet_id: str
    vpc_id: str
    zone: str
    zone_id: str
    cidr: str


class Store:
    """Moto's EC2 of one account and region, read through names of our own."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self._backend = ec2_backends[owner.account][owner.region]

    def named_template(self, spec: Mapping[str, Any]) -> Any:
        """Return moto's launch template by LaunchTemplateId or LaunchTemplateName."""
        template_id, name = spec.get("LaunchTemplateId"), spec.get("LaunchTemplateName")
        if template_id and name:
            raise invalid_combination("Specify either a launch template ID or a launch template name, not both.")
        if template_id:
            return self._backend.get_launch_template(template_id)
        if name:
            return self._backend.get_launch_template_by_name(name)
        raise missing("LaunchTemplateId or LaunchTemplateName")

    def template(self, spec: Mapping[str, Any]) -> Template:
        """Return the template version a LaunchTemplateSpecification names; without a version, the default one."""
        found = self.named_template(spec)
        version = self._version(found, str(spec.get("Version") or "$Default"))
        return Template(found.id, found.name, int(version.number), version.data)

    def _version(self, found: Any, wanted: str) -> Any:
        versions = live_versions(found)
        if wanted.lower() == "$latest":
            return versions[-1]
        number = str(found.default_version_number) if wanted.lower() == "$default" else wanted
        for version in versions:
            if str(version.number) == number:
                return version
        raise Ec2Error(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"Could not find the specified version {wanted} for the launch template with ID {found.id}.",
        )

    def subnet(self, subnet_id: str) -> Subnet:
        """Return a subnet; unknown: InvalidSubnetID.NotFound."""
        return _subnet(self._backend.get_subnet(subnet_id))

    def default_subnet(self, zone: str = "") -> Subnet:
        """Return the default subnet of a zone, or of the first zone that has one."""
        defaults = self._backend.get_default_subnets()
        if zone and zone in defaults:
            return _subnet(defaults[zone])
        if zone or not defaults:
            raise Ec2Error("MissingInput", f"No default subnet for availability zone: '{zone or 'any'}'.")
        return _subnet(defaults[min(defaults)])

    def zones(self) -> dict[str, str]:
        """Return zone ids by zone name."""
        return {z.name: z.zone_id for z in self._backend.describe_availability_zones()}

    def check_zone(self, zone: str) -> None:
        """Raise InvalidParameterValue for a zone the region does not have."""
        if zone not in self.zones():
            raise Ec2Error("InvalidParameterValue", f"Invalid availability zone: [{zone}]")

    def image(self, image_id: str) -> str:
        """Return the image id, looked up in SSM where it is `resolve:ssm:NAME`.

        Any well-formed id counts as an image: the pretend instances boot no image, and no list of AMIs is complete.
        """
        if not image_id:
            raise missing("ImageId")
        if image_id.startswith(_BY_PARAMETER):
            name = image_id.removeprefix(_BY_PARAMETER).partition(":")[0]
            parameter = ssm_backends[self.owner.account][self.owner.region].get_parameter(name)
            if parameter is None:
                raise Ec2Error("InvalidParameterValue", f"The SSM parameter {name} does not exist.")
            image_id = str(parameter.value)
        if not _IMAGE_ID.fullmatch(image_id):
            raise Ec2Error("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
        return image_id

    def group_names(self, group_ids: Sequence[str]) -> dict[str, str]:
        """Return security group names by id; unknown: InvalidGroup.NotFound."""
        names = {}
        for group_id in group_ids:
            group = self._backend.get_security_group_from_id(group_id)
            if group is None:
                raise Ec2Error("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
            names[group_id] = str(group.name)
        return names

    def group_vpc(self, group_id: str) -> str:
        """Return the VPC of a security group; unknown: InvalidGroup.NotFound."""
        self.group_names([group_id])
        return str(self._backend.get_security_group_from_id(group_id).vpc_id)

    def default_group(self, vpc_id: str) -> tuple[str, ...]:
        """Return the id of the VPC's default security group."""
        group = self._backend.get_security_group_from_name("default", vpc_id)
        return (str(group.id),) if group else ()

    def check_resources(self, ids: Sequence[str]) -> None:
        """Raise EC2's error for an id that moto knows it does not have."""
        self._backend.do_resources_exist(list(ids))


def _subnet(found: Any) -> Subnet:
    return Subnet(found.id, found.vpc_id, found.availability_zone, found.availability_zone_id, found.cidr_block)


def live_versions(template: Any) -> list[Any]:
    """Return the versions of moto's launch template that were not deleted; a number is never given twice."""
    return [version for version in template.versions if not getattr(version, "is_deleted", False)]
