"""The plans jobs went by, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from asbx.config.limits import JOB_PLANS_KEPT
from asbx.model.job_plan import JobPlan


def _age(plan: JobPlan) -> tuple[datetime, str]:
    return plan.decided_at, plan.request_id


@dataclass
class MemoryJobPlans:
    """The door `JobPlanRecord`."""

    _plans: dict[int, dict[str, JobPlan]] = field(default_factory=dict)  # job -> request -> plan

    def add_job_plans(self, plans: Sequence[JobPlan]) -> None:
        """Keep them; the newest of a job and request stands, and old ones of a job make room."""
        for plan in plans:
            mine = self._plans.setdefault(plan.job_id, {})
            mine[plan.request_id] = plan
        for job_id in {plan.job_id for plan in plans}:
            for old in self.job_plans(job_id)[JOB_PLANS_KEPT:]:
                del self._plans[job_id][old.request_id]

    def job_plans(self, job_id: int) -> tuple[JobPlan, ...]:
        """Return how a job was decided, newest first."""
        return tuple(sorted(self._plans.get(job_id, {}).values(), key=_age, reverse=True))

    def labelled_job(self, label: str) -> int | None:
        """Return the job that Slurm called this last."""
        found = [one for mine in self._plans.values() for one in mine.values() if one.label == label]
        return max(found, key=_age).job_id if found else None

    def named_job_plans(self, user: str, name: str, limit: int) -> tuple[JobPlan, ...]:
        """Return how the last so many jobs of this user and name were decided, newest first."""
        newest = [
            next((one for one in self.job_plans(job_id) if (one.user, one.name) == (user, name)), None)
            for job_id in self._plans
        ]
        found = sorted(
            (one for one in newest if one is not None), key=lambda one: (one.decided_at, one.job_id), reverse=True
        )
        return tuple(found[:limit])

    def _forget_plans(self, before: datetime) -> None:
        """Forget those decided before a moment."""
        for job_id, mine in list(self._plans.items()):
            self._plans[job_id] = {request: one for request, one in mine.items() if one.decided_at >= before}
            if not self._plans[job_id]:
                del self._plans[job_id]
