"""Which of the prices one is told are changes, and which of two sources is believed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource
from asbx.model.record import InstanceRow

Offering = tuple[str, str, Market]
Span = tuple[Offering, datetime, datetime]
Life = tuple[Offering, datetime, datetime | None]


def offering(change: PriceChange) -> Offering:
    """Return what a price is the price of: instance type, zone, market."""
    return change.instance_type, change.zone, change.market


def merged(kept: Iterable[PriceChange], told: Iterable[PriceChange]) -> tuple[PriceChange, ...]:
    """Return the history of ONE offering after being told of more, oldest first.

    AWS stands above the bundled table, whose prices are dropped from the first of AWS's on. Of two prices from the same
    moment the one learned later stands, and of those the first: EC2 tells the newest first. A price that repeats the
    one before it from the same source is no change, but says that the other has been learned again.
    """
    by_time: dict[tuple[object, bool], PriceChange] = {}
    for change in (*kept, *told):
        key = (change.since, _is_bundled(change))
        other = by_time.get(key)
        if other is None or change.learned_at > other.learned_at:
            by_time[key] = change
    first = min((change.since for change in by_time.values() if not _is_bundled(change)), default=None)
    history: list[PriceChange] = []
    for change in sorted(by_time.values(), key=lambda one: one.since):
        if _is_bundled(change) and first is not None and change.since >= first:
            continue
        last = history[-1] if history else None
        if last is not None and last.usd == change.usd and last.source is change.source:
            history[-1] = replace(last, learned_at=max(last.learned_at, change.learned_at))
        else:
            history.append(change)
    return tuple(history)


def unused(spans: Iterable[Span], lives: Iterable[Life]) -> list[tuple[Offering, datetime]]:
    """Return which prices no instance has lived under, each by its offering and beginning.

    spans: (offering, since, until) of prices. lives: (type, zone, market), launch and end; None: it lives.
    """
    by_offering: dict[Offering, list[tuple[datetime, datetime]]] = {}
    for key, since, until in spans:
        by_offering.setdefault(key, []).append((since, until))
    for mine in by_offering.values():
        mine.sort()
    used: set[tuple[Offering, datetime]] = set()
    for (kind, zone, market), began, ended in lives:
        for key in {(kind, zone, market), (kind, "", market)}:
            mine = by_offering.get(key, [])
            # From the span its launch lies in, or the first after that.
            for since, until in mine[max(bisect_right(mine, began, key=lambda span: span[0]) - 1, 0) :]:
                if ended is not None and since >= ended:
                    break
                if until > began:
                    used.add((key, since))
    return [(key, since) for key, mine in by_offering.items() for since, _ in mine if (key, since) not in used]


def in_force(changes: Iterable[PriceChange]) -> tuple[PriceChange, ...]:
    """Return the last change of each offering, the first told of those from the same moment."""
    newest: dict[Offering, PriceChange] = {}
    for change in changes:
        other = newest.get(offering(change))
        if other is None or change.since > other.since:
            newest[offering(change)] = change
    return tuple(newest.values())


def price_of(row: InstanceRow, newest: Mapping[Offering, PriceChange]) -> PriceChange | None:
    """Return the price of an instance among those in force."""
    zone = "" if row.market is Market.ON_DEMAND else row.zone
    return newest.get((row.instance_type, zone, row.market))


def _is_bundled(change: PriceChange) -> bool:
    return change.source is PriceSource.BUNDLED
