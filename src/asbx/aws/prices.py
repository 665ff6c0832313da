"""What EC2 charges, as last learned: by the refresh, from the ledger, or by asking when somebody must know now."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from asbx.config.limits import ON_DEMAND_PRICE_LIFE, SPOT_PRICE_LIFE
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource
from asbx.ports import Clock, CloudError, PriceList

_Key = tuple[str, str, Market]


class Ec2Prices:
    """The Prices port. A price that was learned is kept when a refresh fails."""

    def __init__(self, price_list: PriceList, clock: Clock) -> None:
        self._list = price_list
        self._clock = clock
        self._known: dict[_Key, PriceChange] = {}
        self._asked: dict[_Key, datetime] = {}
        self._lock = threading.RLock()

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price last learned, however old, without asking AWS.

        AWS tells no price of a Capacity Block: where the site's table has none either, it counts as on-demand.
        """
        change = self._known.get(_key(instance_type, zone, market))
        if change is None and market is Market.CAPACITY_BLOCK:
            change = self._known.get(_key(instance_type, "", Market.ON_DEMAND))
        return None if change is None else change.usd

    def hourly(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return what an hour costs, or None while it cannot be learned."""
        sold = Market.SPOT if market is Market.SPOT else Market.ON_DEMAND
        key = _key(instance_type, zone, sold)
        life = SPOT_PRICE_LIFE if market is Market.SPOT else ON_DEMAND_PRICE_LIFE
        with self._lock:
            asked_at, now = self._asked.get(key), self._clock.now()
            if asked_at is None or now - asked_at > life:
                self._asked[key] = now
                self._ask(instance_type, zone, sold)
            return self.known(instance_type, zone, market)

    def learn(self, changes: Iterable[PriceChange]) -> None:
        """Take what somebody learned, unless better is known."""
        now = self._clock.now()
        with self._lock:
            for change in changes:
                key = _key(change.instance_type, change.zone, change.market)
                other = self._known.get(key)
                if change.since <= now and (other is None or _rank(change) > _rank(other)):
                    self._known[key] = change
                    self._asked[key] = max(self._asked.get(key, change.learned_at), change.learned_at)

    def _ask(self, instance_type: str, zone: str, market: Market) -> None:
        """Ask for one; without an answer the bill says `unpriced`: a launch never waits for a price list."""
        try:
            if market is Market.SPOT:
                self.learn(self._list.spot([instance_type], [zone] if zone else [], self._clock.now()))
            else:
                self.learn(self._list.on_demand([instance_type]))
        except CloudError:
            return


def _key(instance_type: str, zone: str, market: Market) -> _Key:
    return instance_type, "" if market is Market.ON_DEMAND else zone, market


def _rank(change: PriceChange) -> tuple[bool, datetime, datetime]:
    """AWS stands above the site's table."""
    return change.source is not PriceSource.BUNDLED, change.learned_at, change.since
