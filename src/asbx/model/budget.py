"""Budgets as the ledger has them: what is held for jobs, what they have spent, and what the budget service was told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

_ZERO = Decimal(0)


class HoldState(StrEnum):
    """What became of a hold. Money is set apart while it is HELD, and only then."""

    HELD = "held"
    RELEASED = "released"
    SETTLED = "settled"


@dataclass(frozen=True)
class Hold:
    """Money of one budget set apart for one job's launch.

    key: names the launch, `REQUEST/JOB`; a job that is requeued is launched under another key. period: first day of
    the period it counts in, for good. usd: what is set apart. spent: what it cost in the end. why: the arithmetic.
    """

    key: str
    budget: str
    period: str
    job_id: int
    request_id: str
    user: str
    account: str
    usd: Decimal
    taken_at: datetime
    state: HoldState = HoldState.HELD
    spent: Decimal | None = None
    ended_at: datetime | None = None
    why: str = ""


@dataclass(frozen=True)
class Book:
    """How one period of a budget stands. granted: added to its limit by hand. alerted: highest level told, percent."""

    budget: str
    period: str
    held: Decimal = _ZERO
    spent: Decimal = _ZERO
    granted: Decimal = _ZERO
    alerted: int = 0


@dataclass(frozen=True)
class Short:
    """Why a hold was not to be had. limit: with what was carried over and granted. needed: what was to be held."""

    budget: str
    period: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    needed: Decimal
    why: str = ""

    @property
    def left(self) -> Decimal:
        """Return what could be held."""
        return max(self.limit - self.spent - self.held, _ZERO)


@dataclass(frozen=True)
class Taken:
    """The answer to a hold: short is None where it is had. books: those it is about, as they stand now."""

    short: Short | None
    books: tuple[Book, ...] = ()


class EntryState(StrEnum):
    """Where a launch stands with the budget service. Written before each call and after each answer."""

    CHECKING = "checking"  # asked for a hold; no answer is written yet, so there may be one
    HELD = "held"
    REFUSED = "refused"
    VOID = "void"  # it has no hold of ours
    OWED = "owed"  # what it cost is to be told
    TELLING = "telling"  # told; no answer is written yet, so it may be charged
    TOLD = "told"
    STUCK = "stuck"  # somebody must look


@dataclass(frozen=True)
class Entry:
    """One launch at the budget service. key: as of the hold. job: what the service knows it as, each launch its own.

    transaction: of the hold there, "" while unknown. hold: what it set apart, cost: what is to be told; USD.
    tries: calls in vain, looks: for what became of one; next_at: no sooner again. said: the last word of the service.
    """

    key: str
    job_id: int
    job: str
    request_id: str
    account: str
    state: EntryState
    asked_at: datetime
    transaction: str = ""
    hold: Decimal | None = None
    cost: Decimal | None = None
    tries: int = 0
    looks: int = 0
    next_at: datetime | None = None
    said: str = ""


# The service may hold or charge something for these; the others are closed.
OPEN = frozenset({EntryState.CHECKING, EntryState.HELD, EntryState.OWED, EntryState.TELLING})


@dataclass(frozen=True)
class Reply:
    """What the budget service said. status: 0 where it said nothing. body: read JSON, numbers as Decimal.

    body is None where it is not JSON, or not announced as such. sent: whether the question may have reached it.
    """

    status: int
    body: Any = None
    sent: bool = True
    said: str = ""
