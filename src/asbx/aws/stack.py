"""What is made once in an AWS account: the queue of interruption messages, its rules, the role. Pure; asks nobody.

Five kinds of events reach one queue (EventBridge user guide, "Events from AWS services"; EC2 user guide on Spot
interruption notices, rebalance recommendations, state changes and capacity reservations; AWS Health user guide).
EventBridge cannot tell instances by their tags, so the queue sees the whole account and region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asbx.aws.policy import Names, domain_of, policy, queue_name
from asbx.config.schema import Config

# Old warnings are of no use: two minutes after a Spot warning the instance is gone.
RETENTION_SECONDS = 300


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule. name: a word for a resource. pattern: its event pattern."""

    name: str
    why: str
    pattern: dict[str, Any]


RULES: tuple[Rule, ...] = (
    Rule(
        "SpotInterruption",
        "EC2 takes a Spot instance back in two minutes",
        {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]},
    ),
    Rule(
        "Rebalance",
        "a Spot instance is at elevated risk",
        {"source": ["aws.ec2"], "detail-type": ["EC2 Instance Rebalance Recommendation"]},
    ),
    Rule(
        "StateChange",
        "an instance stops or ends",
        {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {"state": ["stopping", "stopped", "shutting-down", "terminated"]},
        },
    ),
    Rule(
        "Health",
        "EC2 plans maintenance or retirement",
        {
            "source": ["aws.health"],
            "detail-type": ["AWS Health Event"],
            "detail": {"service": ["EC2"], "eventTypeCategory": ["scheduledChange"]},
        },
    ),
    Rule(
        "ReservationInterruption",
        "a capacity reservation is taken back",
        {
            "source": ["aws.ec2"],
            # AWS's own pages spell this one in both ways.
            "detail-type": [
                "EC2 Capacity Reservation Instance Interruption Warning",
                "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
            ],
        },
    ),
)
OWN_MACHINE = ("default", "instance_profile")
ASSUMED = ("assume_role", "cross_account")


def cloudformation(config: Config, names: Names) -> dict[str, Any]:
    """Return a CloudFormation template."""
    resources: dict[str, Any] = {
        "InterruptionQueue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": queue_name(config),
                "MessageRetentionPeriod": RETENTION_SECONDS,
                "SqsManagedSseEnabled": True,
            },
        },
        "InterruptionQueuePolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "InterruptionQueue"}],
                "PolicyDocument": queue_policy(_arn("InterruptionQueue"), [_arn(f"{rule.name}Rule") for rule in RULES]),
            },
        },
    }
    for rule in RULES:
        resources[f"{rule.name}Rule"] = {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "Description": f"ASBX: {rule.why}",
                "EventPattern": rule.pattern,
                "Targets": [{"Id": "Queue", "Arn": _arn("InterruptionQueue")}],
            },
        }
    parameters, outputs = _parameters(config), _outputs(config)
    resources |= _access(config, names)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"ASBX, cluster {config.cluster.name}: interruption messages, and what it may do in EC2",
        **({"Parameters": parameters} if parameters else {}),
        "Resources": resources,
        "Outputs": outputs,
    }


def queue_policy(queue: Any, rules: list[Any]) -> dict[str, Any]:
    """Return the policy of the queue: only these rules may send, and nobody may speak to it without TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "RulesMaySend",
                "Effect": "Allow",
                # The same name in all partitions, China's too (EventBridge user guide, resource-based policies).
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue,
                "Condition": {"ArnEquals": {"aws:SourceArn": rules}},
            },
            {
                "Sid": "NobodyWithoutTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": queue,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def _arn(resource: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [resource, "Arn"]}


def _parameters(config: Config) -> dict[str, Any]:
    if config.aws.authentication_method not in ASSUMED:
        return {}
    return {
        "Caller": {"Type": "String", "Description": "ARN of the user or role that assumes the role"},
        "ExternalId": {
            "Type": "String",
            "NoEcho": True,
            "MinLength": 2,
            "Description": "External id the caller must state (external_id of the configuration)",
        },
    }


def _outputs(config: Config) -> dict[str, Any]:
    outputs = {
        "QueueName": ("Name of the queue", {"Fn::GetAtt": ["InterruptionQueue", "QueueName"]}),
        "PolicyArn": ("What ASBX may do", {"Ref": "ControllerPolicy"}),
    }
    if config.aws.authentication_method in OWN_MACHINE:
        outputs["InstanceProfile"] = ("For the machine of slurmctld", {"Ref": "ControllerProfile"})
    if config.aws.authentication_method in ASSUMED:
        outputs["RoleArn"] = ("Role for the configuration", _arn("ControllerRole"))
    return {name: {"Description": why, "Value": value} for name, (why, value) in outputs.items()}


def _access(config: Config, names: Names) -> dict[str, Any]:
    """Return the policy, and the role that has it where a role is how this site signs its calls."""
    made: dict[str, Any] = {
        "ControllerPolicy": {
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": {
                "Description": f"ASBX, cluster {config.cluster.name}",
                "PolicyDocument": policy(config, names, queue=True),
            },
        }
    }
    method = config.aws.authentication_method
    if method in OWN_MACHINE:
        made["ControllerRole"] = _role(trust({"Service": f"ec2.{domain_of(config.aws.region)}"}))
        made["ControllerProfile"] = {
            "Type": "AWS::IAM::InstanceProfile",
            "Properties": {"Roles": [{"Ref": "ControllerRole"}]},
        }
    elif method in ASSUMED:
        made["ControllerRole"] = _role(trust({"AWS": {"Ref": "Caller"}}, {"Ref": "ExternalId"}))
    return made


def _role(trusted: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": trusted,
            "ManagedPolicyArns": [{"Ref": "ControllerPolicy"}],
        },
    }


def trust(principal: dict[str, Any], external_id: Any = None) -> dict[str, Any]:
    """Return a trust policy. external_id: what the caller must state, against a confused deputy."""
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return {"Version": "2012-10-17", "Statement": [statement]}
