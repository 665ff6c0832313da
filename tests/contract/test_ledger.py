"""What every ledger promises, in memory or in a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import event as event_of_sqlalchemy
from tests.fakes import samples
from tests.fakes.ledger import FakeLedger
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.config.limits import JOB_PLANS_KEPT
from asbx.errors import LedgerError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.boot import Breaker, Console
from asbx.model.event import Event, EventKind
from asbx.model.job import JobAsk
from asbx.model.job_plan import JobPlan
from asbx.model.limit import JobLimit, LimitMark, Measure, Step
from asbx.model.names import GroupName
from asbx.model.record import Binding, ResourceKind, Shortage
from asbx.model.spot import Interruption
from asbx.ports import Ledger

LATER = NOON + timedelta(hours=1)


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """Open every ledger there is."""
    if request.param == "fake":
        yield FakeLedger()
        return
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database())
    yield opened
    opened.close()


@pytest.fixture
def launched(ledger: Ledger) -> Ledger:
    """Return a ledger with a request, an intent, an answered attempt and instances i-1 and i-2."""
    ledger.add_request(samples.request())
    ledger.add_intent(samples.intent())
    asked = samples.attempt()
    ledger.add_attempt(asked)
    answered = replace(asked, answered_at=LATER, answer=samples.answer())
    ledger.answer_attempt(answered, [samples.instance_row("i-1"), samples.instance_row("i-2")])
    return ledger


# -- requests


def test_a_request_comes_back_whole(ledger: Ledger) -> None:
    """Nodes, jobs with null fields, notes and the plan are read back as they were written."""
    job = JobAsk(7, ("aws-cpu-000", "aws-cpu-001"), ("aws-cpu-001",), partition="aws", priority=3)
    request = replace(samples.request(), jobs=(job, JobAsk(8, (), ())), notes=("odd: é ☃",), plan_text='{"a": 1}\n')
    assert ledger.add_request(request)
    assert ledger.open_requests() == (request,)


def test_a_request_is_new_once(ledger: Ledger) -> None:
    """The same id again is refused quietly, and the first contents stay."""
    first = samples.request()
    assert ledger.add_request(first)
    assert not ledger.add_request(replace(first, nodes=("aws-cpu-099",)))
    assert ledger.open_requests() == (first,)


def test_open_requests_are_oldest_first(ledger: Ledger) -> None:
    """Work is done in the order Slurm asked for it, whatever the order of writing."""
    late = samples.request("r-a", received_at=LATER)
    early = samples.request("r-b", received_at=NOON)
    ledger.add_request(late)
    ledger.add_request(early)
    assert ledger.open_requests() == (early, late)


def test_a_finished_request_is_no_longer_open(ledger: Ledger) -> None:
    """Outcomes are new, done or failed; the first one said stands; unknown ids have none."""
    ledger.add_request(samples.request("r-1"))
    ledger.add_request(samples.request("r-2"))
    assert ledger.request_outcome("r-1") == ("new", "")
    ledger.finish_request("r-1", failed=False, note="all up", at=LATER)
    ledger.finish_request("r-1", failed=True, note="again", at=LATER)
    ledger.finish_request("r-2", failed=True, note="no room", at=LATER)
    ledger.finish_request("r-9", failed=True, note="nobody", at=LATER)
    assert ledger.request_outcome("r-1") == ("done", "all up")
    assert ledger.request_outcome("r-2") == ("failed", "no room")
    assert ledger.request_outcome("r-9") is None
    assert ledger.open_requests() == ()


# -- launches


def test_an_intent_comes_back_whole(ledger: Ledger) -> None:
    """Jobs, group, nodes and the microsecond are kept; writing it again changes nothing."""
    intent = replace(samples.intent(jobs=(12, 13)), group=GroupName("aws-east", "cpu"), nodes=("aws-east-cpu-7",))
    ledger.add_intent(intent)
    ledger.add_intent(replace(intent, created_at=LATER))
    assert ledger.intents("r-1") == (intent,)
    assert ledger.intents("r-2") == ()


def test_an_intent_id_stands_for_one_launch(ledger: Ledger) -> None:
    """Other nodes under the same id are refused: EC2 would take them for the first ones."""
    ledger.add_intent(samples.intent())
    with pytest.raises(LedgerError) as caught:
        ledger.add_intent(replace(samples.intent(), nodes=("aws-cpu-050",)))
    assert caught.value.code == "ledger-differs"
    assert ledger.intents("r-1") == (samples.intent(),)


def test_known_intents_are_ours_only(ledger: Ledger) -> None:
    """Of many thousand ids, those recorded are returned."""
    for number in range(3):
        ledger.add_intent(samples.intent(f"int-{number}"))
    asked = [f"int-{number}" for number in range(2, 2500)]
    assert ledger.known_intents(asked) == {"int-2"}
    assert ledger.known_intents([]) == frozenset()


def test_an_unanswered_attempt_keeps_its_order(ledger: Ledger) -> None:
    """After a crash the call can be repeated exactly: order equal, answer None."""
    ledger.add_intent(samples.intent())
    attempt = samples.attempt()
    ledger.add_attempt(attempt)
    ledger.add_attempt(attempt)
    assert ledger.attempts("int-1") == (attempt,)
    assert ledger.attempts("int-2") == ()


def test_an_attempt_number_stands_for_one_order(ledger: Ledger) -> None:
    """Another order under the same number is refused: its token is spent."""
    ledger.add_intent(samples.intent())
    ledger.add_attempt(samples.attempt())
    with pytest.raises(LedgerError) as caught:
        ledger.add_attempt(replace(samples.attempt(), order=samples.order(count=3)))
    assert caught.value.code == "ledger-differs"


def test_an_answer_comes_with_its_instances(launched: Ledger) -> None:
    """Answer, refusals and instances are there together, equal to what was given."""
    (attempt,) = launched.attempts("int-1")
    assert attempt.answer == samples.answer()
    assert attempt.answered_at == LATER
    assert attempt.order == samples.attempt().order
    assert launched.instances() == (samples.instance_row("i-1"), samples.instance_row("i-2"))
    assert launched.instances(intent_id="int-1") == launched.instances()
    assert launched.instances(intent_id="int-2") == ()


def test_an_answer_said_again_loses_nothing(launched: Ledger) -> None:
    """Replaying the call after a crash keeps bindings, prices and ends already known."""
    launched.bind([("aws-cpu-000", samples.instance("i-1"))], LATER)
    before = launched.instances()
    answered = replace(samples.attempt(), answered_at=LATER, answer=samples.answer())
    launched.answer_attempt(answered, [samples.instance_row("i-1"), samples.instance_row("i-2")])
    assert launched.instances() == before


def test_a_refused_call_keeps_its_code(ledger: Ledger) -> None:
    """A call EC2 refused as a whole has an error and no answer; a later answer replaces it."""
    ledger.add_intent(samples.intent())
    refused = replace(samples.attempt(), answered_at=LATER, error="RequestLimitExceeded")
    ledger.answer_attempt(refused, [])
    assert ledger.attempts("int-1") == (refused,)
    answered = replace(samples.attempt(), answered_at=LATER, answer=samples.answer())
    ledger.answer_attempt(answered, [])
    assert ledger.attempts("int-1") == (answered,)


def test_attempts_come_by_number(ledger: Ledger) -> None:
    """The ladder reads its rungs in order, also past the ninth."""
    ledger.add_intent(samples.intent())
    for number in (10, 2, 1):
        ledger.add_attempt(samples.attempt(number=number))
    assert [attempt.number for attempt in ledger.attempts("int-1")] == [1, 2, 10]


def test_attempts_of_many_intents_come_at_once(ledger: Ledger) -> None:
    """Those of each by number, nothing of others, and of more intents than one query holds."""
    for intent in ("int-1", "int-2", "int-3"):
        ledger.add_intent(samples.intent(intent))
        for number in (2, 1):
            ledger.add_attempt(samples.attempt(intent, number=number))
    wanted = ["int-3", "int-1", "int-1", *(f"unknown-{number}" for number in range(2000))]
    found = [(attempt.intent_id, attempt.number) for attempt in ledger.attempts_of(wanted)]
    assert sorted(found) == [("int-1", 1), ("int-1", 2), ("int-3", 1), ("int-3", 2)]
    assert ledger.attempts_of([]) == ()


def test_nothing_launches_without_an_intent(ledger: Ledger) -> None:
    """An attempt or instance of an unknown intent is refused, and nothing of it is kept."""
    with pytest.raises(LedgerError) as caught:
        ledger.add_attempt(samples.attempt("int-9"))
    assert caught.value.code == "ledger-no-intent"
    ledger.add_intent(samples.intent())
    with pytest.raises(LedgerError) as caught:
        ledger.answer_attempt(samples.attempt(), [samples.instance_row(intent_id="int-9")])
    assert caught.value.code == "ledger-no-intent"
    assert ledger.instances() == ()
    assert ledger.attempts("int-1") == ()


# -- instances and bindings


def test_binding_marks_the_instance(launched: Ledger) -> None:
    """A bound instance knows its node, address, reservation and place in the launch."""
    launched.bind([("aws-cpu-001", samples.instance("i-2", launch_index=5))], LATER)
    assert launched.live_bindings() == (Binding("aws-cpu-001", "i-2", LATER),)
    (row,) = [row for row in launched.instances() if row.instance_id == "i-2"]
    assert row == replace(
        samples.instance_row("i-2"),
        node="aws-cpu-001",
        bound_at=LATER,
        private_ip="10.0.0.9",
        reservation_id="r-1",
        launch_index=5,
    )


def test_binding_the_same_pair_again_changes_nothing(launched: Ledger) -> None:
    """A flow that repeats itself after a crash neither fails nor moves the time."""
    pair = ("aws-cpu-000", samples.instance("i-1"))
    launched.bind([pair, pair], NOON)
    launched.bind([pair, ("aws-cpu-001", samples.instance("i-2"))], LATER)
    assert launched.live_bindings() == (
        Binding("aws-cpu-000", "i-1", NOON),
        Binding("aws-cpu-001", "i-2", LATER),
    )


@pytest.mark.parametrize(("node", "instance_id"), [("aws-cpu-000", "i-2"), ("aws-cpu-001", "i-1")])
def test_a_second_partner_is_refused(launched: Ledger, node: str, instance_id: str) -> None:
    """No node has two live instances and no instance two nodes; the whole call is undone."""
    launched.bind([("aws-cpu-000", samples.instance("i-1"))], NOON)
    with pytest.raises(LedgerError) as caught:
        launched.bind([("aws-cpu-009", samples.instance("i-9")), (node, samples.instance(instance_id))], LATER)
    assert caught.value.code == "already-bound"
    assert launched.live_bindings() == (Binding("aws-cpu-000", "i-1", NOON),)


def test_partners_within_one_call_are_checked(launched: Ledger) -> None:
    """A call that contradicts itself binds nothing."""
    with pytest.raises(LedgerError) as caught:
        launched.bind([("aws-cpu-000", samples.instance("i-1")), ("aws-cpu-000", samples.instance("i-2"))], NOON)
    assert caught.value.code == "already-bound"
    assert launched.live_bindings() == ()


def test_a_released_node_may_be_bound_again(launched: Ledger) -> None:
    """Release closes live bindings only; then both sides are free."""
    launched.bind([("aws-cpu-000", samples.instance("i-1"))], NOON)
    launched.release(["aws-cpu-000", "aws-cpu-077"], LATER)
    launched.release(["aws-cpu-000"], LATER + timedelta(hours=1))
    assert launched.live_bindings() == ()
    launched.bind([("aws-cpu-000", samples.instance("i-2")), ("aws-cpu-001", samples.instance("i-1"))], LATER)
    assert {(b.node, b.instance_id) for b in launched.live_bindings()} == {
        ("aws-cpu-000", "i-2"),
        ("aws-cpu-001", "i-1"),
    }


def test_live_bindings_of_some_nodes(launched: Ledger) -> None:
    """Asked for nodes, the ledger answers for these, each once; asked for none, nothing."""
    pairs = [(f"aws-cpu-{number:04d}", samples.instance(f"i-{number}")) for number in range(2000)]
    launched.bind(pairs, NOON)
    wanted = [node for node, _ in pairs[500:1800]]
    assert [binding.node for binding in launched.live_bindings(wanted + wanted[:1])] == wanted
    assert len(launched.live_bindings()) == 2000
    assert launched.live_bindings([]) == ()


def test_an_end_is_said_once(launched: Ledger) -> None:
    """The first end of an instance stands; unknown ids are passed over."""
    launched.end_instances(["i-1", "i-77"], "suspended", NOON)
    launched.end_instances(["i-1"], "again", LATER)
    assert [row.instance_id for row in launched.instances(live_only=True)] == ["i-2"]
    (ended,) = [row for row in launched.instances() if row.ended_at]
    assert (ended.instance_id, ended.end_reason, ended.ended_at) == ("i-1", "suspended", NOON)


@pytest.mark.parametrize("price", ["0.0850", "1E-7", "98.32000000000000000001", "0"])
def test_a_price_is_exact(launched: Ledger, price: str) -> None:
    """Not one digit of a price is lost, not even a trailing zero."""
    launched.set_prices({"i-1": Decimal(price)})
    assert str(launched.instances()[0].price) == str(Decimal(price))


def test_an_unknown_price_stays_unknown(ledger: Ledger) -> None:
    """None is not zero."""
    ledger.add_intent(samples.intent())
    ledger.answer_attempt(samples.attempt(), [samples.instance_row(price=None)])
    assert ledger.instances()[0].price is None


def test_instances_are_first_launched_first(ledger: Ledger) -> None:
    """The order is the launch's, then the id's."""
    ledger.add_intent(samples.intent())
    rows = [
        samples.instance_row("i-3", launched_at=LATER),
        samples.instance_row("i-2"),
        samples.instance_row("i-1"),
    ]
    ledger.answer_attempt(samples.attempt(), rows)
    assert [row.instance_id for row in ledger.instances()] == ["i-1", "i-2", "i-3"]


def test_nodes_register_once(launched: Ledger) -> None:
    """The first time stands; a node bound to nothing, or to another instance later, is not meant."""
    launched.bind([("aws-cpu-000", samples.instance("i-1")), ("aws-cpu-001", samples.instance("i-2"))], NOON)
    launched.register(["aws-cpu-000", "aws-cpu-077"], LATER)
    launched.register(["aws-cpu-000"], LATER + timedelta(hours=1))
    assert launched.live_bindings() == (
        Binding("aws-cpu-000", "i-1", NOON, registered_at=LATER),
        Binding("aws-cpu-001", "i-2", NOON),
    )
    launched.release(["aws-cpu-000"], LATER)
    launched.bind([("aws-cpu-000", samples.instance("i-3"))], LATER)
    assert launched.live_bindings(["aws-cpu-000"]) == (Binding("aws-cpu-000", "i-3", LATER),)


# -- what is remembered between requests


def test_what_was_considered_is_kept_once(ledger: Ledger) -> None:
    """A flow that repeats itself may see other prices: the intent is the same, and the first account stays."""
    intent = replace(samples.intent(), considered=("c7i.large spot: 0.04 USD", "m7i.large: dropped, no EFA"))
    ledger.add_intent(intent)
    ledger.add_intent(replace(intent, considered=("c7i.large spot: 0.05 USD",)))
    ledger.add_attempt(samples.attempt(), replace(intent, considered=()))
    assert ledger.intents("r-1") == (intent,)


def test_an_attempt_knows_its_rung_and_leg(ledger: Ledger) -> None:
    """What the call was for is read back, before and after its answer."""
    ledger.add_intent(samples.intent())
    asked = replace(samples.attempt(), rung="spot/us-east-2a", leg=3)
    ledger.add_attempt(asked)
    assert ledger.attempts("int-1") == (asked,)
    answered = replace(asked, answered_at=LATER, answer=samples.answer())
    ledger.answer_attempt(answered, [])
    assert ledger.attempts("int-1") == (answered,)


def test_a_shortage_is_changed_and_forgotten(ledger: Ledger) -> None:
    """The change sees what is kept, its answer is kept and returned; None forgets."""
    seen: list[Shortage | None] = []
    kept = samples.shortage()

    def become(new: Shortage | None) -> Callable[[Shortage | None], Shortage | None]:
        def change(old: Shortage | None) -> Shortage | None:
            seen.append(old)
            return new

        return change

    probed = replace(kept, least=2, probe_until=LATER, probe_by="job-7")
    assert ledger.change_shortage(kept.key, become(kept)) == kept
    assert ledger.change_shortage(kept.key, become(probed)) == probed
    assert ledger.shortages() == (probed,)
    assert ledger.change_shortage(kept.key, become(None)) is None
    assert ledger.change_shortage(kept.key, become(None)) is None
    assert ledger.shortages() == ()
    assert seen == [None, kept, probed, None]


def test_an_interruption_is_kept_once(ledger: Ledger) -> None:
    """The first word about an instance stands; those of a time come oldest first."""
    first = Interruption("i-2", "c7i.large", "us-east-2a", NOON)
    for one in (replace(first, instance_id="i-1", at=LATER), first, replace(first, at=LATER, zone="us-east-2b")):
        ledger.add_interruption(one)
    assert ledger.interruptions(NOON) == (first, replace(first, instance_id="i-1", at=LATER))
    assert ledger.interruptions(NOON + timedelta(seconds=1)) == (replace(first, instance_id="i-1", at=LATER),)
    ledger.prune(LATER, 10)
    assert len(ledger.interruptions(NOON)) == 1


def test_a_wait_for_spot_goes_on_from_when_it_began(ledger: Ledger) -> None:
    """Until it ends; then it begins anew, and what is old is forgotten."""
    ledger.begin_spot_waits([1, 2], NOON)
    ledger.begin_spot_waits([2, 3], LATER)
    ledger.begin_spot_waits([], LATER)
    assert ledger.spot_waits([1, 2, 3, 4]) == {1: NOON, 2: NOON, 3: LATER}
    assert ledger.spot_waits([]) == {}
    ledger.end_spot_waits([1, 9])
    ledger.begin_spot_waits([1], LATER)
    assert ledger.spot_waits([1]) == {1: LATER}
    ledger.prune(LATER, 10)
    assert ledger.spot_waits([1, 2, 3]) == {1: LATER, 3: LATER}


def test_shortages_come_by_key(ledger: Ledger) -> None:
    """Each key has its own, under the name it was changed by."""
    for key in ("quota/spot/g", "addresses/subnet-a", "capacity/spot/c7i.large/us-east-2a"):
        ledger.change_shortage(key, lambda _: samples.shortage())
    assert [kept.key for kept in ledger.shortages()] == [
        "addresses/subnet-a",
        "capacity/spot/c7i.large/us-east-2a",
        "quota/spot/g",
    ]


def test_a_change_that_fails_changes_nothing(ledger: Ledger) -> None:
    """Whatever it raises passes through, and the next change is not kept waiting."""
    kept = samples.shortage()
    ledger.change_shortage(kept.key, lambda _: kept)

    def fail(_: Shortage | None) -> Shortage | None:
        raise RuntimeError("defect")

    with pytest.raises(RuntimeError):
        ledger.change_shortage(kept.key, fail)
    assert ledger.change_shortage(kept.key, lambda old: old) == kept


def test_resources_are_kept_until_removed(ledger: Ledger) -> None:
    """Of one kind, oldest first; used again its time moves on and never back; removed it is gone."""
    late = samples.resource("b", at=LATER)
    early = samples.resource("a")
    template = samples.resource("a", kind=ResourceKind.TEMPLATE)
    for each in (late, early, template):
        ledger.add_resource(each)
    assert ledger.resources(ResourceKind.PLACEMENT_GROUP) == (early, late)
    assert ledger.resources(ResourceKind.TEMPLATE) == (template,)
    ledger.add_resource(replace(early, gang_id="job-99", created_at=LATER, used_at=LATER))
    ledger.add_resource(early)
    assert ledger.resources(ResourceKind.PLACEMENT_GROUP) == (replace(early, used_at=LATER), late)
    ledger.end_resource(ResourceKind.PLACEMENT_GROUP, "a", LATER)
    ledger.end_resource(ResourceKind.PLACEMENT_GROUP, "never made", LATER)
    assert ledger.resources(ResourceKind.PLACEMENT_GROUP) == (late,)
    assert ledger.resources(ResourceKind.TEMPLATE) == (template,)


def test_a_removed_resource_can_be_made_again(ledger: Ledger) -> None:
    """Then it is a new one: its gang and its times are those of the second making."""
    ledger.add_resource(samples.resource("a"))
    ledger.end_resource(ResourceKind.PLACEMENT_GROUP, "a", NOON)
    again = replace(samples.resource("a", at=LATER), gang_id="job-13")
    ledger.add_resource(again)
    assert ledger.resources(ResourceKind.PLACEMENT_GROUP) == (again,)


def test_setbacks_are_counted_and_cleared(ledger: Ledger) -> None:
    """The newest of a job stands, for as many jobs as there are; cleared ones are forgotten."""
    for job_id in range(1000):
        ledger.set_setback(samples.setback(job_id))
    worse = samples.setback(7, count=2, next_at=None)
    ledger.set_setback(worse)
    found = ledger.setbacks(range(2000))
    assert len(found) == 1000
    assert found[7] == worse
    assert found[8] == samples.setback(8)
    ledger.clear_setbacks(range(8))
    assert ledger.setbacks([7, 8]) == {8: samples.setback(8)}
    assert ledger.setbacks([]) == {}


# -- events and time


def test_events_are_found_by_what_they_are_about(ledger: Ledger) -> None:
    """By job, by node, by request, or all; oldest first."""
    first = Event(EventKind.LAUNCH_ASKED, "asked", request_id="r-1", gang_id="job-12", job_id=12)
    second = Event(EventKind.NODE_BOUND, "bound", request_id="r-1", node="aws-cpu-000", instance_id="i-1")
    third = Event(EventKind.PASS_FAILED, "oh", level="error", data={"n": 1, "list": ["a", None]})
    for number, event in enumerate((first, second, third)):
        ledger.add_event(event, NOON + timedelta(seconds=number))
    assert [event for _, event in ledger.events()] == [first, second, third]
    assert ledger.events(job_id=12) == ((NOON, first),)
    assert [event for _, event in ledger.events(node="aws-cpu-000")] == [second]
    assert [event for _, event in ledger.events(request_id="r-1")] == [first, second]
    assert ledger.events(request_id="r-1", node="nobody") == ()


def test_the_limit_keeps_the_newest_events(ledger: Ledger) -> None:
    """A limit cuts the past, not the present."""
    for number in range(5):
        ledger.add_event(Event(EventKind.PLAN_NOTE, str(number)), NOON)
    assert [event.text for _, event in ledger.events(limit=2)] == ["3", "4"]


def test_event_data_is_kept_as_json_can(ledger: Ledger) -> None:
    """Facts JSON has no word for become text; the event is never refused for them."""
    ledger.add_event(Event(EventKind.PLAN_NOTE, "x", data={"usd": Decimal("1.50"), "t": (1, 2)}), NOON)
    assert ledger.events()[0][1].data == {"usd": "1.50", "t": [1, 2]}


def test_times_come_back_as_utc(ledger: Ledger) -> None:
    """A time written in another zone is the same moment, read as UTC, to the microsecond."""
    there = datetime(2026, 3, 1, 5, 30, 0, 654321, tzinfo=timezone(timedelta(hours=-7)))
    ledger.add_event(Event(EventKind.PLAN_NOTE, "x"), there)
    (at, _), *_ = ledger.events()
    assert at == there
    assert at.tzinfo == UTC


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    """Nobody could say later what it meant."""
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(LedgerError) as caught:
        ledger.add_event(Event(EventKind.PLAN_NOTE, "x"), naive)
    assert caught.value.code == "ledger-value"


# -- forgetting


def test_what_is_old_is_forgotten_and_money_is_not(launched: Ledger) -> None:
    """Events and a finished request go with its calls; its instances, their intent and the cost stay for good."""
    launched.add_event(Event(EventKind.PLAN_NOTE, "old"), NOON)
    launched.add_event(Event(EventKind.PLAN_NOTE, "young"), LATER)
    launched.end_instances(["i-1", "i-2"], "over", NOON)
    launched.finish_request("r-1", failed=False, note="", at=NOON)
    before = launched.instances()
    assert launched.prune(LATER, 100) == 2
    assert [event.text for _, event in launched.events()] == ["young"]
    assert launched.request_outcome("r-1") is None
    assert launched.attempts("int-1") == ()
    assert launched.instances() == before
    assert launched.known_intents(["int-1"]) == {"int-1"}
    assert launched.prune(LATER, 100) == 0


def test_what_lives_is_not_old(launched: Ledger) -> None:
    """A request whose instance runs for a year keeps its calls; an open one stays whatever its age."""
    launched.add_request(samples.request("r-open"))
    launched.finish_request("r-1", failed=False, note="", at=NOON)
    launched.end_instances(["i-1"], "over", NOON)
    assert launched.prune(LATER, 100) == 0
    assert len(launched.attempts("int-1")) == 1
    assert [request.request_id for request in launched.open_requests()] == ["r-open"]


def test_an_intent_that_launched_nothing_is_forgotten(ledger: Ledger) -> None:
    """What was meant and came to nothing has cost nothing."""
    ledger.add_request(samples.request())
    ledger.add_intent(samples.intent())
    ledger.answer_attempt(replace(samples.attempt(), answered_at=NOON, error="x"), [])
    ledger.finish_request("r-1", failed=True, note="", at=NOON)
    assert ledger.prune(LATER, 100) == 1
    assert ledger.known_intents(["int-1"]) == frozenset()
    assert ledger.intents("r-1") == ()


def test_a_little_is_forgotten_at_a_time(ledger: Ledger) -> None:
    """The oldest first, so that no write lasts long."""
    for number in range(5):
        ledger.add_event(Event(EventKind.PLAN_NOTE, str(number)), NOON + timedelta(seconds=number))
    assert [ledger.prune(LATER, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_things_and_setbacks_are_forgotten(ledger: Ledger) -> None:
    """What was removed from EC2 long ago, and jobs nobody tries any more."""
    ledger.add_resource(samples.resource("a"))
    ledger.add_resource(samples.resource("b"))
    ledger.end_resource(ResourceKind.PLACEMENT_GROUP, "a", NOON)
    ledger.set_setback(samples.setback(7))
    ledger.prune(LATER, 100)
    assert ledger.setbacks([7]) == {}
    assert ledger.resources(ResourceKind.PLACEMENT_GROUP) == (samples.resource("b"),)


def test_a_healthy_ledger_passes_its_check(ledger: Ledger) -> None:
    """check() says nothing when all is well, and leaves nothing behind."""
    ledger.check()
    assert ledger.events() == ()


# -- boots


def test_a_boot_fails_once_for_an_instance(ledger: Ledger) -> None:
    """Told again, in the same breath or later, a failure is no news and stays as it was."""
    first = samples.boot_failure("i-1")
    assert ledger.add_boot_failures([first, replace(first, detail="again")]) == {"i-1"}
    again = [replace(first, failed_at=LATER), samples.boot_failure("i-2", failed_at=LATER)]
    assert ledger.add_boot_failures(again) == {"i-2"}
    assert ledger.boot_failures(limit=10) == (first, again[1])
    assert ledger.add_boot_failures([]) == frozenset()


def test_boot_failures_are_found_by_group_and_node(ledger: Ledger) -> None:
    """The last ones, oldest first."""
    gpu = GroupName("aws", "gpu")
    rows = [
        samples.boot_failure("i-1"),
        samples.boot_failure("i-2", group=gpu, failed_at=NOON + timedelta(seconds=1)),
        samples.boot_failure("i-3", failed_at=LATER),
    ]
    ledger.add_boot_failures(rows)
    assert ledger.boot_failures(group=samples.CPU, limit=10) == (rows[0], rows[2])
    assert ledger.boot_failures(node="aws-gpu-000", limit=10) == (rows[1],)
    assert ledger.boot_failures(limit=2) == (rows[1], rows[2])


def test_the_last_boot_is_the_youngest_launch_that_registered(launched: Ledger) -> None:
    """By group; whether the node is still there does not matter."""
    assert launched.last_boot(samples.CPU) is None
    early = samples.instance("i-1", launched_at=NOON)
    late = samples.instance("i-2", launch_index=1, launched_at=LATER)
    launched.bind([("aws-cpu-000", early), ("aws-cpu-001", late)], LATER)
    launched.register(["aws-cpu-000"], LATER)
    assert launched.last_boot(samples.CPU) == NOON
    launched.register(["aws-cpu-001"], LATER)
    launched.release(["aws-cpu-001"], LATER)
    assert launched.last_boot(samples.CPU) == LATER
    assert launched.last_boot(GroupName("aws", "gpu")) is None


def test_a_breaker_is_changed_in_one_go(ledger: Ledger) -> None:
    """What `change` returns is what stands; None forgets it."""
    closed = Breaker(samples.CPU, NOON, LATER, 1, 10, LATER, "job-1 of r-1", NOON)
    assert ledger.change_breaker(samples.CPU, lambda old: closed if old is None else old) == closed
    assert ledger.breakers() == (closed,)
    seen: list[Breaker | None] = []
    assert ledger.change_breaker(samples.CPU, seen.append) is None
    assert seen == [closed]
    assert ledger.breakers() == ()


def test_consoles_are_kept_for_a_while(ledger: Ledger) -> None:
    """Whatever a machine writes comes back; old ones are dropped, and of the others the newest are kept."""
    text = "boot: é ☃\n" * 5000
    ledger.add_console(Console("i-1", "first", NOON))
    ledger.add_console(Console("i-1", text, NOON))
    ledger.add_console(Console("i-2", "", LATER))
    ledger.add_console(Console("i-3", "x", LATER + timedelta(seconds=1)))
    assert ledger.console("i-1") == Console("i-1", text, NOON)
    assert ledger.console("i-9") is None
    ledger.drop_consoles(NOON + timedelta(seconds=1), 1)
    assert [ledger.console(one) is not None for one in ("i-1", "i-2", "i-3")] == [False, False, True]


def test_a_node_has_a_history(launched: Ledger) -> None:
    """Each instance it had, with what became of it; also of one nobody recorded."""
    launched.bind([("aws-cpu-000", samples.instance("i-1"))], NOON)
    launched.register(["aws-cpu-000"], LATER)
    launched.end_instances(["i-1"], "its node was powered down", LATER)
    launched.release(["aws-cpu-000"], LATER)
    launched.bind([("aws-cpu-000", samples.instance("i-9"))], LATER + timedelta(seconds=1))
    first, second = launched.services("aws-cpu-000", 10)
    assert (first.instance_id, first.registered_at, first.ended_at) == ("i-1", LATER, LATER)
    assert (first.instance_type, first.end_reason) == ("c7i.large", "its node was powered down")
    assert (second.instance_id, second.instance_type, second.launched_at) == ("i-9", "", None)
    assert launched.services("aws-cpu-000", 1) == (second,)


def test_what_was_launched_for_a_job(ledger: Ledger) -> None:
    """Its instances with when they were asked for and came, and those EC2 took back; no others'."""
    assert isinstance(ledger, FakeLedger | SqlLedger)
    ledger.add_request(samples.request(received_at=NOON - timedelta(seconds=5)))
    ledger.add_intent(samples.intent())
    ledger.add_intent(samples.intent("int-2", request_id="r-gone"))
    mine = [samples.instance_row(name, jobs=(12, 112)) for name in ("i-1", "i-2")]
    later = samples.instance_row("i-3", intent_id="int-2", jobs=(12,), launched_at=LATER)
    other = samples.instance_row("i-4", jobs=(112,))
    ledger.answer_attempt(samples.attempt(), [*mine, later, other])
    nodes = samples.node_names(2)
    ledger.bind([(nodes[0], samples.instance("i-1")), (nodes[1], samples.instance("i-2"))], NOON)
    ledger.register([nodes[0]], NOON + timedelta(seconds=30))
    ledger.end_instances(["i-2"], "spot reclaimed", LATER)
    ledger.release([nodes[1]], LATER)
    ledger.add_event(Event(EventKind.SPOT_INTERRUPTED, "goes", instance_id="i-3"), LATER)
    found = {one.row.instance_id: one for one in ledger.job_launches(12)}
    assert list(found) == ["i-1", "i-2", "i-3"]
    assert found["i-1"].took == timedelta(seconds=35)
    assert found["i-2"].took is None
    assert found["i-3"].asked_at == samples.intent().created_at
    assert {name for name, one in found.items() if one.was_reclaimed} == {"i-2", "i-3"}
    assert ledger.job_launches(1) == ()
    assert ledger.live_jobs() == {12, 112}
    ledger.end_instances(["i-1", "i-3"], "over", LATER)
    assert ledger.live_jobs() == {112}


# -- the plans jobs went by


def test_the_plan_of_a_job_comes_back_whole(ledger: Ledger) -> None:
    """Every field, the newest first; written again after a crash, the newest of a request stands."""
    first, again = samples.job_plan(7, "r-1"), samples.job_plan(7, "r-2", decided_at=LATER)
    ledger.add_job_plans([first, samples.job_plan(8, "r-1")])
    ledger.add_job_plans([again])
    ledger.add_job_plans([first])
    ledger.add_job_plans([])
    assert ledger.job_plans(7) == (again, first)
    assert ledger.job_plans(8) == (samples.job_plan(8, "r-1"),)
    assert ledger.job_plans(9) == ()
    bare = JobPlan(7, "r-1", LATER + timedelta(seconds=1))
    ledger.add_job_plans([bare])
    assert ledger.job_plans(7) == (bare, again)


def test_a_job_that_waits_long_keeps_its_last_plans(ledger: Ledger) -> None:
    """Old ones make room, of that job only; what is older than the site keeps is forgotten."""
    ledger.add_job_plans([samples.job_plan(8, "r-00")])
    for number in range(JOB_PLANS_KEPT + 5):
        ledger.add_job_plans([samples.job_plan(7, f"r-{number:02d}", decided_at=NOON + timedelta(minutes=number))])
    kept = [one.request_id for one in ledger.job_plans(7)]
    assert kept == [f"r-{number:02d}" for number in range(JOB_PLANS_KEPT + 4, 4, -1)]
    ledger.prune(NOON + timedelta(minutes=JOB_PLANS_KEPT + 4), 100)
    assert [one.request_id for one in ledger.job_plans(7)] == [f"r-{JOB_PLANS_KEPT + 4:02d}"]
    assert ledger.job_plans(8) == ()


def test_earlier_jobs_are_found_by_user_and_name(ledger: Ledger) -> None:
    """One row for each job, the newest; others' jobs of that name and other names are left out."""
    for number in (1, 2, 3):
        ledger.add_job_plans(
            [
                samples.job_plan(number, f"r-{number}-{turn}", decided_at=NOON + timedelta(hours=number, seconds=turn))
                for turn in (0, 1)
            ]
        )
    ledger.add_job_plans([samples.job_plan(4, "r-4", user="eve"), samples.job_plan(5, "r-5", name="other")])
    found = ledger.named_job_plans("ada", "ocean", 2)
    assert [(one.job_id, one.request_id) for one in found] == [(3, "r-3-1"), (2, "r-2-1")]
    assert ledger.named_job_plans("nobody", "ocean", 2) == ()


def test_a_task_is_found_by_what_slurm_calls_it(ledger: Ledger) -> None:
    """Numbers come again after years: the last one counts."""
    ledger.add_job_plans([samples.job_plan(7, label="7_1"), samples.job_plan(9, label="7_1", decided_at=LATER)])
    assert ledger.labelled_job("7_1") == 9
    assert ledger.labelled_job("7_2") is None


def test_many_plans_are_one_write(tmp_path: Path) -> None:
    """A thousand jobs of a request: one transaction, and nothing is lost."""
    plans = [samples.job_plan(number, "r-1") for number in range(1000)]
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    begun: list[object] = []
    event_of_sqlalchemy.listen(ledger.engine, "begin", begun.append)
    ledger.add_job_plans(plans)
    assert len(begun) == 1
    assert ledger.job_plans(999) == (plans[999],)
    ledger.close()


# -- limits


def test_what_is_in_use_is_what_lives_and_what_is_not_answered(ledger: Ledger) -> None:
    """Alike instances are one row; a call counts until its answer is written, and only while its request is open."""
    ledger.add_request(samples.request())
    intent = samples.intent()
    call = samples.attempt()
    ledger.add_attempt(call, intent)
    assert ledger.in_use(LATER).asked == ((intent, call),)
    rows = [samples.instance_row(f"i-{number}") for number in range(3)]
    ledger.answer_attempt(replace(call, answered_at=NOON, answer=samples.answer()), rows)
    use = ledger.in_use(LATER)
    assert use.asked == ()
    assert [(row.instance_type, row.count) for row in use.live] == [(rows[0].instance_type, 3)]
    ledger.end_instances([rows[0].instance_id], "done", LATER)
    assert [row.count for row in ledger.in_use(LATER).live] == [2]


def test_a_call_is_kept_only_where_it_is_chosen(ledger: Ledger) -> None:
    """Whoever chooses sees what is in use; nothing is written where nothing is chosen."""
    ledger.add_request(samples.request())
    intent, call = samples.intent(), samples.attempt()
    assert ledger.claim_attempt(intent, NOON, lambda _: None) is None
    assert ledger.intents("r-1") == ()
    assert ledger.claim_attempt(intent, NOON, lambda _: call) == call
    assert ledger.claim_attempt(intent, NOON, lambda use: call if len(use.asked) == 1 else None) == call
    assert ledger.attempts("int-1") == (call,)


def test_limits_of_jobs_and_marks_come_back(ledger: Ledger) -> None:
    """Set again they replace what the job had set; marks are kept by job, run, rule and measure, and forgotten."""
    one = JobLimit(7, Measure.TOTAL, Decimal("20.50"), "the job's hint asbx:max-cost", NOON)
    other = JobLimit(8, Measure.ALERT, Decimal(3), "the plan", NOON)
    ledger.set_job_limits([7, 8], [one, other])
    ledger.set_job_limits([8], [])
    assert ledger.job_limits() == (one,)
    assert ledger.job_limits([8]) == ()
    mark = LimitMark(7, 0, "limit 'a'", Measure.TOTAL, Step.WARNED, NOON, LATER)
    ledger.set_limit_mark(mark)
    ledger.set_limit_mark(replace(mark, step=Step.STOPPED, due_at=None))
    assert ledger.limit_marks() == (replace(mark, step=Step.STOPPED, due_at=None),)
    ledger.drop_limit_marks([mark.key, mark.key])
    assert ledger.limit_marks() == ()
