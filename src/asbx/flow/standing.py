"""Read how things stand from the ledger."""

from __future__ import annotations

from datetime import datetime

from asbx.decide.standing import Standing, under_way
from asbx.ports import Ledger


def standing(ledger: Ledger, now: datetime) -> Standing:
    """Return it; a request that closes between two reads is left out or shown as it was. Raises LedgerError."""
    requests = ledger.open_requests()
    intents = {one.request_id: ledger.intents(one.request_id) for one in requests}
    attempts = {one.intent_id: ledger.attempts(one.intent_id) for some in intents.values() for one in some}
    bindings = ledger.live_bindings() if attempts else ()
    return Standing(
        now,
        requests,
        under_way(requests, intents, attempts, bindings),
        ledger.instances(live_only=True),
        ledger.shortages(),
        ledger.breakers(),
    )
