"""The Standard Workload Format, version 2.2: comments that begin with `;`, and lines of 18 numbers, -1 for unknown.

Fields, statuses and header comments are those of the Parallel Workloads Archive ("The Standard Workload Format",
https://www.cs.huji.ac.il/labs/parallel/workload/swf.html). What is unknown is read by these rules:
- processors: requested (8), else allocated (5), else the job is left out.
- run time (4): without one the job is left out. 0 is less than half a second, and read as a second; of a job that was
  cancelled (status 5) it means that it never ran.
- requested time (9): without one, or where the job ran longer, the run time.
- statuses 2, 3 and 4 are parts of a job whose whole stands in a line of its own: left out.
- preceding job and think time (17, 18) are not followed: jobs come when they came.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from asbx.sim.trace.job import BadLineError, Reading, TraceJob

FIELDS = 18
_CANCELLED, _PARTS = 5, (2, 3, 4)
_START = re.compile(r";\s*UnixStartTime:\s*(-?\d{1,12})\s*$", re.IGNORECASE)


def read_swf(lines: Iterator[tuple[int, str]]) -> Reading:
    """Read numbered lines. Those that are not 18 numbers, or absurd, are refused one by one."""
    said = Reading("swf")
    for number, text in lines:
        said.lines += 1
        if text.startswith(";"):
            found = _START.match(text)
            if found and int(found[1]) > 0:
                said.zero_epoch = float(found[1])
        elif text.strip():
            try:
                _read_line(said, number, text)
            except BadLineError as fault:
                said.refuse(number, str(fault))
    return said


def _read_line(said: Reading, number: int, text: str) -> None:
    row = _numbers(text)
    status = row[10]
    if status in _PARTS:
        said.left_out["a part of a job that has a line of its own"] += 1
    elif row[3] < 0:
        said.left_out["no run time"] += 1
    elif row[3] == 0 and status == _CANCELLED:
        said.left_out["cancelled before it ran"] += 1
    elif max(row[7], row[4]) <= 0:
        said.left_out["no number of processors"] += 1
    else:
        said.take(_job(said, number, row))


def _job(said: Reading, number: int, row: list[float]) -> TraceJob:
    run, procs, limit = row[3], row[7], row[8]
    if row[1] < 0:
        raise BadLineError(f"a submit time of {row[1]:g} s")
    if run < 1:
        said.notes["ran for less than a second: a second"] += 1
        run = 1.0
    if procs <= 0:
        said.notes["requested processors unknown: the allocated ones"] += 1
        procs = row[4]
    if limit <= 0:
        said.notes["requested time unknown: the run time"] += 1
    elif limit < run:
        said.notes["ran longer than requested: the run time"] += 1
    return TraceJob(
        number,
        f"{row[0]:.0f}",
        row[1],
        run,
        max(limit, run),
        _whole(procs),
        user=_named("user", row[11]),
        account=_named("group", row[12]),
        partition=_named("partition", row[15]) or _named("queue", row[14]),
        waited_s=row[2] if row[2] >= 0 else None,
    )


def _numbers(text: str) -> list[float]:
    words = text.split()
    if len(words) != FIELDS:
        raise BadLineError(f"{len(words)} fields for {FIELDS}")
    try:
        row = [float(word) for word in words]
    except ValueError:
        odd = next(word for word in words if not _is_number(word))
        raise BadLineError(f"{odd[:40]!r} is not a number") from None
    if not all(math.isfinite(one) for one in row):
        raise BadLineError("a number that is not finite")
    return row


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _whole(number: float) -> int:
    if number != int(number):
        raise BadLineError(f"{number:g} processors")
    return int(number)


def _named(kind: str, number: float) -> str:
    return f"{kind}-{number:.0f}" if number >= 0 else ""
