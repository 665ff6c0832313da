"""Nothing is done on one sighting: what was seen when, and what has been seen for long enough.

A finding must be there on two looks at least, and its grace must have passed between them by the clock. A clock that
was set back, or a gap no healthy daemon leaves between two looks, begins the wait anew: a step alone makes nothing old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asbx.config.limits import (
    COMPLETING_GRACE,
    CONFIRM_GRACE,
    LONGEST_GAP,
    REPEATS_DOUBLE,
    UNSEEN_GRACE,
    UNSEEN_MANY_GRACE,
)
from asbx.config.upkeep import Reconcile
from asbx.decide.reconcile import Action
from asbx.decide.reconcile_rules import ActionKind, Grace


@dataclass(frozen=True)
class Sighting:
    """first, last: the looks it was on without a break. tries: how often something was done about it already."""

    first: datetime
    last: datetime
    tries: int = 0


Sightings = Mapping[tuple[str, str], Sighting]


@dataclass(frozen=True)
class Patience:
    """How long each grace is, and the longest gap between two looks that are taken for one watch."""

    graces: Mapping[Grace, timedelta]
    longest_gap: timedelta

    def of(self, grace: Grace, tries: int = 0) -> timedelta:
        """Return a grace; each try that changed nothing doubles it."""
        return self.graces[grace] * (1 << min(tries, REPEATS_DOUBLE))


def patience(settings: Reconcile) -> Patience:
    """Return what a site's settings say."""
    orphan = timedelta(seconds=settings.orphan_grace_seconds)
    graces = {
        Grace.NONE: timedelta(0),
        Grace.CONFIRM: min(CONFIRM_GRACE, orphan),
        Grace.ORPHAN: orphan,
        Grace.UNSEEN: max(UNSEEN_GRACE, orphan),
        Grace.UNSEEN_MANY: max(UNSEEN_MANY_GRACE, orphan),
        Grace.COMPLETING: max(COMPLETING_GRACE, orphan),
    }
    return Patience(graces, max(LONGEST_GAP, 3 * timedelta(seconds=settings.interval_seconds) + orphan))


def due(
    found: Sequence[Action], now: datetime, before: Sightings, patience: Patience
) -> tuple[tuple[Action, ...], dict[tuple[str, str], Sighting]]:
    """Return (actions to take now, what to remember for the next look). A report is due once."""
    seen = {action.key: _seen(before.get(action.key), now, patience) for action in found}
    ready = tuple(action for action in found if _is_ready(action, seen[action.key], now, patience))
    for action in ready:
        seen[action.key] = Sighting(now, now, seen[action.key].tries + 1)
    return ready, seen


def _seen(old: Sighting | None, now: datetime, patience: Patience) -> Sighting:
    if old is None:
        return Sighting(now, now)
    is_watched = old.last <= now <= old.last + patience.longest_gap
    return replace(old, last=now) if is_watched else Sighting(now, now, old.tries)


def _is_ready(action: Action, sighting: Sighting, now: datetime, patience: Patience) -> bool:
    if sighting.first == now or (action.kind is ActionKind.REPORT and sighting.tries):
        return False
    return now - sighting.first >= patience.of(action.grace, sighting.tries)
