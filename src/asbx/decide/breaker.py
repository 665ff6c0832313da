"""Whether a node group may launch: it is closed when its instances boot one after the other and never register.

    open --so many failures in a row--> closed --pause over--> half-open --one launch claims it--> probing
     ^                                   ^                         ^                                |   |   |
     |                                   +--- a node of it fails: twice the pause ------------------+   |   |
     |                                                             +--- no news within the lease ------+    |
     +------------------------------------------ a node registers ------------------------------------------+

Pure. What counts as "in a row" is the order of the launches: a node that registers clears the failures of all
instances launched before its own or with it, and of none launched later. So nodes that run since before the trouble
prove nothing (in ParallelCluster a running job keeps every failing queue open), and of a burst whose other nodes come
up nothing is held against the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from asbx.config.upkeep import Boots
from asbx.model.boot import BootFailure, Breaker

# More doublings than this reach every longest pause; unbounded ones would overflow a timedelta.
_DOUBLINGS_MOST = 16


class Gate(StrEnum):
    """Where a breaker stands. HALF_OPEN: one launch may try. PROBING: one does."""

    OPEN = "open"
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    PROBING = "probing"


def gate(breaker: Breaker | None, now: datetime) -> Gate:
    """Return where a group stands."""
    if breaker is None or breaker.closed_until is None:
        return Gate.OPEN
    if now < breaker.closed_until:
        return Gate.CLOSED
    probed = breaker.probe_until is not None and now < breaker.probe_until
    return Gate.PROBING if probed else Gate.HALF_OPEN


def opens_at(breaker: Breaker, now: datetime) -> datetime:
    """Return when the next launch may be tried: at the pause's end, or when the probe under way must be over."""
    if gate(breaker, now) is Gate.PROBING and breaker.probe_until is not None:
        return breaker.probe_until
    return max(breaker.closed_until or now, now)


def streak(
    failures: Iterable[BootFailure], good: datetime | None, since: datetime | None, cleared_at: datetime | None = None
) -> tuple[BootFailure, ...]:
    """Return the failures in a row, by launch.

    good: launch of the youngest instance of the group that has registered. since: older failures do not count.
    """
    counted = (
        one
        for one in failures
        if (good is None or one.launched_at > good)
        and (since is None or one.failed_at >= since)
        and (cleared_at is None or one.failed_at > cleared_at)
    )
    return tuple(sorted(counted, key=lambda one: (one.launched_at, one.instance_id)))


def pause(settings: Boots, closings: int) -> timedelta:
    """Return how long to leave a group alone after closing so often in a row (1 or more): doubling, bounded."""
    doublings: int = 2 ** min(max(closings - 1, 0), _DOUBLINGS_MOST)
    longest = max(settings.longest_pause_seconds, settings.first_pause_seconds)
    return timedelta(seconds=min(settings.first_pause_seconds * doublings, longest))


def after_failure(
    old: Breaker | None, failed: BootFailure, in_a_row: Sequence[BootFailure], now: datetime, settings: Boots
) -> Breaker | None:
    """Return the breaker after a failure; in_a_row: `streak`, this one among them.

    Instances launched before the group was closed come to nothing later: they are no news. Those of a probe close it
    for twice as long, once for all of them.
    """
    if not settings.failures_in_a_row:
        return old
    if old is None or old.closed_at is None or old.closed_until is None:
        if len(in_a_row) < settings.failures_in_a_row:
            return old
        fresh = old or Breaker(failed.group)
        return _close(fresh, now, 1, len(in_a_row), settings)
    if now < old.closed_until or failed.launched_at < old.closed_at:
        return replace(old, streak=max(old.streak, len(in_a_row)))
    return _close(old, now, old.closings + 1, max(old.streak + 1, len(in_a_row)), settings)


def _close(old: Breaker, now: datetime, closings: int, count: int, settings: Boots) -> Breaker:
    until = now + pause(settings, closings)
    return Breaker(old.group, now, until, closings, count, cleared_at=old.cleared_at)


def after_boot(
    old: Breaker | None, failures: Iterable[BootFailure], good: datetime | None, settings: Boots
) -> Breaker | None:
    """Return the breaker after nodes have registered; good: see `streak`. None: the group is open and forgiven.

    It opens when fewer failures than close it were launched after the good one. However old those are, they count:
    time alone opens nothing but the way for a probe.
    """
    if old is None or old.closed_at is None or good is None:
        return old
    if len(streak(failures, good, None, old.cleared_at)) >= settings.failures_in_a_row:
        return old
    return Breaker(old.group, cleared_at=old.cleared_at) if old.cleared_at else None


def claim(old: Breaker | None, now: datetime, me: str, lease: timedelta) -> Breaker | None:
    """Take the probe of a half-open group, unless another has it; see `holds`."""
    if old is not None and gate(old, now) is Gate.HALF_OPEN:
        return replace(old, probe_until=now + lease, probe_by=me)
    return old


def holds(breaker: Breaker | None, now: datetime, me: str) -> bool:
    """Whether `me` may launch after `claim`: the group is open, or it has the probe."""
    where = gate(breaker, now)
    return where is Gate.OPEN or (where is Gate.PROBING and breaker is not None and breaker.probe_by == me)


def release(old: Breaker | None, me: str) -> Breaker | None:
    """Give a probe back that learned nothing (nothing was launched), so that another can try."""
    if old is None or old.probe_by != me:
        return old
    return replace(old, probe_until=None, probe_by="")


def reset(old: Breaker | None, now: datetime) -> Breaker | None:
    """Open a group by hand: what failed before now does not count any more."""
    return None if old is None else Breaker(old.group, cleared_at=now)


def describe(breaker: Breaker, now: datetime) -> str:
    """Return one sentence for people: what failed, and when it is tried again."""
    what = f"the last {breaker.streak} instances of {breaker.group} never became nodes"
    match gate(breaker, now):
        case Gate.OPEN:
            return f"{breaker.group} launches as usual"
        case Gate.CLOSED:
            return f"{what}; one launch tries it from {breaker.closed_until:%Y-%m-%d %H:%M:%S} UTC on"
        case Gate.PROBING:
            return f"{what}; one launch is trying it, until {breaker.probe_until:%Y-%m-%d %H:%M:%S} UTC at most"
        case Gate.HALF_OPEN:
            return f"{what}; the next launch tries it"
