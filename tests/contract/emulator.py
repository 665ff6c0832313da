"""Start the pretend EC2 as a process of its own, and reach it as any client would."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

T = TypeVar("T")

_DEADLINE = 30.0
IMAGE = "ami-0123456789abcdef0"
USER_DATA = "#!/bin/sh\necho hello\n"


def until(condition: Callable[[], T], within: float = _DEADLINE) -> T:
    """Return the first true answer of a condition. Raises TimeoutError after the deadline."""
    end = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"not true within {within} s: {condition}")
        time.sleep(0.02)


@dataclass
class Emulator:
    """A running emulator."""

    process: subprocess.Popen[bytes]
    state_dir: Path
    url: str
    _clients: list[Any] = field(default_factory=list)

    def client(self, service: str = "ec2", **changes: Any) -> Any:
        """Return a plain boto3 client that tries once."""
        options: dict[str, Any] = {
            "endpoint_url": self.url,
            "region_name": "us-east-2",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "config": Config(retries={"total_max_attempts": 1}, proxies={}),
        }
        client = boto3.client(service, **{**options, **changes})
        self._clients.append(client)
        return client

    def lab(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the lab's door; raise HTTPError when it refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_lab/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=_DEADLINE) as answer:
            return json.load(answer)

    def metadata(self, instance_id: str, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Ask an instance's metadata service; return status and text. Header names: underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/_imds/{instance_id}/latest/{path}"
        request = urllib.request.Request(url, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=_DEADLINE) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code), error.read().decode()

    def token(self, instance_id: str) -> str:
        """Do the metadata service's handshake."""
        status, token = self.metadata(instance_id, "api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")
        assert status == 200
        return token

    def read(self, instance_id: str, path: str) -> tuple[int, str]:
        """Read instance metadata with a fresh token."""
        return self.metadata(instance_id, path, X_aws_ec2_metadata_token=self.token(instance_id))

    def stop(self) -> int:
        """End it as an administrator would, and return its exit status."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_DEADLINE)


def start(state_dir: Path, *options: str) -> Emulator:
    """Start an emulator and wait until it says it is ready."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MOTO_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "asbx.lab.emulator", "--state-dir", str(state_dir), "--pending", "0.2", *options],
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    ready = state_dir / "emulator.json"
    until(lambda: ready.exists() or process.poll() is not None)
    return Emulator(process, state_dir, str(json.loads(ready.read_text())["url"]))


@dataclass(frozen=True)
class Ground:
    """What a fleet needs: a VPC with a subnet in each zone, and a launch template."""

    vpc: str
    subnets: dict[str, str]
    group: str
    template: str


def prepare(ec2: Any, name: str = "nodes", second_octet: int = 16) -> Ground:
    """Make a VPC in 127.0.0.0/8 with three /20 subnets, and a template whose metadata shows tags."""
    vpc = ec2.create_vpc(CidrBlock=f"127.{second_octet}.0.0/16")["Vpc"]["VpcId"]
    subnets = {}
    for number, zone in enumerate(("us-east-2a", "us-east-2b", "us-east-2c")):
        cidr = f"127.{second_octet}.{16 * number}.0/20"
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)
        subnets[zone] = made["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName=name, Description="nodes", VpcId=vpc)["GroupId"]
    data = {
        "ImageId": IMAGE,
        "InstanceType": "c7i.large",
        "UserData": base64.b64encode(USER_DATA.encode()).decode(),
        "IamInstanceProfile": {"Name": "node"},
        "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group]}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}],
    }
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    return Ground(vpc, subnets, group, made["LaunchTemplate"]["LaunchTemplateId"])


def fleet(ground: Ground, count: int, *pools: str, market: str = "on-demand", **changes: Any) -> dict[str, Any]:
    """Return CreateFleet's parameters; pools: "type zone-letter", for example "c7i.large a"."""
    overrides = []
    for pool in pools or ("c7i.large a",):
        kind, letter = pool.split()
        overrides.append({"InstanceType": kind, "SubnetId": ground.subnets[f"us-east-2{letter}"]})
    spec = {"LaunchTemplateId": ground.template, "Version": "1"}
    asked: dict[str, Any] = {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": spec, "Overrides": overrides}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": count, "DefaultTargetCapacityType": market},
    }
    if market == "spot":
        asked["SpotOptions"] = {"AllocationStrategy": "price-capacity-optimized"}
    return {**asked, **changes}


def ids_of(answer: Mapping[str, Any]) -> list[str]:
    """Return all instance ids of a fleet's answer."""
    return [instance_id for item in answer["Instances"] for instance_id in item["InstanceIds"]]


def described(ec2: Any, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Return instances as EC2 describes them, by id."""
    pages = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    return {i["InstanceId"]: {**i, "ReservationId": r["ReservationId"]} for r in pages for i in r["Instances"]}


def code_of(call: Any, **asked: Any) -> str:
    """Return the error code of a call that must fail."""
    try:
        call(**asked)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    raise AssertionError(f"{call} was not refused")


def codes(answer: Mapping[str, Any]) -> list[str]:
    """Return the codes in a fleet's Errors[]."""
    return [str(error["ErrorCode"]) for error in answer["Errors"]]


def with_template(ec2: Any, ground: Ground, name: str, **data: Any) -> Ground:
    """Return the ground with a launch template of its own; data: what it says beside the image."""
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": IMAGE, **data})
    return replace(ground, template=made["LaunchTemplate"]["LaunchTemplateId"])


def placed(asked: dict[str, Any], group: str) -> dict[str, Any]:
    """Return a fleet request with every override in a placement group."""
    for config in asked["LaunchTemplateConfigs"]:
        for override in config["Overrides"]:
            override["Placement"] = {"GroupName": group}
    return asked
