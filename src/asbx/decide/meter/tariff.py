"""What an instance has cost up to any moment of its life, in whole billionths of a dollar.

A cost is always the difference of two of these sums, so the parts of a life add up to the whole, digit for digit,
wherever it is cut: that is the only rounding there is, half to even, once a sum (for volumes once a calendar month).

- Instances are billed by the second, begun seconds count, at least 60 for each start (AWS, "Amazon EC2 On-Demand
  Pricing"; Spot likewise). We count from the launch; EC2 itself starts at `running`, some seconds later.
- A price holds for an instance-hour: what is charged is the price in effect at the beginning of each hour of the
  instance's life (AWS News Blog, 28 November 2017, on the Spot pricing model), for the seconds used of it (AWS
  whitepaper "Overview of Amazon EC2 Spot Instances", "How Spot Instances Work").
- A Spot instance that EC2 takes back within its first hour costs nothing (the same page).
- EBS is priced by the GB-month and billed by the second; a month has as many seconds as the calendar says (AWS re:Post,
  "Understand charges for Amazon EBS volumes": in a month of 31 days, 744 hours are one month).

None of this was held against a real bill.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from asbx.model.price import PriceChange

NANO = 10**9
_ATTO = 10**18
_HOUR_S = 3600
_DAY_S = 86_400
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Rules:
    """How EC2 bills. minimum_s: the least for one start. hold_s: how long a price holds for an instance.

    free_first_hour: whether a Spot instance taken back by EC2 within its first hour is free.
    """

    minimum_s: int = 60
    hold_s: int = _HOUR_S
    free_first_hour: bool = True


@dataclass(frozen=True)
class Tariff:
    """The sums of one instance. steps: (second of its life, USD an hour in billionths of a billionth), rising seconds.

    steps is empty where no price is known. volumes: USD a month of all its volumes, in the same unit.
    """

    launched_at: datetime
    steps: tuple[tuple[int, int], ...]
    volumes: int
    minimum_s: int
    is_free: bool = False

    @property
    def last_step(self) -> int:
        """Return the second from which the last price counts."""
        return self.steps[-1][0] if self.steps else 0

    def seconds(self, moment: datetime) -> int:
        """Return the seconds billed up to a moment; 0 before the launch."""
        if moment <= self.launched_at:
            return 0
        return max(self.minimum_s, -((self.launched_at - moment) // _SECOND))

    def compute(self, moment: datetime) -> int:
        """Return what the instance itself has cost up to a moment, in billionths; 0 where no price is known."""
        seconds = 0 if self.is_free else self.seconds(moment)
        cost = 0
        for (begin, price), (end, _) in pairwise((*self.steps, (max(seconds, self.last_step), 0))):
            if seconds <= begin:
                break
            cost += price * (min(seconds, end) - begin)
        return _rounded(cost, _HOUR_S * NANO)

    def volume(self, moment: datetime) -> int:
        """Return what its volumes have cost up to a moment, in billionths."""
        if not self.volumes:
            return 0
        cost, at, left = 0, self.launched_at.astimezone(UTC), self.seconds(moment)
        while left > 0:
            days = monthrange(at.year, at.month)[1]
            following = datetime(at.year, at.month, days, tzinfo=UTC) + timedelta(days=1)
            here = min(left, max(1, -((at - following) // _SECOND)))
            cost += _rounded(self.volumes * here, days * _DAY_S * NANO)
            at, left = following, left - here
        return cost


def tariff(
    launched_at: datetime,
    first: Decimal | None,
    changes: Iterable[PriceChange],
    *,
    volumes_month: Decimal = Decimal(0),
    rules: Rules | None = None,
    is_free: bool = False,
) -> Tariff:
    """Return the sums of an instance. first: the price noted at its launch. changes: of its offering, in any order.

    Where neither tells the price at the launch, the first one known later stands for it.
    """
    rules = rules or Rules()
    steps = _steps(launched_at, first, sorted(changes, key=lambda change: change.since), rules.hold_s)
    return Tariff(launched_at, steps, _atto(volumes_month), rules.minimum_s, is_free)


def _steps(
    launched_at: datetime, first: Decimal | None, changes: Sequence[PriceChange], hold_s: int
) -> tuple[tuple[int, int], ...]:
    """Return from which second which price counts: the one in effect when an hour of the instance begins."""
    before = [change.usd for change in changes if change.since <= launched_at]
    after = [change for change in changes if change.since > launched_at]
    if before:
        first = before[-1]
    elif first is None and after:
        first = after[0].usd
    if first is None:
        return ()
    steps = {0: _atto(first)}
    for change in after:
        seconds = -((launched_at - change.since) // _SECOND)
        steps[-(-seconds // hold_s) * hold_s] = _atto(change.usd)
    return tuple(steps.items())


def _atto(usd: Decimal) -> int:
    return int(usd.scaleb(18).to_integral_value())


def _rounded(numerator: int, denominator: int) -> int:
    """Divide, half to even."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole % 2 == 1))
