"""All that is known of a job that is over. What a document says comes from here, or is null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from asbx.decide.cost import Bill, JobCost, total
from asbx.model.account import JobAccount
from asbx.model.job_instance import JobInstance
from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan

_HOUR_S = 3600


@dataclass(frozen=True)
class Site:
    """Where it ran. settings: of the node groups it ran on. slurm: its version, "" while unknown."""

    region: str
    version: str
    slurm: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    hears_interruptions: bool = False


@dataclass(frozen=True)
class Evidence:
    """job: as it was asked for. number: the job id that is its own.

    account: None where accounting does not know it, no_account says why. launches, bill: None where the ledger cannot
    be read, no_ledger says why. plan_data: the plan's JSON. on_demand: spot instance -> USD an
    hour that it would have cost on demand, where that is known.
    burst_nodes: those of its nodes that are ours.
    """

    job: str
    number: int
    site: Site
    now: datetime
    account: JobAccount | None = None
    no_account: str = ""
    launches: tuple[JobInstance, ...] | None = None
    bill: Bill | None = None
    no_ledger: str = ""
    plan: ExecutionPlan | None = None
    plan_data: Mapping[str, Any] | None = None
    on_demand: Mapping[str, Decimal] = field(default_factory=dict)
    burst_nodes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Return the job as users write it."""
        return self.account.label if self.account else self.job

    @property
    def running(self) -> int:
        """Return how many of its instances still cost money."""
        return sum(1 for one in self.launches or () if one.row.ended_at is None)

    @property
    def is_final(self) -> bool:
        """Whether nothing of it can change any more, its cost included."""
        return self.running == 0 and (self.account is None or self.account.is_over)

    @property
    def used(self) -> tuple[JobInstance, ...]:
        """Return the instances that became nodes for it."""
        return tuple(one for one in self.launches or () if one.row.bound_at is not None)

    @property
    def cost(self) -> JobCost | None:
        """Return its line of the bill; None without one."""
        return None if self.bill is None else next((j for j in self.bill.jobs if j.job_id == self.number), None)

    @property
    def usd(self) -> Decimal | None:
        """Return what its instances cost; None where that, or the price of one of them, is not known."""
        if self.bill is None or self.bill.unpriced:
            return None
        return self.cost.usd if self.cost else Decimal(0)

    @property
    def user(self) -> str:
        """Return whose it was, "" where nobody says."""
        return self.account.user if self.account else next((one.row.user for one in self.launches or ()), "")

    @property
    def project(self) -> str:
        """Return the Slurm account."""
        return self.account.account if self.account else next((one.row.account for one in self.launches or ()), "")

    @property
    def partition(self) -> str:
        """Return where it ran."""
        if self.account:
            return self.account.partition
        return next((one.row.group.partition for one in self.launches or ()), "")

    @property
    def types(self) -> list[str]:
        """Return the instance types it ran on."""
        return sorted({one.row.instance_type for one in self.used})

    @property
    def zones(self) -> list[str]:
        """Return the zones it ran in."""
        return sorted({one.row.zone for one in self.used})

    @property
    def savings(self) -> Decimal | None:
        """Return what spot saved: (on-demand price - price paid) x what was billed, over its spot instances.

        Its own part of each. None where a price is not known; 0 where it had no spot instance.
        """
        if self.bill is None:
            return None
        saved = []
        for one in self.bill.instances:
            if one.market is not Market.SPOT or one.usd is None or not any(s.job_id == self.number for s in one.shares):
                continue
            full = self.on_demand.get(one.instance_id)
            if full is None or not one.price:
                return None
            saved.append((one.usd * full / one.price - one.usd).quantize(Decimal("1E-9")))
        return total(saved)
