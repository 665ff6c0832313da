"""Hold what we say to EC2 to golden files (ASBX_GOLDEN=write rewrites them; read the difference first)."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from asbx.aws.requests import create_fleet
from asbx.aws.templates import create_launch_template
from asbx.model.catalogue import InterfaceSpec, TemplateChange
from asbx.model.market import FleetOrder, Market, Pool, Template

GOLDEN = Path(__file__).parent.parent / "golden"
TAGS = (("ManagedBy", "aws-slurm-burst"), ("asbx:cluster", "lab"))
# A base as DescribeLaunchTemplateVersions answers it, with members that only answers have.
BASE = {
    "ImageId": "ami-0123456789abcdef0",
    "IamInstanceProfile": {"Name": "node"},
    "UserData": "IyEvYmluL3NoCg==",
    "NetworkInterfaces": [
        {
            "DeviceIndex": 0,
            "Groups": ["sg-0123456789abcdef0"],
            "Description": "node",
            "SubnetId": "subnet-0123456789abcdef0",
        }
    ],
    "MetadataOptions": {"State": "applied", "HttpTokens": "required", "InstanceMetadataTags": "enabled"},
    "Operator": {"Managed": False},
}


def golden(name: str, made: Any) -> None:
    """Compare with a golden file."""
    path = GOLDEN / f"{name}.json"
    if os.environ.get("ASBX_GOLDEN") == "write":
        path.write_text(json.dumps(made, indent=2) + "\n")
    assert json.loads(path.read_text()) == made


def valid(operation: str, made: dict[str, Any]) -> None:
    """Let the SDK's own model judge names and types."""
    report = ParamValidator().validate(made, _model().operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


def template_shape() -> Any:
    """Return botocore's shape of a launch template's data in requests."""
    return _model().shape_for("RequestLaunchTemplateData")


def gang_requests(instance_type: str, interfaces: tuple[InterfaceSpec, ...], placement_group: str) -> dict[str, Any]:
    """Return the calls for a gang of four of a type, valid ones: its derived template, if it has one, and its fleet.

    interfaces: the network layout of the type, () for that of the base template.
    """
    made: dict[str, Any] = {}
    derived = Template(name=f"asbx-{instance_type}", version="1") if interfaces else None
    if derived:
        change = TemplateChange(interfaces)
        made["CreateLaunchTemplate"] = create_launch_template(derived.name, BASE, change, dict(TAGS), template_shape())
    order = FleetOrder(
        token="0" * 32 + "-1",
        market=Market.ON_DEMAND,
        count=4,
        minimum=4,
        pools=(Pool(instance_type, "subnet-b", "us-east-2b", template=derived),),
        template=Template("lt-0123456789abcdef0", version="3"),
        tags=TAGS,
        single_zone=True,
        single_type=True,
        placement_group=placement_group,
    )
    made["CreateFleet"] = create_fleet(order)
    for operation, request in made.items():
        valid(operation, request)
    return made


@cache
def _model() -> Any:
    return botocore.session.get_session().get_service_model("ec2")
