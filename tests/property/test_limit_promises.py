"""No ceiling is passed, whatever is launched and ended in which order; what is refused launches nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import samples
from tests.fakes.site import Site

from asbx.config.limits_section import Limits
from asbx.decide.estimate import Course
from asbx.decide.limits import Ceiling, Owner, of_rules
from asbx.decide.limits_launch import Frame, Piece, cap
from asbx.decide.limits_room import Demand, fit, loads, reaches
from asbx.decide.rungs import Choice, Rung
from asbx.errors import ExitCode, LimitError
from asbx.ledger.store import open_ledger
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts
from asbx.model.limit import Measure, Use
from asbx.model.market import Market, Pool, Template
from asbx.model.record import Attempt

PRICES = {"c7i.large": Decimal("0.10"), "m7i.large": Decimal("0.25")}
CENTS = st.integers(1, 300).map(lambda cents: Decimal(cents) / 100)


def per_hour(site: Site, user: str | None = None) -> Decimal:
    """Return what lives costs an hour, of a user or in all."""
    rows = [row for row in site.ledger.instances(live_only=True) if user in (None, row.user)]
    return sum((PRICES[row.instance_type] for row in rows), Decimal(0))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["launch", "end"]), st.integers(1, 5), st.sampled_from(["ada", "eve"])), max_size=12
    ),
    nodes=st.integers(1, 8),
    usd=CENTS,
    mine=CENTS,
)
def test_no_order_of_launches_and_ends_passes_a_ceiling(
    steps: list[tuple[str, int, str]], nodes: int, usd: Decimal, mine: Decimal
) -> None:
    """Nodes and USD an hour, of all and of each user; a job that is refused has no instance."""
    site = Site()
    for zone in ("us-east-2a", "us-east-2b", ""):
        for name, price in PRICES.items():
            site.prices.table[name, zone, Market.ON_DEMAND] = price
    rules: list[dict[str, Any]] = [
        {"name": "all", "max_nodes_at_once": nodes, "max_cost_per_hour_at_once": usd},
        {"name": "own", "each": "user", "max_cost_per_hour_at_once": mine},
    ]
    site.config = site.config.model_copy(update={"limits": Limits.model_validate({"rules": rules})})
    first = 0
    for number, (what, count, user) in enumerate(steps, 1):
        if what == "end":
            live = site.ledger.instances(live_only=True)
            site.ledger.end_instances([row.instance_id for row in live[:count]], "done", site.clock.now())
            continue
        wanted = f"aws-cpu-[{first:03d}-{first + count - 1:03d}]"
        first += count
        site.scheduler.add_job(JobFacts(number, user, "physics", time_limit=timedelta(hours=1)), expand(wanted))
        outcome = site.resume(wanted, (number, wanted), request_id=f"r-{number}")
        launched = [row for row in site.ledger.instances(live_only=True) if number in row.jobs]
        assert len(launched) == (count if outcome.exit_code is ExitCode.DONE else 0)
        assert len(site.ledger.instances(live_only=True)) <= nodes
        assert per_hour(site) <= usd
        assert per_hour(site, user) <= mine


@pytest.mark.parametrize("workers", [8])
def test_calls_of_the_same_moment_do_not_pass_a_ceiling_together(tmp_path: Path, workers: int) -> None:
    """Forty calls for two instances, eight threads, two ledgers of one file, room for fifteen: seven go."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledgers = [open_ledger(url), open_ledger(url)]
    ledgers[0].add_request(samples.request())
    rule = {"name": "all", "max_nodes_at_once": 15}
    limits = Limits.model_validate({"rules": [rule]})
    ceilings = of_rules(limits, [Owner("ada", "physics", "aws")])

    def ask(number: int) -> bool:
        intent = replace(samples.intent(f"int-{number}"), created_at=samples.NOON)
        call = samples.attempt(f"int-{number}")

        def choose(use: Use) -> Attempt | None:
            found = fit(Demand(call.order, whole=True), reaches(ceilings, loads(use, {}, Decimal(0))), {}, "refuse")
            return call if found.order is not None else None

        return ledgers[number % 2].claim_attempt(intent, samples.NOON, choose) is not None

    with ThreadPoolExecutor(workers) as pool:
        went = sum(pool.map(ask, range(40)))
    assert went == 7
    assert sum(call.order.count for _, call in ledgers[0].in_use(samples.NOON).asked) == 14
    for ledger in ledgers:
        ledger.close()


@given(
    prices=st.lists(st.lists(CENTS, min_size=1, max_size=4), min_size=1, max_size=3),
    counts=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    most=st.integers(1, 2000).map(lambda cents: Decimal(cents) / 100),
    hours=st.integers(1, 48),
    measure=st.sampled_from([Measure.TOTAL, Measure.HOURLY]),
)
def test_whatever_stays_of_a_gang_fits_together(
    prices: list[list[Decimal]], counts: list[int], most: Decimal, hours: int, measure: Measure
) -> None:
    """The dearest that stays of each part, all at once, is within the limit; nothing stays only if nothing fits."""
    table = {(f"t{p}.n{n}", "a", Market.SPOT): usd for p, row in enumerate(prices) for n, usd in enumerate(row)}
    pieces = [
        Piece(Choice((_rung(part, len(row)),)), count)
        for (part, row), count in zip(enumerate(prices), counts, strict=False)
    ]
    ceiling = Ceiling("a limit", measure, most, "cancel", timedelta(0))
    frame = Frame(Course(timedelta(0), timedelta(hours=hours), timedelta(0)))
    factor = hours if measure is Measure.TOTAL else 1
    least = sum(min(row) * piece.count for row, piece in zip(prices, pieces, strict=True)) * factor
    try:
        capped = cap(pieces, table, frame, [ceiling], "refuse")
    except LimitError:
        assert least > most - Decimal("0.01")  # the estimate is rounded up to a cent
        return
    stays = [[table[p.instance_type, "a", Market.SPOT] for r in c.rungs for p in r.pools] for c in capped.choices]
    assert all(stays)
    assert sum(max(row) * piece.count for row, piece in zip(stays, pieces, strict=True)) * factor <= most
    assert [min(row) for row in stays] == [min(row) for row in prices]


def _rung(part: int, count: int) -> Rung:
    pools = tuple(Pool(f"t{part}.n{number}", "subnet-a", "a") for number in range(count))
    return Rung("spot", Market.SPOT, pools, Template("lt-1"))
