"""Put prices on instances, after their launch: a launch never waits for a price list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from asbx.config.limits import ENDED_SHOWN
from asbx.flow.doors import Doors
from asbx.model.job import Request
from asbx.model.record import InstanceRow


def set_prices(doors: Doors, request: Request) -> None:
    """Price the instances of a request where they have no price yet. Raises LedgerError."""
    intents = doors.ledger.intents(request.request_id)
    _set(doors, (row for intent in intents for row in doors.ledger.instances(intent_id=intent.intent_id)))


@dataclass(frozen=True)
class Pricing:
    """One pass after the other: a crash may have come before a request's instances were priced."""

    doors: Doors

    def run(self) -> None:
        """Price what runs, or has ended not long ago, and has no price. Raises LedgerError."""
        ledger, lately = self.doors.ledger, self.doors.clock.now() - ENDED_SHOWN
        _set(self.doors, (*ledger.instances(live_only=True), *ledger.instances(ended_since=lately)))


def _set(doors: Doors, rows: Iterable[InstanceRow]) -> None:
    """Ask what each kind of instance costs now and write it where it is not written yet."""
    prices: dict[str, Decimal] = {}
    for row in rows:
        price = doors.prices.hourly(row.instance_type, row.zone, row.market) if row.price is None else None
        if price is not None:
            prices[row.instance_id] = price
    if prices:
        doors.ledger.set_prices(prices)
