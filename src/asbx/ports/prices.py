"""The record of prices: what was charged when, and who said so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from asbx.model.market import Market
from asbx.model.price import PriceChange


class PriceList(Protocol):
    """Who tells prices. Every method raises CloudError when they cannot be learned."""

    def on_demand(self, instance_types: Iterable[str]) -> tuple[PriceChange, ...]:
        """Return the price of each of these types, for those that have one."""

    def spot(self, instance_types: Iterable[str], zones: Iterable[str], since: datetime) -> tuple[PriceChange, ...]:
        """Return every change since a moment, and those in force then. zones: none means all."""

    def volumes(self) -> tuple[PriceChange, ...]:
        """Return what EBS charges, by `model.price.volume_offering`."""


class PriceBook(Protocol):
    """What the ledger keeps of prices. Every method raises LedgerError when the database cannot serve.

    What AWS said stands above the bundled table: its first price of an offering ends what that table said,
    and the table is not heard for an offering AWS has priced before the table's date.
    """

    def add_price_changes(self, changes: Iterable[PriceChange]) -> int:
        """Keep changes; return how many of them are new. One that is kept already gets the newer `learned_at`.

        A price that only repeats the one in force before it is not kept: that one has been learned again.
        """

    def price_changes(
        self,
        since: datetime,
        until: datetime,
        *,
        instance_types: Iterable[str] | None = None,
        zones: Iterable[str] | None = None,
        markets: Iterable[Market] | None = None,
    ) -> tuple[PriceChange, ...]:
        """Return the changes of a time, and of each offering the one in force at its beginning, if any.

        By instance type, zone, market and time. None: all there are. Prices without a zone belong to every zone.
        since == until: what is in force then.
        """

    def forget_prices(self, before: datetime, after: datetime | None = None) -> int:
        """Forget prices that were no longer in force at `before`, unless an instance lived under them; count them.

        after: leave out those that were no longer in force then, which an earlier call has been through.
        """
