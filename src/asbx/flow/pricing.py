"""Put prices on instances, after their launch: a launch never waits for a price list."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from asbx.flow.doors import Doors
from asbx.model.job import Request
from asbx.model.record import InstanceRow


def set_prices(doors: Doors, request: Request) -> None:
    """Price the instances of a request where they have no price yet. Raises LedgerError."""
    intents = doors.ledger.intents(request.request_id)
    _set(doors, (row for intent in intents for row in doors.ledger.instances(intent_id=intent.intent_id)))


def price_live(doors: Doors) -> None:
    """Price all that runs and has no price: a crash may have come before. Raises LedgerError."""
    _set(doors, doors.ledger.instances(live_only=True))


def _set(doors: Doors, rows: Iterable[InstanceRow]) -> None:
    """Ask what each kind of instance costs now and write it where it is not written yet."""
    prices: dict[str, Decimal] = {}
    for row in rows:
        price = doors.prices.hourly(row.instance_type, row.zone, row.market) if row.price is None else None
        if price is not None:
            prices[row.instance_id] = price
    if prices:
        doors.ledger.set_prices(prices)
