"""Fences as Slurm reservations that only root may use.

Not MAINT, though the peers' are: it changes the nodes' state (MAINTENANCE, shown `maint` in place of `idle~`, seen on
22.05.8), and ParallelCluster's own nodes fell into a kill loop over that state (#7465, #7470). OVERLAP lets a site's
own reservations stand beside it, IGNORE_JOBS lets jobs that run already go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from asbx.errors import SlurmError, UsageError
from asbx.model.fence import FENCE_PREFIX, Fence
from asbx.model.hostlist import expand, fold, unique_sorted
from asbx.slurm.process import SlurmCommands, suppress_refusal

_FLAGS = "flags=OVERLAP,IGNORE_JOBS"
_GONE = "Requested reservation is invalid"
_FIELD = re.compile(r"(?:^|\s)(ReservationName|StartTime|EndTime|Nodes)=(\S*)")
# Our commands run with TZ=UTC (slurm/process.py).
_TIME = "%Y-%m-%dT%H:%M:%S"


def show(commands: SlurmCommands) -> tuple[Fence, ...]:
    """Return our fences, by name."""
    return parse_reservations(commands.run("scontrol", "show", "reservation", "--oneliner"))


def parse_reservations(text: str) -> tuple[Fence, ...]:
    """Read `scontrol show reservation --oneliner`; what is not ours is left out."""
    return tuple(sorted(_fences(text), key=lambda fence: fence.name))


def _fences(text: str) -> Iterator[Fence]:
    for line in text.splitlines():
        fields: dict[str, str] = {}
        for match in _FIELD.finditer(line):
            fields.setdefault(match[1], match[2])
        name = fields.get("ReservationName", "")
        if name.startswith(FENCE_PREFIX):
            try:
                nodes = unique_sorted(expand(fields.get("Nodes", "").replace("(null)", "")))
                yield Fence(name, nodes, _time(fields["StartTime"]), _time(fields["EndTime"]))
            except (KeyError, ValueError, UsageError):
                continue


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def put_up(commands: SlurmCommands, name: str, nodes: Sequence[str], starts: datetime, ends: datetime) -> None:
    """Make a reservation, or change the one of that name; one that is the same already costs one look.

    Slurm changes most of an active one; what it does not (when it began) is done by making it anew.
    """
    if not name.startswith(FENCE_PREFIX):
        raise UsageError("fence-name", f"{name} cannot be a fence", f"their names begin with {FENCE_PREFIX}")
    wanted = Fence(name, unique_sorted(nodes), _whole(starts), _whole(ends))
    old = next((fence for fence in show(commands) if fence.name == name), None)
    if old == wanted:
        return
    if old is not None:
        try:
            commands.run("scontrol", "update", *_said(wanted, begins=old.starts != wanted.starts))
        except SlurmError as error:
            if error.code != "slurm-refused":
                raise
            take_down(commands, name)
        else:
            return
    commands.run("scontrol", "create", "reservation", *_said(wanted), "users=root", _FLAGS)


def _said(fence: Fence, *, begins: bool = True) -> list[str]:
    start = [f"starttime={fence.starts:{_TIME}}"] if begins else []
    return [f"reservationname={fence.name}", *start, f"endtime={fence.ends:{_TIME}}", f"nodes={fold(fence.nodes)}"]


def _whole(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def take_down(commands: SlurmCommands, name: str) -> None:
    """Remove a reservation of ours; one that is gone is no error."""
    if name.startswith(FENCE_PREFIX):
        with suppress_refusal(_GONE):
            commands.run("scontrol", "delete", f"reservationname={name}")
