"""How much may be spent and run, before a launch and while it runs.

Not a part of the policy's rules: those say what kind of thing a job may have, and refuse a plan that asks for another
(exit status 4). These say how much of it, are measured against what runs, and end with exit status 6.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal

from pydantic import Field

from asbx.config.section import Section

Exceeded = Literal["warn", "requeue", "cancel"]


class LimitRule(Section):
    """Limits for the jobs it is about. Every rule about a job counts, so another rule only ever narrows."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    """What a refusal, a job's comment and a metric call it."""
    users: tuple[str, ...] = ()
    """Users it is about, as shell patterns; none stated means all. A job whose user is not known is among them."""
    accounts: tuple[str, ...] = ()
    """Slurm accounts it is about, alike."""
    partitions: tuple[str, ...] = ()
    """Partitions it is about, alike."""
    each: Literal["all", "user", "account", "partition"] = "all"
    """Whose instances the `_at_once` limits add up: of all that the rule is about together, or of each user, account or
    partition by itself."""
    max_total_cost: Decimal | None = Field(default=None, gt=0)
    """Most a job may cost, USD. Before its launch by the estimate (boot, time limit, idle tail), then by its cost."""
    max_cost_per_hour: Decimal | None = Field(default=None, gt=0)
    """Most all nodes of a job may cost an hour together, USD."""
    max_nodes: int | None = Field(default=None, gt=0)
    """Most nodes of a job."""
    max_hours: Decimal | None = Field(default=None, gt=0)
    """Longest time limit of a job, hours."""
    max_cost_per_hour_at_once: Decimal | None = Field(default=None, gt=0)
    """Most that everything which runs may cost an hour, USD. A job that finds no room waits for it."""
    max_nodes_at_once: int | None = Field(default=None, gt=0)
    """Most instances at once. A job that finds no room waits for it."""
    cost_alert: Decimal | None = Field(default=None, gt=0)
    """Cost of a job at which it is told, once, USD."""
    auto_terminate_hours: Decimal | None = Field(default=None, gt=0)
    """Hours after which a running job is stopped, whatever its time limit says."""
    when_exceeded: Exceeded | None = None
    """For this rule instead of `limits.when_exceeded`."""
    when_exceeded_at_once: Exceeded | None = None
    """For this rule instead of `limits.when_exceeded_at_once`."""
    grace_seconds: int | None = Field(default=None, ge=0, le=86_400)
    """For this rule instead of `limits.grace_seconds`."""


class Limits(Section):
    """How much may be spent and run. A job's own limits, of its plan and its `asbx:` hints, count beside these."""

    unknown: Literal["refuse", "warn"] = "refuse"
    """What is done where a limit cannot be reckoned, as a price is not known or the job has no time limit. `refuse`: it
    is not launched. `warn`: it is, with a note that the limit was not looked at."""
    forecast: Literal["note", "enforce"] = "note"
    """What `max_total_cost` is in a plan as the advisor really writes it (with `job_metadata`): 1.2 times its own
    estimate, made at 0.10 USD an hour for any type. `note`: it is told, and is no limit. `enforce`: it is one."""
    when_exceeded: Exceeded = "cancel"
    """What becomes of a running job that reaches its cost or its hours. `warn`: it is told. `requeue`: it is requeued
    and held, or cancelled where it may not be requeued. `cancel`: it is cancelled."""
    when_exceeded_at_once: Exceeded = "warn"
    """What becomes of running jobs while all together are above an hourly limit, as when spot prices rise; nothing new
    is launched in any case. `requeue`, `cancel`: the youngest jobs, until the rest is below it."""
    grace_seconds: int = Field(default=300, ge=0, le=86_400)
    """How long after the warning a job may go on, and how long after its end is asked for until its nodes are taken."""
    retry_seconds: int = Field(default=60, ge=5, le=3600)
    """How soon a job is tried again that found an `_at_once` limit used up."""
    volumes_usd_per_hour: Decimal = Field(default=Decimal(0), ge=0)
    """What the volumes of one instance cost an hour, for estimates, what budgets hold and hourly limits, USD."""
    rules: tuple[LimitRule, ...] = ()
    """Limits for some users, accounts or partitions, or for the whole cluster."""

    @property
    def grace(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.grace_seconds)
