"""Which instance becomes which node, and how the nodes are told.

EC2 cannot give the instances of one call different tags, and CreateTags is rate-limited, so a node works its name out
of what its whole reservation shares: the list of names in launch order, and its own `ami-launch-index`. The controller
pairs by the same rule. Only where reservation and index do not tell the instances apart does each get a tag of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from asbx.config.limits import NAMING_RESERVATIONS, NODE_LIST_TAGS, TAG_VALUE_MAX
from asbx.model.hostlist import expand, fold, natural_key, unique_sorted
from asbx.model.market import Instance

Pair = tuple[str, Instance]


@dataclass(frozen=True)
class TagCall:
    """One CreateTags: the same tags on these instances."""

    instance_ids: tuple[str, ...]
    tags: tuple[tuple[str, str], ...]


def pair(
    nodes: Sequence[str], instances: Sequence[Instance], ranks: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Pair, ...]:
    """Pair nodes, in the order of their names, with instances, in the order of their place in the network or launch.

    ranks: instance id -> its network nodes from the top layer down: neighbours get neighbouring names, and so
    neighbouring ranks. The shorter side decides how many pairs there are; no node and no instance occurs twice.
    """
    where = ranks or {}
    ordered = sorted(
        instances, key=lambda i: (where.get(i.instance_id, ()), i.reservation_id, i.launch_index, i.instance_id)
    )
    return tuple(zip(unique_sorted(nodes), ordered, strict=False))


def best_connected(
    instances: Sequence[Instance], wanted: int, ranks: Mapping[str, tuple[str, ...]]
) -> tuple[Instance, ...]:
    """Return so many of these instances that share as much of the network as can be had, greedily.

    The fullest branch of the top layer first, within it the fullest branch below, and so on.
    """
    return tuple(_fullest(sorted(instances, key=lambda i: (i.reservation_id, i.launch_index)), wanted, ranks, 0))


def _fullest(
    instances: Sequence[Instance], wanted: int, ranks: Mapping[str, tuple[str, ...]], depth: int
) -> list[Instance]:
    if len(instances) <= wanted or not any(len(ranks.get(i.instance_id, ())) > depth for i in instances):
        return list(instances[:wanted])
    branches: dict[str, list[Instance]] = {}
    for instance in instances:
        layers = ranks.get(instance.instance_id, ())
        branches.setdefault(layers[depth] if len(layers) > depth else "", []).append(instance)
    # The smallest branch that holds all is the closest; without one, the fullest first.
    enough = [branch for branch in branches.values() if len(branch) >= wanted]
    if enough:
        return _fullest(min(enough, key=len), wanted, ranks, depth + 1)
    chosen: list[Instance] = []
    for branch in sorted(branches.values(), key=len, reverse=True):
        chosen += _fullest(branch, wanted - len(chosen), ranks, depth + 1)
        if len(chosen) >= wanted:
            break
    return chosen


by_number = natural_key  # the order Slurm pairs lists in; before 22.05.8 it needed them sorted


def naming(pairs: Sequence[Pair]) -> tuple[TagCall, ...]:
    """Return the CreateTags calls that tell the nodes of one launch their names, as few as possible."""
    launched = sorted(pairs, key=lambda row: (row[1].reservation_id, row[1].launch_index))
    by_reservation = [
        (reservation, list(rows)) for reservation, rows in groupby(launched, key=lambda row: row[1].reservation_id)
    ]
    if len(by_reservation) > NAMING_RESERVATIONS:
        return one_by_one(pairs)
    calls: list[TagCall] = []
    for reservation, rows in by_reservation:
        tags = _list_tags(reservation, rows)
        if tags is None:
            calls.extend(one_by_one(rows))
        else:
            calls.append(TagCall(tuple(instance.instance_id for _, instance in rows), tags))
    return tuple(calls)


def one_by_one(pairs: Sequence[Pair]) -> tuple[TagCall, ...]:
    """Return one call per instance: the fallback, and the courtesy tags of the console."""
    return tuple(TagCall((instance.instance_id,), (("asbx:node", node),)) for node, instance in pairs)


def name_of(instance: Instance) -> str:
    """Return the node name an instance's tags give it, read as the node itself reads them; "" if they give none."""
    if "asbx:node" in instance.tags:
        return instance.tags["asbx:node"]
    text = instance.tags.get("asbx:nodes", "")
    for number in range(2, NODE_LIST_TAGS + 1):
        if not text.endswith("+"):
            break
        text = text[:-1] + instance.tags.get(f"asbx:nodes.{number}", "")
    reservation, _, names = text.partition("=")
    nodes = expand(names) if names and reservation == instance.reservation_id else ()
    return nodes[instance.launch_index] if instance.launch_index < len(nodes) else ""


def courtesy(pairs: Sequence[Pair], jobs_of: dict[str, tuple[int, ...]]) -> tuple[TagCall, ...]:
    """Return per-instance tags for people's eyes: Name and node, and the job where the launch held several."""
    calls = []
    for node, instance in pairs:
        tags = [("Name", node), ("asbx:node", node)]
        jobs = ",".join(str(job) for job in jobs_of.get(node, ()))
        if jobs and instance.tags.get("asbx:job") != jobs:
            tags.append(("asbx:job", jobs[:TAG_VALUE_MAX]))
        if any(instance.tags.get(key) != value for key, value in tags):
            calls.append(TagCall((instance.instance_id,), tuple(tags)))
    return tuple(calls)


def _list_tags(reservation: str, rows: Sequence[Pair]) -> tuple[tuple[str, str], ...] | None:
    """Return the tags that carry a reservation's node list, or None when index and list do not match one to one."""
    if not reservation or [instance.launch_index for _, instance in rows] != list(range(len(rows))):
        return None
    text = f"{reservation}={fold(node for node, _ in rows)}"
    size = TAG_VALUE_MAX - 1  # the last character of a part with more to come is `+`
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    if len(parts) > NODE_LIST_TAGS:
        return None
    values = [part + "+" for part in parts[:-1]] + [parts[-1]]
    return tuple(("asbx:nodes" if n == 1 else f"asbx:nodes.{n}", value) for n, value in enumerate(values, 1))
