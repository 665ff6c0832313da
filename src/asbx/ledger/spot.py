"""Interruptions of spot instances, and since when jobs wait for spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, insert_if_new
from asbx.model.spot import Interruption

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class SpotMemory(Database):
    """The door `SpotRecord`."""

    def add_interruption(self, interruption: Interruption) -> None:
        """Keep it; the first word about an instance stands."""
        row = {
            "instance_id": interruption.instance_id,
            "instance_type": interruption.instance_type,
            "zone": interruption.zone,
            "at": interruption.at,
        }
        with self.transaction(WRITE) as connection:
            insert_if_new(connection, t.interruptions, row)

    def interruptions(self, since: datetime) -> tuple[Interruption, ...]:
        """Return those of a time, oldest first."""
        i = t.interruptions.c
        query = select(i.instance_id, i.instance_type, i.zone, i.at).where(i.at >= since)
        with self.transaction(READ) as connection:
            found = connection.execute(query.order_by(i.at, i.instance_id)).all()
        return tuple(Interruption(*row) for row in found)

    def begin_spot_waits(self, job_ids: Iterable[int], since: datetime) -> None:
        """Note that these jobs wait; one that waits already goes on from when it began."""
        jobs = sorted(set(job_ids))
        if not jobs:
            return
        with self.transaction(WRITE) as connection:
            for job_id in jobs:
                insert_if_new(connection, t.spot_waits, {"job_id": job_id, "since": since})

    def spot_waits(self, job_ids: Iterable[int]) -> dict[int, datetime]:
        """Return since when jobs wait, of those that do."""
        w = t.spot_waits.c
        with self.transaction(READ) as connection:
            return {
                row.job_id: row.since
                for batch in batches(sorted(set(job_ids)))
                for row in connection.execute(select(w.job_id, w.since).where(w.job_id.in_(batch)))
            }

    def end_spot_waits(self, job_ids: Iterable[int]) -> None:
        """Forget the waits of jobs whose nodes came."""
        with self.transaction(WRITE) as connection:
            for batch in batches(sorted(set(job_ids))):
                connection.execute(delete(t.spot_waits).where(t.spot_waits.c.job_id.in_(batch)))
