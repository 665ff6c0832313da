"""What a job that is about to be submitted would pay an hour: AWS's word, else the site's table."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from asbx.aws.price_file import read_table
from asbx.aws.price_list import Ec2PriceList
from asbx.config.schema import Config
from asbx.decide.price_history import in_force
from asbx.errors import ConfigError
from asbx.model.market import Market
from asbx.model.price import PriceChange
from asbx.ports import Clock, CloudError


class PriceAsker:
    """Asks for each price once. Where AWS does not answer it is asked no more: a login node may have no way there."""

    def __init__(self, settings: Config | None, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._list = None if settings is None else Ec2PriceList(settings.aws, clock)
        self._told: dict[tuple[str, str, Market], Decimal | None] = {}
        self._table: tuple[PriceChange, ...] | None = None
        self.notes: list[str] = []

    def __call__(self, kind: str, zone: str, market: Market) -> Decimal | None:
        """Return USD an hour, None where nobody tells. Of a spot pool whose zone is not known: in the dearest zone."""
        sold = Market.SPOT if market is Market.SPOT else Market.ON_DEMAND
        key = (kind, zone if sold is Market.SPOT else "", sold)
        if key not in self._told:
            self._told[key] = self._of_aws(*key)
            if self._told[key] is None:
                self._told[key] = self._of_table(*key)
        return self._told[key]

    def _of_aws(self, kind: str, zone: str, market: Market) -> Decimal | None:
        if self._list is None:
            return None
        try:
            if market is Market.SPOT:
                return _dearest(in_force(self._list.spot([kind], [zone] if zone else [], self._clock.now())))
            return _dearest(self._list.on_demand([kind]))
        except CloudError as error:
            self._list = None
            self.notes.append(f"AWS tells no prices here ({error.code}): those of prices.file count, where it has them")
            return None

    def _of_table(self, kind: str, zone: str, market: Market) -> Decimal | None:
        if self._table is None:
            self._table = self._read()
        now = self._clock.now()
        rows = (row for row in self._table if (row.instance_type, row.market) == (kind, market) and row.since <= now)
        return _dearest(row for row in rows if zone in ("", row.zone))

    def _read(self) -> tuple[PriceChange, ...]:
        if self._settings is None or self._settings.prices.file is None:
            return ()
        try:
            return read_table(self._settings.prices.file, self._settings.aws.region)
        except ConfigError as error:
            self.notes.append(f"{error.what}: {error.why}")
            return ()


def _dearest(rows: Iterable[PriceChange]) -> Decimal | None:
    return max((row.usd for row in rows), default=None)
