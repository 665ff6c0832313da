"""Keep prices fresh: ask AWS now and then, write what changed into the ledger, tell the door that launches look at.

A launch takes what is known, after a restart what the ledger has; the door asks only for what a limit or a budget needs
and this has not learned for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.config.limits import (
    ENDED_SHOWN,
    FORGET_PRICES_EVERY,
    FORGET_PRICES_REACH,
    PRICES_AGAIN,
    REFUSED_AGAIN,
    SPOT_HISTORY_OVERLAP,
)
from asbx.errors import ConfigError
from asbx.flow.doors import Doors, PriceSources
from asbx.model.event import Event, EventKind
from asbx.model.market import Market, Verdict
from asbx.model.price import PriceChange, PriceSource, is_volume
from asbx.ports import CloudError

_SPOT, _LISTED, _RENTS, _TABLE = "spot", "on-demand", "volumes", "price-file"


@dataclass(frozen=True)
class Wanted:
    """Which prices are of use. spot: type -> since when. zones: () where those of a subnet are unknown."""

    listed: frozenset[str]
    spot: Mapping[str, datetime]
    zones: tuple[str, ...]


def learn_from_ledger(doors: Doors) -> tuple[PriceChange, ...]:
    """Let the prices in force, as the ledger has them, be known; return them. Raises LedgerError."""
    if doors.price_sources is None:
        return ()
    now = doors.clock.now()
    found = doors.price_sources.book.price_changes(now, now)
    doors.prices.learn(found)
    return found


def wanted(doors: Doors) -> Wanted:
    """Return what the configured groups may launch, and what runs or ended not long ago. Raises LedgerError."""
    now, groups = doors.clock.now(), [group for _, group in doors.config.groups()]
    rows = (
        *doors.ledger.instances(live_only=True),
        *doors.ledger.instances(ended_since=now - ENDED_SHOWN),
    )
    spot = {
        override.instance_type: now
        for group in groups
        if group.purchasing_option != "on-demand"
        for override in group.launch_template_overrides
    }
    for row in rows:
        if row.market is Market.SPOT:
            spot[row.instance_type] = min(spot.get(row.instance_type, now), row.launched_at)
    subnets = {one for group in groups for one in group.subnet_ids}
    subnets |= {one.subnet_id for group in groups for one in group.launch_template_overrides if one.subnet_id}
    facts = doors.catalogue.subnets(subnets)
    zones = {fact.zone for fact in facts.values()} | {row.zone for row in rows}
    return Wanted(
        frozenset(one.instance_type for group in groups for one in group.launch_template_overrides)
        | {row.instance_type for row in rows},
        spot,
        tuple(sorted(zones)) if len(facts) == len(subnets) else (),
    )


@dataclass
class PriceRefresh:
    """One pass after the other. troubles: what cannot be learned, and why.

    _asked: (part, type) -> when AWS was last asked with success. _again: part -> not before this, after a refusal.
    """

    doors: Doors
    troubles: dict[str, str] = field(default_factory=dict)
    _asked: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _again: dict[str, datetime] = field(default_factory=dict)
    _loaded: bool = False
    _forgotten: datetime | None = None

    def run(self, *, whatever_the_age: bool = False) -> None:
        """Ask for what is due. Raises LedgerError; what AWS does not tell is said once and asked for again."""
        sources, settings = self.doors.price_sources, self.doors.config.prices
        if sources is None:
            return
        wants = wanted(self.doors)
        if not self._loaded:
            self._load(sources, wants)
        now = self.doors.clock.now()
        at_once = timedelta.resolution if whatever_the_age else None
        if self._is_due(_SPOT, wants.spot, at_once or settings.spot_refresh, now):
            known = (self._asked.get((_SPOT, name), since) for name, since in wants.spot.items())
            since = min(known) - SPOT_HISTORY_OVERLAP
            self._learn(_SPOT, wants.spot, sources, lambda: sources.told.spot(wants.spot, wants.zones, since))
        if self._is_due(_LISTED, wants.listed, at_once or settings.on_demand_refresh, now):
            self._learn(_LISTED, wants.listed, sources, lambda: sources.told.on_demand(wants.listed))
            if _LISTED not in self.troubles:
                self._learn(_RENTS, frozenset(), sources, sources.told.volumes)
            self._take_table(sources, wants)
        self._forget(sources, now)

    def _load(self, sources: PriceSources, wants: Wanted) -> None:
        """Begin with what the ledger has: what is young there needs no question."""
        for change in learn_from_ledger(self.doors):
            if change.source is PriceSource.BUNDLED or is_volume(change.instance_type):
                continue
            key = (_SPOT if change.market is Market.SPOT else _LISTED, change.instance_type)
            self._asked[key] = min(self._asked.get(key, change.learned_at), change.learned_at)
        self._take_table(sources, wants)
        self._loaded = True

    def _is_due(
        self, part: str, types: Mapping[str, datetime] | frozenset[str], every: timedelta, now: datetime
    ) -> bool:
        """Whether any of these types was last asked for so long ago; then all are, so that they keep in step."""
        if not every or not types or now < self._again.get(part, now):
            return False
        return any((at := self._asked.get((part, name))) is None or now - at >= every for name in types)

    def _learn(
        self,
        part: str,
        types: Mapping[str, datetime] | frozenset[str],
        sources: PriceSources,
        ask: Callable[[], tuple[PriceChange, ...]],
    ) -> None:
        now = self.doors.clock.now()
        try:
            told = ask()
        except CloudError as error:
            refused = error.verdict is Verdict.PERMISSION
            self._again[part] = now + (REFUSED_AGAIN if refused else PRICES_AGAIN)
            self._say(part, f"{error.code}: {error.why or error.what}")
            return
        self._keep(sources, told)
        self._asked |= {(part, name): now for name in types}
        self._say(part, "")

    def _keep(self, sources: PriceSources, told: tuple[PriceChange, ...]) -> None:
        if told:
            sources.book.add_price_changes(told)
            self.doors.prices.learn(told)

    def _take_table(self, sources: PriceSources, wants: Wanted) -> None:
        """Take what the site's own table says of what is wanted; where AWS has told a price that one stands."""
        try:
            table = sources.table()
        except ConfigError as error:
            self._say(_TABLE, f"{error.what}: {error.why}")
            return
        self._say(_TABLE, "")
        self._keep(
            sources, tuple(one for one in table if one.instance_type in wants.listed or is_volume(one.instance_type))
        )

    def _say(self, part: str, trouble: str) -> None:
        """Say once that prices are not learned, and once that they are again."""
        if trouble and self.troubles.get(part) != trouble:
            text = f"{part}: prices are not learned, and the last known ones serve on: {trouble}"
            self.doors.say(Event(EventKind.PRICES_OLD, text, level="warning", data={"part": part}))
        if not trouble and part in self.troubles:
            self.doors.say(Event(EventKind.PRICES_LEARNED, f"{part}: prices are learned again", data={"part": part}))
        self.troubles.pop(part, None)
        if trouble:
            self.troubles[part] = trouble

    def _forget(self, sources: PriceSources, now: datetime) -> None:
        if self._forgotten is not None and now - self._forgotten < FORGET_PRICES_EVERY:
            return
        keep = self.doors.config.ledger.keep
        last = now - FORGET_PRICES_REACH if self._forgotten is None else self._forgotten
        sources.book.forget_prices(now - keep, last - keep)
        self._forgotten = now
