"""Put prices on the instances of a request, after the launch: a launch never waits for a price list."""

from __future__ import annotations

from decimal import Decimal

from asbx.flow.doors import Doors
from asbx.model.job import Request


def set_prices(doors: Doors, request: Request) -> None:
    """Ask what each kind of instance costs now and write it where it is not written yet. Raises LedgerError."""
    prices: dict[str, Decimal] = {}
    for intent in doors.ledger.intents(request.request_id):
        for row in doors.ledger.instances(intent_id=intent.intent_id):
            price = doors.prices.hourly(row.instance_type, row.zone, row.market) if row.price is None else None
            if price is not None:
                prices[row.instance_id] = price
    doors.ledger.set_prices(prices)
