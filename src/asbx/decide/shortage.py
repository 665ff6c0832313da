"""The memory of empty pools: when a pool that refused may be asked again, by whom, and for how many.

    open --refused--> closed --cool-down over--> half-open --one launch claims it--> probing
     ^                  ^                                                             |   |
     |                  +------------------- refused: twice the cool-down ------------+   |
     +------------------------------------------ launched: forgotten --------------------+

Pure: a shortage, what happened and the time go in, the shortage as it is now comes out. The functions that take `old`
first are made for the ledger's change_shortage, so that two programs never both probe. Why a cool-down that grows
and one probe: a fixed one re-admits an empty pool for ever (kubernetes-sigs/karpenter #2275), and without the probe
every waiting launch learns the same refusal for itself (#3198).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from asbx.config.limits import (
    ADDRESSES_COOLDOWN,
    CAPACITY_COOLDOWN,
    LIMIT_COOLDOWN,
    NOT_OFFERED_COOLDOWN,
    PROBE_LEASE,
    QUOTA_COOLDOWN,
    SHORTAGE_QUIET,
)
from asbx.decide.shortage_key import amount, place_of
from asbx.model.market import Verdict
from asbx.model.record import Shortage

SPOT_RECLAIM = "spot-reclaim"
# First and longest cool-down of each verdict that says something of a pool; no other is remembered.
_COOLDOWNS = {
    Verdict.CAPACITY: CAPACITY_COOLDOWN,
    Verdict.QUOTA: QUOTA_COOLDOWN,
    Verdict.LIMIT: LIMIT_COOLDOWN,
    Verdict.ADDRESSES: ADDRESSES_COOLDOWN,
    Verdict.NOT_OFFERED: NOT_OFFERED_COOLDOWN,
}
# More doublings than this reach every longest cool-down; unbounded ones would overflow a timedelta.
_DOUBLINGS_MOST = 16


@dataclass(frozen=True)
class Open:
    """Ask."""


@dataclass(frozen=True)
class Closed:
    """Do not ask before this moment."""

    until: datetime
    why: str


@dataclass(frozen=True)
class Probe:
    """Ask, if these keys can be claimed (`claim`): one launch only tries out whether they are open again."""

    keys: tuple[str, ...]


State = Open | Closed | Probe


class Phase(StrEnum):
    """Where a shortage stands. FORGOTTEN: it is so old that it says nothing any more."""

    CLOSED = "closed"
    PROBING = "probing"
    HALF_OPEN = "half-open"
    FORGOTTEN = "forgotten"


def phase(shortage: Shortage, now: datetime) -> Phase:
    """Return where a shortage stands. One from the future says that the clock was set back: it is to be tried."""
    if shortage.probe_until is not None and now < shortage.probe_until <= now + PROBE_LEASE:
        return Phase.PROBING
    if now < shortage.since:
        return Phase.HALF_OPEN
    if now < shortage.closed_until:
        return Phase.CLOSED
    return Phase.FORGOTTEN if now - shortage.closed_until >= SHORTAGE_QUIET else Phase.HALF_OPEN


def state(shortage: Shortage | None, count: int, now: datetime, me: str) -> State:
    """Return whether `me` may ask for `count` (`amount` of the key).

    At most half of the smallest number that was refused may always be tried: a pool that cannot give 40 together may
    give 20. Each such refusal halves what may be tried next, which bounds the tries.
    """
    if shortage is None or 2 * count <= shortage.least:
        return Open()
    match phase(shortage, now):
        case Phase.CLOSED:
            return Closed(shortage.closed_until, describe(shortage, now))
        case Phase.PROBING if shortage.probe_by != me:
            return Closed(shortage.probe_until or now, describe(shortage, now))
        case Phase.FORGOTTEN:
            return Open()
        case _:
            return Probe((shortage.key,))


def pool_state(
    known: Mapping[str, Shortage], keys: Sequence[str], count: int, now: datetime, me: str, *, vcpus: int = 1
) -> State:
    """Return whether `me` may ask for `count` instances of a pool: what all of its keys allow together.

    known: shortages by key. keys: `pool_keys` of the pool. Closed names the key that is closed longest.
    """
    found = [state(known.get(key), amount(key, count, vcpus), now, me) for key in keys]
    closed = [each for each in found if isinstance(each, Closed)]
    if closed:
        return max(closed, key=lambda each: each.until)
    probes = tuple(key for each in found if isinstance(each, Probe) for key in each.keys)
    return Probe(probes) if probes else Open()


def cooldown(verdict: Verdict, failures: int) -> timedelta:
    """Return how long to leave a pool alone after so many refusals in a row (1 or more): doubling, bounded."""
    first, longest = _COOLDOWNS[verdict]
    doublings: int = 2 ** min(max(failures - 1, 0), _DOUBLINGS_MOST)
    return min(first * doublings, longest)


def after_refusal(
    old: Shortage | None, key: str, code: str, verdict: Verdict, count: int, now: datetime
) -> Shortage | None:
    """Return what is remembered after a refusal of `count` (`amount` of the key).

    Several refusals within one cool-down are one: the gangs of one burst ask at the same time. After
    SHORTAGE_QUIET without news the count of failures starts again. Verdicts that say nothing of a pool change nothing.
    """
    if verdict not in _COOLDOWNS:
        return old
    # What a zone does not sell it does not sell in smaller numbers either.
    size = 1 if verdict is Verdict.NOT_OFFERED else max(count, 1)
    if old is not None and (phase(old, now) is Phase.FORGOTTEN or now < old.since):
        old = None
    if old is None:
        return Shortage(key, code, size, 1, now, now + cooldown(verdict, 1))
    least = min(old.least, size)
    if now >= old.closed_until:
        failures = old.failures + 1
        return Shortage(key, code, least, failures, old.since, now + cooldown(verdict, failures))
    until = now + cooldown(verdict, 1)
    if verdict is Verdict.NOT_OFFERED and until > old.closed_until:
        return replace(old, code=code, least=least, closed_until=until)
    return replace(old, least=least)


def reclaimed(old: Shortage | None, key: str, now: datetime) -> Shortage | None:
    """Return what is remembered after EC2 took a spot instance back: it needs the pool itself, so one is too many."""
    return after_refusal(old, key, SPOT_RECLAIM, Verdict.CAPACITY, 1, now)


def claim(old: Shortage | None, now: datetime, me: str, lease: timedelta = PROBE_LEASE) -> Shortage | None:
    """Take the probe of a half-open pool, unless another has it; see `holds`. None: nothing is short any more."""
    match None if old is None else phase(old, now):
        case None | Phase.FORGOTTEN:
            return None
        case Phase.HALF_OPEN:
            assert old is not None
            return replace(old, probe_until=now + lease, probe_by=me)
        case _:
            return old


def holds(shortage: Shortage | None, now: datetime, me: str) -> bool:
    """Whether `me` may ask after `claim`: it has the probe, or there is nothing to probe."""
    return shortage is None or (shortage.probe_by == me and phase(shortage, now) is Phase.PROBING)


def release(old: Shortage | None, me: str) -> Shortage | None:
    """Give a probe back that learned nothing (throttled, given up before the call), so that another can try."""
    if old is None or old.probe_by != me:
        return old
    return replace(old, probe_until=None, probe_by="")


def after_success(old: Shortage | None, count: int, now: datetime, me: str = "") -> Shortage | None:
    """Return what is remembered after `count` (`amount` of the key) were launched: None, when that disproves it.

    It does when it is as much as was refused, or when `me` held the probe. Less than that was never in doubt.
    """
    if old is None or count >= old.least or phase(old, now) is Phase.FORGOTTEN:
        return None
    return None if me and old.probe_by == me else old


def describe(shortage: Shortage, now: datetime) -> str:
    """Return one sentence for people: what refused how often, and when it may be asked again."""
    place = place_of(shortage.key)
    unit = ""
    match place.kind:
        case "capacity":
            what = f"{place.instance_type} {place.market} in {place.zone}"
            what += " inside a placement group" if place.placed else ""
        case "quota":
            what, unit = f"the account's {place.market} quota of {place.family} instances", " vCPUs"
        case "addresses":
            what = f"subnet {place.subnet}"
        case "limit":
            what = "a limit of the account"
        case _:
            what = place.kind
    times = "once" if shortage.failures == 1 else f"{shortage.failures} times in a row"
    return f"{what} refused {shortage.least}{unit} ({shortage.code}, {times}); {_outlook(shortage, now)}"


def _outlook(shortage: Shortage, now: datetime) -> str:
    match phase(shortage, now):
        case Phase.CLOSED:
            return f"not asked before {shortage.closed_until:%Y-%m-%d %H:%M:%S} UTC"
        case Phase.PROBING:
            return f"{shortage.probe_by} is trying it, until {shortage.probe_until:%Y-%m-%d %H:%M:%S} UTC at most"
        case Phase.HALF_OPEN:
            return "the next launch tries it"
        case Phase.FORGOTTEN:
            return "too long ago to matter"
