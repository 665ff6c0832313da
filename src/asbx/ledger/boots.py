"""What the ledger knows of instances that never became nodes: failures, consoles, closed groups, histories."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, select

from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, insert_new, lock_key, put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Table

    from asbx.model.boot import BootFailure, Breaker, Console, Service
    from asbx.model.names import GroupName


class BootMemory(Database):
    """The part of the door `Ledger` that is about boots."""

    def add_boot_failures(self, failures: Sequence[BootFailure]) -> frozenset[str]:
        """Keep failures; return the ids of the instances of which none was kept."""
        fresh = {failure.instance_id: failure for failure in reversed(failures)}
        with self.transaction(WRITE) as connection:
            for batch in batches(list(fresh)):
                known = select(t.boot_failures.c.instance_id).where(t.boot_failures.c.instance_id.in_(batch))
                for instance_id in connection.execute(known).scalars():
                    del fresh[instance_id]
            insert_new(connection, t.boot_failures, [form.boot_failure_row(failure) for failure in fresh.values()])
        return frozenset(fresh)

    def boot_failures(
        self, *, group: GroupName | None = None, node: str | None = None, limit: int
    ) -> tuple[BootFailure, ...]:
        """Return the last so many failures (of a group, of a node), oldest first."""
        newest = (t.boot_failures.c.failed_at.desc(), t.boot_failures.c.instance_id.desc())
        query = select(t.boot_failures).order_by(*newest).limit(limit)
        if group is not None:
            query = query.where(_of(t.boot_failures, group))
        if node is not None:
            query = query.where(t.boot_failures.c.node == node)
        with self.transaction(READ) as connection:
            return tuple(form.boot_failure_of(row) for row in reversed(connection.execute(query).mappings().all()))

    def last_boot(self, group: GroupName) -> datetime | None:
        """Return the launch of the youngest instance of a group whose node has registered."""
        registered = select(t.bindings.c.instance_id).where(t.bindings.c.registered_at.is_not(None))
        query = select(func.max(t.instances.c.launched_at)).where(
            _of(t.instances, group), t.instances.c.instance_id.in_(registered)
        )
        with self.transaction(READ) as connection:
            return connection.execute(query).scalar()

    # -- closed groups

    def breakers(self) -> tuple[Breaker, ...]:
        """Return every breaker there is, by group."""
        query = select(t.breakers).order_by(t.breakers.c.partition, t.breakers.c.node_group)
        with self.transaction(READ) as connection:
            return tuple(form.breaker_of(row) for row in connection.execute(query).mappings())

    def change_breaker(self, group: GroupName, change: Callable[[Breaker | None], Breaker | None]) -> Breaker | None:
        """Read one, let `change` say what becomes of it (None: forget it), write and return that: one transaction."""
        this = _of(t.breakers, group)
        with self.transaction(WRITE) as connection:
            lock_key(connection, f"breaker/{group}")
            row = connection.execute(select(t.breakers).where(this)).mappings().first()
            old = None if row is None else form.breaker_of(row)
            new = change(old)
            if new is None:
                connection.execute(delete(t.breakers).where(this))
            elif new != old:
                put(connection, t.breakers, form.breaker_row(replace(new, group=group)))
        return new

    # -- consoles

    def add_console(self, console: Console) -> None:
        """Keep a console, in the place of an earlier one of the same instance."""
        with self.transaction(WRITE) as connection:
            put(connection, t.consoles, form.console_row(console))

    def console(self, instance_id: str) -> Console | None:
        """Return the console of an instance, where one is kept."""
        query = select(t.consoles).where(t.consoles.c.instance_id == instance_id)
        with self.transaction(READ) as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else form.console_of(row)

    def drop_consoles(self, before: datetime, most: int) -> None:
        """Forget consoles taken before a moment, and of the others all but the newest."""
        newest = select(t.consoles.c.instance_id).order_by(t.consoles.c.taken_at.desc()).limit(most)
        with self.transaction(WRITE) as connection:
            connection.execute(delete(t.consoles).where(t.consoles.c.taken_at < before))
            connection.execute(delete(t.consoles).where(t.consoles.c.instance_id.not_in(newest)))

    # -- histories

    def services(self, node: str, limit: int) -> tuple[Service, ...]:
        """Return the last so many instances of a node, oldest first."""
        b, i = t.bindings.c, t.instances.c
        query = (
            select(
                *(b.node, b.instance_id, b.bound_at, b.registered_at, b.released_at),
                *(i.instance_type, i.zone, i.market, i.launched_at, i.ended_at, i.end_reason),
            )
            .select_from(t.bindings.outerjoin(t.instances, b.instance_id == i.instance_id))
            .where(b.node == node)
            .order_by(b.bound_at.desc(), b.id.desc())
            .limit(limit)
        )
        with self.transaction(READ) as connection:
            return tuple(form.service_of(row) for row in reversed(connection.execute(query).mappings().all()))


def _of(table: Table, group: GroupName) -> ColumnElement[bool]:
    return and_(table.c.partition == group.partition, table.c.node_group == group.group)
