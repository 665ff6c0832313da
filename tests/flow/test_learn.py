"""What is gathered of a job, from which door; and the jobs the epilog has noted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.past import RAN, FakeAccounting, account
from tests.fakes.samples import NOON
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import config

from asbx.decide.learn.evidence import Evidence
from asbx.errors import AsbxError, LedgerError, SlurmError, UsageError
from asbx.flow.due import export_due
from asbx.flow.learn import PastDoors, gather
from asbx.model.job import JobFacts
from asbx.model.market import Market

PLANS = Path(__file__).parent.parent / "recorded" / "plans"
NO_ACCOUNTING = SlurmError("slurm-no-accounting", "this cluster keeps no accounting")


def launched(*, ended: bool = True) -> FakeLedger:
    """Return a ledger with two instances for job 12."""
    ledger = FakeLedger()
    ledger.add_request(samples.request())
    ledger.add_intent(samples.intent())
    rows = [samples.instance_row(name) for name in ("i-1", "i-2")]
    ledger.answer_attempt(samples.attempt(), rows)
    nodes = samples.node_names(2)
    ledger.bind([(node, samples.instance(row.instance_id)) for node, row in zip(nodes, rows, strict=True)], NOON)
    ledger.register(nodes, NOON + timedelta(seconds=40))
    if ended:
        ledger.end_instances(["i-1", "i-2"], "its node was powered down", NOON + timedelta(hours=2))
        ledger.release(nodes, NOON + timedelta(hours=2))
    return ledger


def doors(ledger: FakeLedger | None = None, **changes: Any) -> PastDoors:
    """Return doors to what is known of job 12."""
    accounting = FakeAccounting()
    accounting.add(account())
    made = PastDoors(
        config=config(),
        accounting=accounting,
        scheduler=FakeScheduler(),
        launches=launched() if ledger is None else ledger,
        clock=FakeClock(NOON + timedelta(hours=3)),
        version="0.1.0",
    )
    return replace(made, **changes)


def test_everything_of_a_job() -> None:
    """Accounting, launches, bill and nodes come together."""
    found = gather(doors(), "12")
    assert found.account == account()
    assert found.is_final
    assert found.usd is not None
    assert found.types == ["c7i.large"]
    assert found.burst_nodes == samples.node_names(2)
    assert [one.took for one in found.used] == [timedelta(seconds=40)] * 2
    assert found.site.settings["aws-cpu.strategy"] == "gang"


def test_the_plan_the_job_went_by() -> None:
    """The newest one kept that stopped no launch; the analyzer's has no text, so nothing was foretold."""
    ledger = launched()
    text = (PLANS / "wrf.json").read_text()
    ledger.add_job_plans([samples.job_plan(12, "r-1", plan=text, origin="--execution-plan", label="12")])
    ledger.add_job_plans([samples.job_plan(12, "r-2", plan="{", refusal="plan-invalid: no", decided_at=NOON + RAN)])
    found = gather(doors(ledger), "12")
    assert found.plan_data == json.loads(text)
    assert found.plan is not None
    huge = '{"should_burst": true, "confidence_level": 1e999}'
    ledger.add_job_plans([samples.job_plan(12, "r-3", plan=huge, decided_at=NOON + RAN)])
    assert gather(doors(ledger), "12").plan_data == {"should_burst": True, "confidence_level": None}
    ledger.add_job_plans([samples.job_plan(12, "r-4", plan="", origin="analyzer", decided_at=NOON + 2 * RAN)])
    assert gather(doors(ledger), "12").plan is None


def test_prices_on_demand_are_those_of_the_launch() -> None:
    """Asked for each spot instance, as of its launch; on-demand instances saved nothing."""
    asked: list[tuple[str, datetime]] = []

    def price(name: str, at: datetime) -> Decimal:
        asked.append((name, at))
        return Decimal("0.0850")

    found = gather(doors(spot_launched(), on_demand=price), "12")
    assert found.on_demand == {"i-1": Decimal("0.0850")}
    assert asked == [("c7i.large", NOON)]
    assert found.savings is not None
    assert found.savings > 0
    assert gather(doors(spot_launched()), "12").savings is None


def spot_launched() -> FakeLedger:
    """Return a ledger with a spot and an on-demand instance for job 12."""
    ledger = FakeLedger()
    ledger.add_request(samples.request())
    ledger.add_intent(samples.intent())
    spot = replace(samples.instance_row("i-1", price=Decimal("0.03")), market=Market.SPOT)
    ledger.answer_attempt(samples.attempt(), [spot, samples.instance_row("i-2")])
    nodes = samples.node_names(2)
    ledger.bind([(node, samples.instance(name)) for node, name in zip(nodes, ("i-1", "i-2"), strict=True)], NOON)
    ledger.end_instances(["i-1", "i-2"], "its node was powered down", NOON + timedelta(hours=2))
    return ledger


def test_the_ledger_knows_a_task_by_its_label() -> None:
    """Without accounting a task of an array is found by what Slurm called it when it was launched."""
    ledger = launched()
    ledger.add_job_plans([samples.job_plan(12, label="11_3")])
    found = gather(doors(ledger, accounting=FakeAccounting(trouble=NO_ACCOUNTING)), "11_3")
    assert (found.number, found.label) == (12, "11_3")


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SUSPENDED"])
def test_half_a_job_teaches_nothing(state: str) -> None:
    """A job that is not over is refused, by accounting or, where there is none, by the queue."""
    accounting = FakeAccounting()
    accounting.add(account(state=state))
    with pytest.raises(UsageError) as caught:
        gather(doors(accounting=accounting), "12")
    assert caught.value.code == "job-not-over"
    scheduler = FakeScheduler()
    scheduler.job_table[12] = JobFacts(12, state=state)
    with pytest.raises(UsageError) as caught:
        gather(doors(accounting=FakeAccounting(trouble=NO_ACCOUNTING), scheduler=scheduler), "12")
    assert caught.value.code == "job-not-over"


def test_without_accounting_the_ledger_is_enough() -> None:
    """What was launched and what it cost is known; the reason why the rest is not, too."""
    found = gather(doors(accounting=FakeAccounting(trouble=NO_ACCOUNTING)), "12")
    assert found.account is None
    assert found.no_account == "this cluster keeps no accounting"
    assert (found.user, found.project, found.partition) == ("ada", "physics", "aws")
    assert found.burst_nodes == samples.node_names(2)


def test_an_accounting_that_is_down_is_an_error() -> None:
    """A document without figures would be taken for one of a job without figures."""
    down = SlurmError("slurm-refused", "`sacct` failed", "Connection refused")
    with pytest.raises(SlurmError):
        gather(doors(accounting=FakeAccounting(trouble=down)), "12")


@pytest.mark.parametrize("job", ["99", "99_1", "99+0"])
def test_nobody_knows_the_job(job: str) -> None:
    """Neither accounting nor ledger: said so, whatever it is called."""
    with pytest.raises(UsageError) as caught:
        gather(doors(), job)
    assert caught.value.code == "job-unknown"


def test_a_closed_ledger_leaves_what_slurm_knows() -> None:
    """An ordinary user sees the accounting of the job; for an unknown job the ledger's own error counts."""
    shut = LedgerError("ledger-unusable", "the ledger cannot be opened", "Permission denied")
    found = gather(doors(launches=None, no_ledger=shut), "12")
    assert found.usd is None
    assert found.account is not None
    assert found.no_ledger
    with pytest.raises(LedgerError):
        gather(doors(launches=None, no_ledger=shut), "99")


# -- the epilog's notes


@dataclass
class FakeNotes:
    """The jobs that wait."""

    waiting: dict[str, datetime] = field(default_factory=dict)

    def jobs(self) -> dict[str, datetime]:
        """Return them."""
        return dict(self.waiting)

    def done(self, job: str) -> None:
        """Forget one."""
        del self.waiting[job]


SETTLE = timedelta(minutes=30)


def test_a_job_is_exported_when_its_instances_are_gone() -> None:
    """Until then it waits, without asking accounting; then it is exported once, with its final cost."""
    ledger = launched(ended=False)
    clock = Ending(ledger)
    accounting = FakeAccounting()
    accounting.add(account())
    seen: list[Evidence] = []
    notes = FakeNotes({"12": clock.now()})
    outcome = export_due(doors(ledger, clock=clock, accounting=accounting), notes, seen.append, settle=SETTLE)
    assert outcome.exported == ["12"]
    assert [one.is_final for one in seen] == [True]
    assert len(clock.slept) == 3
    assert accounting.asked == ["12"]
    assert not notes.waiting


@dataclass
class Ending(FakeClock):
    """A clock at whose third sleep the instances end."""

    ledger: FakeLedger = field(default_factory=FakeLedger)

    def __init__(self, ledger: FakeLedger) -> None:
        """Start at three o'clock."""
        super().__init__(NOON + timedelta(hours=3))
        self.ledger = ledger

    def sleep(self, duration: timedelta) -> None:
        """Let time pass."""
        super().sleep(duration)
        if len(self.slept) == 3:
            self.ledger.end_instances(["i-1", "i-2"], "its node was powered down", self.now())


def test_whatever_does_not_settle_is_exported_as_it_is() -> None:
    """Instances that serve on: after the time that is granted the document is provisional; nobody waits for ever."""
    clock = FakeClock(NOON + timedelta(hours=3))
    seen: list[Evidence] = []
    notes = FakeNotes({"12": clock.now()})
    outcome = export_due(doors(launched(ended=False), clock=clock), notes, seen.append, settle=SETTLE)
    assert outcome.exported == ["12"]
    assert [one.is_final for one in seen] == [False]
    assert sum(clock.slept, timedelta()) <= SETTLE + timedelta(seconds=10)


def test_unknown_and_local_jobs_end_too() -> None:
    """A job nobody knows is given up with the reason; one that did not burst is forgotten at once."""
    clock = FakeClock(NOON + timedelta(hours=3))
    accounting = FakeAccounting()
    accounting.add(replace(account(), job_id=13, label="13", node_list="rack-7"))
    notes = FakeNotes({"13": clock.now(), "99": clock.now()})
    seen: list[Evidence] = []
    outcome = export_due(doors(clock=clock, accounting=accounting), notes, seen.append, settle=SETTLE)
    assert (outcome.exported, seen) == ([], [])
    assert list(outcome.failed) == ["99"]
    assert accounting.asked.count("13") == 1


def test_a_disk_that_is_full_for_a_moment() -> None:
    """What cannot be written now is tried again."""
    clock = FakeClock(NOON + timedelta(hours=3))
    tries: list[str] = []

    def export(found: Evidence) -> None:
        tries.append(found.label)
        if len(tries) < 3:
            raise AsbxError("output-dir", "cannot be written", "No space left on device")

    outcome = export_due(doors(clock=clock), FakeNotes({"12": clock.now()}), export, settle=SETTLE)
    assert (outcome.exported, outcome.failed) == (["12"], {})
