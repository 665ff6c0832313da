"""Intents and calls as rows: written by whoever holds the transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import and_, select

from asbx.errors import LedgerError
from asbx.ledger import rows as form
from asbx.ledger import tables as t
from asbx.ledger.engine import insert_new

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from asbx.model.record import Attempt, Intent


def keep_attempt(connection: Connection, attempt: Attempt, intent: Intent | None) -> None:
    """Keep a call, with its intent where that is given. Raises LedgerError (`ledger-differs`)."""
    if intent is not None:
        keep_intent(connection, intent)
    insert_new(connection, t.attempts, [form.attempt_row(attempt)])
    kept = form.attempt_of(connection.execute(select(t.attempts).where(this(attempt))).mappings().one())
    if kept.order != attempt.order:
        raise _differs(f"attempt {attempt.number} of {attempt.intent_id}")


def keep_intent(connection: Connection, intent: Intent) -> None:
    """Keep an intent. Raises LedgerError (`ledger-differs`) when its id stands for another launch."""
    insert_new(connection, t.intents, [form.intent_row(intent)])
    found = connection.execute(select(t.intents).where(t.intents.c.intent_id == intent.intent_id))
    kept = form.intent_of(found.mappings().one())
    if replace(kept, created_at=intent.created_at, considered=intent.considered) != intent:
        raise _differs(f"intent {intent.intent_id}")


def this(attempt: Attempt) -> ColumnElement[bool]:
    """Return what is true of the row of a call."""
    return and_(t.attempts.c.intent_id == attempt.intent_id, t.attempts.c.number == attempt.number)


def _differs(which: str) -> LedgerError:
    return LedgerError(
        "ledger-differs",
        f"{which} is already recorded with other contents",
        "an id stands for one launch only",
        "this is a defect: please report it with the log",
    )
