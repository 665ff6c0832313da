"""A record of charges in memory, with the promises of the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from asbx.decide.meter.charges import Charge
from asbx.decide.meter.sums import FIELDS, Dimension, Settlement, Slice, Sum, sums
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
        return kept is not None and kept.ended_at == row.ended_at and (kept.has_price or row.price is None)

    def settled(self, instance_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these are settled."""
        return frozenset(self._settled.keys() & set(instance_ids))

    def charge_sums(self, slice_: Slice, by: Sequence[Dimension]) -> tuple[Sum, ...]:
        """Add up charges by kind and dimensions."""
        return sums((one for one in self._charges() if slice_.holds(one)), by)

    def dearest(self, slice_: Slice, by: Dimension, most: int) -> tuple[str, ...]:
        """Return the values of a dimension that the most was spent under, the dearest first."""
        spent: Counter[str] = Counter()
        for one in self.charge_sums(slice_, (by,)):
            spent[one.key[0]] += one.nanos
        spent.pop("", None)
        values = {
            value: getattr(one, FIELDS[by]) for one in self._charges() for value in [str(getattr(one, FIELDS[by]))]
        }
        return tuple(sorted(spent, key=lambda value: (-spent[value], values[value])))[:most]

    def _charges(self) -> Iterator[Charge]:
        return (charge for one in self._settled.values() for charge in one.charges)

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
