"""Budgets in memory, with every promise of the real ones but durability."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from threading import RLock

from asbx.model.budget import Book, Entry, EntryState, Hold, HoldState, Taken
from asbx.ports.budget import Judge


@dataclass
class MemoryBudgets:
    """The door `Budgets`. May be shared between threads."""

    _books: dict[tuple[str, str], Book] = field(default_factory=dict)
    _holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    _entries: dict[str, Entry] = field(default_factory=dict)
    _turn: RLock = field(default_factory=RLock)

    def take(self, launches: Sequence[Sequence[Hold]], previous: Mapping[str, str], judge: Judge) -> tuple[Taken, ...]:
        """Take the holds of launches, of each all or none."""
        del previous  # every book is at hand
        with self._turn:
            return tuple(self._take(holds, judge) for holds in launches)

    def _take(self, holds: Sequence[Hold], judge: Judge) -> Taken:
        missing = [one for one in holds if self._is_free((one.key, one.budget))]
        for one in missing:
            short = judge(one, dict(self._books))
            if short is not None:
                return Taken(short, self._of(holds))
        for one in missing:
            self._holds[one.key, one.budget] = one
            old = self._book(one.budget, one.period)
            self._books[one.budget, one.period] = replace(old, held=old.held + one.usd)
        return Taken(None, self._of(holds))

    def _is_free(self, key: tuple[str, str]) -> bool:
        return key not in self._holds or self._holds[key].state is HoldState.RELEASED

    def _of(self, holds: Sequence[Hold]) -> tuple[Book, ...]:
        return tuple(self._book(one.budget, one.period) for one in holds)

    def _book(self, budget: str, period: str) -> Book:
        return self._books.get((budget, period)) or Book(budget, period)

    def release(self, keys: Iterable[str], at: datetime, why: str) -> tuple[Hold, ...]:
        """Give back what is held under these keys."""
        return self._end(keys, lambda one: replace(one, state=HoldState.RELEASED, ended_at=at, why=why))

    def settle(self, key: str, usd: Decimal, at: datetime, why: str = "") -> tuple[Hold, ...]:
        """Charge what a launch cost in place of what is held for it."""
        return self._end(
            [key], lambda one: replace(one, state=HoldState.SETTLED, spent=usd, ended_at=at, why=why or one.why)
        )

    def _end(self, keys: Iterable[str], end: Callable[[Hold], Hold]) -> tuple[Hold, ...]:
        wanted, ended = set(keys), []
        with self._turn:
            for place, one in sorted(self._holds.items()):
                if one.key not in wanted or one.state is not HoldState.HELD:
                    continue
                self._holds[place] = new = end(one)
                old = self._book(one.budget, one.period)
                self._books[one.budget, one.period] = replace(
                    old, held=old.held - one.usd, spent=old.spent + (new.spent or 0)
                )
                ended.append(new)
        return tuple(ended)

    def holds(
        self, *, state: HoldState | None = None, job_id: int | None = None, limit: int | None = None
    ) -> tuple[Hold, ...]:
        """Return holds, oldest first."""
        with self._turn:
            mine = [one for one in self._holds.values() if state in (None, one.state) and job_id in (None, one.job_id)]
        mine.sort(key=lambda one: (one.taken_at, one.key, one.budget))
        return tuple(mine if limit is None else mine[len(mine) - min(limit, len(mine)) :])

    def books(self) -> tuple[Book, ...]:
        """Return every book, by budget and period."""
        with self._turn:
            return tuple(self._books[key] for key in sorted(self._books))

    def grant(self, budget: str, period: str, usd: Decimal) -> Book:
        """Add to what one period of a budget may spend."""
        with self._turn:
            old = self._book(budget, period)
            new = replace(old, granted=old.granted + usd, alerted=0 if usd > 0 else old.alerted)
            self._books[budget, period] = new
            return new

    def alert(self, budget: str, period: str, level: int) -> bool:
        """Note that a level is told."""
        with self._turn:
            old = self._books.get((budget, period))
            if old is None or old.alerted >= level:
                return False
            self._books[budget, period] = replace(old, alerted=level)
            return True

    def entries(self, states: Iterable[EntryState], *, job_id: int | None = None) -> tuple[Entry, ...]:
        """Return launches in one of these states at the budget service, oldest first."""
        wanted = set(states)
        with self._turn:
            mine = [one for one in self._entries.values() if one.state in wanted and job_id in (None, one.job_id)]
        return tuple(sorted(mine, key=lambda one: (one.asked_at, one.key)))

    def entry(self, key: str) -> Entry | None:
        """Return where a launch stands there."""
        return self._entries.get(key)

    def taken(self, account: str, transactions: Iterable[str]) -> frozenset[str]:
        """Return which of these transactions of an account are of some launch of ours."""
        with self._turn:
            mine = {one.transaction for one in self._entries.values() if one.account == account and one.transaction}
        return frozenset(mine.intersection(transactions))

    def change_entry(self, key: str, change: Callable[[Entry | None], Entry | None]) -> Entry | None:
        """Read one, let `change` say what becomes of it, write and return that."""
        with self._turn:
            old = self._entries.get(key)
            new = change(old)
            if new is None or new == old:
                return old
            self._entries[key] = replace(new, key=key)
            return self._entries[key]
