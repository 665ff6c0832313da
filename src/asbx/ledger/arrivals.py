"""When instances became nodes, and since when they were wanted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from asbx.decide.reports.waits import Arrival
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ


class Arrivals(Database):
    """The part of the ledger that tells how long nodes were waited for."""

    def arrivals(self, since: datetime | None, until: datetime) -> tuple[Arrival, ...]:
        """Return the instances launched in a time for jobs whose nodes registered. Raises LedgerError."""
        i, b = t.instances.c, t.bindings.c
        first = (
            select(b.instance_id, func.min(b.registered_at).label("at"))
            .where(b.registered_at.is_not(None))
            .group_by(b.instance_id)
            .subquery()
        )
        query = (
            select(
                t.intents.c.request_id,
                i.jobs,
                i.market,
                func.coalesce(t.requests.c.received_at, t.intents.c.created_at).label("asked_at"),
                first.c.at,
            )
            .join(first, first.c.instance_id == i.instance_id)
            .join(t.intents, t.intents.c.intent_id == i.intent_id)
            .outerjoin(t.requests, t.requests.c.request_id == t.intents.c.request_id)
            .where(i.launched_at < until)
            .order_by(i.launched_at, i.instance_id)
        )
        if since is not None:
            query = query.where(i.launched_at >= since)
        with self.transaction(READ) as connection:
            return tuple(Arrival(*row) for row in connection.execute(query))
