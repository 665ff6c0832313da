"""Market strategies over behaving fakes: who is on demand, who waits for spot, what spot may cost, what is restless."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.fakes.site import Site, config

from asbx.aws.requests import create_fleet
from asbx.config.limits import BACKOFF_LEAST
from asbx.config.limits_section import Limits
from asbx.errors import ExitCode
from asbx.flow.resume import Resume
from asbx.flow.scores import Scores
from asbx.model.event import EventKind
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Market
from asbx.model.spot import Interruption

KINDS = ("c7i.large", "m7i.large")
ZONES = ("us-east-2a", "us-east-2b")
SPOT, ON_DEMAND = Market.SPOT, Market.ON_DEMAND
EIGHT = "aws-cpu-[000-007]"


def site_of(market: dict[str, Any], **cpu: Any) -> Site:
    """Return a site whose group cpu buys mixed, by these rules."""
    return Site(config=config(**{"purchasing_option": "mixed", "market": market} | cpu))


def room(site: Site, market: Market, count: int, *zones: str) -> None:
    """Say how many of each type EC2 has in these zones (all), and that other zones have none."""
    for kind in KINDS:
        for zone in ZONES:
            site.cloud.capacity[kind, zone, market] = count if not zones or zone in zones else 0


def price(site: Site, market: Market, usd: str, kind: str = "", zone: str = "") -> None:
    """Say what instances cost."""
    for one in KINDS:
        for place in ZONES:
            if kind in ("", one) and zone in ("", place):
                site.prices.learned[one, place, market] = Decimal(usd)


def behind(site: Site) -> dict[str, Instance]:
    """Return node -> instance."""
    alive = {one.instance_id: one for one in site.cloud.alive()}
    return {node: alive[one] for node, one in site.bound().items()}


def markets(site: Site) -> list[Market]:
    """Return the markets of the nodes, in the order of their names."""
    return [one.market for _, one in sorted(behind(site).items())]


def overrides_of(order: FleetOrder) -> list[dict[str, Any]]:
    """Return what EC2 is told of each pool."""
    configs = create_fleet(order)["LaunchTemplateConfigs"]
    return [override for one in configs for override in one["Overrides"]]


def singles(site: Site, first: int, count: int, request_id: str) -> None:
    """Launch so many jobs of one node."""
    names = [f"aws-cpu-{number:03d}" for number in range(first, first + count)]
    jobs = [(number + 1, name) for number, name in enumerate(names, first)]
    assert site.resume(",".join(names), *jobs, request_id=request_id).exit_code == ExitCode.DONE


# -- base and share


def test_the_base_is_on_demand_and_of_the_rest_a_share() -> None:
    """Two, and a quarter of what comes after them: over one request or several, counted over what lives."""
    site = site_of({"on_demand_base": 2, "on_demand_percent": 25})
    singles(site, 0, 6, "r-1")
    assert markets(site) == [ON_DEMAND] * 3 + [SPOT] * 3
    singles(site, 6, 4, "r-2")
    assert markets(site).count(ON_DEMAND) == 4
    assert len(markets(site)) == 10


def test_what_ends_is_made_up_for_by_the_next_launch() -> None:
    """The base goes; the next single node takes its place on demand."""
    site = site_of({"on_demand_base": 2})
    singles(site, 0, 4, "r-1")
    gone = [site.bound()[node] for node in ("aws-cpu-000", "aws-cpu-001")]
    site.cloud.terminate(gone)
    site.ledger.end_instances(gone, "idle", site.clock.now())
    site.ledger.release(["aws-cpu-000", "aws-cpu-001"], site.clock.now())
    singles(site, 4, 3, "r-2")
    assert sorted(markets(site)) == sorted([ON_DEMAND] * 2 + [SPOT] * 3)


def test_a_base_that_is_not_to_be_had_does_not_become_spot() -> None:
    """Its nodes fail and are tried again; the others serve."""
    site = site_of({"on_demand_base": 2})
    room(site, ON_DEMAND, 0)
    nodes = ["aws-cpu-000", "aws-cpu-001", "aws-cpu-002"]
    outcome = site.resume(",".join(nodes), *[(n + 1, node) for n, node in enumerate(nodes)])
    assert outcome.exit_code == ExitCode.PARTLY
    assert behind(site).keys() == {"aws-cpu-002"}
    assert markets(site) == [SPOT]


def test_a_job_that_names_its_market_gets_it() -> None:
    """The base is for those that leave it open."""
    site = site_of({"on_demand_base": 5})
    site.scheduler.add_job(JobFacts(1, "ada", extra="asbx:market=spot"))
    singles(site, 0, 1, "r-1")
    assert markets(site) == [SPOT]


def test_a_restart_goes_on_with_the_same_division(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that died after its calls launches nothing twice and changes no market."""
    site = site_of({"on_demand_base": 1})
    names = [f"aws-cpu-{n:03d}" for n in range(3)]
    request = site.ask(",".join(names), *[(n + 1, name) for n, name in enumerate(names)])
    with monkeypatch.context() as patch:
        patch.setattr("asbx.flow.serve.Server.serve", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Resume(site.doors, request).run()
    assert len(site.cloud.all()) == 3
    assert Resume(site.doors, request).run().exit_code == ExitCode.DONE
    assert len(site.cloud.all()) == 3
    assert markets(site) == [ON_DEMAND, SPOT, SPOT]


# -- gangs


def test_a_gang_is_in_one_market_unless_told_otherwise() -> None:
    """Base and share are for single nodes: seven on spot are no gang of eight, so all eight are on demand."""
    site = site_of({"on_demand_base": 4, "on_demand_percent": 50})
    room(site, SPOT, 7)
    assert site.resume(EIGHT, (1, EIGHT)).exit_code == ExitCode.DONE
    assert set(markets(site)) == {ON_DEMAND}


@pytest.mark.parametrize("critical", [1, 3, 7])
def test_critical_nodes_are_the_first_ones_and_stand_with_the_others(critical: int) -> None:
    """Rank 0 is on demand, the rest on spot; one zone, one type, one placement group; both calls are all or nothing."""
    site = site_of({"critical_nodes": critical})
    room(site, SPOT, 8, "us-east-2b")
    assert site.resume(EIGHT, (1, EIGHT)).exit_code == ExitCode.DONE
    assert markets(site) == [ON_DEMAND] * critical + [SPOT] * (8 - critical)
    alive = site.cloud.alive()
    assert len({(one.zone, one.instance_type, one.placement_group) for one in alive}) == 1
    assert alive[0].placement_group
    assert [(o.market, o.count) for o in site.cloud.orders] == [(SPOT, 8 - critical), (ON_DEMAND, critical)]
    assert all(order.minimum == (order.count if order.count > 1 else 0) for order in site.cloud.orders)


def test_what_one_leg_launched_is_given_back_where_the_other_cannot_follow() -> None:
    """No on-demand in zone b, where spot is; in a there is room for all on demand: there the gang is, whole."""
    site = site_of({"critical_nodes": 1})
    room(site, SPOT, 7, "us-east-2b")
    room(site, ON_DEMAND, 8, "us-east-2a")
    assert site.resume(EIGHT, (1, EIGHT)).exit_code == ExitCode.DONE
    assert {(one.market, one.zone) for one in site.cloud.alive()} == {(ON_DEMAND, "us-east-2a")}
    assert len(site.cloud.alive()) == 8
    given_back = [one for one in site.cloud.all() if not one.state.is_alive]
    assert given_back
    assert {one.market for one in given_back} == {SPOT}


def test_no_part_of_a_gang_stays_where_its_critical_nodes_are_nowhere_to_be_had() -> None:
    """Spot without end and nothing on demand: nothing runs."""
    site = site_of({"critical_nodes": 2})
    room(site, ON_DEMAND, 0)
    outcome = site.resume(EIGHT, (1, EIGHT))
    assert outcome.bound == []
    assert site.cloud.alive() == ()


def test_the_first_nodes_of_a_job_are_critical_even_when_others_come_alone() -> None:
    """Rank 0 is up already: what is launched now are the others, on spot beside it."""
    site = site_of({"critical_nodes": 1})
    assert site.resume("aws-cpu-000", (9, "aws-cpu-000"), request_id="r-0").exit_code == ExitCode.DONE
    outcome = site.resume("aws-cpu-[001-003]", (1, "aws-cpu-[000-003]", "aws-cpu-[001-003]"))
    assert outcome.exit_code == ExitCode.DONE
    assert markets(site)[1:] == [SPOT] * 3


def test_a_crash_between_both_calls_launches_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spot nodes are there, the answer for rank 0 never came: the next run goes on, and nothing is given back."""
    site = site_of({"critical_nodes": 1})
    request = site.ask(EIGHT, (1, EIGHT))
    launch = site.cloud.launch

    def dies(order: FleetOrder) -> FleetAnswer:
        if order.market is ON_DEMAND:
            launch(order)
            raise KeyboardInterrupt
        return launch(order)

    with monkeypatch.context() as patch:
        patch.setattr(site.cloud, "launch", dies)
        with pytest.raises(KeyboardInterrupt):
            Resume(site.doors, request).run()
    assert len(site.cloud.all()) == 8
    assert Resume(site.doors, request).run().exit_code == ExitCode.DONE
    assert len(site.cloud.all()) == 8
    assert markets(site) == [ON_DEMAND] + [SPOT] * 7


def test_limits_see_both_legs_of_a_gang() -> None:
    """Eight nodes fit and nine do not, wherever they are bought; the dearest node counts."""
    for nodes, exit_code in ((EIGHT, ExitCode.DONE), ("aws-cpu-[000-008]", ExitCode.BUDGET)):
        site = site_of({"critical_nodes": 1})
        rule = {"name": "house", "max_nodes": 8, "max_cost_per_hour": 0.8}
        limits = Limits.model_validate({"rules": [rule], "volumes_usd_per_hour": 0})
        site.config = site.config.model_copy(update={"limits": limits})
        site.scheduler.add_job(JobFacts(1, "ada", "physics", time_limit=timedelta(hours=1)))
        assert site.resume(nodes, (1, nodes)).exit_code == exit_code
        assert len(site.cloud.alive()) == (8 if exit_code == ExitCode.DONE else 0)


# -- waiting for spot


def waiting_job(site: Site, request_id: str) -> Any:
    """Let Slurm start job 1 on eight nodes."""
    site.scheduler.add_job(JobFacts(1, "ada", "physics", state="CONFIGURING"), expand(EIGHT))
    return site.resume(EIGHT, (1, EIGHT), request_id=request_id)


def test_a_job_waits_for_spot_as_long_as_it_is_told_and_no_longer() -> None:
    """No spot: it is put off, says until when, is tried again at that moment at the latest, and is then on demand."""
    site = site_of({"fallback_after_seconds": 600})
    room(site, SPOT, 0)
    began = site.clock.now()
    end, tries = began + timedelta(seconds=600), 0
    while True:
        outcome = waiting_job(site, f"r-{tries}")
        if outcome.exit_code == ExitCode.DONE:
            break
        tries += 1
        assert tries < 9
        assert site.cloud.alive() == ()
        assert {order.market for order in site.cloud.orders} <= {SPOT}
        setback = site.ledger.setbacks([1])[1]
        told = site.scheduler.told[1][-1]
        assert f"waits for spot until {end:%H:%M:%S} UTC, then on-demand is allowed" in told
        assert f"until {end:%H:%M:%S} UTC" in setback.reason
        assert setback.next_at is not None
        assert setback.next_at <= end + timedelta(seconds=2) + BACKOFF_LEAST
        assert f"next try {setback.next_at:%H:%M}" in told
        site.clock.moment = setback.next_at
    assert site.clock.now() >= end
    assert tries >= 2
    assert set(markets(site)) == {ON_DEMAND}
    assert site.ledger.spot_waits([1]) == {}, "the next time it waits anew"


def test_spot_that_comes_back_in_time_is_taken() -> None:
    """Within the wait."""
    site = site_of({"fallback_after_seconds": 3600})
    room(site, SPOT, 0)
    assert waiting_job(site, "r-1").bound == []
    room(site, SPOT, 8)
    site.clock.moment += timedelta(minutes=30)
    assert waiting_job(site, "r-2").exit_code == ExitCode.DONE
    assert set(markets(site)) == {SPOT}


def test_there_is_no_wait_where_spot_can_never_be() -> None:
    """Neither for types that EC2 does not sell on spot, nor where spot is dearer, nor for nodes of no job."""
    site = site_of({"fallback_after_seconds": 600})
    for kind in KINDS:
        site.catalogue.quotas[SPOT, kind] = 0
    assert waiting_job(site, "r-1").exit_code == ExitCode.DONE
    site = site_of({"fallback_after_seconds": 600})
    price(site, SPOT, "0.3")
    price(site, ON_DEMAND, "0.2")
    assert waiting_job(site, "r-1").exit_code == ExitCode.DONE
    site = site_of({"fallback_after_seconds": 600})
    room(site, SPOT, 0)
    assert site.resume(EIGHT).exit_code == ExitCode.DONE
    assert set(markets(site)) == {ON_DEMAND}


def test_those_who_have_waited_are_not_launched_with_those_who_wait() -> None:
    """Job 1 has waited long enough; job 2 asks for the first time: only job 1 is on demand."""
    site = site_of({"fallback_after_seconds": 600})
    room(site, SPOT, 0)
    site.ledger.begin_spot_waits([1], site.clock.now() - timedelta(seconds=601))
    for job, node in ((1, "aws-cpu-000"), (2, "aws-cpu-001")):
        site.scheduler.add_job(JobFacts(job, "ada", state="CONFIGURING"), [node])
    outcome = site.resume("aws-cpu-[000-001]", (1, "aws-cpu-000"), (2, "aws-cpu-001"))
    assert outcome.bound == ["aws-cpu-000"]
    assert site.ledger.spot_waits([1, 2]).keys() == {2}


def test_critical_nodes_wait_for_the_spot_of_the_others() -> None:
    """Nothing is bought for them meanwhile; afterwards all are on demand."""
    site = site_of({"fallback_after_seconds": 600, "critical_nodes": 1})
    room(site, SPOT, 0)
    assert waiting_job(site, "r-1").bound == []
    assert site.cloud.all() == ()
    site.clock.moment += timedelta(seconds=601)
    assert waiting_job(site, "r-2").exit_code == ExitCode.DONE
    assert set(markets(site)) == {ON_DEMAND}


# -- what spot may cost


def test_the_limit_is_a_part_of_the_price_of_each_type() -> None:
    """Seventy percent of it goes into the request, or less where the group says so; on demand has none."""
    overrides = [{"instance_type": "c7i.large", "spot_price": "0.06"}, {"instance_type": "m7i.large"}]
    site = site_of({"max_spot_percent": 70}, launch_template_overrides=overrides)
    price(site, ON_DEMAND, "0.10")
    room(site, SPOT, 0)
    site.resume(EIGHT, (1, EIGHT))
    spot, bought = site.cloud.orders[0], site.cloud.orders[-1]
    assert {(p.instance_type, p.max_price) for p in spot.pools} == {("c7i.large", "0.06"), ("m7i.large", "0.07")}
    assert bought.market is ON_DEMAND
    assert all("MaxPrice" not in override for override in overrides_of(bought))


def test_what_is_too_dear_is_not_asked_and_is_told() -> None:
    """Above the limit in one zone: only the other is asked."""
    site = site_of({"max_spot_percent": 50})
    price(site, ON_DEMAND, "0.10")
    price(site, SPOT, "0.0501", zone="us-east-2a")
    price(site, SPOT, "0.05", zone="us-east-2b")
    site.resume(EIGHT, (1, EIGHT))
    assert {pool.zone for pool in site.cloud.orders[0].pools} == {"us-east-2b"}
    (intent,) = site.ledger.intents("r-1")
    why = "dropped c7i.large as spot in us-east-2a: it costs 0.0501 USD/h, and the limit is 0.05 (on-demand: 0.10)"
    assert why in intent.considered


def test_a_limit_below_a_price_nobody_knows_keeps_the_type_from_spot() -> None:
    """At 100 percent and more EC2's own limit is the one: no other is sent."""
    for percent, asked in ((99, [ON_DEMAND]), (100, [SPOT])):
        site = site_of({"max_spot_percent": percent})
        site.resume(EIGHT, (1, EIGHT))
        assert [order.market for order in site.cloud.orders] == asked
        assert {pool.max_price for order in site.cloud.orders for pool in order.pools} == {""}


def test_spot_that_costs_more_than_on_demand_is_not_asked() -> None:
    """Of any type of the group: all make the same node. Unless the group says that it may."""
    for may, asked in ((True, {"c7i.large"}), (False, {"c7i.large", "m7i.large"})):
        site = site_of({"spot_below_on_demand": may})
        price(site, ON_DEMAND, "0.10", "c7i.large")
        price(site, ON_DEMAND, "0.30", "m7i.large")
        price(site, SPOT, "0.04", "c7i.large")
        price(site, SPOT, "0.12", "m7i.large")
        site.resume(EIGHT, (1, EIGHT))
        assert {pool.instance_type for pool in site.cloud.orders[0].pools} == asked


# -- restless pools and scores


def test_pools_that_are_taken_back_are_asked_last_within_their_market() -> None:
    """Three interruptions an hour ago: the other zone is a rung before, on-demand comes after both, and it is told."""
    site = site_of({})
    for number in range(3):
        at = site.clock.now() - timedelta(hours=1)
        site.ledger.add_interruption(Interruption(f"i-{number}", "c7i.large", "us-east-2a", at))
    room(site, SPOT, 0)
    room(site, ON_DEMAND, 0)
    site.resume(EIGHT, (1, EIGHT))
    asked = [(order.market, {(p.instance_type, p.zone) for p in order.pools}) for order in site.cloud.orders]
    assert asked[0][0] == asked[1][0] == SPOT
    assert ("c7i.large", "us-east-2a") not in asked[0][1]
    assert asked[1][1] == {("c7i.large", "us-east-2a")}
    assert asked[2][0] == ON_DEMAND
    (intent,) = site.ledger.intents("r-1")
    told = "weighed c7i.large as spot in us-east-2a: 3 interruption(s) in 7 days weigh 2.916"
    assert any(line.startswith(told) for line in intent.considered)


def test_a_launch_does_not_wait_for_scores() -> None:
    """The passes ask, where the site allows it."""
    site = site_of({})
    Scores(site.doors).run()
    assert site.catalogue.calls["ask_spot_scores"] == 0
    allowed = site.config.aws.model_copy(update={"spot_placement_scores": True})
    site.config = site.config.model_copy(update={"aws": allowed})
    Scores(site.doors).run()
    assert site.catalogue.calls["ask_spot_scores"] == 1


def test_the_event_of_a_job_that_waits_says_for_what() -> None:
    """So do the metrics and whoever reads the log know."""
    site = site_of({"fallback_after_seconds": 600})
    room(site, SPOT, 0)
    waiting_job(site, "r-1")
    postponed = [event for event in site.recorder.events if event.kind is EventKind.JOB_POSTPONED]
    assert postponed
    assert all("waits for spot until" in event.text for event in postponed)
