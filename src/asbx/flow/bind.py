"""From launched instances to nodes Slurm can reach: addresses, bindings, one `scontrol update`, names for the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from asbx.config.limits import (
    ADDRESS_DEADLINE,
    DESCRIBE_FIRST_PAUSE,
    DESCRIBE_LONGEST_PAUSE,
    DESCRIBE_PAUSE_FACTOR,
    SLURM_PATIENCE,
    SLURM_PAUSE,
    TAG_PARALLEL,
)
from asbx.decide.bind import Pair, TagCall
from asbx.errors import AsbxError, SlurmError
from asbx.flow.doors import Doors
from asbx.model.event import Event, EventKind
from asbx.model.market import Verdict
from asbx.ports import CloudError

_Row = TypeVar("_Row")


def park(doors: Doors, nodes: Sequence[str]) -> dict[str, str]:
    """Park nodes before they are launched; return node -> why for those Slurm does not know.

    This is also the question whether Slurm answers at all: nodes it could not be told of are not paid for.
    Raises SlurmError when it does not.
    """
    return dict(_patiently(doors, lambda: _halving(doors, doors.scheduler.park, list(nodes), lambda node: node)))


def into_slurm(doors: Doors, pairs: Sequence[Pair]) -> dict[str, str]:
    """Tell Slurm all addresses in one call; return node -> why for nodes it does not take.

    Raises SlurmError when slurmctld does not answer at all.
    """
    return dict(_patiently(doors, lambda: _halving(doors, doors.scheduler.bind, list(pairs), lambda row: row[0])))


def _patiently(doors: Doors, ask: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Wait out a restart of slurmctld. Raises SlurmError when it lasts longer, or where Slurm is not installed."""
    give_up = doors.clock.now() + SLURM_PATIENCE
    while True:
        try:
            return ask()
        except SlurmError as error:
            if error.code in ("slurm-missing", "slurm-conf") or doors.clock.now() + SLURM_PAUSE > give_up:
                raise
            doors.clock.sleep(SLURM_PAUSE)


def _halving(
    doors: Doors, update: Callable[[list[_Row]], None], rows: list[_Row], name: Callable[[_Row], str]
) -> list[tuple[str, str]]:
    """Make one call; where Slurm refuses the whole list, halve it until the bad names are alone."""
    if not rows:
        return []
    try:
        update(rows)
    except SlurmError as error:
        if error.code != "slurm-refused" or not _slurm_answers(doors):
            raise
        if len(rows) == 1:
            return [(name(rows[0]), error.why)]
        half = len(rows) // 2
        return _halving(doors, update, rows[:half], name) + _halving(doors, update, rows[half:], name)
    return []


def _slurm_answers(doors: Doors) -> bool:
    try:
        doors.scheduler.ping()
    except SlurmError:
        return False
    return True


def into_ledger(
    doors: Doors, pairs: Sequence[Pair], jobs_of: Mapping[str, tuple[int, ...]], names_of: Mapping[str, dict[str, Any]]
) -> None:
    """Write the bindings and say so, one event for a gang. names_of: node -> what its gang's events name."""
    doors.ledger.bind(pairs, doors.clock.now(), {node: jobs_of[node] for node, _ in pairs if node in jobs_of})
    gangs: dict[str, list[Pair]] = {}
    for row in pairs:
        gangs.setdefault(names_of[row[0]]["gang_id"], []).append(row)
    for rows in gangs.values():
        text = f"{len(rows)} node(s) have an instance"
        data: dict[str, object] = {node: instance.instance_id for node, instance in rows}
        doors.say(Event(EventKind.NODE_BOUND, text, data=data, **names_of[rows[0][0]]))


def name_them(doors: Doors, calls: Sequence[TagCall]) -> dict[str, CloudError]:
    """Make the CreateTags calls with bounded parallelism; return instance id -> error for those that could not be told.

    An id EC2 does not know yet, throttling and server trouble are waited out: the nodes wait for their tags too.
    """
    if not calls:
        return {}
    if len(calls) == 1:
        return _tag_patiently(doors, calls[0])
    failed: dict[str, CloudError] = {}
    with doors.workers.pool(TAG_PARALLEL, "tag") as pool:
        for errors in pool.map(lambda call: _tag_patiently(doors, call), calls):
            failed |= errors
    return failed


def _tag_patiently(doors: Doors, call: TagCall) -> dict[str, CloudError]:
    give_up = doors.clock.now() + ADDRESS_DEADLINE
    pause = DESCRIBE_FIRST_PAUSE
    while True:
        try:
            doors.cloud.tag(call.instance_ids, dict(call.tags))
        except CloudError as error:
            passing = error.verdict in (Verdict.NOT_FOUND, Verdict.THROTTLED, Verdict.TRANSIENT)
            if not passing or doors.clock.now() + pause > give_up:
                return dict.fromkeys(call.instance_ids, error)
            doors.clock.sleep(pause)
            pause = min(pause * DESCRIBE_PAUSE_FACTOR, DESCRIBE_LONGEST_PAUSE)
        else:
            return {}


def _courtesy_calls(doors: Doors, calls: Sequence[TagCall]) -> None:
    """Make the calls once each. Raises the first CloudError."""
    if len(calls) <= 1:
        for call in calls:
            doors.cloud.tag(call.instance_ids, dict(call.tags))
        return
    with doors.workers.pool(TAG_PARALLEL, "tag") as pool:
        for _ in pool.map(lambda call: doors.cloud.tag(call.instance_ids, dict(call.tags)), calls):
            pass


def courtesy(doors: Doors, calls: Sequence[TagCall]) -> None:
    """Make tag calls that only please the eye: a failure is noted and nothing else."""
    try:
        _courtesy_calls(doors, calls)
    except AsbxError as error:
        doors.say(Event(EventKind.REQUEST_ODD, f"Name tags were not set: {error}", level="warning"))
