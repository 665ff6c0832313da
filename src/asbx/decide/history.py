"""What earlier runs of the same user and job name let expect of the next: how long it runs, and what it costs.

Never invented: a range is told only where enough runs of the same number of nodes have ended by themselves, with how
many they were; else the time limit counts, and why is said.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from asbx.config.limits import HISTORY_LEAST_RUNS, HISTORY_TAIL
from asbx.model.job import PastRun
from asbx.model.record import InstanceRow

# How a job ends that did what it had to do, and how one that was cut off. NODES_GONE: all that is known is how long its
# nodes were there.
NODES_GONE = "NODES_GONE"
_WHOLE, _CUT = frozenset({"COMPLETED", NODES_GONE}), frozenset({"TIMEOUT", "DEADLINE"})
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_Value = TypeVar("_Value", timedelta, Decimal)


@dataclass(frozen=True)
class Expectation:
    """What is expected. runs: those it is taken from. shortest, longest: None where the time limit counts instead.

    at_limit: how many of the runs were cut off at their limit: those would have run longer. usd: (least, most) of what
    those of them cost whose cost is known. of_nodes: the times are those of nodes, with boot and idle time. text: for
    people, with its source.
    """

    runs: int
    shortest: timedelta | None
    longest: timedelta | None
    at_limit: int
    usd: tuple[Decimal, Decimal] | None
    text: str
    of_nodes: bool = False

    @property
    def is_used(self) -> bool:
        """Whether it takes the place of the time limit."""
        return self.longest is not None


def expect(
    runs: Sequence[PastRun] | None, nodes: int, limit: timedelta | None, costs: Mapping[int, Decimal] | None = None
) -> Expectation:
    """Return what past runs let expect of a job on so many nodes.

    runs: None where nothing is known of any. limit: of the job, None where it is not known or there is none. costs: of
    jobs by id, in USD.
    """
    if runs is None:
        return _nothing(0, 0, "earlier runs are not known", limit)
    ended = [run for run in runs if run.state in _WHOLE | _CUT]
    alike = [run for run in ended if run.nodes == nodes]
    if len(alike) < HISTORY_LEAST_RUNS:
        return _nothing(len(alike), 0, _too_few(len(ended), len(alike), nodes), limit)
    at_limit = sum(run.state in _CUT for run in alike)
    if 2 * at_limit >= len(alike):
        why = f"{at_limit} of {len(alike)} earlier runs of this name were cut off at their time limit"
        return _nothing(len(alike), at_limit, why, limit)
    shortest, longest = _range([run.elapsed for run in alike])
    known = [costs[run.job_id] for run in alike if costs and run.job_id in costs]
    usd = _range(known) if len(known) >= HISTORY_LEAST_RUNS else None
    if limit is not None:
        shortest, longest = min(shortest, limit), min(longest, limit)
    cut = f", {at_limit} of them cut off at their limit" if at_limit else ""
    of_nodes = any(run.state == NODES_GONE for run in alike)
    how = ", by how long their nodes were there, boot and idle time included" if of_nodes else ""
    told = f"from {len(alike)} earlier runs of this name on {nodes} node(s){cut}{how}: {span_text(shortest, longest)}"
    return Expectation(len(alike), shortest, longest, at_limit, usd, f"{told}, {_limit(limit)}", of_nodes)


def runs_of_nodes(rows: Sequence[InstanceRow], jobs: Collection[int]) -> tuple[PastRun, ...]:
    """Return earlier jobs by how long their nodes were there, where nobody keeps how long they ran, oldest first.

    Only jobs whose instances have all ended and were nodes of that job alone. How they ended is not known.
    """
    mine: dict[int, list[InstanceRow]] = {}
    for row in rows:
        for job in row.jobs:
            if job in jobs and row.bound_at is not None:
                mine.setdefault(job, []).append(row)
    found = []
    for job, bound in mine.items():
        ends = [row.ended_at for row in bound if row.ended_at is not None and row.jobs == (job,)]
        if len(ends) == len(bound):
            began = min(row.launched_at for row in bound)
            found.append((max(ends), PastRun(job, NODES_GONE, max(ends) - began, len(bound))))
    return tuple(run for _, run in sorted(found, key=lambda one: one[0]))


def _nothing(runs: int, at_limit: int, why: str, limit: timedelta | None) -> Expectation:
    counts = "so its time limit counts" if limit is not None else "and it has no time limit that is known"
    return Expectation(runs, None, None, at_limit, None, f"{why}, {counts} ({_limit(limit)})")


def _too_few(ended: int, alike: int, nodes: int) -> str:
    needed = f"{HISTORY_LEAST_RUNS} are needed"
    if not ended:
        return f"no earlier run of this name has ended by itself ({needed})"
    if alike == ended:
        return f"only {ended} earlier run(s) of this name ({needed})"
    return f"{ended} earlier run(s) of this name, only {alike} on {nodes} node(s) ({needed})"


def _range(values: Sequence[_Value]) -> tuple[_Value, _Value]:
    """Return the range without its tails, by nearest rank: each end is a value that was seen."""
    ranked = sorted(values)
    left_out = math.floor(len(ranked) * HISTORY_TAIL)
    return ranked[left_out], ranked[-1 - left_out]


def span_text(shortest: timedelta, longest: timedelta) -> str:
    """Return a range of durations in one unit: `40-55 min`."""
    unit, seconds = next((one for one in _UNITS if longest.total_seconds() >= one[1]), _UNITS[-1])
    ends = [f"{span.total_seconds() / seconds:.3g}" for span in (shortest, longest)]
    return f"{'-'.join(dict.fromkeys(ends))} {unit}"


def _limit(limit: timedelta | None) -> str:
    return "no limit known" if limit is None else f"limit {span_text(limit, limit)}"
