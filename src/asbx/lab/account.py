"""The AWS side of the lab, made the way an administrator would: network, security group, image, launch templates."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config as ClientConfig

from asbx.aws.notices_parse import event_patterns
from asbx.lab.layout import Layout
from asbx.lab.record import Record
from asbx.slurm.userdata import NodeSettings, node_user_data

# Small types for the demo group: two families, so that one may run out; two virtual CPUs each.
CPU_TYPES = ("c7i.large", "c6i.large", "m7i.large")
# EFA types (EC2 user guide, "Elastic Fabric Adapter: supported instance types").
EFA_TYPES = ("c7i.48xlarge", "c6i.32xlarge")
# What the shipped example plan asks for: EFA again, with two network cards on the first.
HPC_TYPES = ("c6in.32xlarge", "c6i.32xlarge")
_ZONES = ("a", "b", "c")


@dataclass(frozen=True)
class Account:
    """What was made. subnets: one in each of three zones. queue: the name of that with EC2's messages."""

    subnets: tuple[str, ...]
    security_group: str
    templates: dict[str, str]
    queue: str


def node_settings(layout: Layout) -> NodeSettings:
    """Return what the lab's nodes are told: slurm.conf lies on this machine, and power-off ends only the machine."""
    return NodeSettings(
        slurm_conf=str(layout.slurm_conf),
        deadline_s=120.0,
        first_pause_s=0.2,
        longest_pause_s=2.0,
        poweroff=(str(layout.bin / "machine-poweroff"),),
    )


def make_account(layout: Layout, record: Record) -> Account:
    """Make it all in the emulator."""
    ec2 = _client(record, "ec2")
    subnets = _network(ec2, record)
    vpc = ec2.describe_subnets(SubnetIds=[subnets[0]])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(
        GroupName=f"{record.cluster}-nodes", Description="Nodes of a lab speak to each other", VpcId=vpc
    )["GroupId"]
    # EFA traffic needs a rule to and from the group itself (EC2 user guide, "Prepare an EFA-enabled security group").
    itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=itself)
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=itself)
    image = ec2.register_image(
        Name=f"{record.cluster}-node", Architecture="x86_64", RootDeviceName="/dev/xvda", VirtualizationType="hvm"
    )["ImageId"]
    data = _template_data(layout, image)
    efa = {"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": "efa", "Groups": [group]}
    templates = {
        "cpu": _template(ec2, f"{record.cluster}-cpu", data | {"SecurityGroupIds": [group]}),
        "efa": _template(ec2, f"{record.cluster}-efa", data | {"NetworkInterfaces": [efa]}),
    }
    return Account(subnets, group, templates, _queue(record))


def _queue(record: Record) -> str:
    """Make the queue, and the rules that fill it with what EC2 announces."""
    sqs, events = _client(record, "sqs"), _client(record, "events")
    name = f"{record.cluster}-notices"
    # Old warnings are useless.
    url = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "300"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for rule, pattern in event_patterns().items():
        events.put_rule(Name=f"{record.cluster}-{rule}", EventPattern=json.dumps(pattern))
        events.put_targets(Rule=f"{record.cluster}-{rule}", Targets=[{"Id": "queue", "Arn": arn}])
    return name


def _client(record: Record, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=record.emulator_url,
        region_name=record.wishes.region,
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
        config=ClientConfig(retries={"mode": "standard", "total_max_attempts": 2}, proxies={}),
    )


def _network(ec2: Any, record: Record) -> tuple[str, ...]:
    vpc = ec2.create_vpc(CidrBlock=f"{record.slot.network}.0.0/16")["Vpc"]["VpcId"]
    return tuple(
        ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"{record.slot.network}.{index * 16}.0/20",
            AvailabilityZone=f"{record.wishes.region}{zone}",
        )["Subnet"]["SubnetId"]
        for index, zone in enumerate(_ZONES)
    )


def _template_data(layout: Layout, image: str) -> dict[str, Any]:
    return {
        "ImageId": image,
        "UserData": base64.b64encode(node_user_data(node_settings(layout)).encode()).decode(),
        # The node reads its name from tags in metadata, which are off unless asked for.
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "InstanceMetadataTags": "enabled"},
        # A node that powers itself off must not go on costing money as a stopped instance.
        "InstanceInitiatedShutdownBehavior": "terminate",
    }


def _template(ec2: Any, name: str, data: dict[str, Any]) -> str:
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])
