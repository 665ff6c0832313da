"""Events that somebody looks for: the database narrows them down, their own values decide."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import RowMapping, Select, Text, and_, or_, select, type_coerce

from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.model.event import LEVELS, Event, Wanted

Marked = tuple[int, datetime, Event]


def query(wanted: Wanted) -> Select[Any]:
    """Return a query for no fewer events than are wanted.

    An event about several jobs or nodes has them in its data, which is text here.
    """
    found = select(t.events)
    data = type_coerce(t.events.c.data, Text)
    if wanted.job_id is not None:
        among = and_(t.events.c.job_id.is_(None), data.contains('"jobs"'))
        found = found.where(or_(t.events.c.job_id == wanted.job_id, among))
    if wanted.node is not None:
        # A folded list holds what stands before the number.
        stem = wanted.node.rstrip("0123456789")
        among = and_(t.events.c.node == "", data.contains(stem, autoescape=True))
        found = found.where(or_(t.events.c.node == wanted.node, among))
    if wanted.request_id is not None:
        found = found.where(t.events.c.request_id == wanted.request_id)
    if wanted.kinds:
        found = found.where(t.events.c.kind.in_([kind.value for kind in wanted.kinds]))
    if wanted.levels != LEVELS:
        found = found.where(t.events.c.level.in_(wanted.levels))
    if wanted.since is not None:
        found = found.where(t.events.c.at >= wanted.since)
    return found


def newest(rows: Iterable[RowMapping], wanted: Wanted, limit: int | None) -> tuple[Marked, ...]:
    """Return the first so many of these rows that are wanted, turned round: rows come newest first."""
    marked = ((row["id"], row["at"], form.event_of(row)) for row in rows)
    taken = list(islice((one for one in marked if wanted.takes(one[1], one[2])), limit))
    return tuple(reversed(taken))
