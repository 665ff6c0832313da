"""Room for a call within what may run at once: looked for before anything is made for it, taken with the call itself.

Taken means written: the call stands in the ledger before EC2 hears of it and counts from then on, and whoever writes
one sees those before it. So gangs that are launched at the same moment, by threads or by programs, never pass a limit
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from asbx.config.limits import UNSETTLED
from asbx.decide.limits import Ceiling, Prices, price_of
from asbx.decide.limits_room import Demand, Fit, Reach, fit, loads, reaches
from asbx.decide.rungs import Rung
from asbx.flow.doors import Doors
from asbx.model.limit import Use
from asbx.model.market import FleetOrder, Market
from asbx.model.record import Attempt, Intent

LIMIT_REACHED = "limit-reached"


class Asking(Protocol):
    """A gang that is about to ask."""

    @property
    def at_once(self) -> tuple[Ceiling, ...]:
        """Return the limits its calls must leave room for."""

    @property
    def whole(self) -> bool:
        """Whether it keeps all of its nodes or none."""


@dataclass(frozen=True)
class Room:
    """Asks the ledger what is in use. `later` is what a gang asks for after a call: how many, and from which rungs."""

    doors: Doors

    def look(self, run: Asking, order: FleetOrder, later: Sequence[tuple[int, Sequence[Rung]]]) -> Fit:
        """Return what of a call there seems to be room for. Nothing is taken. Raises LedgerError."""
        if not run.at_once:
            return Fit(order)
        use = self.in_use()
        return self._fit(run, order, later, use, self._prices(order, later, use))

    def take(
        self, run: Asking, attempt: Attempt, intent: Intent | None, later: Sequence[tuple[int, Sequence[Rung]]]
    ) -> tuple[Attempt | None, str]:
        """Write a call with what of it there is room for; (None, why) where there is none. Raises LedgerError."""
        if not run.at_once:
            self.doors.ledger.add_attempt(attempt, intent)
            return attempt, ""
        prices = self._prices(attempt.order, later, self.in_use())  # asked for before others must wait for us
        why: list[str] = []

        def choose(use: Use) -> Attempt | None:
            found = self._fit(run, attempt.order, later, use, prices)
            why.append(found.why)
            return None if found.order is None else replace(attempt, order=found.order)

        kept = self.doors.ledger.claim_attempt(intent, self._since, choose)
        return kept, why[-1]

    @property
    def _since(self) -> datetime:
        return self.doors.clock.now() - UNSETTLED

    def in_use(self) -> Use:
        """Return what is in use now. Raises LedgerError."""
        return self.doors.ledger.in_use(self._since)

    def reached(self, ceilings: Sequence[Ceiling], use: Use, prices: Prices) -> list[Reach]:
        """Return how far limits are used."""
        return reaches(ceilings, loads(use, prices, self.doors.config.limits.volumes_usd_per_hour))

    def _fit(
        self,
        run: Asking,
        order: FleetOrder,
        later: Sequence[tuple[int, Sequence[Rung]]],
        use: Use,
        prices: Prices,
    ) -> Fit:
        settings = self.doors.config.limits
        volumes = settings.volumes_usd_per_hour
        more = sum(count for count, _ in later)
        usd = sum((count * (_least(rungs, prices) + volumes) for count, rungs in later), Decimal(0))
        demand = Demand(order, run.whole, volumes, more, usd)
        return fit(demand, self.reached(run.at_once, use, prices), prices, settings.unknown)

    def _prices(self, order: FleetOrder, later: Sequence[tuple[int, Sequence[Rung]]], use: Use) -> Prices:
        kinds = {(pool.instance_type, pool.zone, order.market) for pool in order.pools}
        kinds |= {(p.instance_type, p.zone, rung.market) for _, rungs in later for rung in rungs for p in rung.pools}
        return self.current(kinds, use)

    def current(self, kinds: set[tuple[str, str, Market]], use: Use) -> Prices:
        """Return what these kinds and what is in use cost now; prices are cached behind their door."""
        wanted = set(kinds)
        wanted |= {(row.instance_type, row.zone, row.market) for row in use.live}
        wanted |= {(p.instance_type, p.zone, a.order.market) for _, a in use.asked for p in a.order.pools}
        wanted |= {(name, zone, Market.ON_DEMAND) for name, zone, _ in wanted}
        found = {kind: self.doors.prices.hourly(*kind) for kind in sorted(wanted)}
        return {kind: price for kind, price in found.items() if price is not None}


def _least(rungs: Sequence[Rung], prices: Prices) -> Decimal:
    found = [price_of(prices, pool.instance_type, pool.zone, rung.market) for rung in rungs for pool in rung.pools]
    return min((price for price in found if price is not None), default=Decimal(0))
