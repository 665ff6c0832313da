"""Prices by type and market, with a default for the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from asbx.model.market import Market


@dataclass
class FakePrices:
    """The door `Prices`. table: USD an hour by (type, zone, market); default: for all others."""

    table: dict[tuple[str, str, Market], Decimal] = field(default_factory=dict)
    default: Decimal | None = Decimal("0.10")
    asked: int = 0

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return nothing: this door learns when it is asked."""
        del self, instance_type, zone, market
        return None

    def hourly(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price of an hour."""
        self.asked += 1
        return self.table.get((instance_type, zone, market), self.default)
