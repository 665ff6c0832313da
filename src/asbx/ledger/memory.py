"""What the ledger remembers between requests: shortages, things made in EC2, setbacks of jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, select, update

from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.columns import as_utc
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, lock_key, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from asbx.model.record import Resource, ResourceKind, Setback, Shortage


class Memory(Database):
    """The part of the door `Ledger` that outlives a request."""

    # -- shortages

    def shortages(self) -> tuple[Shortage, ...]:
        """Return every shortage remembered, by key."""
        with self.transaction(READ) as connection:
            found = connection.execute(select(t.shortages).order_by(t.shortages.c.key)).mappings()
            return tuple(form.shortage_of(row) for row in found)

    def change_shortage(self, key: str, change: Callable[[Shortage | None], Shortage | None]) -> Shortage | None:
        """Read one, let `change` say what becomes of it (None: forget it), write and return that.

        All in one write transaction: nobody else reads or writes it between. `change` must not use the ledger.
        """
        this = t.shortages.c.key == key
        with self.transaction(WRITE) as connection:
            lock_key(connection, key)
            row = connection.execute(select(t.shortages).where(this)).mappings().first()
            old = None if row is None else form.shortage_of(row)
            new = change(old)
            if new is None:
                connection.execute(delete(t.shortages).where(this))
            elif new != old:
                put(connection, t.shortages, form.shortage_row(replace(new, key=key)))
        return new

    # -- things made in EC2

    def add_resource(self, resource: Resource) -> None:
        """Keep that something is made in EC2. Made again after its removal, it is new.

        Otherwise its `used_at` moves on and the rest stays as it was.
        """
        this = _named(resource.kind, resource.name)
        with self.transaction(WRITE) as connection:
            lock_key(connection, f"{resource.kind.value}/{resource.name}")
            row = connection.execute(select(t.resources).where(this)).mappings().first()
            kept = None if row is None else form.resource_of(row)
            if kept is not None and kept.removed_at is None:
                resource = replace(kept, used_at=max(kept.used_at, as_utc(resource.used_at)))
            put(connection, t.resources, form.resource_row(replace(resource, removed_at=None)))

    def resources(self, kind: ResourceKind) -> tuple[Resource, ...]:
        """Return what is not removed, oldest first."""
        mine = and_(t.resources.c.kind == kind.value, t.resources.c.removed_at.is_(None))
        query = select(t.resources).where(mine).order_by(t.resources.c.created_at, t.resources.c.name)
        with self.transaction(READ) as connection:
            return tuple(form.resource_of(row) for row in connection.execute(query).mappings())

    def end_resource(self, kind: ResourceKind, name: str, at: datetime) -> None:
        """Note that something is removed from EC2; the first removal stands."""
        there = and_(_named(kind, name), t.resources.c.removed_at.is_(None))
        with self.transaction(WRITE) as connection:
            connection.execute(update(t.resources).where(there).values(removed_at=at))

    # -- jobs whose launches failed

    def setbacks(self, job_ids: Iterable[int]) -> dict[int, Setback]:
        """Return how these jobs' launches have failed so far, for those that have."""
        with self.transaction(READ) as connection:
            found = [
                form.setback_of(row)
                for batch in batches(job_ids)
                for row in connection.execute(select(t.setbacks).where(t.setbacks.c.job_id.in_(batch))).mappings()
            ]
        return {setback.job_id: setback for setback in found}

    def set_setback(self, setback: Setback) -> None:
        """Keep a job's setback, in the place of an earlier one."""
        with self.transaction(WRITE) as connection:
            put(connection, t.setbacks, form.setback_row(setback))

    def clear_setbacks(self, job_ids: Iterable[int]) -> None:
        """Forget the setbacks of jobs whose nodes came."""
        with self.transaction(WRITE) as connection:
            for batch in batches(job_ids):
                connection.execute(delete(t.setbacks).where(t.setbacks.c.job_id.in_(batch)))


def _named(kind: ResourceKind, name: str) -> ColumnElement[bool]:
    return and_(t.resources.c.kind == kind.value, t.resources.c.name == name)
