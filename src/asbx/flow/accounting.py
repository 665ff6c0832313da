"""Settle what is over: its charges are worked out once and written down, so that reports only add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asbx.config.limits import SETTLE_AFTER, SETTLE_MOST
from asbx.decide.meter.charges import meter
from asbx.decide.meter.spans import Life
from asbx.decide.meter.sums import settlement
from asbx.decide.meter.tariff import Rules
from asbx.model.record import InstanceRow
from asbx.ports import Clock
from asbx.ports.charges import ChargeBook


@dataclass(frozen=True)
class Accounting:
    """A part of the pass. lives: finds out all that is known of instances. A crash repeats what was not written.

    What is learned later about an end that is settled (EC2's own time of it) settles it anew.
    """

    charges: ChargeBook
    lives: Callable[[Sequence[InstanceRow]], Sequence[Life]]
    clock: Clock
    rules: Rules

    def run(self) -> int:
        """Settle what has been over for a while, some at a time; return how many. Raises LedgerError."""
        rows = self.charges.unsettled(self.clock.now() - SETTLE_AFTER, SETTLE_MOST)
        if rows:
            now = self.clock.now()
            self.charges.settle([settlement(meter(life, now, rules=self.rules)) for life in self.lives(rows)])
        return len(rows)
