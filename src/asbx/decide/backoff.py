"""When a job whose launch failed is tried again, or that it is held because trying again cannot help.

slurm-gcp puts such a job off by 180 to 300 s each time (cluster-toolkit PR 5776). Here the pause grows with the number
of failures in a row, and the spread comes from job id and count, so that the same question has the same answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from asbx.config.limits import BACKOFF_JITTER, BACKOFF_LEAST
from asbx.config.schema import Backoff
from asbx.model.market import Verdict

# The account's or the site's administrator must act: nothing a user could release the job for, so it is not held.
_ADMINISTRATORS = frozenset({Verdict.PERMISSION, Verdict.NOT_FOUND, Verdict.EXISTS})
# These stay as they are until the job or its plan is changed, if EVERY pool that was tried says one of them.
_LASTING = frozenset({Verdict.NOT_OFFERED, Verdict.INVALID})
# Our own codes that say so.
_LASTING_CODES = frozenset({"plan-invalid", "plan-refused", "plan-no-burst", "no-pool", "quota-below-request"})


@dataclass(frozen=True)
class Next:
    """What becomes of a job. delay: None when it is held. text: for its owner, the end of a sentence."""

    delay: timedelta | None
    held: bool
    text: str


def is_hopeless(code: str, verdicts: Collection[Verdict] = ()) -> bool:
    """Return whether trying the same again cannot work. verdicts: of everything that was tried, in the last try."""
    if code in _LASTING_CODES:
        return True
    return bool(verdicts) and _LASTING.issuperset(verdicts)


def is_administrators(verdicts: Collection[Verdict]) -> bool:
    """Return whether somebody else than the job's owner must act first; then the pause is the longest at once."""
    return not _ADMINISTRATORS.isdisjoint(verdicts)


def pause(settings: Backoff, job_id: int, count: int) -> timedelta:
    """Return the pause after so many failures in a row (1 is the first): doubling, bounded, spread by a fifth."""
    longest = max(settings.longest_seconds, settings.first_seconds)
    # Past this many doublings any first pause is longer than the longest one allowed.
    doublings = min(max(count, 1) - 1, 20)
    seconds = min(settings.first_seconds * 2**doublings, longest)
    spread = 1 + BACKOFF_JITTER * (2 * _share(job_id, count) - 1)
    return max(timedelta(seconds=round(seconds * spread)), BACKOFF_LEAST)


def _share(job_id: int, count: int) -> float:
    """Return a number from 0 to 1, always the same for the same job and count, and unlike those beside it."""
    digest = hashlib.blake2b(f"{job_id}/{count}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 0xFFFF_FFFF


def after_failure(settings: Backoff, job_id: int, count: int, *, hopeless: bool, now: datetime) -> Next:
    """Return what becomes of a job after its count-th failure in a row."""
    if hopeless:
        return Next(None, held=True, text=f"held until its plan is changed: scontrol release {job_id}")
    delay = pause(settings, job_id, count)
    at = now + delay
    times = "" if count <= 1 else f" ({_nth(count)} failure in a row)"
    return Next(delay, held=False, text=f"next try {at:%H:%M:%S} UTC{times}")


def _nth(number: int) -> str:
    """Return 2 as `2nd`."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else ending}"
