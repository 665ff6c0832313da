"""Budgets: the book of holds, and the budget service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from asbx.model.budget import Book, Entry, EntryState, Hold, HoldState, Reply, Short, Taken

# Whether a hold is to be had, from the books as they stand: (budget, period) -> book. None: it is.
Judge = Callable[[Hold, Mapping[tuple[str, str], Book]], Short | None]


class Budgets(Protocol):
    """The part of the record that is about budgets. Every method raises LedgerError when the database cannot serve.

    A book's `held` is at any moment the sum of its holds that are HELD: both change in one transaction.
    """

    def take(self, launches: Sequence[Sequence[Hold]], previous: Mapping[str, str], judge: Judge) -> tuple[Taken, ...]:
        """Take the holds of launches, of each all or none: one transaction; nobody else takes of these budgets then.

        The holds of a launch have one key; each is judged after those before it. previous: budget -> the period before,
        for `judge`. What is held or settled under a key already stays as it is; what was released is taken again.
        `judge` must not use the ledger.
        """

    def release(self, keys: Iterable[str], at: datetime, why: str) -> tuple[Hold, ...]:
        """Give back what is held under these keys; return what was. Again: nothing."""

    def settle(self, key: str, usd: Decimal, at: datetime, why: str = "") -> tuple[Hold, ...]:
        """Charge what a launch cost in place of what is held for it, in every budget; return the holds. Once only."""

    def holds(
        self, *, state: HoldState | None = None, job_id: int | None = None, limit: int | None = None
    ) -> tuple[Hold, ...]:
        """Return holds, oldest first; limit: only so many of the youngest."""

    def books(self) -> tuple[Book, ...]:
        """Return every book, by budget and period."""

    def grant(self, budget: str, period: str, usd: Decimal) -> Book:
        """Add to what one period of a budget may spend; less than nothing takes it away again."""

    def alert(self, budget: str, period: str, level: int) -> bool:
        """Note that a level is told; False when it, or a higher one, was told before."""

    # -- the budget service
    def entries(self, states: Iterable[EntryState], *, job_id: int | None = None) -> tuple[Entry, ...]:
        """Return launches in one of these states there (of a job), oldest first."""

    def entry(self, key: str) -> Entry | None:
        """Return where a launch stands there, None for one it was never asked about."""

    def taken(self, account: str, transactions: Iterable[str]) -> frozenset[str]:
        """Return which of these transactions of an account are known to be of some launch of ours."""

    def change_entry(self, key: str, change: Callable[[Entry | None], Entry | None]) -> Entry | None:
        """Read one, let `change` say what becomes of it (None: as it is), write and return that: one transaction."""


class BudgetService(Protocol):
    """The budget service, a question at a time. Never raises: what goes wrong is in the answer. Repeats nothing."""

    def turn(self, account: str) -> AbstractContextManager[bool]:
        """Let nobody else of this program ask about an account meanwhile; False where it is not to be had in time.

        The service allows two checks at once what it has for one.
        """

    def check(self, question: Mapping[str, Any]) -> Reply:
        """Ask for a hold."""

    def reconcile(self, question: Mapping[str, Any]) -> Reply:
        """Tell what a job cost."""

    def transactions(self, account: str, limit: int) -> Reply:
        """Ask for the last transactions of an account."""

    def leave(self, name: str, document: Mapping[str, Any]) -> str:
        """Leave a document where the service imports it from; return why not, "" when it lies there.

        One that lies there already stays as it is.
        """

    def health(self) -> Reply:
        """Ask how it is."""
