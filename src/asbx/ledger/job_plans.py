"""By which plan each job was launched, and why by that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, select

from asbx.config.limits import JOB_PLANS_KEPT
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE_LAZILY, batches, put_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from asbx.model.job_plan import JobPlan

_NEWEST = (t.job_plans.c.decided_at.desc(), t.job_plans.c.request_id.desc())


class JobPlans(Database):
    """The door `JobPlanRecord`."""

    def add_job_plans(self, plans: Sequence[JobPlan]) -> None:
        """Keep them in one transaction; the newest of a job and request stands, and old ones of a job make room.

        Nothing is launched twice where a power cut takes the last ones, so it is not waited for the disk.
        """
        if not plans:
            return
        with self.transaction(WRITE_LAZILY) as connection:
            put_all(connection, t.job_plans, [form.job_plan_row(plan) for plan in plans])
            for job_id in _crowded(connection, {plan.job_id for plan in plans}):
                mine = t.job_plans.c.job_id == job_id
                kept = select(t.job_plans.c.request_id).where(mine).order_by(*_NEWEST).limit(JOB_PLANS_KEPT)
                connection.execute(delete(t.job_plans).where(mine, t.job_plans.c.request_id.not_in(kept)))

    def job_plans(self, job_id: int) -> tuple[JobPlan, ...]:
        """Return how a job was decided, newest first."""
        query = select(t.job_plans).where(t.job_plans.c.job_id == job_id).order_by(*_NEWEST)
        with self.transaction(READ) as connection:
            return tuple(form.job_plan_of(row) for row in connection.execute(query).mappings())

    def labelled_job(self, label: str) -> int | None:
        """Return the job that Slurm called this last."""
        query = select(t.job_plans.c.job_id).where(t.job_plans.c.label == label).order_by(*_NEWEST).limit(1)
        with self.transaction(READ) as connection:
            return connection.execute(query).scalar()

    def named_job_plans(self, user: str, name: str, limit: int) -> tuple[JobPlan, ...]:
        """Return how the last so many jobs of this user and name were decided, newest first, one for each job."""
        mine = and_(t.job_plans.c.user == user, t.job_plans.c.name == name)
        newest = func.max(t.job_plans.c.decided_at)
        jobs = select(t.job_plans.c.job_id).where(mine).group_by(t.job_plans.c.job_id)
        query = select(t.job_plans).where(mine).order_by(*_NEWEST)
        found: dict[int, JobPlan] = {}
        with self.transaction(READ) as connection:
            ids = list(
                connection.execute(jobs.order_by(newest.desc(), t.job_plans.c.job_id.desc()).limit(limit)).scalars()
            )
            for batch in batches(ids):
                for row in connection.execute(query.where(t.job_plans.c.job_id.in_(batch))).mappings():
                    found.setdefault(row["job_id"], form.job_plan_of(row))
        return tuple(sorted(found.values(), key=lambda plan: (plan.decided_at, plan.job_id), reverse=True))


def _crowded(connection: Connection, job_ids: Iterable[int]) -> list[int]:
    """Return which of these jobs have more rows than are kept."""
    found: list[int] = []
    for batch in batches(job_ids):
        query = select(t.job_plans.c.job_id).where(t.job_plans.c.job_id.in_(batch)).group_by(t.job_plans.c.job_id)
        found += connection.execute(query.having(func.count() > JOB_PLANS_KEPT)).scalars()
    return found
