"""Put prices on instances, after their launch: a launch never waits for a price list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from asbx.config.limits import ENDED_SHOWN, UNPRICED_REACH
from asbx.flow.doors import Doors
from asbx.model.job import Request
from asbx.model.record import InstanceRow


def set_prices(doors: Doors, request: Request) -> None:
    """Price the instances of a request where they have no price yet. Raises LedgerError."""
    intents = doors.ledger.intents(request.request_id)
    _set(doors, (row for intent in intents for row in doors.ledger.instances(intent_id=intent.intent_id)))


@dataclass
class Pricing:
    """One pass after the other: a crash may have come before a request's instances were priced.

    Now and then it looks back further: a price list may have been away for days.
    """

    doors: Doors
    _looked: datetime | None = None

    def run(self) -> None:
        """Price what runs, or has ended not long ago, and has no price. Raises LedgerError."""
        ledger, now = self.doors.ledger, self.doors.clock.now()
        is_time = self._looked is None or now - self._looked >= ENDED_SHOWN
        reach = UNPRICED_REACH if is_time else ENDED_SHOWN
        _set(self.doors, (*ledger.instances(live_only=True), *ledger.instances(ended_since=now - reach)))
        self._looked = now if is_time else self._looked


def _set(doors: Doors, rows: Iterable[InstanceRow]) -> None:
    """Ask what each kind of instance costs now and write it where it is not written yet."""
    prices: dict[str, Decimal] = {}
    for row in rows:
        price = doors.prices.hourly(row.instance_type, row.zone, row.market) if row.price is None else None
        if price is not None:
            prices[row.instance_id] = price
    if prices:
        doors.ledger.set_prices(prices)
