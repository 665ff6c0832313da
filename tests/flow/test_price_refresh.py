"""Prices are learned beside the work, kept in the ledger, and never waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.prices import FakePriceList
from tests.fakes.samples import price_change, spot_change
from tests.fakes.site import Site, config

from asbx.aws.price_file import read_table
from asbx.aws.prices import Ec2Prices
from asbx.config.schema import Config
from asbx.decide.price_history import offering
from asbx.errors import ConfigError
from asbx.flow.doors import Doors, PriceSources
from asbx.flow.price_refresh import PriceRefresh
from asbx.flow.pricing import Pricing
from asbx.flow.standing import standing
from asbx.model.event import EventKind
from asbx.model.market import Market, Verdict
from asbx.model.price import PriceChange, PriceSource
from asbx.ports import CloudError

HOUR = timedelta(hours=1)
DENIED = CloudError("AccessDeniedException", "pricing GetProducts was refused", "no", "", Verdict.PERMISSION)
ZONES = ("us-east-2a", "us-east-2b")
AWAY = CloudError("aws-unreachable", "no answer", "timed out", "", Verdict.TRANSIENT)


@dataclass
class Market1:
    """A site, AWS's word on prices, and the daemon's part that asks for them. settings: of the first group."""

    settings: dict[str, Any] = field(default_factory=lambda: {"purchasing_option": "mixed"})
    table: Path | None = None

    def __post_init__(self) -> None:
        """Put it together."""
        self.site = Site(config=self._config())
        self.told = FakePriceList()
        self.start()

    def _config(self) -> Config:
        made = config(**self.settings)
        return made.model_copy(update={"prices": made.prices.model_copy(update={"file": self.table})})

    def start(self) -> None:
        """Start the program anew: what it knew is forgotten but for the ledger."""
        table = partial(read_table, self.table, "us-east-2") if self.table else tuple
        self.prices = Ec2Prices(self.told, self.site.clock, self.site.config.prices)
        self.doors: Doors = replace(
            self.site.doors, prices=self.prices, price_sources=PriceSources(self.site.ledger, self.told, table)
        )
        self.refresh = PriceRefresh(self.doors)

    def pass_after(self, **parts: float) -> list[str]:
        """Let time pass and do a pass; return what AWS was asked."""
        self.site.clock.advance(**parts)
        self.told.asked.clear()
        self.refresh.run()
        return [method for method, *_ in self.told.asked]

    @property
    def now(self) -> datetime:
        """Return now."""
        return self.site.clock.now()

    def history(self) -> list[tuple[str, str, str]]:
        """Return what the ledger has: type, price, source."""
        found = self.site.ledger.price_changes(datetime.min.replace(tzinfo=self.now.tzinfo), self.now)
        return [(one.instance_type, str(one.usd), one.source.value) for one in found]


def launched(ledger: Any, at: datetime, **changes: Any) -> None:
    """Record an instance."""
    ledger.add_intent(samples.intent())
    row = replace(samples.instance_row("i-1", price=None), launched_at=at, **changes)
    ledger.answer_attempt(replace(samples.attempt(), answered_at=at), [row])


def test_one_question_each_however_many_types() -> None:
    """All types and zones of all groups are asked for at once, and again only when it is time."""
    it = Market1()
    assert it.pass_after() == ["spot", "on_demand", "volumes"]
    (spot, listed, _) = it.told.asked
    assert spot[1:3] == (("c7i.large", "m7i.large"), ("us-east-2a", "us-east-2b"))
    assert listed[1] == ("c7i.large", "m7i.large")
    assert it.pass_after(minutes=1) == []
    assert it.pass_after(minutes=9) == ["spot"]
    assert it.pass_after(hours=12) == ["spot", "on_demand", "volumes"]


def test_groups_on_demand_need_no_spot_prices() -> None:
    """Nobody asks for a permission that the policy does not have."""
    assert Market1(settings={}).pass_after() == ["on_demand", "volumes"]


def test_what_runs_is_priced_though_no_group_has_it_any_more() -> None:
    """A type that left the configuration costs on; spot is asked for from its launch on."""
    it = Market1(settings={})
    began = it.now - 30 * HOUR
    launched(it.site.ledger, began, instance_type="r7i.large", market=Market.SPOT, zone="us-east-2c")
    assert it.pass_after() == ["spot", "on_demand", "volumes"]
    method, types, zones, since = it.told.asked[0]
    assert (method, types, zones) == ("spot", ("r7i.large",), ("us-east-2a", "us-east-2b", "us-east-2c"))
    assert since is not None
    assert since < began


def test_a_change_during_a_life_is_two_prices() -> None:
    """The meter finds both in the ledger, and what runs costs what it costs now."""
    it = Market1()
    first = spot_change("0.03", it.now - 5 * HOUR)
    it.told.told = [price_change("0.09", it.now - 90 * HOUR), first]
    launched(it.site.ledger, it.now - HOUR, market=Market.SPOT)
    it.pass_after()
    Pricing(it.doors).run()
    assert it.site.ledger.instances()[0].price == Decimal("0.03")
    it.told.told.append(spot_change("0.05", it.now + HOUR / 2))
    it.pass_after(hours=1)
    (row,) = it.site.ledger.instances()
    found = it.site.ledger.price_changes(row.launched_at, it.now, markets=[Market.SPOT])
    assert [str(one.usd) for one in found] == ["0.03", "0.05"]
    assert row.price == Decimal("0.03")
    now = standing(it.site.ledger, it.now, it.site.ledger)
    assert (now.cost_per_hour, now.unpriced) == (Decimal("0.05"), 0)


def test_no_change_is_missed_between_two_questions() -> None:
    """A daemon that was down asks from where it had stopped."""
    it = Market1()
    it.told.told = [spot_change("0.03", it.now - HOUR, learned_at=it.now), price_change(learned_at=it.now)]
    it.pass_after()
    stopped = it.now
    it.site.clock.advance(days=3)
    it.start()
    assert "spot" in it.pass_after()
    since = it.told.asked[0][3]
    assert since is not None
    assert stopped - 2 * HOUR < since < stopped


def test_after_a_restart_without_aws_the_ledger_serves() -> None:
    """The price is known at once, with its age; AWS was not asked for what is young."""
    it = Market1()
    it.told.told = [
        *(price_change("0.09", instance_type=name, learned_at=it.now) for name in ("c7i.large", "m7i.large")),
        *(spot_change("0.03", instance_type=name, learned_at=it.now) for name in ("c7i.large", "m7i.large")),
    ]
    it.pass_after()
    it.start()
    assert it.prices.known("c7i.large", "us-east-2a", Market.SPOT) is None
    assert it.pass_after(minutes=5) == []
    assert it.prices.known("c7i.large", "us-east-2a", Market.SPOT) == Decimal("0.03")
    it.told.error = AWAY
    it.start()
    it.pass_after(hours=20)
    assert it.prices.known("c7i.large", "", Market.ON_DEMAND) == Decimal("0.09")
    launched(it.site.ledger, it.now)
    (age,) = standing(it.site.ledger, it.now, it.site.ledger).price_ages.items()
    assert age == (("on-demand", "pricing"), timedelta(hours=20, minutes=5))


def test_trouble_is_said_once_and_asked_again_later() -> None:
    """An outage is tried again soon, a refusal after half an hour; the end of it is said too."""
    it = Market1()
    it.told.error = AWAY
    it.pass_after()
    assert it.pass_after(minutes=1) == []
    assert it.pass_after(minutes=5) == ["spot", "on_demand"]
    it.told.error = DENIED
    it.pass_after(minutes=6)
    assert it.pass_after(minutes=10) == []
    assert set(it.refresh.troubles) == {"spot", "on-demand"}
    said = [event for event in it.site.recorder.events if event.kind is EventKind.PRICES_OLD]
    assert len(said) == 4
    assert "AccessDeniedException" in said[-1].text
    it.told.error = None
    it.pass_after(minutes=30)
    assert it.refresh.troubles == {}
    assert sum(event.kind is EventKind.PRICES_LEARNED for event in it.site.recorder.events) == 2


def table(folder: Path, **changes: Any) -> Path:
    """Write the site's own table."""
    file = folder / "prices.json"
    told = {
        "format": 1,
        "region": "us-east-2",
        "currency": "USD",
        "date": "2026-01-31T00:00:00Z",
        "source": "our list",
        "prices": [
            {"instance_type": "c7i.large", "price": "0.0892500"},
            {"instance_type": "x9.large", "price": "1"},
            {"instance_type": "c7i.large", "zone": "us-east-2a", "market": "capacity-block", "price": "0.06"},
        ],
    }
    file.write_text(json.dumps(told | changes))
    return file


def test_without_permission_the_sites_table_serves_with_its_mark(tmp_path: Path) -> None:
    """Its date is the age, its source is bundled; other types stay unknown, and AWS's word replaces it."""
    it = Market1(settings={}, table=table(tmp_path))
    it.told.error = DENIED
    it.pass_after()
    assert it.prices.known("c7i.large", "us-east-2a", Market.ON_DEMAND) == Decimal("0.0892500")
    assert it.prices.known("c7i.large", "us-east-2a", Market.CAPACITY_BLOCK) == Decimal("0.06")
    assert it.prices.known("m7i.large", "", Market.ON_DEMAND) is None
    assert it.history() == [("c7i.large", "0.0892500", "bundled"), ("c7i.large", "0.06", "bundled")]
    launched(it.site.ledger, it.now)
    ages = standing(it.site.ledger, it.now, it.site.ledger).price_ages
    assert ages == {("on-demand", "bundled"): timedelta(days=29, hours=12)}
    it.told.error = None
    it.told.told = [price_change("0.07", it.now - 900 * HOUR, learned_at=it.now)]
    it.pass_after(hours=1)
    assert it.prices.known("c7i.large", "", Market.ON_DEMAND) == Decimal("0.07")
    assert ("c7i.large", "0.07", "pricing") in it.history()
    assert ("c7i.large", "0.0892500", "bundled") not in it.history()


def test_a_price_out_of_the_future_is_not_in_force_yet() -> None:
    """AWS announces some changes ahead; the ledger has them, launches do not."""
    it = Market1(settings={})
    it.told.told = [price_change("0.09", it.now - HOUR), price_change("0.05", it.now + 24 * HOUR)]
    it.pass_after()
    assert it.prices.known("c7i.large", "", Market.ON_DEMAND) == Decimal("0.09")
    found = it.site.ledger.price_changes(it.now, it.now + 48 * HOUR)
    assert [str(one.usd) for one in found] == ["0.09", "0.05"]
    assert {offering(one) for one in found} == {("c7i.large", "", Market.ON_DEMAND)}


def test_prices_nobody_paid_are_forgotten_in_time() -> None:
    """After the time the ledger keeps what is old; those in force stay."""
    it = Market1()
    it.told.told = [spot_change("0.03", it.now - HOUR), spot_change("0.05", it.now)]
    it.pass_after()
    it.told.told = [spot_change("0.05", it.now)]
    assert len(it.history()) == 2
    it.pass_after(days=it.site.config.ledger.keep.days + 1)
    assert it.history() == [("c7i.large", "0.05", "spot-history")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"region": "us-east-1"}, "it is for us-east-1 in USD"),
        ({"date": "2026-01-31T00:00:00"}, "date"),
        ({"prices": [{"instance_type": "c7i.large", "price": "-1"}]}, "prices.0.price"),
        ({"prices": [{"instance_type": "c7i.large", "price": "NaN"}]}, "prices.0.price"),
        ({"more": 1}, "more"),
        ({"source": ""}, "source"),
    ],
)
def test_a_table_that_cannot_serve_is_named(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    """Where and why; the daemon says it once and goes on."""
    file = table(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        read_table(file, "us-east-2")
    assert why in caught.value.why
    it = Market1(settings={}, table=file)
    it.told.error = DENIED
    it.pass_after()
    it.pass_after(hours=1)
    texts = [event.text for event in it.site.recorder.events if event.kind is EventKind.PRICES_OLD]
    assert sum("price-file" in text for text in texts) == 1


def test_a_missing_table_is_no_end(tmp_path: Path) -> None:
    """Its name and the system's word are in the trouble."""
    it = Market1(settings={}, table=tmp_path / "none.json")
    it.pass_after()
    assert "No such file" in it.refresh.troubles["price-file"]
    assert PriceSource.BUNDLED.value not in {source for *_, source in it.history()}


@dataclass
class SlowList(FakePriceList):
    """A price list that answers nothing, and takes its time for that: no way to the service."""

    site: Site = field(default_factory=Site)
    waited: timedelta = timedelta()

    def _ask(self, method: str, *more: Any, **fields: Any) -> None:
        self.site.clock.advance(seconds=5)
        self.waited += timedelta(seconds=5)
        super()._ask(method, *more, **fields)


def test_a_list_without_an_answer_is_waited_for_once() -> None:
    """However many types and zones a launch asks about; and asked again some minutes later."""
    site = Site()
    told = SlowList(error=AWAY, site=site)
    prices = Ec2Prices(told, site.clock)
    for kind in ("c7i.large", "m7i.large", "r7i.large", "hpc7a.96xlarge"):
        for zone in ("us-east-2a", "us-east-2b"):
            assert prices.hourly(kind, zone, Market.ON_DEMAND) is None
            assert prices.hourly(kind, zone, Market.SPOT) is None
    assert told.waited == timedelta(seconds=10)  # on-demand and spot are told by different services
    site.clock.advance(minutes=6)
    told.error = None
    told.told = [price_change("0.09", site.clock.now())]
    assert prices.hourly("c7i.large", "us-east-2a", Market.ON_DEMAND) == Decimal("0.09")


def test_a_type_that_is_refused_does_not_silence_the_others() -> None:
    """EC2 says at once that it knows no such type: nobody waited."""
    site = Site()
    told = FakePriceList(error=CloudError("InvalidParameterValue", "no such type", "", "", Verdict.INVALID))
    prices = Ec2Prices(told, site.clock)
    assert prices.hourly("c7i.tiny", "us-east-2a", Market.SPOT) is None
    told.error, told.told = None, [spot_change("0.03", site.clock.now())]
    assert prices.hourly("c7i.large", "us-east-2a", Market.SPOT) == Decimal("0.03")


def test_launches_ask_for_nothing_that_the_refresh_keeps_fresh() -> None:
    """Between two refreshes, and when one was missed."""
    it = Market1()
    it.told.told = [
        spot_change("0.03", it.now, zone, instance_type=kind) for kind in ("c7i.large", "m7i.large") for zone in ZONES
    ]
    it.pass_after()
    it.told.asked.clear()
    it.site.clock.advance(minutes=9)
    for kind in ("c7i.large", "m7i.large"):
        for zone in ZONES:
            assert it.prices.hourly(kind, zone, Market.SPOT) == Decimal("0.03")
    assert it.told.asked == []


def test_what_is_known_is_told_while_another_waits_for_the_list() -> None:
    """A thread that asks about one type holds up nobody who asks about another."""
    site = Site()
    asked, answer = threading.Event(), threading.Event()

    class Hanging(FakePriceList):
        def on_demand(self, instance_types: Iterable[str]) -> tuple[PriceChange, ...]:
            asked.set()
            assert answer.wait(10)
            return super().on_demand(instance_types)

    prices = Ec2Prices(Hanging(), site.clock)
    prices.learn([price_change("0.09", site.clock.now())])
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(prices.hourly, "m7i.large", "us-east-2a", Market.ON_DEMAND)
        assert asked.wait(10)
        try:
            told = pool.submit(prices.hourly, "c7i.large", "us-east-2a", Market.ON_DEMAND)
            assert told.result(5) == Decimal("0.09")
        finally:
            answer.set()
        assert waits.result(10) is None


def test_what_ended_while_the_list_was_away_is_priced_when_it_is_back() -> None:
    """Days later: else it has cost nothing for ever."""
    it = Market1(settings={})
    launched(it.site.ledger, it.now, market=Market.ON_DEMAND)
    it.told.error = AWAY
    pricing = Pricing(it.doors)
    it.pass_after(minutes=1)
    it.site.ledger.end_instances(["i-1"], "done", it.now)
    for _ in range(30):
        it.pass_after(hours=2)
        pricing.run()
    assert [row.price for row in it.site.ledger.instances()] == [None]
    it.told.error, it.told.told = None, [price_change("0.0890", it.now)]
    it.pass_after(hours=2)
    pricing.run()
    assert [row.price for row in it.site.ledger.instances()] == [Decimal("0.0890")]


class _NoVolumes(FakePriceList):
    """A price list whose word on EBS cannot be read."""

    def volumes(self) -> tuple[PriceChange, ...]:
        """Refuse."""
        raise CloudError(
            "price-answer", "pricing GetProducts says what we cannot read", "KeyError", "", Verdict.UNKNOWN
        )


def test_what_instances_cost_is_learned_though_volumes_are_not() -> None:
    """Else a change in what AWS says of EBS stops every launch that a limit is about."""
    it = Market1(settings={})
    it.told = _NoVolumes(told=[price_change("0.0890", it.now)])
    it.start()
    it.pass_after()
    assert it.prices.known("c7i.large", "us-east-2a", Market.ON_DEMAND) == Decimal("0.0890")
    assert list(it.refresh.troubles) == ["volumes"]
    assert it.pass_after(minutes=1) == []
