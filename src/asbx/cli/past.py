"""Earlier runs of a user's jobs of a name, for the commands that expect something of the next one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asbx.cli import reading
from asbx.config.limits import HISTORY_MOST_RUNS, HISTORY_SPAN
from asbx.config.schema import Config
from asbx.decide.history import Expectation, expect, runs_of_nodes
from asbx.decide.job_cost import costs_of
from asbx.ports import JobArchive, Ledger


@dataclass(frozen=True)
class Past:
    """Who is asked for earlier runs: Slurm how long they ran, else the ledger how long their nodes lived.

    ledger: None where the caller may not read it.
    """

    ledger: Ledger | None
    archive: JobArchive
    settings: Config
    now: datetime

    def of(self, user: str, name: str, nodes: int, limit: timedelta | None, without: int | None = None) -> Expectation:
        """Return what they let expect of a job. without: one that is not to be among them. Raises LedgerError."""
        if not user or not name:
            return expect(None, nodes, limit)
        told = self.archive.past_runs(user, name)
        kept = self._kept(user, name) - {without}
        jobs = kept if told is None else {run.job_id for run in told} - {without}
        rows = self.ledger.instances(ended_since=self.now - HISTORY_SPAN) if jobs and self.ledger else ()
        if told is None and self.ledger is None:
            return expect(None, nodes, limit)
        runs = runs_of_nodes(rows, kept) if told is None else told
        costs = costs_of(rows, jobs, self.now, self.settings.cost.minimum_seconds)
        return expect([run for run in runs if run.job_id in jobs], nodes, limit, costs)

    def _kept(self, user: str, name: str) -> set[int]:
        plans = self.ledger.named_job_plans(user, name, HISTORY_MOST_RUNS) if self.ledger else ()
        return {one.job_id for one in plans}


def past_facts(past: Expectation | None) -> dict[str, Any] | None:
    """Return it for machines; null where nobody was asked."""
    if past is None:
        return None
    return {
        "used": past.is_used,
        "runs": past.runs,
        "at_limit": past.at_limit,
        "shortest_seconds": None if past.shortest is None else past.shortest.total_seconds(),
        "longest_seconds": None if past.longest is None else past.longest.total_seconds(),
        "usd": [reading.usd_text(end) for end in past.usd] if past.usd else None,
        "text": past.text,
    }
