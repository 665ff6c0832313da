"""Every action that ASBX needs of AWS, why, and on which resources: what `asbx iam policy` is made from.

tests/unit/test_permissions.py compares this list with the calls in this package, contract tests with those made.
Which action takes which resources and condition keys: Service Authorization Reference, "Actions, resources, and
condition keys for Amazon EC2" (and for SQS, IAM, Service Quotas, Price List, STS).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from asbx.config.schema import Config, NodeGroup


class Scope(Enum):
    """On what an action is allowed, and under which condition."""

    READ = "reads; EC2's descriptions take no resources, so the region is the limit"
    ANYWHERE = "reads of a service that lives in one region for all"
    USE = "launching with what the site has: images, subnets, groups, templates"
    MAKE = "what a launch makes, which must carry our tags in the call itself"
    TAGGED = "what else is made, which must carry our tags in the call itself"
    TAG_NEW = "tags in the calls that make something"
    TAG_OWN = "tags that tell our instances their names"
    END = "our own, by their tags"
    LOOK = "our own instances, by their tags"
    PASS = "the role of the nodes, to EC2 only"  # noqa: S105
    SPOT_ROLE = "the role that EC2 needs for Spot, made once in an account"
    QUEUE = "the queue of interruption messages"
    ASSUME = "the role of the configuration, for whoever assumes it"


@dataclass(frozen=True)
class Permission:
    """One action.

    why: what it is for. without: what happens where it is missing. when: whether a configuration needs it.
    called: whether we call it; others EC2 asks for on behalf of what we call. kinds: EC2 resource types of its scope.
    """

    action: str
    scope: Scope
    why: str
    without: str
    when: Callable[[Config], bool] = lambda _: True
    called: bool = True
    kinds: tuple[str, ...] = ()


def _any_group(test: Callable[[Config, NodeGroup], bool]) -> Callable[[Config], bool]:
    return lambda config: any(test(config, group) for _, group in config.groups())


_uses_spot = _any_group(lambda _, group: group.purchasing_option != "on-demand")
_uses_efa = _any_group(lambda config, group: (group.efa or config.mpi.efa_default) != "disabled")
_makes_groups = _any_group(lambda _, group: group.placement != "none" and not group.placement_group_name)
_has_reservations = _any_group(lambda _, group: bool(group.capacity_reservations))
_is_assumed = ("assume_role", "cross_account")


def _makes_templates(config: Config) -> bool:
    return _uses_efa(config) or _has_reservations(config)


def _reads_topology(config: Config) -> bool:
    ordered = config.mpi.topology_order == "always" or (config.mpi.topology_order == "auto" and _uses_efa(config))
    extra = any(group.most_extra_nodes for _, group in config.groups())
    return ordered or extra or config.slurm.topology != "none"


def queue_of(config: Config) -> str:
    """Return name or URL of the queue of interruption messages, "" where the configuration has none."""
    return config.interruptions.queue


_USED = (
    "image",
    "snapshot",
    "subnet",
    "security-group",
    "launch-template",
    "key-pair",
    "placement-group",
    "capacity-reservation",
    "spot-instances-request",
)
# The four that TagSpecifications of an instant fleet reaches (CreateFleet).
_MADE = ("fleet", "instance", "volume", "network-interface")
_NOTHING = "nothing is launched; jobs wait with `UnauthorizedOperation`"
_NO_TAGS = "nothing is launched: instances carry their tags from the call on, and nodes learn their names from them"
_FOUND_OUT = "is found out by EC2's refusal"

# Calls that the action of another name allows (Service Authorization Reference, "Actions defined by Amazon SQS").
ALLOWED_BY = {"sqs:DeleteMessageBatch": "sqs:DeleteMessage"}

PERMISSIONS: tuple[Permission, ...] = (
    Permission("ec2:CreateFleet", Scope.USE, "launches", _NOTHING, kinds=_USED),
    Permission("ec2:CreateFleet", Scope.MAKE, "launches", _NOTHING, kinds=_MADE),
    Permission("ec2:RunInstances", Scope.USE, "EC2 asks for it in CreateFleet", _NOTHING, called=False, kinds=_USED),
    Permission("ec2:RunInstances", Scope.MAKE, "EC2 asks for it in CreateFleet", _NOTHING, called=False, kinds=_MADE),
    Permission("iam:PassRole", Scope.PASS, "instances with a role (instance profile)", _NOTHING, called=False),
    Permission(
        "iam:CreateServiceLinkedRole",
        Scope.SPOT_ROLE,
        "the first Spot launch of an account",
        "no Spot launch in an account that never had one; with `aws iam create-service-linked-role "
        "--aws-service-name spot.amazonaws.com` done once it is not needed",
        _uses_spot,
        called=False,
    ),
    Permission("ec2:CreateTags", Scope.TAG_NEW, "tags in the call that launches", _NO_TAGS, kinds=_MADE),
    Permission("ec2:CreateTags", Scope.TAG_OWN, "names of nodes", "nodes never learn their names", kinds=("instance",)),
    Permission("ec2:DescribeInstances", Scope.READ, "addresses, strays", "no address is known, strays are not found"),
    Permission(
        "ec2:TerminateInstances", Scope.END, "ends instances", "instances run on after their jobs", kinds=("instance",)
    ),
    Permission("ec2:DescribeVolumes", Scope.READ, "EBS volumes of instances", "`asbx cost` counts no EBS volumes"),
    Permission(
        "ec2:DescribeInstanceStatus",
        Scope.READ,
        "health checks, scheduled events",
        "nodes on failing hosts, or that AWS is about to stop, are not drained",
        lambda config: config.health.enabled,
    ),
    Permission(
        "ec2:GetConsoleOutput",
        Scope.LOOK,
        "console output of a node that did not register",
        "`asbx explain` shows no console of nodes that did not come",
        lambda config: config.boots.console,
        kinds=("instance",),
    ),
    Permission(
        "ec2:CreatePlacementGroup",
        Scope.TAGGED,
        "placement groups of gangs",
        "jobs of several nodes wait, unless `placement: none`",
        _makes_groups,
        kinds=("placement-group",),
    ),
    Permission(
        "ec2:DeletePlacementGroup",
        Scope.END,
        "placement groups of gangs",
        "groups stay behind",
        _makes_groups,
        kinds=("placement-group",),
    ),
    Permission(
        "ec2:CreateLaunchTemplate",
        Scope.TAGGED,
        "network interfaces for EFA, reservations",
        "no launch with EFA interfaces or into a reservation",
        _makes_templates,
        kinds=("launch-template",),
    ),
    Permission(
        "ec2:DeleteLaunchTemplate",
        Scope.END,
        "templates nobody uses any more",
        "templates stay behind",
        _makes_templates,
        kinds=("launch-template",),
    ),
    Permission(
        "ec2:DescribeLaunchTemplateVersions",
        Scope.READ,
        "what a template says",
        "no EFA, no reservation; `$Default` and `$Latest` are not fixed to a number for a launch",
    ),
    Permission("ec2:DescribeInstanceTypes", Scope.READ, "facts about types", f"no EFA; a wrong choice {_FOUND_OUT}"),
    Permission(
        "ec2:DescribeInstanceTypeOfferings",
        Scope.READ,
        "where types are sold",
        f"a type not sold in a zone {_FOUND_OUT}",
    ),
    Permission("ec2:DescribeImages", Scope.READ, "the image's architecture", f"a wrong architecture {_FOUND_OUT}"),
    Permission(
        "ec2:DescribeSubnets",
        Scope.READ,
        "zones, free addresses",
        f"a full subnet {_FOUND_OUT}; zones of plans are not followed",
    ),
    Permission(
        "ec2:DescribeSecurityGroups",
        Scope.READ,
        "the rules EFA needs",
        "a missing rule for EFA is not found before the launch",
        _uses_efa,
    ),
    Permission(
        "ec2:DescribeCapacityReservations",
        Scope.READ,
        "reservations",
        "`capacity_reservations` cannot be used",
        _has_reservations,
    ),
    Permission(
        "ec2:DescribeInstanceTopology",
        Scope.READ,
        "neighbours in the network",
        "no order by network, no topology file; extra nodes are given back without looking",
        _reads_topology,
    ),
    Permission(
        "ec2:GetSpotPlacementScores",
        Scope.READ,
        "`aws.spot_placement_scores`",
        "zones of spot gangs are not ordered",
        lambda config: config.aws.spot_placement_scores,
    ),
    Permission(
        "ec2:DescribeSpotPriceHistory",
        Scope.READ,
        "spot prices and their history",
        "`asbx cost` and `asbx prices` have no spot prices",
        _uses_spot,
    ),
    Permission(
        "pricing:GetProducts",
        Scope.ANYWHERE,
        "on-demand and EBS prices",
        "`asbx cost` has those of `prices.file`, or none",
    ),
    Permission("servicequotas:GetServiceQuota", Scope.READ, "vCPU quotas", f"a quota {_FOUND_OUT}"),
    Permission("servicequotas:GetAWSDefaultServiceQuota", Scope.READ, "quotas never changed", f"a quota {_FOUND_OUT}"),
    Permission("sqs:GetQueueUrl", Scope.QUEUE, "interruption messages", "no messages", lambda c: bool(queue_of(c))),
    Permission("sqs:ReceiveMessage", Scope.QUEUE, "interruption messages", "no messages", lambda c: bool(queue_of(c))),
    Permission(
        "sqs:DeleteMessage", Scope.QUEUE, "messages that are done", "each comes again", lambda c: bool(queue_of(c))
    ),
    Permission(
        "sts:AssumeRole",
        Scope.ASSUME,
        "`assume_role`, `cross_account`",
        "no credentials",
        lambda config: config.aws.authentication_method in _is_assumed,
    ),
)


def needed(config: Config, *, every: bool = False) -> tuple[Permission, ...]:
    """Return what a configuration needs, or everything there is."""
    return tuple(one for one in PERMISSIONS if every or one.when(config))
