"""Facts that are asked for once and kept for a while, shared by the threads of the daemon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from asbx.config.limits import REFUSED_LIFE, STALE_LIFE
from asbx.ports import Clock, CloudError

Key = TypeVar("Key")
Fact = TypeVar("Fact")


@dataclass(frozen=True)
class _Row(Generic[Fact]):
    """fact: None where there is none. learned: when EC2 last answered, None if it never did. until: when to ask.

    is_refused: it did not answer when last asked.
    """

    fact: Fact | None
    learned: datetime | None
    until: datetime
    is_refused: bool = False


class Shelf(Generic[Key, Fact]):
    """Answers by key. Threads that need the same fact wait for one call, those that need another kind do not.

    ask: keys -> facts by key, those without one left out; raises CloudError. size: how many keys it takes.
    turns: fact -> moments when it changes by itself, at which it is not kept any longer.
    """

    def __init__(
        self,
        clock: Clock,
        life: timedelta,
        ask: Callable[[Sequence[Key]], Mapping[Key, Fact]],
        size: int = 1,
        turns: Callable[[Fact], Sequence[datetime | None]] = lambda _: (),
    ) -> None:
        self._clock = clock
        self._life = life
        self._ask = ask
        self._size = size
        self._turns = turns
        self._rows: dict[Key, _Row[Fact]] = {}
        self._lock = threading.Lock()

    def find(self, keys: Iterable[Key]) -> dict[Key, Fact]:
        """Return what is known of these, after asking for what is not."""
        wanted = tuple(dict.fromkeys(keys))
        with self._lock:
            now = self._clock.now()
            due = [key for key in wanted if key not in self._rows or self._rows[key].until <= now]
            for start in range(0, len(due), self._size):
                self._learn(due[start : start + self._size], now)
            facts = {key: self._rows[key].fact for key in wanted}
        return {key: fact for key, fact in facts.items() if fact is not None}

    def is_due(self, key: Key) -> bool:
        """Whether the next `find` would ask for it."""
        with self._lock:
            row = self._rows.get(key)
            return row is None or row.until <= self._clock.now()

    def known(self) -> dict[Key, Fact]:
        """Return everything that is known, without asking."""
        with self._lock:
            return {key: row.fact for key, row in self._rows.items() if row.fact is not None}

    def is_absent(self, key: Key) -> bool:
        """Whether EC2 said that there is no such thing (not: that it could not be asked)."""
        self.find([key])
        with self._lock:
            row = self._rows.get(key)
        return row is not None and row.fact is None and row.learned is not None

    def forget(self) -> None:
        """Ask anew next time, but for what was refused a moment ago."""
        with self._lock:
            refused = {key: row for key, row in self._rows.items() if row.is_refused}
            self._rows = {key: replace(row, fact=None, learned=None) for key, row in refused.items()}

    def _learn(self, keys: Sequence[Key], now: datetime) -> None:
        try:
            facts = self._ask(keys)
        except (CloudError, KeyError, ValueError):  # refused, or an answer nobody can read
            for key in keys:
                self._rows[key] = self._refused(key, now)
            return
        for key in keys:
            fact = facts.get(key)
            turns = [turn for turn in self._turns(fact) if turn is not None and turn > now] if fact is not None else []
            self._rows[key] = _Row(fact, now, min([now + self._life, *turns]))

    def _refused(self, key: Key, now: datetime) -> _Row[Fact]:
        """Return a row to go on with for a moment: what was known before, or nothing."""
        old = self._rows.get(key)
        if old is None or old.learned is None or now - old.learned > STALE_LIFE:
            return _Row(None, None, now + REFUSED_LIFE, is_refused=True)
        return replace(old, until=now + REFUSED_LIFE, is_refused=True)
