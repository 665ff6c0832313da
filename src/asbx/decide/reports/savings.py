"""What spot has saved against the price on demand, for what is known of both."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

from asbx.decide.meter.sums import Dimension, Sum
from asbx.decide.reports.hours import Hours
from asbx.decide.reports.keys import EVERY, day_of, value
from asbx.model.market import Market
from asbx.model.price import PriceChange, is_volume

_NANO_AN_HOUR = Fraction(10**9, 3600)


@dataclass(frozen=True)
class Savings:
    """In billionths. spot: paid for spot instances. compared: what of it can be compared.

    on_demand: what the same hours cost on demand. Not compared: what has no known price on demand, or nobody knows
    whose hours they were.
    """

    spot: int = 0
    compared: int = 0
    on_demand: int = 0

    @property
    def saved(self) -> int:
        """Return how much less was paid."""
        return self.on_demand - self.compared


class OnDemand:
    """Prices on demand by day: the one in force at the day's end; before the first that is known, none."""

    def __init__(self, changes: Iterable[PriceChange]) -> None:
        found: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
        for change in changes:
            if change.market is Market.ON_DEMAND and not is_volume(change.instance_type):
                found[change.instance_type].append((change.since, change.usd))
        self._steps: Mapping[str, list[tuple[datetime, Decimal]]] = {name: sorted(each) for name, each in found.items()}

    def hourly(self, instance_type: str, day: date) -> Decimal | None:
        """Return USD an hour, None where it is not known."""
        steps = self._steps.get(instance_type, [])
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
        index = bisect_right([since for since, _ in steps], end)
        return steps[index - 1][1] if index else None


def savings(hours: Hours, wanted: Iterable[Sum], prices: OnDemand) -> Savings:
    """Compare the spot instances of some sums by all dimensions."""
    spot, compared, on_demand = 0, 0, Fraction(0)
    for one in wanted:
        if value(one, EVERY, Dimension.MARKET) != Market.SPOT.value:
            continue
        spot += one.compute
        price = prices.hourly(value(one, EVERY, Dimension.TYPE), day_of(one, EVERY))
        seconds = hours.seconds(one)
        if price is None or seconds is None or not one.compute:
            continue
        compared += one.compute
        on_demand += Fraction(price) * seconds * _NANO_AN_HOUR
    return Savings(spot, compared, round(on_demand))
