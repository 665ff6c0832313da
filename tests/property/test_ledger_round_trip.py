"""What the ledger keeps as JSON comes back equal, so that a call can be repeated byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import samples
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.job import JobAsk, Request, RequestKind
from asbx.model.market import FleetAnswer, FleetOrder, Launched, Market, Pool, Refusal, Template, Verdict
from asbx.model.record import Attempt, InstanceRow, Intent, Resource, ResourceKind, Setback, Shortage

# Any text but half characters and NUL, which no command line and no answer of EC2 can hold.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
TIMES = st.datetimes(timezones=st.just(UTC))
MARKETS = st.sampled_from(Market)


NAMES = st.lists(TEXTS, max_size=3).map(tuple)
TEMPLATES = st.builds(Template, TEXTS, TEXTS, TEXTS)
ORDERS = st.builds(
    FleetOrder,
    token=TEXTS,
    market=MARKETS,
    count=st.integers(1, 1000),
    minimum=st.integers(0, 1000),
    pools=st.lists(
        st.builds(Pool, TEXTS, TEXTS, TEXTS, TEXTS, st.none() | TEMPLATES),
        max_size=3,
    ).map(tuple),
    template=TEMPLATES,
    tags=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
    strategy=TEXTS,
    single_zone=st.booleans(),
    single_type=st.booleans(),
    placement_group=TEXTS,
    reservation=TEXTS,
    open_reservations=st.booleans(),
)
ANSWERS = st.builds(
    FleetAnswer,
    fleet_id=TEXTS,
    launched=st.lists(st.builds(Launched, TEXTS, TEXTS, TEXTS, TEXTS, MARKETS), max_size=3).map(tuple),
    refusals=st.lists(st.builds(Refusal, TEXTS, TEXTS, st.sampled_from(Verdict), TEXTS, TEXTS, TEXTS), max_size=3).map(
        tuple
    ),
)
ATTEMPTS = st.builds(
    Attempt,
    intent_id=st.just("int-1"),
    number=st.integers(1, 2**31 - 1),
    order=ORDERS,
    asked_at=TIMES,
    answered_at=st.none() | TIMES,
    answer=st.none() | ANSWERS,
    error=TEXTS,
    rung=TEXTS,
    leg=st.integers(0, 1000),
)
MAYBE = st.none() | TEXTS
JOBS = st.builds(
    JobAsk,
    st.integers(0, 2**32),
    NAMES,
    NAMES,
    MAYBE,
    MAYBE,
    MAYBE,
    MAYBE,
    MAYBE,
    MAYBE,
    st.none() | st.integers(),
)
REQUESTS = st.builds(
    Request,
    TEXTS,
    st.sampled_from(RequestKind),
    NAMES,
    TIMES,
    st.lists(JOBS, max_size=2).map(tuple),
    NAMES,
    MAYBE,
)
INSTANCES = st.builds(
    InstanceRow,
    instance_id=TEXTS,
    intent_id=st.just("int-1"),
    gang_id=TEXTS,
    jobs=st.lists(st.integers(0, 2**32), max_size=3).map(tuple),
    group=st.just(samples.CPU),
    user=TEXTS,
    account=TEXTS,
    instance_type=TEXTS,
    zone=TEXTS,
    subnet_id=TEXTS,
    market=MARKETS,
    launched_at=TIMES,
    price=st.none() | st.decimals(0, allow_nan=False, allow_infinity=False),
    private_ip=TEXTS,
    reservation_id=TEXTS,
    launch_index=st.integers(0, 1000),
    node=TEXTS,
    bound_at=st.none() | TIMES,
    ended_at=st.none() | TIMES,
    end_reason=TEXTS,
)
INTENTS = st.builds(
    Intent,
    intent_id=TEXTS,
    request_id=TEXTS,
    gang_id=TEXTS,
    jobs=st.lists(st.integers(0, 2**32), max_size=3).map(tuple),
    group=st.just(samples.CPU),
    nodes=NAMES,
    user=TEXTS,
    account=TEXTS,
    created_at=TIMES,
    considered=NAMES,
)
SHORTAGES = st.builds(
    Shortage,
    key=TEXTS,
    code=TEXTS,
    least=st.integers(1, 2**31 - 1),
    failures=st.integers(1, 2**31 - 1),
    since=TIMES,
    closed_until=TIMES,
    probe_until=st.none() | TIMES,
    probe_by=TEXTS,
)
RESOURCES = st.builds(Resource, st.sampled_from(ResourceKind), TEXTS, TEXTS, TIMES, TIMES)
SETBACKS = st.builds(Setback, st.integers(0, 2**32), st.integers(0, 2**31 - 1), TEXTS, TEXTS, TIMES, st.none() | TIMES)
# One ledger serves all examples of a test: opening one for each would measure the disk, not the promise.
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    """Open a ledger that knows the intent int-1."""
    url = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database()
    with closing(open_ledger(url)) as opened:
        opened.add_intent(samples.intent())
        yield opened


@RELAXED
@given(attempt=ATTEMPTS)
def test_orders_and_answers_come_back_equal(ledger: SqlLedger, attempt: Attempt) -> None:
    """Every field of a call and its answer survives the ledger, whatever text EC2 put into it."""
    number = len(ledger.attempts("int-1")) + 1
    kept = replace(attempt, number=number)
    ledger.answer_attempt(kept, [])
    assert ledger.attempts("int-1")[-1] == kept


@RELAXED
@given(request_=REQUESTS)
def test_requests_come_back_equal(ledger: SqlLedger, request_: Request) -> None:
    """Every field of a request survives the ledger."""
    if ledger.add_request(request_):
        assert request_ in ledger.open_requests()
        ledger.finish_request(request_.request_id, failed=False, note="", at=NOON)


@RELAXED
@given(row=INSTANCES)
def test_instances_come_back_equal(ledger: SqlLedger, row: InstanceRow) -> None:
    """Every field of an instance survives the ledger, the price digit for digit."""
    if row.instance_id not in {kept.instance_id for kept in ledger.instances()}:
        ledger.answer_attempt(samples.attempt(), [row])
        (kept,) = [kept for kept in ledger.instances() if kept.instance_id == row.instance_id]
        assert kept == row
        assert str(kept.price) == str(row.price)


@RELAXED
@given(intent=INTENTS)
def test_intents_come_back_equal(ledger: SqlLedger, intent: Intent) -> None:
    """Every field of an intent survives the ledger, what was considered included."""
    if not ledger.known_intents([intent.intent_id]):
        ledger.add_intent(intent)
        assert intent in ledger.intents(intent.request_id)


@RELAXED
@given(shortage=SHORTAGES)
def test_shortages_come_back_equal(ledger: SqlLedger, shortage: Shortage) -> None:
    """Every field of a shortage survives the ledger, written anew or over another."""
    assert ledger.change_shortage(shortage.key, lambda _: shortage) == shortage
    assert shortage in ledger.shortages()
    assert ledger.change_shortage(shortage.key, lambda kept: kept) == shortage


@RELAXED
@given(resource=RESOURCES)
def test_resources_come_back_equal(ledger: SqlLedger, resource: Resource) -> None:
    """Every field of what was made in EC2 survives the ledger."""
    ledger.end_resource(resource.kind, resource.name, NOON)
    ledger.add_resource(resource)
    assert resource in ledger.resources(resource.kind)


@RELAXED
@given(setback=SETBACKS)
def test_setbacks_come_back_equal(ledger: SqlLedger, setback: Setback) -> None:
    """Every field of a setback survives the ledger, in the place of an earlier one."""
    ledger.set_setback(setback)
    assert ledger.setbacks([setback.job_id]) == {setback.job_id: setback}
