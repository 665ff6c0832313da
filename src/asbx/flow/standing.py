"""Read how things stand from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asbx.decide.price_history import offering, price_of
from asbx.decide.standing import Standing, under_way
from asbx.model.price import PriceChange
from asbx.model.record import InstanceRow
from asbx.ports import Ledger, PriceBook


def standing(ledger: Ledger, now: datetime, book: PriceBook | None = None) -> Standing:
    """Return it; a request that closes between two reads is left out or shown as it was. Raises LedgerError."""
    requests = ledger.open_requests()
    intents = {one.request_id: ledger.intents(one.request_id) for one in requests}
    attempts = {one.intent_id: ledger.attempts(one.intent_id) for some in intents.values() for one in some}
    rows = ledger.instances(live_only=True)
    bindings = ledger.live_bindings() if attempts else ()
    return Standing(
        now,
        requests,
        under_way(requests, intents, attempts, bindings),
        rows,
        ledger.shortages(),
        ledger.breakers(),
        _prices(book, rows, now) if book is not None and rows else {},
    )


def _prices(book: PriceBook, rows: Sequence[InstanceRow], now: datetime) -> dict[str, PriceChange]:
    newest = {
        offering(one): one for one in book.price_changes(now, now, instance_types={r.instance_type for r in rows})
    }
    found = {row.instance_id: price_of(row, newest) for row in rows}
    return {instance_id: change for instance_id, change in found.items() if change is not None}
