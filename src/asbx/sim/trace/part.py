"""Take a part of a trace: a time, a number of jobs, a share drawn by chance."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from asbx.errors import UsageError
from asbx.sim.trace.job import Reading, TraceJob

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])")


@dataclass(frozen=True)
class Part:
    """Which part. begin, end: dates, or lengths after the first job (`3d`). most: jobs at most. share: of the jobs."""

    begin: str = ""
    end: str = ""
    most: int | None = None
    share: float = 1.0
    zone: tzinfo = UTC


def taken(said: Reading, part: Part, seed: int) -> list[TraceJob]:
    """Return the jobs of a part, by submission; the first comes at second 0. Raises UsageError where there is none."""
    first = said.jobs[0].submit_s
    begin = _moment(part.begin, first, said, part.zone) if part.begin else float("-inf")
    end = _moment(part.end, first, said, part.zone) if part.end else float("inf")
    jobs = [job for job in said.jobs if begin <= job.submit_s < end]
    if part.share < 1:
        chance = random.Random(f"{seed}/part")
        jobs = [job for job in jobs if chance.random() < part.share]
    jobs = jobs[: part.most]
    if not jobs:
        raise UsageError(
            "trace-part-empty",
            "no job of the trace is in the part that was asked for",
            f"{len(said.jobs)} jobs come within {(said.jobs[-1].submit_s - first) / 86_400:.1f} days",
            "widen --from, --until, --jobs or --scale",
        )
    zero = jobs[0].submit_s
    return [replace(job, submit_s=job.submit_s - zero) for job in jobs]


def _moment(text: str, first: float, said: Reading, zone: tzinfo) -> float:
    """Return a moment by the trace's clock."""
    length = _LENGTH.fullmatch(text)
    if length:
        return first + float(length[1]) * _UNITS[length[2]]
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "trace-part", f"{text!r} is neither a date nor a length of time", "", "write 2026-01-31, or 3d, 12h"
        ) from None
    if said.zero_epoch is None:
        raise UsageError(
            "trace-part", f"{text!r} is a date", "the trace does not tell when it began", "write a length such as 3d"
        )
    return (date if date.tzinfo else date.replace(tzinfo=zone)).timestamp() - said.zero_epoch
