"""Everything a flow may touch, handed to it by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from asbx.config.schema import Config
from asbx.model.event import Event
from asbx.model.plan_file import PlanFile
from asbx.model.price import PriceChange
from asbx.ports import (
    Budgets,
    BudgetService,
    Catalogue,
    Clock,
    Cloud,
    Ledger,
    Notices,
    PriceBook,
    PriceList,
    Prices,
    Recorder,
    Scheduler,
    Workers,
)
from asbx.ports.usage import CostBook, JobTable, VolumeList


class Plans(Protocol):
    """The folder where execution plans of jobs are left. Never raises: what is wrong with a file is told with it."""

    def read(self, name: str) -> PlanFile | None:
        """Return the file `<name>.json` as it is, None where there is none."""


@dataclass(frozen=True)
class PriceSources:
    """Where prices come from and where they are kept. table: reads the site's own; raises ConfigError."""

    book: PriceBook
    told: PriceList
    table: Callable[[], tuple[PriceChange, ...]] = tuple


@dataclass(frozen=True)
class UsageSources:
    """Where the use of instances is asked, and where it is kept."""

    book: CostBook
    jobs: JobTable
    volumes: VolumeList


@dataclass(frozen=True)
class Doors:
    """The site's configuration and the doors to its outside. notices: None where no queue is configured.

    plans: None where plans of jobs are not looked for. price_sources: None where prices are not refreshed.
    usage: None where nobody watches who uses nodes.
    budgets: None where no book of them is kept; service: None where no budget service is asked.
    """

    config: Config
    cloud: Cloud
    scheduler: Scheduler
    ledger: Ledger
    prices: Prices
    clock: Clock
    recorder: Recorder
    catalogue: Catalogue
    workers: Workers
    notices: Notices | None = None
    plans: Plans | None = None
    price_sources: PriceSources | None = None
    usage: UsageSources | None = None
    budgets: Budgets | None = None
    service: BudgetService | None = None

    def say(self, event: Event) -> None:
        """Record an event."""
        self.recorder.record(event)

    def about(self, **names: Any) -> Doors:
        """Return the same doors, whose events name these (fields of Event) where they do not name others themselves.

        So whatever is said on behalf of a launch can be found by its request, gang, intent and jobs.
        """
        return replace(self, recorder=_About(self.recorder, names))


@dataclass(frozen=True)
class _About:
    """A recorder that fills in what its events leave out."""

    recorder: Recorder
    names: dict[str, Any]

    def record(self, event: Event) -> None:
        """Keep the event. Jobs are one matter, in whichever of both fields they are named."""
        missing = {name: value for name, value in self.names.items() if getattr(event, name) in ("", None, ())}
        if event.all_jobs:
            missing = {name: value for name, value in missing.items() if name not in ("job_id", "jobs")}
        self.recorder.record(replace(event, **missing) if missing else event)
