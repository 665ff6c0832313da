"""`asbx iam`: what ASBX may do in AWS, and what is made there once."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from asbx.cli import site
from asbx.config.schema import Config
from asbx.errors import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+")
_ACCOUNT = re.compile(r"[0-9]{12}")


class PolicyFormat(StrEnum):
    """How a policy is written."""

    JSON = "json"
    TERRAFORM = "terraform"


class StackFormat(StrEnum):
    """How a stack is written."""

    CLOUDFORMATION = "cloudformation"
    TERRAFORM = "terraform"


NodeRoles = Annotated[
    list[str] | None,
    typer.Option("--node-role", metavar="ARN", help="Role of the nodes (their instance profile's); may be repeated."),
]
Account = Annotated[str, typer.Option("--account", metavar="ID", help="The AWS account; else any.")]


@app.command("policy")
def show_policy(
    config: site.ConfigOption = None,
    format: Annotated[PolicyFormat, typer.Option("--format", help="How to write it.")] = PolicyFormat.JSON,  # noqa: A002
    node_role: NodeRoles = None,
    account: Account = "",
    every: Annotated[bool, typer.Option("--all", help="As if every feature were used.")] = False,
    source: Annotated[
        bool, typer.Option("--source", help="The policy of the identity that assumes the configuration's role instead.")
    ] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Print the least IAM policy for this configuration: the calls ASBX makes, on what carries its tags.

    Example: asbx iam policy --node-role arn:aws:iam::123456789012:role/nodes > policy.json
    """
    from asbx.aws.hcl import terraform_policy
    from asbx.aws.policy import policy, source_policy

    settings = _settings(config)
    document = source_policy(settings) if source else policy(settings, _names(account, node_role), every=every)
    if document is None:
        raise ConfigError(
            "no-role",
            "this configuration assumes no role",
            f"authentication_method is {settings.aws.authentication_method}",
            "leave out --source",
        )
    if not source:
        _tell(node_role)
    if format is PolicyFormat.TERRAFORM and not as_json:
        typer.echo(terraform_policy(settings, document), nl=False)
    else:
        typer.echo(json.dumps(document, indent=2))


@app.command("stack")
def show_stack(
    config: site.ConfigOption = None,
    format: Annotated[StackFormat, typer.Option("--format", help="How to write it.")] = StackFormat.CLOUDFORMATION,  # noqa: A002
    node_role: NodeRoles = None,
    account: Account = "",
    as_json: site.JsonOption = False,
) -> None:
    """Print what to make once in the account: queue and rules for interruption messages, policy and role.

    Example: asbx iam stack > asbx.yaml && aws cloudformation deploy --template-file asbx.yaml --stack-name asbx
    --capabilities CAPABILITY_IAM
    """
    import yaml

    from asbx.aws.hcl import terraform_stack
    from asbx.aws.stack import cloudformation

    settings, names = _settings(config), _names(account, node_role)
    _tell(node_role)
    if as_json:
        site.show(cloudformation(settings, names))
    elif format is StackFormat.TERRAFORM:
        typer.echo(terraform_stack(settings, names), nl=False)
    else:
        template = cloudformation(settings, names)
        typer.echo(yaml.dump(template, Dumper=_plain_yaml(), sort_keys=False, width=120), nl=False)


def _settings(config: Any) -> Config:
    from asbx.daemon.compose import with_cluster_name

    return with_cluster_name(site.load(config).config)


def _names(account: str, node_roles: list[str] | None) -> Any:
    from asbx.aws.policy import Names

    if account and not _ACCOUNT.fullmatch(account):
        raise typer.BadParameter(f"an account has twelve digits, not {account[:40]!r}")
    for role in node_roles or []:
        if not _ARN.fullmatch(role):
            raise typer.BadParameter(f"{role[:80]!r} is no ARN of a role")
    return Names(account or "*", tuple(node_roles or ()))


def _tell(node_roles: list[str] | None) -> None:
    if not node_roles:
        site.warn("note: without --node-role the policy lets any role of the account be passed to EC2 instances")


def _plain_yaml() -> Any:
    """Return a dumper that writes lists that occur twice twice, instead of anchors CloudFormation does not take."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            del data
            return True

    return Plain
