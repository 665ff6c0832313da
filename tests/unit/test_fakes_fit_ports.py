"""The fakes stand behind the same doors as the real things."""

from __future__ import annotations

from tests.fakes.catalogue import FakeCatalogue
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import FakeCloud
from tests.fakes.ledger import FakeLedger
from tests.fakes.past import FakeAccounting
from tests.fakes.prices import FakePrices
from tests.fakes.recorder import FakeRecorder
from tests.fakes.scheduler import FakeScheduler

from asbx.model.event import Event, EventKind
from asbx.model.market import Market
from asbx.ports import Accounting, Catalogue, Clock, Cloud, Launches, Ledger, Prices, Recorder, Scheduler


def test_fakes_fit_their_doors() -> None:
    """Every fake can be passed where its door is asked for (mypy is the judge; this line runs them)."""
    accounting: Accounting = FakeAccounting()
    catalogue: Catalogue = FakeCatalogue()
    clock: Clock = FakeClock()
    cloud: Cloud = FakeCloud(clock)
    ledger: Ledger = FakeLedger()
    launches: Launches = FakeLedger()
    prices: Prices = FakePrices()
    recorder: Recorder = FakeRecorder()
    scheduler: Scheduler = FakeScheduler()
    ledger.check()
    assert accounting.account("1") is None
    assert launches.job_launches(1) == ()
    assert catalogue.types(["c7i.large"])
    assert not cloud.owned("slurm")
    assert cloud.remove_group("unknown")
    assert not scheduler.nodes()
    assert prices.hourly("c7i.large", "us-east-2a", Market.SPOT)
    recorder.record(Event(EventKind.PLAN_NOTE, "said"))
