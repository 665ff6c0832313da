"""Which of the prices one is told are changes, and which of two sources is believed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource

Offering = tuple[str, str, Market]


def offering(change: PriceChange) -> Offering:
    """Return what a price is the price of: instance type, zone, market."""
    return change.instance_type, change.zone, change.market


def merged(kept: Iterable[PriceChange], told: Iterable[PriceChange]) -> tuple[PriceChange, ...]:
    """Return the history of ONE offering after being told of more, oldest first.

    AWS stands above the bundled table, whose prices are dropped from the first of AWS's on. Of two prices from the same
    moment the one learned later stands. A price that repeats the one before it from the same source is no change, but
    says that the other has been learned again.
    """
    by_time: dict[tuple[object, bool], PriceChange] = {}
    for change in (*kept, *told):
        key = (change.since, _is_bundled(change))
        other = by_time.get(key)
        if other is None or change.learned_at >= other.learned_at:
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


def _is_bundled(change: PriceChange) -> bool:
    return change.source is PriceSource.BUNDLED
