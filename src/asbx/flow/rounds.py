"""The order between gangs: who may ask now, and how many at once.

Gangs ask in the order of their jobs' priority. The first asks alone; with every round in which no pool was short one
more may ask at the same time, and the first empty pool sets that back to one. So a burst of many gangs is quick while
there is room, an order is kept where there is little, and what one gang learns the others need not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asbx.config.limits import GANGS_AT_ONCE
from asbx.flow.memory import Memory
from asbx.flow.run import Climber, GangRun
from asbx.ports import Workers


class Rounds:
    """Takes the gangs of a request up their ladders, round by round."""

    def __init__(self, climber: Climber, memory: Memory, runs: Sequence[GangRun], workers: Workers) -> None:
        self._climber, self._memory, self._workers = climber, memory, workers
        self._open = list(runs)
        self._width = 1

    @property
    def is_over(self) -> bool:
        """Whether every gang has ended."""
        return not self._open

    def next_moment(self, now: datetime) -> datetime | None:
        """Return until when nobody can do anything; None where somebody can."""
        some = self._turn(now) or [run for run in self._open if run.gives_way]
        waits = [run.until for run in some if run.until is not None and run.until > now]
        return min(waits) if len(waits) == len(some) else None

    def _turn(self, now: datetime) -> list[GangRun]:
        """Return the gangs whose turn it is: the first ones; loose nodes wait for the gangs before them.

        One that waits for another's probe of its pools lets those behind it pass: theirs may be other pools.
        """
        whole = self._open[0].gang.whole
        turn: list[GangRun] = []
        for run in self._open:
            if run.gang.whole is not whole or len(turn) >= self._width:
                break
            if not (run.gives_way and run.until is not None and run.until > now):
                turn.append(run)
        return turn

    def play(self, now: datetime) -> tuple[list[GangRun], list[GangRun]]:
        """Let those whose turn it is make one step each; return (those that are done, those that came to nothing)."""
        self._memory.refresh()
        turn = [run for run in self._turn(now) if run.until is None or run.until <= now]
        if len(turn) == 1:
            self._climber.step(turn[0])
        else:
            with self._workers.pool(max(len(turn), 1), "gang") as pool:
                for _ in pool.map(self._climber.step, turn):
                    pass
        if any(run.was_short for run in turn):
            self._width = 1
        elif any(run.done for run in turn):
            self._width = min(self._width + 1, GANGS_AT_ONCE)
        done = [run for run in turn if run.done]
        failed = [run for run in turn if run.failure is not None]
        self._open = [run for run in self._open if not run.done and run.failure is None]
        return done, failed
