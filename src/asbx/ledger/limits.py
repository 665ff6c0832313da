"""What is in use against limits, which limits jobs set themselves, and what was done about those that were reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, or_, select

from asbx.ledger import calls
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, lock_key, put, put_all
from asbx.model.limit import InUse, JobLimit, LimitMark, Measure, Step, Use
from asbx.model.market import Market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from asbx.model.record import Attempt, Intent

_ALIKE = (
    t.instances.c.user,
    t.instances.c.account,
    t.instances.c.partition,
    t.instances.c.instance_type,
    t.instances.c.zone,
    t.instances.c.market,
    t.instances.c.price,
    (t.instances.c.jobs != ()).label("has_job"),
)


class LimitBooks(Database):
    """The door `LimitRecord`."""

    def in_use(self, since: datetime) -> Use:
        """Return the instances that live, and the calls without an answer."""
        with self.transaction(READ) as connection:
            return _in_use(connection, since)

    def claim_attempt(
        self, intent: Intent | None, since: datetime, choose: Callable[[Use], Attempt | None]
    ) -> Attempt | None:
        """Read what is in use, let `choose` say which call is made, and keep that one: one transaction."""
        with self.transaction(WRITE) as connection:
            lock_key(connection, "limits")
            attempt = choose(_in_use(connection, since))
            if attempt is not None:
                calls.keep_attempt(connection, attempt, intent)
            return attempt

    def set_job_limits(self, job_ids: Iterable[int], limits: Sequence[JobLimit]) -> None:
        """Keep what these jobs set for themselves, in the place of what they had set before."""
        with self.transaction(WRITE) as connection:
            for batch in batches(sorted(set(job_ids))):
                connection.execute(delete(t.job_limits).where(t.job_limits.c.job_id.in_(batch)))
            put_all(connection, t.job_limits, [_limit_row(one) for one in limits])

    def job_limits(self, job_ids: Iterable[int] | None = None) -> tuple[JobLimit, ...]:
        """Return what (these) jobs have set for themselves."""
        query = select(t.job_limits).order_by(t.job_limits.c.job_id, t.job_limits.c.measure, t.job_limits.c.said_by)
        parts = [query]
        if job_ids is not None:
            parts = [query.where(t.job_limits.c.job_id.in_(batch)) for batch in batches(sorted(set(job_ids)))]
        with self.transaction(READ) as connection:
            rows = [row for part in parts for row in connection.execute(part).mappings()]
        return tuple(JobLimit(r["job_id"], Measure(r["measure"]), r["most"], r["said_by"], r["at"]) for r in rows)

    def limit_marks(self) -> tuple[LimitMark, ...]:
        """Return what was done about limits that were reached."""
        order = (t.limit_marks.c.job_id, t.limit_marks.c.run, t.limit_marks.c.rule, t.limit_marks.c.measure)
        with self.transaction(READ) as connection:
            found = connection.execute(select(t.limit_marks).order_by(*order)).mappings()
            return tuple(
                LimitMark(
                    row["job_id"],
                    row["run"],
                    row["rule"],
                    Measure(row["measure"]),
                    Step(row["step"]),
                    row["at"],
                    row["due_at"],
                )
                for row in found
            )

    def set_limit_mark(self, mark: LimitMark) -> None:
        """Keep how far one is followed up."""
        row = {"job_id": mark.job_id, "run": mark.run, "rule": mark.rule, "measure": mark.measure.value}
        with self.transaction(WRITE) as connection:
            put(connection, t.limit_marks, row | {"step": mark.step.value, "at": mark.at, "due_at": mark.due_at})

    def drop_limit_marks(self, keys: Iterable[tuple[int, int, str, Measure]]) -> None:
        """Forget those of limits that are not reached any more."""
        m = t.limit_marks.c
        with self.transaction(WRITE) as connection:
            for job_id, run, rule, measure in keys:
                this = and_(m.job_id == job_id, m.run == run, m.rule == rule, m.measure == measure.value)
                connection.execute(delete(t.limit_marks).where(this))


def _in_use(connection: Connection, since: datetime) -> Use:
    live = select(*_ALIKE, func.count().label("count")).where(t.instances.c.ended_at.is_(None)).group_by(*_ALIKE)
    is_open = t.requests.c.status == form.NEW
    # A launch whose answer came has its instances in the books; without one all that was asked may run.
    asked = (
        select(t.intents, *(column.label(f"attempt_{column.name}") for column in t.attempts.c))
        .select_from(
            t.attempts.join(t.intents, t.attempts.c.intent_id == t.intents.c.intent_id).outerjoin(
                t.requests, t.intents.c.request_id == t.requests.c.request_id
            )
        )
        .where(t.attempts.c.answered_at.is_(None), or_(is_open, t.attempts.c.asked_at >= since))
        .order_by(t.attempts.c.intent_id, t.attempts.c.number)
    )
    rows = connection.execute(live).mappings().all()
    waiting = connection.execute(asked).mappings().all()
    found = [
        InUse(
            row["user"],
            row["account"],
            row["partition"],
            row["instance_type"],
            row["zone"],
            Market(row["market"]),
            row["price"],
            bool(row["has_job"]),
            row["count"],
        )
        for row in rows
    ]
    return Use(
        tuple(sorted(found, key=lambda row: row.order)),
        tuple(
            (
                form.intent_of({column.name: row[column.name] for column in t.intents.c}),
                form.attempt_of({column.name: row[f"attempt_{column.name}"] for column in t.attempts.c}),
            )
            for row in waiting
        ),
    )


def _limit_row(one: JobLimit) -> dict[str, object]:
    return {
        "job_id": one.job_id,
        "measure": one.measure.value,
        "said_by": one.said_by,
        "most": one.most,
        "at": one.at,
    }
