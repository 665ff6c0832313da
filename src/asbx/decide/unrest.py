"""How restless a spot pool is: what EC2 has taken back there lately, and what that weighs when pools are ordered.

    weight(type, zone) = sum over its interruptions of 0.5 ^ (age / INTERRUPTION_HALF_LIFE), none older than
                         INTERRUPTION_WINDOW
    counts as          = price x (1 + INTERRUPTION_PRICE x weight)
    restless           = weight >= RESTLESS_FROM: asked only after the calmer pools of the market

Two interruptions a day for ever come to a weight of 4 at the most, one a week to 1: so the weight is bounded by what
happens now. Counted are instances, not warnings: thirty of one gang make a pool restless at once, as they should.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.config.limits import INTERRUPTION_HALF_LIFE, INTERRUPTION_PRICE, INTERRUPTION_WINDOW, RESTLESS_FROM
from asbx.model.spot import Interruption

_STEP = Decimal("0.001")


@dataclass(frozen=True)
class Unrest:
    """What is known of one pool. count: interruptions within the window. weight: of all of them together."""

    count: int
    weight: Decimal

    @property
    def is_restless(self) -> bool:
        """Whether calmer pools are asked first."""
        return self.weight >= RESTLESS_FROM

    def counted(self, price: Decimal) -> Decimal:
        """Return what a price counts as when pools are ordered."""
        return price * (1 + INTERRUPTION_PRICE * self.weight)

    def __str__(self) -> str:
        """Return it as a person reads it."""
        days = INTERRUPTION_WINDOW / timedelta(days=1)
        return f"{self.count} interruption(s) in {days:.0f} days weigh {self.weight.normalize():f}"


CALM = Unrest(0, Decimal(0))


def unrest(history: Iterable[Interruption], now: datetime) -> Mapping[tuple[str, str], Unrest]:
    """Return (type, zone) -> unrest, of pools where something happened. One from the future counts as of now."""
    ages: dict[tuple[str, str], list[timedelta]] = {}
    for one in history:
        age = max(now - one.at, timedelta(0))
        if age <= INTERRUPTION_WINDOW:
            ages.setdefault((one.instance_type, one.zone), []).append(age)
    return {pool: Unrest(len(mine), sum((_weight(age) for age in mine), Decimal(0))) for pool, mine in ages.items()}


def _weight(age: timedelta) -> Decimal:
    return Decimal(0.5 ** (age / INTERRUPTION_HALF_LIFE)).quantize(_STEP)
