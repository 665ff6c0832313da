"""RegisterImage: moto keeps the name and forgets the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.ec2.models import ec2_backends

from asbx.lab.emulator.errors import DryRunClientError, invalid_value, missing
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.tagging import check_tags, tags_by_resource
from asbx.lab.emulator.world import World

_ARCHITECTURES = ("i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac")


def register_image(_world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """Register an image; architecture, root device and tags are described as given."""
    if not params.get("Name"):
        raise missing("Name")
    architecture = str(params.get("Architecture") or "i386")  # EC2 API reference: the default for this call
    if architecture not in _ARCHITECTURES:
        raise invalid_value(f"Invalid Architecture: {architecture}")
    tags = tags_by_resource(params.get("TagSpecifications") or [])
    check_tags(tags)
    if params.get("DryRun"):
        raise DryRunClientError
    backend = ec2_backends[owner.account][owner.region]
    image = backend.register_image(params["Name"], params.get("Description") or "")
    image.architecture = architecture
    image.root_device_name = params.get("RootDeviceName") or "/dev/sda1"
    image.root_device_type = "ebs"
    image.virtualization_type = params.get("VirtualizationType") or "paravirtual"
    image.add_tags(tags.get("image", {}))
    return {"ImageId": image.id}
