"""What the ledger keeps about limits: what is in use now, limits jobs set themselves, and what was done about a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from asbx.model.market import Market
from asbx.model.record import Attempt, Intent


class Measure(StrEnum):
    """What a limit is a limit of; the words are the keys of the configuration. USD, instances or hours."""

    TOTAL = "max_total_cost"
    HOURLY = "max_cost_per_hour"
    NODES = "max_nodes"
    HOURS = "max_hours"
    HOURLY_AT_ONCE = "max_cost_per_hour_at_once"
    NODES_AT_ONCE = "max_nodes_at_once"
    ALERT = "cost_alert"
    AUTO_TERMINATE = "auto_terminate_hours"

    @property
    def unit(self) -> str:
        """Return what its amounts are of."""
        if self in (Measure.NODES, Measure.NODES_AT_ONCE):
            return "node(s)"
        if self in (Measure.HOURS, Measure.AUTO_TERMINATE):
            return "h"
        return "USD/h" if self in (Measure.HOURLY, Measure.HOURLY_AT_ONCE) else "USD"


@dataclass(frozen=True)
class InUse:
    """Instances that live and are alike. price: USD an hour as it was at the launch, None where it is not known.

    has_job: they were launched for a job.
    """

    user: str
    account: str
    partition: str
    instance_type: str
    zone: str
    market: Market
    price: Decimal | None
    has_job: bool
    count: int

    @property
    def order(self) -> tuple[str, str, str, str, str, str, Decimal, bool]:
        """Return what they are sorted by."""
        price = Decimal(-1) if self.price is None else self.price
        return (
            self.user,
            self.account,
            self.partition,
            self.instance_type,
            self.zone,
            self.market.value,
            price,
            self.has_job,
        )


@dataclass(frozen=True)
class Use:
    """All that counts against what may be at once: what lives, and the calls EC2 has not answered yet."""

    live: tuple[InUse, ...] = ()
    asked: tuple[tuple[Intent, Attempt], ...] = ()


@dataclass(frozen=True)
class JobLimit:
    """A limit that a job's plan or hints set. said_by: which of them, as it is told."""

    job_id: int
    measure: Measure
    most: Decimal
    said_by: str
    at: datetime


class Step(StrEnum):
    """How far a limit that was reached has been followed up. Each is done once, and survives a restart."""

    SAID = "said"
    WARNED = "warned"
    STOPPED = "stopped"
    ENDED = "ended"
    HELD = "held"


@dataclass(frozen=True)
class LimitMark:
    """What was done about a limit that was reached. job_id: 0 for a limit of all that runs at once.

    run: how often the job was requeued before. rule: what it is called, with whose sum it is. due_at: when the next
    step is due.
    """

    job_id: int
    run: int
    rule: str
    measure: Measure
    step: Step
    at: datetime
    due_at: datetime | None = None

    @property
    def key(self) -> tuple[int, int, str, Measure]:
        """Return what names it."""
        return self.job_id, self.run, self.rule, self.measure
