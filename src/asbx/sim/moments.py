"""What a ledger in memory refuses, with the codes of the real one."""

from __future__ import annotations

from datetime import UTC, datetime

from asbx.errors import LedgerError


def refuse(code: str, what: str) -> LedgerError:
    """Return the error of a refused write."""
    return LedgerError(code, what, "", "")


def aware(moment: datetime) -> datetime:
    """Return the same moment in UTC. Raises LedgerError for a time without a zone."""
    if moment.tzinfo is None:
        raise refuse("ledger-value", "a time without a zone cannot be recorded")
    return moment.astimezone(UTC)
