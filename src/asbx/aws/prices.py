"""What EC2 charges, as last learned: by the refresh, from the ledger, or by asking when somebody must know now."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.config.limits import ON_DEMAND_PRICE_LIFE, PRICES_AGAIN, REFRESHES_MISSED, SPOT_PRICE_LIFE
from asbx.config.prices import PriceSettings
from asbx.model.market import Market, Verdict
from asbx.model.price import PriceChange, PriceSource
from asbx.ports import Clock, CloudError, PriceList

_Key = tuple[str, str, Market]


class Ec2Prices:
    """The Prices port. A price that was learned is kept when a refresh fails.

    settings: of the refresh; what that keeps fresh is not asked for by others. May be shared between threads: one
    asks at a time, and whoever wants what is known waits for nobody.
    """

    def __init__(self, price_list: PriceList, clock: Clock, settings: PriceSettings | None = None) -> None:
        self._list = price_list
        self._clock = clock
        self._lives = _lives(settings)
        self._known: dict[_Key, PriceChange] = {}
        self._asked: dict[_Key, datetime] = {}
        self._again: dict[Market, datetime] = {}
        self._lock = threading.Lock()
        self._asking = threading.Lock()

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
        key = _key(instance_type, zone, Market.SPOT if market is Market.SPOT else Market.ON_DEMAND)
        if self._is_due(key):
            with self._asking:
                if self._is_due(key):  # the one before us may have asked the same
                    self._ask(key)
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

    def _is_due(self, key: _Key) -> bool:
        with self._lock:
            asked_at, now = self._asked.get(key), self._clock.now()
            if now < self._again.get(key[2], now):
                return False
            return asked_at is None or now - asked_at > self._lives[key[2]]

    def _ask(self, key: _Key) -> None:
        """Ask for one; without an answer the bill says `unpriced`.

        A service that does not answer is asked for nothing for a while: a launch wants many prices, and would wait for
        as many time-outs.
        """
        name, zone, market = key
        asked_at = self._clock.now()
        told: tuple[PriceChange, ...] = ()
        try:
            if market is Market.SPOT:
                told = self._list.spot([name], [zone] if zone else [], asked_at)
            else:
                told = self._list.on_demand([name])
        except CloudError as error:
            if error.verdict is not Verdict.INVALID:
                with self._lock:
                    self._again[market] = self._clock.now() + PRICES_AGAIN
                return
        self.learn(told)
        with self._lock:
            self._asked[key] = max(self._asked.get(key, asked_at), asked_at)


def _lives(settings: PriceSettings | None) -> dict[Market, timedelta]:
    """Return how old a price may be before it is asked for outside the refresh."""
    spot, listed = (settings.spot_refresh, settings.on_demand_refresh) if settings else (timedelta(), timedelta())
    return {
        Market.SPOT: max(SPOT_PRICE_LIFE, REFRESHES_MISSED * spot),
        Market.ON_DEMAND: max(ON_DEMAND_PRICE_LIFE, REFRESHES_MISSED * listed),
    }


def _key(instance_type: str, zone: str, market: Market) -> _Key:
    return instance_type, "" if market is Market.ON_DEMAND else zone, market


def _rank(change: PriceChange) -> tuple[bool, datetime, datetime]:
    """AWS stands above the site's table."""
    return change.source is not PriceSource.BUNDLED, change.learned_at, change.since
