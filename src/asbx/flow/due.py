"""Export the jobs that the epilog has noted, each once its cost is final: when its instances are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from asbx.config.limits import SETTLE_EVERY
from asbx.decide.learn.evidence import Evidence
from asbx.errors import AsbxError
from asbx.flow.learn import PastDoors, gather


class Noted(Protocol):
    """The jobs that wait."""

    def jobs(self) -> dict[str, datetime]:
        """Return job -> when it was noted, oldest first."""

    def done(self, job: str) -> None:
        """Forget a job."""


Export = Callable[[Evidence], object]


@dataclass(frozen=True)
class Outcome:
    """How the jobs ended. failed: job -> why it was given up."""

    exported: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def export_due(doors: PastDoors, noted: Noted, export: Export, *, settle: timedelta) -> Outcome:
    """Export every noted job and forget it; return when none is left, which is no later than the last one's settling.

    Jobs that did not burst are forgotten. One that nobody knows may still be on its way into the accounting; it is
    given up when it has settled.
    """
    outcome = Outcome()
    while waiting := noted.jobs():
        alive = doors.launches.live_jobs() if doors.launches else frozenset()
        for job, since in waiting.items():
            is_late = doors.clock.now() - since >= settle
            if is_late or not job.isdigit() or int(job) not in alive:
                _try(doors, noted, export, job, outcome, is_late=is_late)
        if not noted.jobs():
            break
        doors.clock.sleep(SETTLE_EVERY)
    return outcome


def _try(doors: PastDoors, noted: Noted, export: Export, job: str, outcome: Outcome, *, is_late: bool) -> None:
    try:
        evidence = gather(doors, job)
        if evidence.burst_nodes or evidence.launches:
            if not evidence.is_final and not is_late:
                return
            export(evidence)
            outcome.exported.append(job)
    except AsbxError as error:
        if not is_late:  # not over, not known yet, or slurmdbd, ledger or disk are well again in a moment
            return
        outcome.failed[job] = f"{error.what}: {error.why}"
    noted.done(job)
