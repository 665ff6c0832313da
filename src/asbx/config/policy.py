"""Who may launch what, and what a plan may ask for."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field

from asbx.config.section import Section


class Rule(Section):
    """What the jobs it is about may have. Every rule about a job counts, so rules only ever narrow; grants add up."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    """What a refusal calls it."""
    users: tuple[str, ...] = ()
    """Users it is about, as shell patterns; none stated means all. A job whose user is not known is among them."""
    accounts: tuple[str, ...] = ()
    """Slurm accounts it is about, alike."""
    partitions: tuple[str, ...] = ()
    """Partitions it is about, alike."""
    instance_types: tuple[str, ...] = ()
    """Instance types they may have of those of the node group, as shell patterns (`c7i.*`)."""
    zones: tuple[str, ...] = ()
    """Availability zones they may launch in. A subnet whose zone is not known is none of them."""
    subnet_ids: tuple[str, ...] = ()
    """Subnets they may launch in, of those of the node group."""
    purchasing_options: tuple[Literal["spot", "on-demand"], ...] = ()
    """Markets they may buy in, of those of the node group. Capacity reservations count as on-demand."""
    max_spot_price: Decimal | None = Field(default=None, gt=0)
    """Most to pay for one spot instance, USD an hour; a plan may not state more."""
    max_nodes: int | None = Field(default=None, gt=0)
    """Most nodes of one job."""
    max_hours: Decimal | None = Field(default=None, gt=0)
    """Most hours a plan may state as the job's duration. Of a job's time limit `limits.rules[].max_hours` says it."""
    launch_templates: tuple[str, ...] = ()
    """Grants: launch templates, by name or id, that a plan may name instead of the node group's. Only for plans that an
    administrator gives. Image, security groups, instance profile and user data stand in it: a plan cannot set these."""
    tags: tuple[str, ...] = ()
    """Grants: EC2 tags a plan may set, by key as shell patterns. Where a rule about a job has any, others are refused;
    else a plan's tags are left out."""


class Policy(Section):
    """Who may launch what, and what a plan may ask for."""

    users_plans: bool = True
    """Follow plans that ordinary users leave in the plans folder for their own jobs. They never set what only an
    administrator may."""
    rules: tuple[Rule, ...] = ()
    """What the jobs of some users, accounts or partitions may have."""


class Analyzer(Section):
    """Reading job scripts at launch time."""

    enabled: bool = True
    """Read the script of a job of several nodes that has no plan. Where its tasks depend on each other, its nodes come
    together, in a placement group and preferably with EFA, as far as the node group does not say otherwise."""
