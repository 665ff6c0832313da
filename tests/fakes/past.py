"""Slurm's accounting in memory, and a job that is over as evidence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.decide.cost import bill
from asbx.decide.learn.evidence import Evidence, Site
from asbx.errors import SlurmError
from asbx.model.account import JobAccount, StepUse
from asbx.model.job_instance import JobInstance
from asbx.model.market import Market
from asbx.model.plan import parse_plan

RAN = timedelta(minutes=90)


@dataclass
class FakeAccounting:
    """The door `Accounting`. known: by label. trouble: raised in the place of every answer."""

    known: dict[str, JobAccount] = field(default_factory=dict)
    trouble: SlurmError | None = None
    asked: list[str] = field(default_factory=list)

    def add(self, account: JobAccount) -> None:
        """Let a job be known by number and label."""
        self.known |= {account.label: account, str(account.job_id): account}

    def account(self, job: str) -> JobAccount | None:
        """Return a job."""
        self.asked.append(job)
        if self.trouble is not None:
            raise self.trouble
        return self.known.get(job)

    def comment(self, job: str, text: str) -> None:
        """Keep a comment."""
        self.add(replace(self.known[job], comment=text))


def account(**changes: Any) -> JobAccount:
    """Return a job of two nodes and four CPUs that ran for 90 minutes."""
    found = JobAccount(
        job_id=12,
        label="12",
        state="COMPLETED",
        user="ada",
        account="physics",
        partition="aws",
        name="ocean",
        submitted_at=NOON,
        started_at=NOON + timedelta(minutes=2),
        ended_at=NOON + timedelta(minutes=92),
        elapsed=RAN,
        limit=timedelta(hours=2),
        nodes=2,
        node_list="aws-cpu-[000-001]",
        cpus=4,
        memory=8 * 1024**3,
        cpu_time=timedelta(hours=4, minutes=30),
        steps=(
            StepUse("batch", RAN, 1, timedelta(seconds=1), None, 2 * 1024**2),
            StepUse(
                "0", RAN, 4, timedelta(hours=4, minutes=29), (timedelta(hours=1), timedelta(minutes=80)), 2 * 1024**3
            ),
        ),
    )
    return replace(found, **changes)


def launches(
    count: int = 2,
    *,
    jobs: tuple[int, ...] = (12,),
    ended_at: datetime | None = NOON + timedelta(hours=2),
    price: Decimal | None = Decimal("0.0306"),
) -> tuple[JobInstance, ...]:
    """Return spot instances that were asked for at noon and registered a minute and more later."""
    return tuple(
        JobInstance(
            replace(
                samples.instance_row(f"i-{number:017x}", jobs=jobs, launched_at=NOON + timedelta(seconds=3)),
                market=Market.SPOT,
                price=price,
                node=f"aws-cpu-{number:03d}",
                bound_at=NOON + timedelta(seconds=8),
                ended_at=ended_at,
            ),
            NOON,
            NOON + timedelta(seconds=70 + number),
        )
        for number in range(count)
    )


def evidence(plan_text: str | None = None, **changes: Any) -> Evidence:
    """Return all that is known of that job."""
    made = changes.pop("launches", launches())
    now = NOON + timedelta(hours=3)
    found = Evidence(
        job="12",
        number=12,
        site=Site("us-east-2", "0.1.0", "22.05", {"aws-cpu.strategy": "gang"}, hears_interruptions=True),
        now=now,
        account=account(),
        launches=made,
        bill=bill([one.row for one in made], now, job_id=12),
        plan=parse_plan(plan_text) if plan_text else None,
        on_demand={one.row.instance_id: Decimal("0.0850") for one in made},
        burst_nodes=("aws-cpu-000", "aws-cpu-001"),
    )
    return replace(found, **changes)
