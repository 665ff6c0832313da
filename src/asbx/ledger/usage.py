"""Who used which node when, as the ledger keeps it; and the volumes of instances."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, or_, select

from asbx.decide.usage import joined, merged
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.database import Database
from asbx.ledger.engine import READ, WRITE, batches, insert_new, lock_key, put, put_all
from asbx.model.usage import JobRun, Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from sqlalchemy import Connection, Select

    from asbx.model.record import InstanceRow
    from asbx.model.usage import Volume

_r = t.job_runs.c
_Key = tuple[int, str]


class Usage(Database):
    """The part of the ledger behind the door `RunBook`."""

    def record_runs(self, runs: Iterable[JobRun], watch: Watch | None = None) -> None:
        """Keep runs, and of which time they are all; see the door."""
        told = list(runs)
        if not told and watch is None:
            return
        with self.transaction(WRITE) as connection:
            lock_key(connection, "usage")
            kept = _kept(connection, {run.job_id for run in told})
            before = {run for runs in kept.values() for run in runs}
            for run in told:
                mine = kept[_key(run)]
                old, new = merged(mine, run)
                if old != new:
                    mine[:] = [one for one in mine if one != old] + [new]
            now = {run for runs in kept.values() for run in runs}
            _forget(connection, {_row_key(run) for run in before} - {_row_key(run) for run in now})
            put_all(connection, t.job_runs, [form.job_run_row(run) for run in now - before])
            if watch is not None:
                _watch(connection, watch)

    def runs(
        self, since: datetime | None = None, until: datetime | None = None, *, nodes: Collection[str] | None = None
    ) -> tuple[JobRun, ...]:
        """Return runs of a time; see the door."""
        query = select(t.job_runs)
        if since is not None:
            query = query.where(or_(_r.ended_at.is_(None), _r.ended_at >= since))
        if until is not None:
            query = query.where(_r.started_at <= until)
        if nodes is None:
            return self._runs(query)
        return tuple(sorted(self._runs(*(query.where(_r.node.in_(batch)) for batch in batches(nodes))), key=_order))

    def hosts(self, job_id: int) -> tuple[InstanceRow, ...]:
        """Return the instances a job ran on; see the door."""
        i = t.instances.c
        within = and_(_r.started_at >= i.launched_at, or_(i.ended_at.is_(None), _r.started_at < i.ended_at))
        used = exists().where(_r.job_id == job_id, _r.node == i.node, within)
        nodes = select(_r.node).where(_r.job_id == job_id)
        query = select(t.instances).where(i.node.in_(nodes), used).order_by(i.launched_at, i.instance_id)
        with self.transaction(READ) as connection:
            return tuple(form.instance_of(row) for row in connection.execute(query).mappings())

    def open_runs(self) -> tuple[JobRun, ...]:
        """Return the runs without an end."""
        return self._runs(select(t.job_runs).where(_r.ended_at.is_(None)))

    def _runs(self, *queries: Select[tuple[object, ...]]) -> tuple[JobRun, ...]:
        with self.transaction(READ) as connection:
            found = [
                JobRun(**row)
                for query in queries
                for row in connection.execute(query.order_by(_r.started_at, _r.job_id, _r.node)).mappings()
            ]
        return tuple(found)

    def watches(self) -> tuple[Watch, ...]:
        """Return the times of which all runs are known, oldest first."""
        with self.transaction(READ) as connection:
            return _watches(connection)

    def add_volumes(self, volumes: Iterable[Volume]) -> None:
        """Keep volumes; one kept already is replaced."""
        told = list(volumes)
        if told:
            with self.transaction(WRITE) as connection:
                put_all(connection, t.volumes, [form.volume_row(volume) for volume in told])

    def volumes(self, instance_ids: Collection[str] | None = None) -> tuple[Volume, ...]:
        """Return the volumes of these instances, or all, by instance and volume."""
        query, c = select(t.volumes), t.volumes.c
        queries = (
            [query] if instance_ids is None else [query.where(c.instance_id.in_(b)) for b in batches(instance_ids)]
        )
        with self.transaction(READ) as connection:
            found = [form.volume_of(row) for one in queries for row in connection.execute(one).mappings()]
        return tuple(sorted(found, key=lambda volume: (volume.instance_id, volume.volume_id)))

    def registrations(self, instance_ids: Collection[str] | None = None) -> dict[str, datetime]:
        """Return when the nodes of these instances registered; see the door."""
        b = t.bindings.c
        query = select(b.instance_id, b.registered_at).where(b.registered_at.is_not(None)).order_by(b.bound_at)
        some = [None] if instance_ids is None else list(batches(instance_ids))
        with self.transaction(READ) as connection:
            return {
                row.instance_id: row.registered_at
                for few in some
                for row in connection.execute(query if few is None else query.where(b.instance_id.in_(few)))
            }

    def add_reclaimed(self, instance_ids: Collection[str]) -> None:
        """Keep that EC2 took these Spot instances back."""
        if instance_ids:
            with self.transaction(WRITE) as connection:
                insert_new(connection, t.reclaims, [{"instance_id": one} for one in instance_ids])

    def reclaimed(self) -> frozenset[str]:
        """Return which instances EC2 took back."""
        with self.transaction(READ) as connection:
            return frozenset(connection.execute(select(t.reclaims.c.instance_id)).scalars())


def _key(run: JobRun) -> _Key:
    return run.job_id, run.node


def _order(run: JobRun) -> tuple[datetime, int, str]:
    return run.started_at, run.job_id, run.node


def _kept(connection: Connection, jobs: Collection[int]) -> dict[_Key, list[JobRun]]:
    found: dict[_Key, list[JobRun]] = defaultdict(list)
    for batch in batches(jobs):
        for row in connection.execute(select(t.job_runs).where(_r.job_id.in_(batch))).mappings():
            run = JobRun(**row)
            found[_key(run)].append(run)
    return found


def _row_key(run: JobRun) -> tuple[str, int, int, datetime]:
    return run.node, run.job_id, run.restarts, run.started_at


def _forget(connection: Connection, keys: Iterable[tuple[str, int, int, datetime]]) -> None:
    """Remove rows whose start or restart turned out to be another."""
    for node, job_id, restarts, started_at in keys:
        mine = (_r.node == node, _r.job_id == job_id, _r.restarts == restarts, _r.started_at == started_at)
        connection.execute(delete(t.job_runs).where(*mine))


def _watches(connection: Connection) -> tuple[Watch, ...]:
    found = connection.execute(select(t.watches).order_by(t.watches.c.begin)).mappings()
    return tuple(Watch(**row) for row in found)


def _watch(connection: Connection, new: Watch) -> None:
    kept = _watches(connection)
    now = joined(kept, new)
    for gone in {one.begin for one in kept} - {one.begin for one in now}:
        connection.execute(delete(t.watches).where(t.watches.c.begin == gone))
    for one in set(now) - set(kept):
        put(connection, t.watches, {"begin": one.begin, "end": one.end})
