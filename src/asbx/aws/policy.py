"""IAM policies for a configuration: as few actions as it needs, on what carries its tags. Pure; asks nobody.

Tag conditions follow "Grant permission to tag Amazon EC2 resources during creation" (EC2 user guide): what a call makes
must carry our tags (aws:RequestTag), what is ended must have carried them (aws:ResourceTag). What a launch uses is the
site's own, without tags of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asbx.aws.permissions import PERMISSIONS, Permission, Scope, needed, queue_of
from asbx.config.schema import Config

Statement = dict[str, Any]
# What flow/bind.py sets on instances after their launch.
_NAME_TAGS = ["Name", "asbx:node", "asbx:nodes", "asbx:nodes.*", "asbx:job"]
_PUBLIC = ("image", "snapshot")
_MAKERS = {
    "fleet": "CreateFleet",
    "instance": "CreateFleet",
    "placement-group": "CreatePlacementGroup",
    "launch-template": "CreateLaunchTemplate",
}


@dataclass(frozen=True)
class Names:
    """What the policy names and a configuration does not hold. node_roles: ARNs of the roles of the instances."""

    account: str = "*"
    node_roles: tuple[str, ...] = ()


def partition_of(region: str) -> str:
    """Return the first word of ARNs in a region (IAM user guide, "Amazon Resource Names")."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def domain_of(region: str) -> str:
    """Return the domain of service principals in a region."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def policy(config: Config, names: Names = Names(), *, every: bool = False, queue: bool = False) -> dict[str, Any]:
    """Return the policy of the role ASBX works with.

    every: as if every feature were used. queue: with the queue, whether or not the configuration names it yet.
    """
    wanted = set(needed(config, every=every)) | {one for one in PERMISSIONS if queue and one.scope is Scope.QUEUE}
    return _document(
        _statements(config, names, [one for one in PERMISSIONS if one in wanted and one.scope is not Scope.ASSUME])
    )


def source_policy(config: Config) -> dict[str, Any] | None:
    """Return the policy of the identity that assumes the role of the configuration, None where none is assumed."""
    aws = config.aws
    if aws.authentication_method == "assume_role" and aws.assume_role:
        role = aws.assume_role.role_arn
    elif aws.authentication_method == "cross_account" and aws.cross_account:
        role = aws.cross_account.target_role_arn
    else:
        return None
    return _document([{"Sid": "AssumeTheRole", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role}])


def _document(statements: Iterable[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _statements(config: Config, names: Names, permissions: list[Permission]) -> Iterable[Statement]:
    """Build one statement a scope; those that end or look at the same things stand together."""
    site = _Site(config, names)
    for scope, build in _BUILDERS.items():
        chosen = [one for one in permissions if one.scope is scope]
        if chosen:
            actions = sorted({one.action for one in chosen})
            kinds = list(dict.fromkeys(kind for one in chosen for kind in one.kinds))
            if scope is Scope.TAG_NEW:
                kinds += [kind for one in permissions if one.scope is Scope.TAGGED for kind in one.kinds]
            statement = {"Sid": _sid(scope), "Effect": "Allow", "Action": _one(actions)}
            yield statement | build(site, kinds)


def _sid(scope: Scope) -> str:
    return "Asbx" + scope.name.title().replace("_", "")


def _one(items: list[str]) -> str | list[str]:
    return items[0] if len(items) == 1 else items


class _Site:
    """ARNs and conditions of a configuration."""

    def __init__(self, config: Config, names: Names) -> None:
        self.config, self.names = config, names
        self.region = config.aws.region
        self.partition = partition_of(self.region)

    def ours(self, key: str) -> dict[str, str]:
        """Return the tags that tell ours from others', as conditions of aws:RequestTag or aws:ResourceTag."""
        return {
            f"aws:{key}/asbx:cluster": self.config.cluster.name,
            f"aws:{key}/ManagedBy": "aws-slurm-burst",
        }

    def arns(self, kinds: list[str]) -> str | list[str]:
        """Return ARN patterns of what is in the account. Those of images and snapshots name no account."""
        prefix = f"arn:{self.partition}:ec2:{self.region}"
        return _one([f"{prefix}:{'' if kind in _PUBLIC else self.names.account}:{kind}/*" for kind in kinds])


def _read(site: _Site, _: list[str]) -> Statement:
    return {"Resource": "*", "Condition": {"StringEquals": {"aws:RequestedRegion": site.region}}}


def _anywhere(_: _Site, __: list[str]) -> Statement:
    return {"Resource": "*"}


def _use(site: _Site, kinds: list[str]) -> Statement:
    """Allow what the site has. Subnets, reservations and groups may be shared by another account, which owns them."""
    return {"Resource": _Site(site.config, Names()).arns(kinds)}


def _make(site: _Site, kinds: list[str]) -> Statement:
    return {"Resource": site.arns(kinds), "Condition": {"StringEquals": site.ours("RequestTag")}}


def _tag_new(site: _Site, kinds: list[str]) -> Statement:
    makers = ["RunInstances", *dict.fromkeys(_MAKERS[kind] for kind in kinds if kind in _MAKERS)]
    return {
        "Resource": site.arns(kinds),
        "Condition": {"StringEquals": {"ec2:CreateAction": sorted(makers)} | site.ours("RequestTag")},
    }


def _tag_own(site: _Site, kinds: list[str]) -> Statement:
    return {
        "Resource": site.arns(kinds),
        "Condition": {
            "StringEquals": site.ours("ResourceTag"),
            "ForAllValues:StringLike": {"aws:TagKeys": _NAME_TAGS},
        },
    }


def _own(site: _Site, kinds: list[str]) -> Statement:
    return {"Resource": site.arns(kinds), "Condition": {"StringEquals": site.ours("ResourceTag")}}


def _pass(site: _Site, _: list[str]) -> Statement:
    roles = list(site.names.node_roles) or [f"arn:{site.partition}:iam::{site.names.account}:role/*"]
    service = f"ec2.{domain_of(site.region)}"
    return {"Resource": _one(roles), "Condition": {"StringEquals": {"iam:PassedToService": service}}}


def _spot_role(site: _Site, _: list[str]) -> Statement:
    role = "aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
    return {
        "Resource": f"arn:{site.partition}:iam::{site.names.account}:role/{role}",
        "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    }


def _queue(site: _Site, _: list[str]) -> Statement:
    """Name the queue of the configuration, which may be a URL: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME."""
    place = queue_of(site.config).rpartition("/")[0]
    owner = place.rpartition("/")[2] if place else site.config.interruptions.queue_account
    account = owner if owner.isdecimal() else site.names.account
    return {"Resource": f"arn:{site.partition}:sqs:{site.region}:{account}:{queue_name(site.config)}"}


def queue_name(config: Config) -> str:
    """Return the queue of the configuration, else what `asbx iam stack` calls it (SQS: 80 letters, digits, - and _)."""
    return queue_of(config).rpartition("/")[2] or f"asbx-{config.cluster.name.replace('.', '-')}"[:80]


_BUILDERS: dict[Scope, Callable[[_Site, list[str]], Statement]] = {
    Scope.USE: _use,
    Scope.MAKE: _make,
    Scope.TAGGED: _make,
    Scope.TAG_NEW: _tag_new,
    Scope.TAG_OWN: _tag_own,
    Scope.END: _own,
    Scope.LOOK: _own,
    Scope.READ: _read,
    Scope.ANYWHERE: _anywhere,
    Scope.PASS: _pass,
    Scope.SPOT_ROLE: _spot_role,
    Scope.QUEUE: _queue,
}
