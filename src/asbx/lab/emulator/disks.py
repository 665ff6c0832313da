"""EBS volumes of instances: what a launch makes, and DescribeVolumes.

Volumes are made and gone with their instances; those moto would make by CreateVolume are not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from asbx.lab.emulator.errors import DryRunClientError, Ec2Error, invalid_combination, invalid_value
from asbx.lab.emulator.listing import attribute, filtered, page
from asbx.lab.emulator.machine import Disk, Machine, Owner
from asbx.lab.emulator.world import World

# The root device of every image here, which a launch may change (EC2 user guide, "Block device mappings").
_ROOT = "/dev/xvda"
_ROOT_KIND, _ROOT_GIB = "gp3", 8
# EC2 API reference, EbsBlockDevice: what is not stated. gp2 has three IOPS for each GiB, 100 at least.
_USUAL_KIND = "gp2"
_GP3_IOPS, _GP3_MIBS = 3000, 125
_KINDS = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")
# EC2 API reference, DescribeVolumes.
_LEAST_PAGE, _LARGEST_PAGE = 5, 500
_ID = re.compile(r"vol-([0-9a-f]{8}|[0-9a-f]{17})")


def disks_of(data: Mapping[str, Any]) -> tuple[Disk, ...]:
    """Return the volumes that launch template data makes, the root device first."""
    named = {d["DeviceName"]: d["Ebs"] for d in data.get("BlockDeviceMappings") or [] if d.get("Ebs")}
    devices = [_ROOT, *(name for name in named if name != _ROOT)]
    return tuple(_disk(device, named.get(device) or {}) for device in devices)


def _disk(device: str, said: Mapping[str, Any]) -> Disk:
    is_root = device == _ROOT
    kind = str(said.get("VolumeType") or (_ROOT_KIND if is_root else _USUAL_KIND))
    if kind not in _KINDS:
        raise invalid_value(f"Invalid volume type: {kind}")
    gib = int(said.get("VolumeSize") or (_ROOT_GIB if is_root else 1))
    usual = {"gp3": _GP3_IOPS, "gp2": max(100, 3 * gib)}
    iops = int(said.get("Iops") or usual.get(kind, 0))
    return Disk(device, kind, gib, iops, int(said.get("Throughput") or _GP3_MIBS) if kind == "gp3" else 0)


def describe_volumes(world: World, owner: Owner, params: Mapping[str, Any]) -> dict[str, Any]:
    """List volumes of instances that are not terminated, by id, filter and page."""
    ids = list(params.get("VolumeIds") or [])
    if ids and params.get("MaxResults"):
        raise invalid_combination("The parameter volumeSet cannot be used with the parameter maxResults")
    for one in ids:
        if not _ID.fullmatch(one):
            raise Ec2Error("InvalidParameterValue", f"Value ({one}) for parameter volumes is invalid.")
    if params.get("DryRun"):
        raise DryRunClientError
    rows = [row for machine in world.known(owner) for row in _rows(world, machine)]
    if ids:
        by_id = {row["VolumeId"]: row for row in rows}
        absent = [one for one in ids if one not in by_id]
        if absent:
            raise Ec2Error("InvalidVolume.NotFound", f"The volume '{absent[0]}' does not exist.")
        rows = [by_id[one] for one in ids]
    found, token = page(filtered(rows, params.get("Filters"), _texts), params, least=_LEAST_PAGE, most=_LARGEST_PAGE)
    return {"Volumes": found, **({"NextToken": token} if token else {})}


def _rows(world: World, machine: Machine) -> Iterator[dict[str, Any]]:
    if machine.state(world.now()).name == "terminated":
        return
    began = datetime.fromtimestamp(machine.launch.launched_at, UTC)
    for disk, volume_id in zip(machine.launch.disks, machine.volumes, strict=True):
        attachment = {
            "InstanceId": machine.instance_id,
            "VolumeId": volume_id,
            "Device": disk.device,
            "State": "attached",
            "AttachTime": began,
            "DeleteOnTermination": True,
        }
        yield {
            "VolumeId": volume_id,
            "VolumeType": disk.kind,
            "Size": disk.gib,
            "State": "in-use",
            "AvailabilityZone": machine.launch.pool.zone,
            "CreateTime": began,
            "Encrypted": False,
            "MultiAttachEnabled": False,
            "Attachments": [attachment],
            "Tags": [{"Key": key, "Value": value} for key, value in world.tags.get(volume_id, {}).items()],
            **({"Iops": disk.iops} if disk.iops else {}),
            **({"Throughput": disk.mibs} if disk.mibs else {}),
        }


def _texts(row: Mapping[str, Any], name: str) -> Sequence[str]:
    attachment = row["Attachments"][0]
    known = {
        "attachment.instance-id": attachment["InstanceId"],
        "attachment.status": attachment["State"],
        "attachment.device": attachment["Device"],
        "attachment.delete-on-termination": "true",
        "availability-zone": row["AvailabilityZone"],
        "size": str(row["Size"]),
        "status": row["State"],
        "volume-id": row["VolumeId"],
        "volume-type": row["VolumeType"],
    }
    return attribute(name, known, {tag["Key"]: tag["Value"] for tag in row["Tags"]})
