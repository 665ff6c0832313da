"""A record of prices in memory, with the promises of the real one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby, pairwise
from typing import TypeVar

from asbx.decide.price_history import Offering, merged, offering
from asbx.model.market import Market
from asbx.model.price import PriceChange
from asbx.model.record import InstanceRow
from asbx.sim.moments import aware

_T = TypeVar("_T")


@dataclass
class MemoryPriceBook:
    """The door `PriceBook`."""

    _instances: dict[str, InstanceRow] = field(default_factory=dict)
    _prices: dict[Offering, tuple[PriceChange, ...]] = field(default_factory=dict)  # by time

    def add_price_changes(self, changes: Iterable[PriceChange]) -> int:
        """Merge changes into what is kept of their offerings; return how many are new."""
        told = [replace(one, since=aware(one.since), learned_at=aware(one.learned_at)) for one in changes]
        fresh = 0
        for key, mine in groupby(sorted(told, key=offering), key=offering):
            kept = self._prices.get(key, ())
            self._prices[key] = merged(kept, mine)
            fresh += len({one.since for one in self._prices[key]} - {one.since for one in kept})
        return fresh

    def price_changes(
        self,
        since: datetime,
        until: datetime,
        *,
        instance_types: Iterable[str] | None = None,
        zones: Iterable[str] | None = None,
        markets: Iterable[Market] | None = None,
    ) -> tuple[PriceChange, ...]:
        """Return the changes of a time and those in force at its beginning."""
        kinds, places, ways = _some(instance_types), _some(zones), _some(markets)
        return tuple(
            change
            for (kind, zone, market), history in sorted(self._prices.items())
            if (kinds is None or kind in kinds)
            and (places is None or zone in ("", *places))
            and (ways is None or market in ways)
            for change, end in _with_ends(history)
            if change.since <= until and (change.since > since or end is None or end > since)
        )

    def forget_prices(self, before: datetime, after: datetime | None = None) -> int:
        """Forget what was no longer in force at `before` and no instance lived under."""
        forgotten = 0
        for key, history in self._prices.items():
            kept = tuple(
                change
                for change, end in _with_ends(history)
                if end is None or end > before or (after is not None and end <= after) or self._needs(change, end)
            )
            forgotten += len(history) - len(kept)
            self._prices[key] = kept
        return forgotten

    def _needs(self, change: PriceChange, end: datetime) -> bool:
        return any(
            row.instance_type == change.instance_type
            and row.market is change.market
            and change.zone in ("", row.zone)
            and row.launched_at < end
            and (row.ended_at is None or row.ended_at > change.since)
            for row in self._instances.values()
        )


def _some(values: Iterable[_T] | None) -> frozenset[_T] | None:
    return None if values is None else frozenset(values)


def _with_ends(history: tuple[PriceChange, ...]) -> list[tuple[PriceChange, datetime | None]]:
    return [*((one, after.since) for one, after in pairwise(history)), *((one, None) for one in history[-1:])]
