"""A record of charges in memory, with the promises of the real one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from asbx.decide.meter.sums import Dimension, Settlement, Sum, sums
from asbx.model.record import InstanceRow


@dataclass
class MemoryChargeBook:
    """The door `ChargeBook`."""

    _instances: dict[str, InstanceRow] = field(default_factory=dict)
    _settled: dict[str, Settlement] = field(default_factory=dict)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Keep the charges of instances, in the place of those kept of them before."""
        self._settled |= {one.instance_id: one for one in settlements}

    def unsettled(self, ended_before: datetime, most: int) -> tuple[InstanceRow, ...]:
        """Return what is over and not settled as it ended."""
        return tuple(row for row in self._unsettled() if row.ended_at is not None and row.ended_at <= ended_before)[
            :most
        ]

    def unsettled_all(self, launched_before: datetime) -> tuple[InstanceRow, ...]:
        """Return what is not settled, live or over."""
        return tuple(row for row in self._unsettled() if row.launched_at <= launched_before)

    def _unsettled(self) -> list[InstanceRow]:
        found = [row for row in self._instances.values() if not self._is_settled(row)]
        return sorted(found, key=lambda row: (row.launched_at, row.instance_id))

    def _is_settled(self, row: InstanceRow) -> bool:
        kept = self._settled.get(row.instance_id)
        return kept is not None and kept.ended_at == row.ended_at

    def reopen(self, instance_ids: Collection[str]) -> None:
        """Forget that instances were settled, and their charges."""
        for name in instance_ids:
            self._settled.pop(name, None)

    def settled(self, instance_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these are settled."""
        return frozenset(self._settled.keys() & set(instance_ids))

    def charge_sums(
        self, first: date | None, last: date, by: Sequence[Dimension], without: Collection[str] = ()
    ) -> tuple[Sum, ...]:
        """Add up the charges of days by kind and dimensions."""
        every = (charge for one in self._settled.values() if one.instance_id not in without for charge in one.charges)
        return sums((one for one in every if (first is None or one.day >= first) and one.day <= last), by)

    def charges_unpriced(self, first: date | None, last: date) -> tuple[str, ...]:
        """Return settled instances of these days without a price."""
        return tuple(
            sorted(
                name
                for name, one in self._settled.items()
                if not one.has_price
                and any((first is None or charge.day >= first) and charge.day <= last for charge in one.charges)
            )
        )
