"""Write who serves as which node: bindings, and the mark they leave on instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_, select, update

from asbx.errors import LedgerError
from asbx.ledger import tables as t
from asbx.ledger.engine import batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from asbx.model.market import Instance

Pair = tuple[str, str]  # node, instance id


def bind(
    connection: Connection,
    rows: Sequence[tuple[str, Instance]],
    at: datetime,
    jobs: Mapping[str, tuple[int, ...]],
) -> None:
    """Bind all or none; pairs already bound stay as they are. EC2's own launch time replaces ours: it is billed.

    Raises LedgerError (`already-bound`) if either side has another live partner.
    """
    pairs = [(node, instance.instance_id) for node, instance in rows]
    live = _live_partners(connection, pairs)
    refuse_second_partners([*live, *pairs])
    fresh = set(pairs) - live
    if not fresh:
        return
    connection.execute(
        t.bindings.insert(),
        [{"node": node, "instance_id": instance_id, "bound_at": at} for node, instance_id in sorted(fresh)],
    )
    marks = [
        {
            "this": instance.instance_id,
            "node": node,
            "bound_at": at,
            "private_ip": instance.private_ip,
            "reservation_id": instance.reservation_id,
            "launch_index": instance.launch_index,
            "launched_at": instance.launched_at,
        }
        for node, instance in rows
        if (node, instance.instance_id) in fresh
    ]
    connection.execute(update(t.instances).where(t.instances.c.instance_id == bindparam("this")), marks)
    owners = [
        {"this": instance.instance_id, "jobs": jobs[node]}
        for node, instance in rows
        if (node, instance.instance_id) in fresh and node in jobs
    ]
    if owners:
        connection.execute(update(t.instances).where(t.instances.c.instance_id == bindparam("this")), owners)


def _live_partners(connection: Connection, pairs: Sequence[Pair]) -> set[Pair]:
    found: set[Pair] = set()
    for batch in batches(pairs):
        either = or_(
            t.bindings.c.node.in_([node for node, _ in batch]),
            t.bindings.c.instance_id.in_([instance_id for _, instance_id in batch]),
        )
        query = select(t.bindings.c.node, t.bindings.c.instance_id).where(either, t.bindings.c.released_at.is_(None))
        found.update((row.node, row.instance_id) for row in connection.execute(query))
    return found


def refuse_second_partners(pairs: Iterable[Pair]) -> None:
    """Raise LedgerError (`already-bound`) if a node or an instance appears with two partners."""
    instance_of: dict[str, str] = {}
    node_of: dict[str, str] = {}
    for node, instance_id in pairs:
        if instance_of.setdefault(node, instance_id) != instance_id:
            raise already_bound(f"{node} has {instance_of[node]}, asked for {instance_id}")
        if node_of.setdefault(instance_id, node) != node:
            raise already_bound(f"{instance_id} serves {node_of[instance_id]}, asked for {node}")


def already_bound(why: str) -> LedgerError:
    """Return the refusal of a second partner."""
    return LedgerError(
        "already-bound",
        "a node would have two instances, or an instance two nodes",
        why,
        "release the node first (`asbx nodes` lists who serves whom)",
    )
