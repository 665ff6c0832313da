"""Launches under budgets: what is held before, given back after, charged in the end, and what jobs are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.fakes.asbb import Account, FakeAsbb, FakeService
from tests.fakes.samples import NOON, spot_change
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import NODES, Site, config, group
from tests.fakes.usage import FakeJobs, FakeVolumes

from asbx.config.schema import Config
from asbx.errors import ExitCode, LedgerError, SlurmError
from asbx.flow.budgeting import Budgeting
from asbx.flow.doors import UsageSources
from asbx.flow.outcome import Outcome
from asbx.flow.resume import Resume
from asbx.flow.suspend import suspend
from asbx.model.budget import EntryState, Hold, HoldState, Taken
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts, Request, RequestKind
from asbx.model.market import Market
from asbx.model.usage import JobRun
from asbx.sim.budgets import MemoryBudgets

HOUR = timedelta(hours=1)
# 0.10 USD/h x (600 s boot + 1 h + 350 s idle) = 0.1264 USD, rounded up.
ONE_HOUR = Decimal("0.13")
PHYSICS: dict[str, Any] = {"name": "physics", "accounts": ["phys*"], "limit_usd": "1.00"}


def limited(*rules: dict[str, Any], asbb: dict[str, Any] | None = None, **budgets: Any) -> Config:
    """Return a site with budgets."""
    raw = config().model_dump(mode="json") | {"budgets": {"rules": list(rules), **budgets}, "asbb": asbb or {}}
    return Config.model_validate(raw)


def site_of(*rules: dict[str, Any], asbb: FakeAsbb | None = None, policy: str = "local", **more: Any) -> Site:
    """Return a site whose budgets are these; asbb: with the service too."""
    settings = {"url": "http://127.0.0.1:8080", "policy": policy, **more.pop("service", {})} if asbb else None
    site = Site(limited(*rules, asbb=settings, **more))
    if asbb is not None:
        asbb.now = site.clock.now
        site.service = FakeService(asbb, site.clock)
    return site


def queue(site: Site, job: int, nodes: str, limit: timedelta | None = HOUR, account: str = "phys-1") -> None:
    """Put a job into the queue."""
    site.scheduler.add_job(JobFacts(job, "ada", account, state="CONFIGURING", time_limit=limit), expand(nodes))


def launch(site: Site, job: int, nodes: str, request_id: str = "", **fields: Any) -> Outcome:
    """Queue a job and launch its nodes."""
    queue(site, job, nodes, **fields)
    return close(site, site.ask(nodes, (job, nodes), request_id=request_id or f"r-{job}"))


def close(site: Site, request: Request) -> Outcome:
    """Work a request off and close it, as the engine does."""
    resume = Resume(site.doors, request)
    outcome = resume.run()
    failed = bool(outcome.failed)
    site.ledger.finish_request(request.request_id, failed=failed, note=outcome.note(), at=site.clock.now())
    resume.tidy()
    return outcome


def end(site: Site, nodes: str) -> None:
    """Power nodes down."""
    suspend(site.doors, Request(f"s-{nodes}", RequestKind.SUSPEND, expand(nodes), site.clock.now()))


def passes(site: Site, count: int = 3, minutes: float = 2) -> None:
    """Let passes go by, with prices set before."""
    site.ledger.set_prices({row.instance_id: Decimal("0.10") for row in site.ledger.instances() if row.price is None})
    one = Budgeting(site.doors)
    for _ in range(count):
        one.run()
        site.clock.advance(minutes=minutes)


def states(site: Site) -> list[tuple[int, str, str]]:
    """Return job, budget and state of every hold."""
    return [(one.job_id, one.budget, one.state.value) for one in site.budgets.holds()]


def said(site: Site, kind: EventKind) -> list[str]:
    """Return the texts of events."""
    return [event.text for event in site.recorder.of(kind)]


def full(site: Site) -> None:
    """Let EC2 have nothing."""
    for kind in ("c7i.large", "m7i.large"):
        for zone in ("us-east-2a", "us-east-2b"):
            for market in (Market.ON_DEMAND, Market.SPOT):
                site.cloud.capacity[kind, zone, market] = 0


# -- before the launch


def test_a_launch_holds_what_it_may_cost() -> None:
    """Boot, time limit and idle tail at today's price, with the arithmetic."""
    site = site_of(PHYSICS)
    assert launch(site, 7, "aws-cpu-000").exit_code is ExitCode.DONE
    (hold,) = site.budgets.holds()
    assert hold == replace(
        hold, key="r-7/7", budget="physics", job_id=7, usd=ONE_HOUR, user="ada", account="phys-1", state=HoldState.HELD
    )
    assert "1 h time limit" in hold.why
    assert "0.13 USD" in said(site, EventKind.BUDGET_HELD)[0]


def test_a_job_without_room_is_not_launched_and_told_the_arithmetic() -> None:
    """EC2 hears nothing; budget, limit, spent, held and needed stand in its AdminComment; the exit status is 6."""
    site = site_of(PHYSICS)
    for job in range(7):
        assert launch(site, job + 1, f"aws-cpu-00{job}").exit_code is ExitCode.DONE
    calls = len(site.cloud.orders)
    outcome = launch(site, 9, "aws-cpu-008")
    assert outcome.exit_code is ExitCode.BUDGET
    assert outcome.codes == ["budget-exceeded"]
    assert len(site.cloud.orders) == calls
    text = site.scheduler.told[9][-1]
    assert "asbx:budget-exceeded budget physics" in text
    assert "0.13 USD needed, 0.09 left of 1.00: 0.00 spent, 0.91 held for other jobs" in text
    assert "next try" in text
    assert said(site, EventKind.BUDGET_REFUSED)


def test_what_no_period_can_pay_is_held() -> None:
    """Waiting would not help it; its owner can release it after a change."""
    site = site_of(PHYSICS)
    assert launch(site, 7, "aws-cpu-000", limit=100 * HOUR).exit_code is ExitCode.BUDGET
    assert site.scheduler.held == {7}


def test_what_this_period_cannot_pay_waits_for_the_next() -> None:
    """The money is spent, so nothing that others give back can help."""
    site = site_of(PHYSICS)
    launch(site, 1, "aws-cpu-000")
    site.budgets.settle("r-1/1", Decimal("0.95"), site.clock.now())
    assert launch(site, 2, "aws-cpu-001").exit_code is ExitCode.BUDGET
    (setback,) = site.ledger.setbacks([2]).values()
    assert setback.next_at is not None
    assert (setback.next_at.day, setback.next_at > site.clock.now() + timedelta(days=5)) == (1, True)
    assert f"{setback.next_at:%Y-%m-%d}" in site.scheduler.told[2][-1]


def test_a_grant_lets_it_run() -> None:
    """As soon as it is tried again."""
    site = site_of(PHYSICS)
    launch(site, 1, "aws-cpu-000", limit=100 * HOUR)
    period = site.clock.now().replace(day=1).date().isoformat()
    site.budgets.grant("physics", period, Decimal(20))
    assert launch(site, 1, "aws-cpu-000", "r-again", limit=100 * HOUR).exit_code is ExitCode.DONE


def test_jobs_of_no_budget_are_not_asked() -> None:
    """Nor are nodes that no job waits for."""
    site = site_of(PHYSICS)
    assert launch(site, 7, "aws-cpu-000", account="bio", limit=None).exit_code is ExitCode.DONE
    assert site.resume("aws-cpu-001", request_id="r-by-hand").exit_code is ExitCode.DONE
    assert site.budgets.holds() == ()


def test_without_a_time_limit_nothing_can_be_held() -> None:
    """The job is held with the reason, unless the site allows what it cannot tell."""
    site = site_of(PHYSICS)
    assert launch(site, 7, "aws-cpu-000", limit=None).codes == ["budget-cost-unknown"]
    assert site.scheduler.held == {7}
    assert "without a time limit" in site.scheduler.told[7][-1]
    lenient = site_of(PHYSICS, unknown_cost="allow")
    assert launch(lenient, 7, "aws-cpu-000", limit=None).exit_code is ExitCode.DONE
    assert lenient.budgets.holds() == ()


def test_a_job_nobody_knows_is_tried_later() -> None:
    """While Slurm does not say whose it is, no budget can be asked, and none is passed by."""
    site = site_of(PHYSICS)
    queue(site, 7, "aws-cpu-000")
    site.scheduler.fail_next("jobs", SlurmError("slurm-silent", "away", "", ""))
    outcome = site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    assert outcome.codes == ["budget-owner-unknown"]
    assert not site.cloud.orders


def test_every_budget_about_a_job_must_have_room() -> None:
    """Where one has none, the others are not burdened."""
    ada = {"name": "ada", "users": ["ada"], "limit_usd": "0.20"}
    site = site_of(PHYSICS, ada)
    assert launch(site, 1, "aws-cpu-000").exit_code is ExitCode.DONE
    assert launch(site, 2, "aws-cpu-001").exit_code is ExitCode.BUDGET
    assert states(site) == [(1, "ada", "held"), (1, "physics", "held")]


def test_a_budget_may_be_over_or_not_begun() -> None:
    """Before its first day nothing is there; after the last one nothing comes."""
    early = site_of(PHYSICS | {"period": "once", "starts": "2100-01-01"})
    assert launch(early, 1, "aws-cpu-000").codes == ["budget-not-in-force"]
    assert not early.scheduler.held
    late = site_of(PHYSICS | {"period": "once", "starts": "2001-01-01", "ends": "2001-12-31"})
    assert launch(late, 1, "aws-cpu-000").codes == ["budget-not-in-force"]
    assert late.scheduler.held == {1}


def test_jobs_that_share_a_launch_hold_each_for_itself() -> None:
    """One that has no room leaves the others what they have; only its node is not launched."""
    site = site_of(PHYSICS | {"limit_usd": "0.30"})
    for job in (1, 2, 3):
        queue(site, job, f"aws-cpu-00{job}")
    jobs = [(job, f"aws-cpu-00{job}") for job in (1, 2, 3)]
    outcome = close(site, site.ask("aws-cpu-[001-003]", *jobs))
    assert sorted(outcome.bound) == ["aws-cpu-001", "aws-cpu-002"]
    assert list(outcome.failed) == ["aws-cpu-003"]
    assert outcome.exit_code is ExitCode.PARTLY
    assert states(site) == [(1, "physics", "held"), (2, "physics", "held")]
    assert {job for row in site.ledger.instances() for job in row.jobs} == {1, 2}


class CountedBudgets(MemoryBudgets):
    """Budgets of which each call costs a write to the disk."""

    writes: int = 0

    def take(self, *args: Any) -> tuple[Taken, ...]:
        """Count it."""
        self.writes += 1
        return super().take(*args)


def test_the_jobs_of_a_launch_are_held_for_in_one_transaction() -> None:
    """Of an array of a thousand each would wait for a thousand; those after the money is gone are refused."""
    site = site_of(PHYSICS | {"limit_usd": "0.40"})
    site.budgets = counted = CountedBudgets()
    jobs = [(job, f"aws-cpu-{job:03}") for job in range(1, 6)]
    for job, node in jobs:
        queue(site, job, node)
    outcome = close(site, site.ask("aws-cpu-[001-005]", *jobs))
    assert counted.writes == 1
    assert (len(outcome.bound), len(outcome.failed)) == (3, 2)
    assert states(site) == [(job, "physics", "held") for job in (1, 2, 3)]


def test_a_shared_node_is_held_for_in_parts() -> None:
    """Two jobs on one node pay half each, rounded up."""
    site = site_of(PHYSICS)
    for job in (1, 2):
        queue(site, job, "aws-cpu-000")
    close(site, site.ask("aws-cpu-000", (1, "aws-cpu-000"), (2, "aws-cpu-000")))
    assert [one.usd for one in site.budgets.holds()] == [Decimal("0.07")] * 2


def test_a_gang_holds_for_all_its_nodes() -> None:
    """Or is not launched at all."""
    site = site_of(PHYSICS | {"limit_usd": "0.50"}, margin_percent=20)
    assert launch(site, 1, "aws-cpu-[000-003]").exit_code is ExitCode.BUDGET  # 0.51 and a fifth
    assert not site.cloud.orders
    assert launch(site, 2, "aws-cpu-[000-002]").exit_code is ExitCode.DONE
    (hold,) = site.budgets.holds()
    assert hold.usd == Decimal("0.46")  # 3 nodes: 0.3792 -> 0.38, x 1.2 = 0.456


# -- after it


def test_a_job_over_two_partitions_is_still_the_budgets() -> None:
    """Its nodes in the other partition make it no stranger."""
    raw = limited({**PHYSICS, "partitions": ["aws"]}).model_dump(mode="json")
    raw["slurm"]["partitions"].append({"partition_name": "xl", "node_groups": [group("cpu", 10)]})
    site = Site(Config.model_validate(raw))
    site.scheduler = FakeScheduler((*NODES, *expand("xl-cpu-[0-9]")))
    launch(site, 7, "aws-cpu-000,xl-cpu-0")
    assert states(site) == [(7, "physics", "held")]


def test_volumes_are_held_for_as_limits_reckon_them() -> None:
    """Else a job that a limit finds too dear fits into the budget of the same sum."""
    raw = limited(PHYSICS).model_dump(mode="json")
    raw["limits"] = {"volumes_usd_per_hour": "0.10"}
    site = Site(Config.model_validate(raw))
    launch(site, 7, "aws-cpu-000")
    (hold,) = site.budgets.holds()
    assert hold.usd == Decimal("0.26")
    assert "0.10 of volumes" in hold.why


def test_what_limits_took_away_is_not_held_for() -> None:
    """Limits choose first: of what they leave the dearest is held, not of what may never be launched."""
    raw = limited(PHYSICS).model_dump(mode="json")
    raw["limits"] = {"rules": [{"name": "cheap", "max_cost_per_hour": "0.15"}]}
    site = Site(Config.model_validate(raw))
    for kind, usd in (("c7i.large", "0.10"), ("m7i.large", "7.00")):
        for zone in ("us-east-2a", "us-east-2b"):
            site.prices.learned[kind, zone, Market.ON_DEMAND] = Decimal(usd)
    site.prices.table = dict(site.prices.learned)
    assert launch(site, 7, "aws-cpu-000").exit_code is ExitCode.DONE
    assert [one.usd for one in site.budgets.holds()] == [ONE_HOUR]


def test_a_launch_that_fails_gives_back() -> None:
    """At once: nothing was launched that could cost."""
    site = site_of(PHYSICS)
    full(site)
    assert launch(site, 1, "aws-cpu-[000-003]").exit_code is ExitCode.NO_CAPACITY
    assert states(site) == [(1, "physics", "released")]
    assert "given back" in said(site, EventKind.BUDGET_RELEASED)[0]
    assert launch(site, 1, "aws-cpu-[000-003]", "r-later").exit_code is ExitCode.NO_CAPACITY
    assert site.budgets.books()[0].held == 0


def test_a_job_is_charged_what_it_cost() -> None:
    """Once its instances are gone, after two looks; the rest is there for others again."""
    site = site_of(PHYSICS)
    launch(site, 1, "aws-cpu-000")
    site.clock.advance(minutes=30)
    passes(site)
    assert states(site) == [(1, "physics", "held")]  # it runs
    end(site, "aws-cpu-000")
    one = Budgeting(site.doors)
    one.run()
    assert states(site) == [(1, "physics", "held")]
    site.clock.advance(minutes=2)
    one.run()
    one.run()
    (hold,) = site.budgets.holds()
    (row,) = site.ledger.instances()
    assert row.ended_at is not None
    seconds = Decimal(-(-(row.ended_at - row.launched_at) // timedelta(seconds=1)))
    assert hold.state is HoldState.SETTLED
    assert hold.spent == (seconds * Decimal("0.10") / 3600).quantize(Decimal("1E-9"))
    assert site.budgets.books()[0].spent == hold.spent
    assert len(said(site, EventKind.BUDGET_SETTLED)) == 1


def test_a_price_that_changed_in_a_life_is_charged_too() -> None:
    """As the cost report does; and all that was launched for the job, whoever else ran on it, held nothing."""
    site = site_of(PHYSICS)
    launch(site, 1, "aws-cpu-000")
    site.ledger.set_prices({row.instance_id: Decimal("0.10") for row in site.ledger.instances()})
    (row,) = site.ledger.instances()
    began = row.launched_at
    offer = {"instance_type": row.instance_type, "zone": row.zone, "market": row.market}
    site.ledger.add_price_changes(
        [
            spot_change("0.10", began - HOUR, **{**offer, "zone": ""}),
            spot_change("0.20", began + HOUR / 2, **{**offer, "zone": ""}),
        ]
    )
    site.ledger.record_runs([JobRun(2, 0, row.node, began + HOUR, began + 2 * HOUR, "bob", "bio", "aws", "x")])
    site.clock.sleep(began + 3 * HOUR - site.clock.now())
    end(site, "aws-cpu-000")
    usage = UsageSources(site.ledger, FakeJobs(site.clock), FakeVolumes())
    one = Budgeting(replace(site.doors, usage=usage))
    for _ in range(3):
        one.run()
        site.clock.advance(minutes=2)
    (hold,) = site.budgets.holds()
    (row,) = site.ledger.instances()
    assert row.ended_at is not None
    seconds = Decimal(-(-(row.ended_at - began) // timedelta(seconds=1)))
    assert hold.spent == (Decimal("0.10") + (seconds - 3600) * Decimal("0.20") / 3600).quantize(Decimal("1E-9"))


def test_an_instance_without_a_price_is_charged_as_estimated() -> None:
    """After its price could have been learned for long."""
    site = site_of(PHYSICS)
    queue(site, 1, "aws-cpu-000")
    request = site.ask("aws-cpu-000", (1, "aws-cpu-000"), request_id="r-1")
    Resume(site.doors, request).run()
    site.prices.default = None  # between the estimate and the launch's price
    site.ledger.finish_request("r-1", failed=False, note="", at=site.clock.now())
    site.clock.advance(minutes=10)
    end(site, "aws-cpu-000")
    one = Budgeting(site.doors)
    for _ in range(8):
        one.run()
        assert states(site) == [(1, "physics", "held")]
        site.clock.advance(minutes=8)
    one.run()
    (hold,) = site.budgets.holds()
    assert (hold.state, hold.spent) == (HoldState.SETTLED, ONE_HOUR)
    assert "no price" in hold.why


def test_a_requeued_job_is_charged_for_each_launch() -> None:
    """Under a hold of its own for each."""
    site = site_of(PHYSICS)
    launch(site, 1, "aws-cpu-000")
    end(site, "aws-cpu-000")
    launch(site, 1, "aws-cpu-001", "r-again")
    passes(site)
    assert [(one.key, one.state.value) for one in site.budgets.holds()] == [("r-1/1", "settled"), ("r-again/1", "held")]


def test_a_crash_after_the_hold_launches_under_the_same_hold() -> None:
    """The request is begun again and holds nothing more."""
    site = site_of(PHYSICS)
    queue(site, 1, "aws-cpu-000")
    request = site.ask("aws-cpu-000", (1, "aws-cpu-000"))
    site.ledger.fail_next("add_attempt", LedgerError("ledger-io", "disk", "", ""))
    with pytest.raises(LedgerError):
        Resume(site.doors, request).run()
    assert states(site) == [(1, "physics", "held")]
    passes(site, minutes=1.1)  # the request is open: its hold is nobody else's business
    assert states(site) == [(1, "physics", "held")]
    assert close(site, request).exit_code is ExitCode.DONE
    assert len(site.budgets.holds()) == 1


def test_a_hold_whose_launch_is_lost_is_given_back() -> None:
    """The request was closed and nothing of it lives: two looks, a grace apart."""
    site = site_of(PHYSICS)
    now = site.clock.now()
    lost = Hold("r-9/9", "physics", "2026-01-01", 9, "r-9", "ada", "phys", Decimal(1), now)
    site.budgets.take([[lost]], {}, lambda *_: None)
    passes(site, 1)
    assert states(site) == [(9, "physics", "held")]
    passes(site, 2)
    assert states(site) == [(9, "physics", "released")]


def test_levels_are_told_once() -> None:
    """When spent and held money reach them; only the highest of several."""
    site = site_of(PHYSICS | {"limit_usd": "0.30", "alerts_percent": [40, 80]})
    launch(site, 1, "aws-cpu-000")
    launch(site, 2, "aws-cpu-001")
    launch(site, 3, "aws-cpu-002")
    assert [text.partition("%")[0][-3:].strip() for text in said(site, EventKind.BUDGET_ALERT)] == ["40", "80"]


# -- with the budget service


def service_site(policy: str = "local", rules: Sequence[dict[str, Any]] = (), **more: Any) -> tuple[Site, FakeAsbb]:
    """Return a site with a service that has an account of 10 USD."""
    asbb = FakeAsbb(lambda: NOON, {"phys-1": Account(Decimal(10))})
    site = site_of(*rules, asbb=asbb, policy=policy, service=more)
    return site, asbb


def fake(site: Site) -> FakeService:
    """Return the service's door."""
    assert isinstance(site.service, FakeService)
    return site.service


def test_the_service_is_asked_before_and_told_after() -> None:
    """One check, one reconcile, with its transaction and what it cost."""
    site, asbb = service_site()
    assert launch(site, 1, "aws-cpu-000").exit_code is ExitCode.DONE
    site.clock.advance(minutes=10)
    end(site, "aws-cpu-000")
    passes(site)
    (told,) = (body for _, path, body in asbb.calls if path.endswith("reconcile"))
    (entry,) = site.budgets.entries(EntryState)
    assert entry.state is EntryState.TOLD
    assert (told["job_id"], told["transaction_id"]) == ("1", entry.transaction)
    assert asbb.charges("1") == [Decimal(str(told["actual_cost"]))]
    assert Decimal(str(told["actual_cost"])) > 0


def test_a_refusal_of_the_service_is_told_and_nothing_stays_held() -> None:
    """In its own words."""
    site, asbb = service_site(rules=[PHYSICS])
    asbb.accounts["phys-1"].limit = Decimal("0.01")
    assert launch(site, 1, "aws-cpu-000").codes == ["budget-service-refused"]
    assert "Insufficient budget" in site.scheduler.told[1][-1]
    assert states(site) == [(1, "physics", "released")]
    assert not site.cloud.orders


@pytest.mark.parametrize(
    ("policy", "has_rules", "goes"),
    [
        ("fail-open", False, True),
        ("fail-closed", True, False),
        ("local", True, True),
        ("local", False, False),
    ],
)
def test_while_the_service_is_away_its_policy_is_followed_and_said(policy: str, has_rules: bool, goes: bool) -> None:
    """In the event, and on the job whether it goes or not."""
    site, _ = service_site(policy, [PHYSICS] if has_rules else [])
    fake(site).next = ["refused-connection"]
    outcome = launch(site, 1, "aws-cpu-000")
    assert (outcome.exit_code is ExitCode.DONE) is goes
    assert (outcome.codes == ["budget-service-away"]) is not goes
    assert f"policy {policy}" in site.scheduler.told[1][-1]
    assert f"policy {policy}" in said(site, EventKind.BUDGET_SERVICE_AWAY)[0]
    assert [one.state.value for one in site.budgets.holds()] == (["held" if goes else "released"] if has_rules else [])


def test_the_service_needs_no_price_of_ours() -> None:
    """It reckons itself: that AWS tells no price is no reason to launch nothing, where no budget is kept here."""
    site, asbb = service_site("fail-closed")
    site.prices.default = None
    assert launch(site, 1, "aws-cpu-000").exit_code is ExitCode.DONE
    assert len(asbb.calls) == 1


def test_without_a_price_the_service_charges_what_it_held() -> None:
    """Its own estimate: told 0, the job would be free there."""
    site, asbb = service_site("fail-closed")
    site.prices.default = None
    launch(site, 1, "aws-cpu-000")
    site.clock.advance(minutes=10)
    end(site, "aws-cpu-000")
    one = Budgeting(site.doors)
    for _ in range(10):
        one.run()
        site.clock.advance(minutes=10)
    (entry,) = site.budgets.entries(EntryState)
    assert entry.hold
    assert asbb.charges("1") == [entry.hold]


def test_an_outage_of_a_day_leaves_nothing_for_people_to_look_at() -> None:
    """What became of a question is asked when the service is back; while it is away one try a pass is enough."""
    site, _ = service_site("fail-open")
    fake(site).next = ["lost-after", "lost-before", "lost-after", "lost-before"]
    launch(site, 1, "aws-cpu-000")
    launch(site, 2, "aws-cpu-001")
    one = Budgeting(site.doors)
    for _ in range(50):
        fake(site).next = ["lost-before"] * 9
        one.run()
        assert len(fake(site).next) >= 8
        site.clock.advance(minutes=30)
    assert {entry.state for entry in site.budgets.entries(EntryState)} == {EntryState.CHECKING}
    fake(site).next = []
    for _ in range(3):
        site.clock.advance(minutes=30)
        one.run()
    assert {entry.state for entry in site.budgets.entries(EntryState)} <= {EntryState.HELD, EntryState.OWED}
    assert len({entry.transaction for entry in site.budgets.entries(EntryState)}) == 2


def test_no_launch_waits_for_telling_jobs_that_the_service_is_away() -> None:
    """It takes processes, for each job; and what somebody wrote there stays."""
    site, _ = service_site("fail-open")
    fake(site).next = ["refused-connection"]
    jobs = [(job, f"aws-cpu-{job:03}") for job in (1, 2, 3)]
    for job, node in jobs:
        queue(site, job, node)
    site.scheduler.tell_job(1, "ticket 4711: see mail")
    resume = Resume(site.doors, site.ask("aws-cpu-[001-003]", *jobs))
    assert len(resume.run().bound) == 3
    assert site.scheduler.told == {1: ["ticket 4711: see mail"]}
    resume.tidy()
    assert site.scheduler.told[1][-1].startswith("asbx:budget-service-away")
    assert site.scheduler.told[1][-1].endswith(" | ticket 4711: see mail")
    assert all("policy fail-open" in site.scheduler.told[job][-1] for job in (2, 3))


def test_a_service_that_is_away_is_asked_once_for_a_request() -> None:
    """Forty jobs do not wait forty times."""
    site, asbb = service_site("fail-open")
    asbb.as_shipped = True
    for job in range(1, 41):
        queue(site, job, f"aws-cpu-{job:03}")
    jobs = [(job, f"aws-cpu-{job:03}") for job in range(1, 41)]
    assert close(site, site.ask("aws-cpu-[001-040]", *jobs)).exit_code is ExitCode.DONE
    assert len([path for _, path, _ in asbb.calls if path.endswith("check")]) == 1


def test_a_lost_answer_is_looked_up_and_not_asked_again() -> None:
    """The hold it made is found in its list, and is the one that is reconciled."""
    site, asbb = service_site()
    fake(site).next = ["lost-after"]
    assert launch(site, 1, "aws-cpu-000").exit_code is ExitCode.DONE
    assert [path.partition("?")[0][-12:] for _, path, _ in asbb.calls] == ["budget/check", "transactions"]
    (entry,) = site.budgets.entries(EntryState)
    assert (entry.state, entry.transaction) == (EntryState.HELD, "txn_1")


def test_a_launch_that_fails_is_reconciled_with_nothing() -> None:
    """There is no other way to tell the service that a hold is over."""
    site, asbb = service_site()
    full(site)
    launch(site, 1, "aws-cpu-000")
    passes(site)
    assert asbb.charges("1") == [0]
    assert site.budgets.entries(EntryState)[0].state is EntryState.TOLD


def test_a_charge_that_is_absurd_is_not_sent() -> None:
    """It would take any number; somebody must look, and is told so once."""
    site, asbb = service_site(most_usd="0.0001")
    launch(site, 1, "aws-cpu-000")
    site.clock.advance(hours=1)
    end(site, "aws-cpu-000")
    passes(site, 5)
    assert asbb.charges() == []
    assert site.budgets.entries(EntryState)[0].state is EntryState.STUCK
    assert len(said(site, EventKind.BUDGET_SERVICE_STUCK)) == 1


def test_what_a_job_cost_can_be_left_as_a_file() -> None:
    """In the shape the service imports, once; then it is not told by a call."""
    site, asbb = service_site(reconcile="file")
    launch(site, 1, "aws-cpu-000")
    site.clock.advance(minutes=10)
    end(site, "aws-cpu-000")
    passes(site)
    (name, document) = next(iter(fake(site).left.items()))
    assert name == "job-1-asbb-reconciliation.json"
    assert (document["job_id"], document["account"]) == ("1", "phys-1")
    assert (document["partition"], document["user_id"]) == ("aws", "ada")
    assert document["actual_cost"] > 0
    assert document["success"] is None  # accounting was not asked
    assert asbb.charges() == []


def test_the_service_as_shipped_stops_nothing_under_fail_open() -> None:
    """It answers 500 to every check and holds nothing; so there is nothing to reconcile either."""
    site, asbb = service_site("fail-open")
    asbb.as_shipped = True
    assert launch(site, 1, "aws-cpu-000").exit_code is ExitCode.DONE
    end(site, "aws-cpu-000")
    passes(site, 5)
    assert {path.partition("?")[0] for _, path, _ in asbb.calls} == {"/api/v1/budget/check", "/api/v1/transactions"}
    assert site.budgets.entries(EntryState)[0].state is EntryState.VOID
