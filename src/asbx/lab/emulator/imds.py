"""The instance metadata service of every instance, IMDSv2 only: a token first, then the data.

Paths: EC2 user guide, "Instance metadata categories". One instance's service lies under
/_imds/<instance id>/latest/.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from asbx.lab.emulator.machine import Machine, iso_z
from asbx.lab.emulator.world import World

_LONGEST_TTL = 21600
_MANY_TOKENS = 5000


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = "text/plain"


_NOT_FOUND = Reply(404, b"404 - Not Found\n")


class MetadataService:
    """Answers for all instances of a world: the path names the instance, whoever calls."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, tuple[str, float]] = {}

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Reply:
        """Answer a request; path: what follows /_imds/. headers: names in lower case."""
        instance_id, _, rest = path.partition("/")
        with self._world.lock:
            machine = self._world.machines.get(instance_id)
            if machine is None or machine.state(self._world.now()).name == "terminated":
                return _NOT_FOUND
            if rest == "latest/api/token":
                return self._token(method, instance_id, headers)
            token = self._tokens.get(headers.get("x-aws-ec2-metadata-token", ""))
            if token is None or token[0] != instance_id or token[1] < self._world.now():
                return Reply(401, b"401 - Unauthorized\n")
            if method not in ("GET", "HEAD"):
                return Reply(405, b"405 - Method Not Allowed\n")
            return self._data(machine, rest)

    def _token(self, method: str, instance_id: str, headers: Mapping[str, str]) -> Reply:
        if method != "PUT":
            return Reply(405, b"405 - Method Not Allowed\n")
        ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdigit() or not 1 <= int(ttl) <= _LONGEST_TTL or "x-forwarded-for" in headers:
            return Reply(400, b"400 - Bad Request\n")
        self._forget_expired()
        token = secrets.token_urlsafe(40)
        self._tokens[token] = (instance_id, self._world.now() + int(ttl))
        return Reply(200, token.encode())

    def _forget_expired(self) -> None:
        if len(self._tokens) < _MANY_TOKENS:
            return
        now = self._world.now()
        self._tokens = {token: facts for token, facts in self._tokens.items() if facts[1] >= now}

    def _data(self, machine: Machine, path: str) -> Reply:
        category = path.removeprefix("latest").strip("/")
        if category == "user-data":
            return self._user_data(machine)
        if category == "dynamic/instance-identity/document":
            return Reply(200, json.dumps(_identity(machine), indent=2).encode(), "application/json")
        if category in ("", "dynamic", "dynamic/instance-identity"):
            listing = {"": "dynamic\nmeta-data\nuser-data", "dynamic": "instance-identity/"}
            return Reply(200, listing.get(category, "document").encode())
        if category != "meta-data" and not category.startswith("meta-data/"):
            return _NOT_FOUND
        return self._metadata(machine, category.removeprefix("meta-data").strip("/"))

    def _user_data(self, machine: Machine) -> Reply:
        if not machine.launch.user_data:
            return _NOT_FOUND
        try:
            return Reply(200, base64.b64decode(machine.launch.user_data), "application/octet-stream")
        except binascii.Error:
            return Reply(200, machine.launch.user_data.encode(), "application/octet-stream")

    def _metadata(self, machine: Machine, key: str) -> Reply:
        values = self._values(machine)
        if key in values:
            return Reply(200, values[key].encode())
        below = {name[len(key) + 1 if key else 0 :] for name in values if name.startswith(f"{key}/" if key else "")}
        if not below:
            return _NOT_FOUND
        entries = {f"{first}/" if rest else first for first, _, rest in (name.partition("/") for name in below)}
        return Reply(200, "\n".join(sorted(entries)).encode())

    def _values(self, machine: Machine) -> dict[str, str]:
        """Return every value there is for this instance, by path below meta-data/."""
        launch, now = machine.launch, self._world.now()
        values = {
            "ami-id": launch.image_id,
            "ami-launch-index": str(machine.index),
            "hostname": machine.private_dns,
            "instance-id": machine.instance_id,
            "instance-life-cycle": launch.pool.market.value,
            "instance-type": launch.pool.instance_type,
            "local-hostname": machine.private_dns,
            "local-ipv4": machine.address,
            "mac": machine.interfaces[0].mac,
            "placement/availability-zone": launch.pool.zone,
            "placement/region": launch.owner.region,
            "reservation-id": launch.reservation_id,
            "security-groups": "\n".join(launch.group_names.values()),
        }
        if launch.placement_group:
            values["placement/group-name"] = launch.placement_group
        for nic in machine.interfaces:
            values |= _interface(machine, nic.mac)
        values |= self._tags(machine)
        return values | self._notices(machine, now)

    def _tags(self, machine: Machine) -> dict[str, str]:
        if machine.launch.metadata_options.get("InstanceMetadataTags") != "enabled":
            return {}
        tags = self._world.tags.get(machine.instance_id, {})
        return {f"tags/instance/{key}": value for key, value in tags.items()}

    def _notices(self, machine: Machine, now: float) -> dict[str, str]:
        notices = {}
        if machine.notice_at is not None and machine.ended_at is not None:
            action = {"action": "terminate", "time": iso_z(machine.ended_at)[:19] + "Z"}
            notices["spot/instance-action"] = json.dumps(action)
            notices["spot/termination-time"] = action["time"]
        if machine.rebalance_at is not None and now >= machine.rebalance_at:
            notices["events/recommendations/rebalance"] = json.dumps(
                {"noticeTime": iso_z(machine.rebalance_at)[:19] + "Z"}
            )
        return notices


def _interface(machine: Machine, mac: str) -> dict[str, str]:
    nic = next(nic for nic in machine.interfaces if nic.mac == mac)
    base = f"network/interfaces/macs/{mac}"
    values = {
        f"{base}/device-number": str(nic.device_index),
        f"{base}/network-card": str(nic.card_index),
        f"{base}/interface-id": nic.interface_id,
        f"{base}/mac": mac,
        f"{base}/subnet-id": machine.launch.subnet_id,
        f"{base}/vpc-id": machine.launch.vpc_id,
    }
    if nic.address:
        values[f"{base}/local-ipv4s"] = nic.address
    return values


def _identity(machine: Machine) -> dict[str, str | None]:
    launch = machine.launch
    return {
        "accountId": launch.owner.account,
        "architecture": launch.architecture,
        "availabilityZone": launch.pool.zone,
        "imageId": launch.image_id,
        "instanceId": machine.instance_id,
        "instanceType": launch.pool.instance_type,
        "kernelId": None,
        "pendingTime": iso_z(launch.launched_at)[:19] + "Z",
        "privateIp": machine.address,
        "ramdiskId": None,
        "region": launch.owner.region,
        "version": "2017-09-30",
    }
