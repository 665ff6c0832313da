"""Forget what is old, a little at a time. Money is never forgotten: instances and bindings stay, with their intents.

Space is not given back to the file system: SQLite and PostgreSQL use it for the next rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, select

from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, WRITE_LAZILY, batches

if TYPE_CHECKING:
    from datetime import datetime


class Retention(Database):
    """The part of the door `Ledger` that forgets."""

    def prune(self, before: datetime, most: int) -> int:
        """Forget up to `most` events, and as many finished requests with what was tried for them; return how many.

        Calls and intents stay while an instance of theirs lives; an intent stays for good where it has launched any.
        """
        self._rest(before)
        return self._events(before, most) + self._requests(before, most)

    def _events(self, before: datetime, most: int) -> int:
        """Events are numbered as they come, so the oldest are found without an index on their time."""
        query = select(t.events.c.id, t.events.c.at).order_by(t.events.c.id).limit(most)
        with self.transaction(READ) as connection:
            old = [row.id for row in connection.execute(query) if row.at < before]
        if old:
            with self.transaction(WRITE_LAZILY) as connection:
                connection.execute(delete(t.events).where(t.events.c.id <= old[-1], t.events.c.at < before))
        return len(old)

    def _requests(self, before: datetime, most: int) -> int:
        of_it = t.intents.c.request_id == t.requests.c.request_id
        lives = exists().where(
            of_it, t.instances.c.intent_id == t.intents.c.intent_id, t.instances.c.ended_at.is_(None)
        )
        over = and_(t.requests.c.status != form.NEW, t.requests.c.finished_at < before, ~lives)
        with self.transaction(READ) as connection:
            old = list(connection.execute(select(t.requests.c.request_id).where(over).limit(most)).scalars())
        launched = exists().where(t.instances.c.intent_id == t.intents.c.intent_id)
        for batch in batches(old):
            mine = t.intents.c.request_id.in_(batch)
            calls = t.attempts.c.intent_id.in_(select(t.intents.c.intent_id).where(mine))
            with self.transaction(WRITE) as connection:
                connection.execute(delete(t.attempts).where(calls))
                connection.execute(delete(t.intents).where(mine, ~launched))
                connection.execute(delete(t.requests).where(t.requests.c.request_id.in_(batch)))
        return len(old)

    def _rest(self, before: datetime) -> None:
        """Forget what was removed from EC2, setbacks and waits of jobs, their plans and limits, old interruptions."""
        with self.transaction(WRITE) as connection:
            connection.execute(delete(t.resources).where(t.resources.c.removed_at < before))
            connection.execute(delete(t.setbacks).where(t.setbacks.c.at < before))
            connection.execute(delete(t.job_plans).where(t.job_plans.c.decided_at < before))
            connection.execute(delete(t.job_limits).where(t.job_limits.c.at < before))
            connection.execute(delete(t.limit_marks).where(t.limit_marks.c.at < before))
            connection.execute(delete(t.interruptions).where(t.interruptions.c.at < before))
            connection.execute(delete(t.spot_waits).where(t.spot_waits.c.since < before))
