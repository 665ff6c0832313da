"""Export the jobs that the epilog has noted, each once its cost is final: when its instances are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Outcome:
    """How the jobs ended. failed: job -> why it was given up."""

    exported: tuple[str, ...]
    failed: dict[str, str]


def export_due(
    doors: PastDoors, noted: Noted, export: Callable[[Evidence], object], *, settle: timedelta, patience: bool = True
) -> Outcome:
    """Export every noted job and forget it; return when none is left, which is no later than the last one's settling.

    patience: wait for those that are not final yet; without it they are left for the next time. A job that
    nobody knows may still be on its way into the accounting; it is given up when it has settled.
    """
    exported: list[str] = []
    failed: dict[str, str] = {}
    while waiting := noted.jobs():
        for job, since in waiting.items():
            is_late = doors.clock.now() - since >= settle
            try:
                evidence = gather(doors, job)
                if not evidence.is_final and not is_late:
                    continue
                export(evidence)
                exported.append(job)
            except AsbxError as error:
                if not is_late:  # not over, not known yet, or slurmdbd, ledger or disk are well again in a moment
                    continue
                failed[job] = f"{error.what}: {error.why}"
            noted.done(job)
        if not patience or not noted.jobs():
            break
        doors.clock.sleep(SETTLE_EVERY)
    return Outcome(tuple(exported), failed)
