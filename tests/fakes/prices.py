"""Prices by type and market, with a default for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from asbx.errors import AsbxError
from asbx.model.market import Market
from asbx.model.price import PriceChange


@dataclass
class FakePrices:
    """The door `Prices`. table: USD an hour by (type, zone, market); default: for all others."""

    table: dict[tuple[str, str, Market], Decimal] = field(default_factory=dict)
    default: Decimal | None = Decimal("0.10")
    asked: int = 0
    learned: dict[tuple[str, str, Market], Decimal] = field(default_factory=dict)

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return what was learned; else this door learns when it is asked."""
        return self.learned.get((instance_type, zone, market))

    def learn(self, changes: Iterable[PriceChange]) -> None:
        """Keep the newest of each."""
        self.learned |= {(one.instance_type, one.zone, one.market): one.usd for one in changes}

    def hourly(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price of an hour."""
        self.asked += 1
        return self.table.get((instance_type, zone, market), self.default)


@dataclass
class FakePriceList:
    """The door `PriceList`. told: what AWS would say, whatever it is asked; asked: by method, the arguments."""

    told: list[PriceChange] = field(default_factory=list)
    rents: list[PriceChange] = field(default_factory=list)
    asked: list[tuple[str, tuple[str, ...], tuple[str, ...], datetime | None]] = field(default_factory=list)
    error: AsbxError | None = None

    def _ask(
        self, method: str, types: Iterable[str] = (), zones: Iterable[str] = (), at: datetime | None = None
    ) -> None:
        self.asked.append((method, tuple(sorted(types)), tuple(sorted(zones)), at))
        if self.error is not None:
            raise self.error

    def on_demand(self, instance_types: Iterable[str]) -> tuple[PriceChange, ...]:
        """Return those of the types."""
        names = set(instance_types)
        self._ask("on_demand", names)
        return tuple(one for one in self.told if one.market is Market.ON_DEMAND and one.instance_type in names)

    def spot(self, instance_types: Iterable[str], zones: Iterable[str], since: datetime) -> tuple[PriceChange, ...]:
        """Return those of the types and zones, whatever their time."""
        names, places = set(instance_types), set(zones)
        self._ask("spot", names, places, since)
        return tuple(
            one
            for one in self.told
            if one.market is Market.SPOT and one.instance_type in names and (not places or one.zone in places)
        )

    def volumes(self) -> tuple[PriceChange, ...]:
        """Return what EBS charges."""
        self._ask("volumes")
        return tuple(self.rents)
