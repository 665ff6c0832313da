"""Limits before a launch and while jobs run, over the fakes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.fakes import samples
from tests.fakes.ledger import FakeLedger
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.site import NODES, Site, config

from asbx.config.limits_section import Limits
from asbx.errors import ExitCode, SlurmError
from asbx.flow.overruns import Overruns
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts
from asbx.model.limit import JobLimit, LimitMark, Measure, Step
from asbx.model.market import Market
from asbx.model.record import InstanceRow

HOUR = timedelta(hours=1)
CHEAP, DEAR = Decimal("0.10"), Decimal("0.40")


@pytest.fixture
def site() -> Site:
    """Return a site with a cheap and a dear type, an hour's boot and idle tail each being nothing to speak of."""
    made = Site(config())
    for zone in ("us-east-2a", "us-east-2b", ""):
        made.prices.table["m7i.large", zone, Market.ON_DEMAND] = DEAR
    return made


def limits(site: Site, *rules: dict[str, Any], **settings: Any) -> None:
    """Give the site limits."""
    named = [{"name": f"l{number}"} | rule for number, rule in enumerate(rules)]
    made = Limits.model_validate({"rules": named, **settings})
    site.config = site.config.model_copy(update={"limits": made})


def job(site: Site, number: int, nodes: str, hours: float | None = 1, user: str = "ada", **facts: Any) -> None:
    """Add a job with a time limit to the queue."""
    limit = None if hours is None else timedelta(hours=hours)
    site.scheduler.add_job(JobFacts(number, user, "physics", time_limit=limit, **facts), expand(nodes))


def said(site: Site, kind: EventKind) -> list[str]:
    """Return what was said of a kind."""
    return [event.text for event in site.recorder.events if event.kind is kind]


# -- before the launch


REAL = {"job_metadata": {"job_name": "x"}, "should_burst": True, "cost_constraints": {"max_total_cost": 0.25}}


@pytest.mark.parametrize(("forecast", "launched"), [("note", True), ("enforce", False)])
def test_the_advisors_forecast_is_a_limit_where_the_site_says_so(site: Site, forecast: str, launched: bool) -> None:
    """It is 1.2 times an estimate at a price for no type in particular; what is not held is told."""
    limits(site, forecast=forecast)
    job(site, 9, "aws-cpu-[000-003]", 10)
    site.plans.leave("9", json.dumps(REAL))
    site.resume("aws-cpu-[000-003]", (9, "aws-cpu-[000-003]"))
    assert bool(site.bound()) is launched
    notes = said(site, EventKind.PLAN_NOTE)
    assert any("forecast of 0.25 USD" in note and "is no limit" in note for note in notes) is launched


def test_a_job_that_would_cost_too_much_is_held_with_the_arithmetic(site: Site) -> None:
    """4 nodes for 10 hours: the sum, the rule and how it comes about stand in its comment, and nothing is launched."""
    limits(site, {"name": "small", "max_total_cost": 2})
    job(site, 7, "aws-cpu-[000-003]", 10)
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    assert (outcome.exit_code, outcome.codes) == (ExitCode.BUDGET, ["limit-refused"])
    told = site.scheduler.told[7][-1]
    assert "max_total_cost 2 of limit 'small': 4 node(s) x 0.1 USD/h" in told
    assert "10 h time limit" in told
    assert 7 in site.scheduler.held
    assert site.cloud.orders == []
    assert site.ledger.job_plans(7)[0].refusal.startswith("limit-refused")


def test_what_is_too_dear_is_dropped_and_the_cheapest_still_goes(site: Site) -> None:
    """A ceiling between both types: only the cheap one is asked for, and the launch says why the other is not."""
    limits(site, {"max_cost_per_hour": "0.5"})
    job(site, 7, "aws-cpu-[000-003]")
    assert site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]")).exit_code == ExitCode.DONE
    assert {pool.instance_type for order in site.cloud.orders for pool in order.pools} == {"c7i.large"}
    assert "4 node(s) x 0.4 USD/h = 1.6 USD/h" in " ".join(said(site, EventKind.LADDER_PLANNED))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"max_nodes": 3}, "the job has 4 node(s)"),
        ({"max_nodes_at_once": 3}, "the job has 4 node(s)"),
        ({"max_hours": "0.5"}, "its time limit is 1 h"),
        ({"max_cost_per_hour": "0.3"}, "4 node(s) x 0.1 USD/h = 0.4 USD/h at the cheapest"),
        ({"max_cost_per_hour_at_once": "0.3"}, "4 node(s) x 0.1 USD/h = 0.4 USD/h at the cheapest"),
    ],
)
def test_each_limit_holds_a_job_that_alone_passes_it(site: Site, rule: dict[str, Any], words: str) -> None:
    """What is above a limit by itself never fits: it is held, not tried for ever."""
    limits(site, rule)
    job(site, 7, "aws-cpu-[000-003]")
    assert site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]")).exit_code == ExitCode.BUDGET
    assert words in site.scheduler.told[7][-1]
    assert 7 in site.scheduler.held


def test_only_those_a_rule_is_about(site: Site) -> None:
    """Another user's job, and one of another account, are not held."""
    limits(site, {"users": ["eve"], "max_nodes": 1}, {"accounts": ["bio*"], "max_nodes": 1})
    job(site, 7, "aws-cpu-[000-001]")
    job(site, 8, "aws-cpu-[002-003]", user="eve")
    outcome = site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-001]"), (8, "aws-cpu-[002-003]"))
    assert sorted(outcome.bound) == list(expand("aws-cpu-[000-001]"))
    assert site.scheduler.held == {8}


def test_the_jobs_own_words_and_its_plan_are_limits(site: Site) -> None:
    """A hint and a plan refuse like a rule, and say that they do; jobs with others' words are launched apart."""
    job(site, 7, "aws-cpu-000", 10, comment="asbx:max-cost=0.5")
    job(site, 8, "aws-cpu-001", 10)
    job(site, 9, "aws-cpu-002", 10)
    site.plans.leave("9", json.dumps({"should_burst": True, "cost_constraints": {"max_total_cost": 0.25}}))
    site.resume("aws-cpu-[000-002]", *((7 + n, f"aws-cpu-00{n}") for n in range(3)))
    assert list(site.bound()) == ["aws-cpu-001"]
    assert "the job's hint asbx:max-cost" in site.scheduler.told[7][-1]
    assert "the plan's cost_constraints.max_total_cost" in site.scheduler.told[9][-1]


def test_what_cannot_be_reckoned_is_never_silently_without_limit(site: Site) -> None:
    """No time limit or no price: refused, or launched with a note where the site says so."""
    limits(site, {"max_total_cost": 100})
    job(site, 7, "aws-cpu-000", None)
    site.resume("aws-cpu-000", (7, "aws-cpu-000"))
    assert "no time limit" in site.scheduler.told[7][-1]
    site.prices.default, site.prices.table = None, {}
    job(site, 8, "aws-cpu-001")
    site.resume("aws-cpu-001", (8, "aws-cpu-001"), request_id="r-2")
    assert "limit-unknown" in site.scheduler.told[8][-1]
    assert 8 not in site.scheduler.held
    assert not site.bound()
    limits(site, {"max_total_cost": 100}, unknown="warn")
    job(site, 9, "aws-cpu-002", None)
    site.resume("aws-cpu-002", (9, "aws-cpu-002"), request_id="r-3")
    assert list(site.bound()) == ["aws-cpu-002"]
    assert any("no time limit" in text for text in said(site, EventKind.PLAN_NOTE))


def test_a_limit_that_ends_a_job_bounds_its_cost(site: Site) -> None:
    """Without a time limit, hours after which it is stopped tell how long it can last."""
    limits(site, {"max_total_cost": 1, "auto_terminate_hours": 2})
    job(site, 7, "aws-cpu-000", None)
    assert site.resume("aws-cpu-000", (7, "aws-cpu-000")).exit_code == ExitCode.DONE


def test_a_full_house_puts_a_job_off_until_there_is_room(site: Site) -> None:
    """Six nodes at once: the first gang runs, the second waits and is told so, and goes when the first has ended."""
    limits(site, {"name": "house", "max_nodes_at_once": 6}, retry_seconds=45)
    job(site, 7, "aws-cpu-[000-003]")
    job(site, 8, "aws-cpu-[004-007]")
    site.resume("aws-cpu-[000-003]", (7, "aws-cpu-[000-003]"))
    outcome = site.resume("aws-cpu-[004-007]", (8, "aws-cpu-[004-007]"), request_id="r-2")
    assert (outcome.exit_code, outcome.codes) == (ExitCode.BUDGET, ["limit-reached"])
    assert "max_nodes_at_once 6 of limit 'house': 4 of 6 node(s) in use, 4 more wanted" in site.scheduler.told[8][-1]
    assert 8 not in site.scheduler.held
    assert timedelta(seconds=30) < site.scheduler.begin[8] < timedelta(seconds=60)
    ids = [row.instance_id for row in site.ledger.instances(live_only=True)]
    site.ledger.end_instances(ids, "done", site.clock.now())
    site.scheduler.power_down(list(expand("aws-cpu-[000-003]")))
    again = site.resume("aws-cpu-[004-007]", (8, "aws-cpu-[004-007]"), request_id="r-3")
    assert again.exit_code == ExitCode.DONE
    assert site.ledger.setbacks([8]) == {}


def test_single_nodes_come_as_far_as_there_is_room(site: Site) -> None:
    """Ten jobs of one node, room for three: three run, seven wait, none is held."""
    limits(site, {"max_nodes_at_once": 3})
    for number in range(10):
        job(site, 10 + number, f"aws-cpu-00{number}")
    outcome = site.resume("aws-cpu-[000-009]", *((10 + n, f"aws-cpu-00{n}") for n in range(10)))
    assert len(outcome.bound) == 3
    assert "limit-reached" in outcome.codes
    assert site.scheduler.held == set()
    assert len(site.scheduler.begin) == 7


def test_each_user_has_a_house_of_their_own(site: Site) -> None:
    """`each: user`: what one has running takes nothing from another."""
    limits(site, {"max_nodes_at_once": 2, "each": "user"})
    for number, user in enumerate(("ada", "eve", "ada")):
        nodes = f"aws-cpu-[00{2 * number}-00{2 * number + 1}]"
        job(site, 7 + number, nodes, user=user)
        site.resume(nodes, (7 + number, nodes), request_id=f"r-{number}")
    assert sorted(site.bound()) == list(expand("aws-cpu-[000-003]"))
    assert "for user ada" in site.scheduler.told[9][-1]


def test_a_call_without_an_answer_counts(site: Site) -> None:
    """Whatever EC2 may have launched is in use until that is known."""
    limits(site, {"max_nodes_at_once": 3})
    site.ledger.add_request(samples.request("r-0"))
    site.ledger.add_attempt(samples.attempt("int-1"), samples.intent("int-1", request_id="r-0"))
    job(site, 8, "aws-cpu-[004-005]")
    outcome = site.resume("aws-cpu-[004-005]", (8, "aws-cpu-[004-005]"), request_id="r-2")
    assert outcome.codes == ["limit-reached"]


# -- while it runs


def run(site: Site, number: int, nodes: str, hours: float = 1, **facts: Any) -> None:
    """Launch a job and let it run."""
    job(site, number, nodes, hours, **facts)
    assert site.resume(nodes, (number, nodes), request_id=f"r-{number}").exit_code == ExitCode.DONE
    site.ledger.set_prices({row.instance_id: CHEAP for row in site.ledger.instances(live_only=True)})
    site.scheduler.register(list(expand(nodes)))
    site.scheduler.job_table[number] = JobFacts(
        number, "ada", "physics", state="RUNNING", time_limit=timedelta(hours=hours)
    )


def later(site: Site, by: timedelta) -> None:
    """Let time go by, for the jobs that run, too; then a pass."""
    site.clock.sleep(by)
    for number, fact in site.scheduler.job_table.items():
        if fact.state == "RUNNING":
            site.scheduler.used[number] = site.scheduler.used.get(number, timedelta()) + by
    Overruns(site.doors).run()


def test_an_alert_is_said_once_and_nothing_is_stopped(site: Site) -> None:
    """In the job's comment, in front of what stood there, and as an event; a restart does not repeat it."""
    run(site, 7, "aws-cpu-[000-001]", 9, comment="asbx:cost-alert=0.3")
    site.scheduler.tell_job(7, "by the administrator")
    later(site, HOUR)
    assert said(site, EventKind.LIMIT_ALERT) == []
    for _ in range(3):
        later(site, HOUR)
    (text,) = said(site, EventKind.LIMIT_ALERT)
    assert "cost_alert 0.3 of the job's hint asbx:cost-alert: it has cost 0.4" in text
    assert site.scheduler.comment(7).endswith("it runs on | by the administrator")
    assert site.scheduler.job_table[7].state == "RUNNING"


@pytest.mark.parametrize("action", ["cancel", "requeue"])
def test_a_job_is_warned_then_stopped_after_its_grace(site: Site, action: str) -> None:
    """Two passes at the least, nodes drained first, the limit's name in its comment at each step."""
    limits(site, {"name": "day", "auto_terminate_hours": 2}, when_exceeded=action, grace_seconds=300)
    run(site, 7, "aws-cpu-[000-001]", 9)
    later(site, HOUR)
    assert site.ledger.limit_marks() == ()
    later(site, HOUR)
    assert [mark.step for mark in site.ledger.limit_marks()] == [Step.WARNED]
    assert "limit 'day'" in site.scheduler.comment(7)
    assert site.scheduler.calls["retire"] == 1
    later(site, timedelta(seconds=299))
    assert site.scheduler.job_table[7].state == "RUNNING"
    later(site, timedelta(seconds=1))
    assert site.scheduler.job_table[7].state == {"cancel": "CANCELLED", "requeue": "COMPLETING"}[action]
    assert site.scheduler.calls["retire"] == 1
    later(site, timedelta(seconds=60))
    later(site, timedelta(seconds=60))
    assert (7 in site.scheduler.held) is (action == "requeue")


def test_what_was_done_about_a_job_that_is_gone_is_forgotten(site: Site) -> None:
    """Else a year of alerts is read in every pass, and another job of that number is stopped without a warning."""
    run(site, 7, "aws-cpu-[000-001]", 9, comment="asbx:cost-alert=0.1")
    for _ in range(2):
        later(site, HOUR)
    assert [mark.step for mark in site.ledger.limit_marks()] == [Step.SAID]
    site.scheduler.job_table[7] = replace(site.scheduler.job_table[7], state="PENDING")  # requeued by somebody
    later(site, HOUR)
    assert len(site.ledger.limit_marks()) == 1
    assert 7 not in site.scheduler.held
    del site.scheduler.job_table[7], site.scheduler.job_nodes[7]
    later(site, HOUR)
    assert site.ledger.limit_marks() == ()


def test_a_job_that_cannot_be_held_keeps_no_other_from_it(site: Site) -> None:
    """Slurm refuses one; the other would run into its limit again."""
    site.scheduler = _Stubborn(NODES)
    for number in (7, 8):
        job(site, number, f"aws-cpu-00{number}", state="PENDING")
        site.ledger.set_limit_mark(
            LimitMark(number, 0, "limit 'day'", Measure.AUTO_TERMINATE, Step.STOPPED, site.clock.now())
        )
    later(site, HOUR)
    assert set(site.scheduler.held) == {8}
    assert [mark.job_id for mark in site.ledger.limit_marks()] == [7]


class _Stubborn(FakeScheduler):
    """Slurm does not hold job 7."""

    def hold(self, job_id: int) -> None:
        if job_id == 7:
            raise SlurmError("slurm-refused", "scontrol uhold 7 failed", "Access/permission denied", "")
        super().hold(job_id)


class _LongLedger(FakeLedger):
    """A ledger with the limits of a year of jobs: to read them all takes too long for a pass."""

    def job_limits(self, job_ids: Iterable[int] | None = None) -> tuple[JobLimit, ...]:
        assert job_ids is not None, "limits of all jobs there ever were"
        return super().job_limits(job_ids)


class _LongYear(FakeLedger):
    """A ledger with what has ended in a month: to read it all takes seconds of a pass."""

    def instances(self, **fields: Any) -> tuple[InstanceRow, ...]:
        assert "ended_since" not in fields, "what has ended"
        return super().instances(**fields)


def test_what_has_ended_is_read_only_where_a_limit_is_about_money() -> None:
    """Hours are Slurm's to tell."""
    site = Site(config(), ledger=_LongYear())
    limits(site, {"name": "day", "auto_terminate_hours": 1}, grace_seconds=0)
    run(site, 7, "aws-cpu-[000-001]", 9)
    for _ in range(3):
        later(site, HOUR)
    assert site.scheduler.job_table[7].state == "CANCELLED"


@pytest.mark.parametrize("rules", [(), ({"name": "day", "auto_terminate_hours": 99},)])
def test_a_pass_reads_the_limits_of_jobs_that_run(rules: tuple[dict[str, Any], ...]) -> None:
    """And finds them, with rules of the site or without."""
    site = Site(config(), ledger=_LongLedger())
    limits(site, *rules, grace_seconds=0)
    run(site, 7, "aws-cpu-[000-001]", 9, comment="asbx:auto-terminate-hours=1")
    for _ in range(3):
        later(site, HOUR)
    assert site.scheduler.job_table[7].state == "CANCELLED"


def test_the_cost_a_job_has_reached_stops_it(site: Site) -> None:
    """Estimated below, in truth above: a job whose price has risen is stopped by the rule's name."""
    limits(site, {"name": "cap", "max_total_cost": 1}, grace_seconds=0)
    run(site, 7, "aws-cpu-[000-001]", 4)
    site.ledger.set_prices({row.instance_id: Decimal(1) for row in site.ledger.instances(live_only=True)})
    later(site, HOUR)
    assert site.scheduler.job_table[7].state == "RUNNING"
    later(site, timedelta(seconds=1))
    assert site.scheduler.job_table[7].state == "CANCELLED"
    assert "limit 'cap'" in said(site, EventKind.LIMIT_STOPPED)[0]


def test_above_the_hourly_ceiling_nothing_new_goes_and_the_youngest_only_as_the_rule_says(site: Site) -> None:
    """A spot price rises: by default it is said once; with `cancel` one job goes, which is enough."""
    site.config = config(purchasing_option="spot")
    limits(site, {"name": "hour", "max_cost_per_hour_at_once": "0.5"})
    run(site, 7, "aws-cpu-[000-001]", 9)
    later(site, HOUR)
    run(site, 8, "aws-cpu-[002-003]", 9)
    site.prices.default = Decimal("0.2")
    later(site, timedelta(minutes=1))
    later(site, timedelta(minutes=1))
    assert len(said(site, EventKind.LIMIT_ALERT)) == 1
    job(site, 9, "aws-cpu-004")
    assert site.resume("aws-cpu-004", (9, "aws-cpu-004"), request_id="r-9").codes == ["limit-reached"]
    rule = {"name": "hour", "max_cost_per_hour_at_once": "0.5", "when_exceeded_at_once": "cancel", "grace_seconds": 60}
    limits(site, rule)
    for _ in range(3):
        later(site, timedelta(minutes=1))
    assert site.scheduler.job_table[8].state == "CANCELLED"
    assert site.scheduler.job_table[7].state == "RUNNING"
    assert "limit 'hour'" in site.scheduler.comment(8)
