"""When a job whose launch failed is tried again, or that it is held because trying again cannot help.

slurm-gcp puts such a job off by 180 to 300 s each time (cluster-toolkit PR 5776). Here the pause grows with the number
of failures in a row, and the spread comes from job id and count, so that the same question has the same answer.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asbx.config.limits import BACKOFF_JITTER, BACKOFF_LEAST, BACKOFF_MOST_SPREAD, LONGEST_REST, REST
from asbx.config.schema import Backoff
from asbx.model.market import Verdict

# These stay as they are until the job or its plan is changed. Missing permissions and templates are not among them:
# an administrator mends those, and the job then runs by itself.
_LASTING = frozenset({Verdict.NOT_OFFERED, Verdict.INVALID})
_LASTING_CODES = frozenset(
    {"plan-invalid", "plan-refused", "plan-no-burst", "policy-refused", "quota-below-request", "limit-refused"}
)
# Past this many doublings any first pause is longer than the longest one allowed.
_MOST_DOUBLINGS = 20


@dataclass(frozen=True)
class Next:
    """What becomes of a job. delay: None when it is held. text: for its owner, the end of a sentence."""

    delay: timedelta | None
    held: bool
    text: str


def is_hopeless(code: str, verdict: Verdict | None = None) -> bool:
    """Return whether trying the same again cannot work. verdict: what EC2's refusal of the whole request means."""
    return code in _LASTING_CODES or verdict in _LASTING


def pause(settings: Backoff, job_id: int, count: int) -> timedelta:
    """Return the pause after so many failures in a row (1 is the first): doubling, bounded, spread by a fifth."""
    longest = max(settings.longest_seconds, settings.first_seconds)
    doublings: int = 2 ** min(max(count, 1) - 1, _MOST_DOUBLINGS)
    seconds = min(settings.first_seconds * doublings, longest)
    spread = 1 + BACKOFF_JITTER * (2 * _share(job_id, count) - 1)
    return max(timedelta(seconds=round(seconds * spread)), BACKOFF_LEAST)


def rest(request_id: str, count: int) -> timedelta:
    """Return how long a request rests after so much trouble in a row (1 is the first): doubling, bounded, spread."""
    doublings: int = 2 ** min(max(count, 1) - 1, _MOST_DOUBLINGS)
    return min(REST * doublings, LONGEST_REST) * (1 + BACKOFF_JITTER * (2 * _share(request_id, count) - 1))


def _share(job_id: int | str, count: int) -> float:
    """Return a number from 0 to 1: always the same for a job and a count, and unlike those of its neighbours."""
    digest = hashlib.blake2b(f"{job_id}/{count}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 0xFFFF_FFFF


def hold(job_id: int) -> Next:
    """Return what becomes of a job that cannot be launched as it is."""
    text = f"held, waiting does not help: change what is wrong, then scontrol release {job_id}"
    return Next(None, held=True, text=text)


def again(
    settings: Backoff,
    job_id: int,
    count: int,
    now: datetime,
    *,
    patient: bool = False,
    not_before: datetime | None = None,
) -> Next:
    """Return what becomes of a job after its count-th failure in a row.

    patient: an administrator must act first, so the pause is the longest from the beginning. not_before: no pool of the
    job is asked again sooner, so trying would be in vain; a little later, because many jobs wait for that moment.
    """
    delay = pause(settings, job_id, count + _MOST_DOUBLINGS if patient else count)
    if not_before is not None and not_before > now:
        spread = 1 + BACKOFF_JITTER / 2 * _share(job_id, count)
        wait = not_before - now
        delay = max(delay, timedelta(seconds=math.ceil(min(wait * spread, wait + BACKOFF_MOST_SPREAD).total_seconds())))
    form = "%H:%M:%S" if delay < timedelta(days=1) else "%Y-%m-%d %H:%M"
    return Next(delay, held=False, text=f"next try {now + delay:{form}} UTC ({_failed(count)})")


def no_later_than(coming: Next, end: datetime, now: datetime) -> Next:
    """Return the next try at a moment at the latest, or just after it, because Slurm counts whole seconds."""
    if coming.delay is None or now + coming.delay <= end or end <= now:
        return coming
    delay = timedelta(seconds=math.ceil((end - now).total_seconds()) + 1)
    if delay >= coming.delay:
        return coming
    rest = coming.text.partition(" UTC")[2]
    return replace(coming, delay=delay, text=f"next try {now + delay:%H:%M:%S} UTC{rest}")


def _failed(count: int) -> str:
    """Return how often a job failed, in words."""
    return "failed once" if count <= 1 else f"failed {count} times in a row"
