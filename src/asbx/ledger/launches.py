"""Whom instances were for: what was launched for a job, when it was asked for, when its nodes came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Select, Text, and_, func, select, type_coerce

from asbx.decide.interrupt import ENDS
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, batches
from asbx.model.event import EventKind
from asbx.model.job_instance import JobInstance
from asbx.model.notice import NoticeKind

_OURS = ("asked_at", "registered_at")


class JobLaunches(Database):
    """The part of the ledger behind the door `Launches`."""

    def job_launches(self, job_id: int) -> tuple[JobInstance, ...]:
        """Return every instance that was launched for a job, first launched first."""
        first = (
            select(t.bindings.c.instance_id, func.min(t.bindings.c.registered_at).label("registered_at"))
            .group_by(t.bindings.c.instance_id)
            .subquery()
        )
        i = t.instances.c
        query = (
            select(
                t.instances,
                func.coalesce(t.requests.c.received_at, t.intents.c.created_at).label("asked_at"),
                first.c.registered_at,
            )
            .join(t.intents, t.intents.c.intent_id == i.intent_id)
            .outerjoin(t.requests, t.requests.c.request_id == t.intents.c.request_id)
            .outerjoin(first, first.c.instance_id == i.instance_id)
            # The list is text here; it holds the number, and perhaps others that do.
            .where(type_coerce(i.jobs, Text).contains(str(job_id)))
            .order_by(i.launched_at, i.instance_id)
        )
        with self.transaction(READ) as connection:
            found = [dict(row) for row in connection.execute(query).mappings() if job_id in row["jobs"]]
            ids = [row["instance_id"] for row in found]
            told = {str(one) for batch in batches(ids) for one in connection.scalars(_warned(batch))}
        return tuple(_launched(row, told) for row in found)

    def live_jobs(self) -> frozenset[int]:
        """Return the jobs whose instances have not ended."""
        query = select(t.instances.c.jobs).where(t.instances.c.ended_at.is_(None))
        with self.transaction(READ) as connection:
            return frozenset(job for jobs in connection.scalars(query) for job in jobs)


def _warned(ids: Sequence[str]) -> Select[Any]:
    e = t.events.c
    return select(e.instance_id).where(and_(e.kind == EventKind.SPOT_INTERRUPTED.value, e.instance_id.in_(ids)))


def _launched(row: Mapping[str, Any], warned: AbstractSet[str]) -> JobInstance:
    instance = form.instance_of_fields({name: value for name, value in row.items() if name not in _OURS})
    return JobInstance(
        instance,
        row["asked_at"],
        row["registered_at"],
        was_reclaimed=instance.instance_id in warned or instance.end_reason == ENDS[NoticeKind.SPOT_INTERRUPTION],
    )
