"""The record of charges: what closed instances have cost whom, day by day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Protocol

from asbx.decide.meter.sums import Dimension, Settlement, Slice, Sum
from asbx.model.record import InstanceRow


class ChargeBook(Protocol):
    """What the ledger keeps of cost. Every method raises LedgerError when the database cannot serve.

    An instance is settled once it is over; settling it again, because something was learned since, replaces what was.
    """

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Keep the charges of instances, in the place of those kept of them before; all of it or nothing."""

    def unsettled(self, ended_before: datetime, most: int) -> tuple[InstanceRow, ...]:
        """Return instances that were over then and are not settled as they ended, or without the price they have now.

        The oldest so many.
        """

    def unsettled_all(self, launched_before: datetime) -> tuple[InstanceRow, ...]:
        """Return every instance that is not settled, those that live too, launched before a moment."""

    def settled(self, instance_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these instances are settled, with whatever end."""

    def charge_sums(self, slice_: Slice, by: Sequence[Dimension]) -> tuple[Sum, ...]:
        """Add up charges by kind and dimensions."""

    def dearest(self, slice_: Slice, by: Dimension, most: int) -> tuple[str, ...]:
        """Return the values of a dimension that the most was spent under, the dearest first; nobody's left out."""

    def charges_unpriced(self, first: date | None, last: date) -> tuple[str, ...]:
        """Return settled instances of these days whose price is not known."""
