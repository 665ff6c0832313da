"""Terraform's text for the same policies and stack as CloudFormation's. Pure.

Language: HashiCorp, "Terraform language: expressions" and the documentation of the resources of its AWS provider.
"""

from __future__ import annotations

import json
import re
from typing import Any

from asbx.aws.policy import Names, domain_of, policy, queue_name
from asbx.aws.stack import ASSUMED, OWN_MACHINE, RETENTION_SECONDS, RULES, queue_policy, trust
from asbx.config.schema import Config

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Expression(str):
    """A reference such as `aws_sqs_queue.asbx.arn`, written without quotes."""

    __slots__ = ()


def terraform_policy(config: Config, document: dict[str, Any]) -> str:
    """Return one aws_iam_policy."""
    return _resource("aws_iam_policy", "asbx", {"name_prefix": f"asbx-{config.cluster.name}-", "policy": document})


def terraform_stack(config: Config, names: Names) -> str:
    """Return queue, rules, policy and role."""
    queue = Expression("aws_sqs_queue.asbx.arn")
    rules = [Expression(f"aws_cloudwatch_event_rule.asbx_{_snake(rule.name)}.arn") for rule in RULES]
    parts = [
        _resource(
            "aws_sqs_queue",
            "asbx",
            {
                "name": queue_name(config),
                "message_retention_seconds": RETENTION_SECONDS,
                "sqs_managed_sse_enabled": True,
            },
        ),
        _resource(
            "aws_sqs_queue_policy",
            "asbx",
            {
                "queue_url": Expression("aws_sqs_queue.asbx.url"),
                "policy": queue_policy(queue, list(rules)),
            },
        ),
    ]
    for rule in RULES:
        name = f"asbx_{_snake(rule.name)}"
        parts += [
            _resource(
                "aws_cloudwatch_event_rule",
                name,
                {"description": f"ASBX: {rule.why}", "event_pattern": rule.pattern},
            ),
            _resource(
                "aws_cloudwatch_event_target",
                name,
                {"rule": Expression(f"aws_cloudwatch_event_rule.{name}.name"), "arn": queue},
            ),
        ]
    return "\n".join([*parts, terraform_policy(config, policy(config, names, queue=True)), *_access(config)])


def _access(config: Config) -> list[str]:
    method = config.aws.authentication_method
    if method in OWN_MACHINE:
        trusted, before = trust({"Service": f"ec2.{domain_of(config.aws.region)}"}), []
    elif method in ASSUMED:
        trusted = trust({"AWS": Expression("var.asbx_caller")}, Expression("var.asbx_external_id"))
        before = [
            _variable("asbx_caller", "ARN of the user or role that assumes the role"),
            _variable("asbx_external_id", "External id the caller must state", "  sensitive   = true\n"),
        ]
    else:
        return []
    parts = [
        *before,
        _resource("aws_iam_role", "asbx", {"assume_role_policy": trusted}),
        _resource(
            "aws_iam_role_policy_attachment",
            "asbx",
            {"role": Expression("aws_iam_role.asbx.name"), "policy_arn": Expression("aws_iam_policy.asbx.arn")},
        ),
    ]
    if method in OWN_MACHINE:
        parts.append(_resource("aws_iam_instance_profile", "asbx", {"role": Expression("aws_iam_role.asbx.name")}))
    return parts


def _variable(name: str, why: str, more: str = "") -> str:
    return f'variable "{name}" {{\n  description = "{why}"\n  type        = string\n{more}}}\n'


def _resource(kind: str, name: str, arguments: dict[str, Any]) -> str:
    """Return a resource block; an argument that is a mapping is a JSON document."""
    width = max(len(key) for key in arguments)
    lines = [
        f"  {key:<{width}} = " + (f"jsonencode({_value(value, 1)})" if isinstance(value, dict) else _value(value, 1))
        for key, value in arguments.items()
    ]
    return f'resource "{kind}" "{name}" {{\n' + "\n".join(lines) + "\n}\n"


def _value(value: Any, depth: int) -> str:
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int):
        return json.dumps(value)
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        rows = [f"{pad}{_key(key)} = {_value(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + "\n".join(rows) + f"\n{end}}}"
    rows = [f"{pad}{_value(item, depth + 1)}," for item in value]
    return "[\n" + "\n".join(rows) + f"\n{end}]"


def _key(key: str) -> str:
    return key if _WORD.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """Quote a text; `${` and `%{` would begin a template in it."""
    return json.dumps(text).replace("${", "$${").replace("%{", "%%{")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
