"""Earlier runs of a user's jobs of a name, for the commands that expect something of the next one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from asbx.config.limits import HISTORY_MOST_RUNS, HISTORY_SPAN
from asbx.config.schema import Config
from asbx.decide.history import Expectation, expect, runs_of_nodes
from asbx.decide.job_cost import costs_of
from asbx.ports import JobArchive, Ledger


@dataclass(frozen=True)
class Past:
    """Who is asked for earlier runs: Slurm how long they ran, else the ledger how long their nodes lived."""

    ledger: Ledger
    archive: JobArchive
    settings: Config
    now: datetime

    def of(self, user: str, name: str, nodes: int, limit: timedelta | None, without: int | None = None) -> Expectation:
        """Return what they let expect of a job. without: one that is not to be among them. Raises LedgerError."""
        if not user or not name:
            return expect(None, nodes, limit)
        told = self.archive.past_runs(user, name)
        kept = {one.job_id for one in self.ledger.named_job_plans(user, name, HISTORY_MOST_RUNS)} - {without}
        jobs = kept if told is None else {run.job_id for run in told} - {without}
        rows = self.ledger.instances(ended_since=self.now - HISTORY_SPAN) if jobs else ()
        runs = runs_of_nodes(rows, kept) if told is None else told
        costs = costs_of(rows, jobs, self.now, self.settings.cost.minimum_seconds)
        return expect([run for run in runs if run.job_id in jobs], nodes, limit, costs)
