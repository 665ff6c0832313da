"""The ladder ends, and never asks a rung again that EC2 has refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import NOON, POOLS

from asbx.config.limits import RETRY_MOST
from asbx.decide.ladder import Ask, AskAgain, Done, GiveUp, Settle, Wait, next_step
from asbx.decide.rungs import Rung
from asbx.model.market import FleetAnswer, FleetOrder, Launched, Market, Refusal, Template, Verdict
from asbx.model.record import Attempt

RUNGS = tuple(Rung(market, (pool,), Template(name="t")) for market in (Market.SPOT, Market.ON_DEMAND) for pool in POOLS)
DEADLINE = NOON + timedelta(minutes=5)
verdicts = st.sampled_from(list(Verdict))
answers = st.lists(st.tuples(st.integers(0, 8), st.lists(verdicts, max_size=3)), max_size=60)


def answered(attempt: Attempt, got: int, refused: list[Verdict], seconds: int) -> Attempt:
    """Return the attempt with EC2's answer: at most what was asked, and refusals."""
    pool = attempt.order.pools[0]
    launched = tuple(
        Launched(f"i-{attempt.number}-{n}", pool.instance_type, pool.zone, pool.subnet_id, attempt.order.market)
        for n in range(min(got, attempt.order.count))
    )
    refusals = tuple(Refusal(v.value, "text", v) for v in refused)
    return replace(
        attempt, answered_at=attempt.asked_at + timedelta(seconds=seconds), answer=FleetAnswer("f", launched, refusals)
    )


@given(st.integers(1, 8), st.booleans(), st.integers(0, len(RUNGS)), answers, st.integers(0, 40))
def test_it_ends(wanted: int, whole: bool, rungs: int, script: list[tuple[int, list[Verdict]]], seconds: int) -> None:
    """Whatever EC2 answers, the ladder comes to Done or GiveUp in a bounded number of calls, within its deadline."""
    now, attempts = NOON, list[Attempt]()
    turns = iter(script)
    bound = len(RUNGS) * (RETRY_MOST + 1) + 1
    for _ in range(4 * bound):
        step = next_step(RUNGS[:rungs], wanted, whole=whole, attempts=attempts, now=now, deadline=DEADLINE)
        if isinstance(step, Done):
            have = [len(a.answer.launched) for a in attempts if a.answer]
            assert (max(have) if whole else sum(have)) >= wanted
            return
        if isinstance(step, GiveUp):
            assert step.code
            return
        if isinstance(step, Wait):
            assert now < step.until < DEADLINE
            now = step.until
            continue
        assert isinstance(step, Ask)
        assert now < DEADLINE
        refused_for_good = {
            (*a.order.pools, a.order.market)
            for a in attempts
            if a.answer
            and {r.verdict for r in a.answer.refusals}.isdisjoint({Verdict.THROTTLED, Verdict.TRANSIENT})
            and a.answer.refusals
        }
        rung = RUNGS[step.rung]
        assert (*rung.pools, rung.market) not in refused_for_good
        order = FleetOrder(f"t-{step.number}", rung.market, step.count, step.minimum, rung.pools, rung.template, ())
        got, refused = next(turns, (0, [Verdict.CAPACITY]))
        attempts.append(answered(Attempt("int", step.number, order, now), got, refused, seconds))
        now += timedelta(seconds=seconds)
        assert len(attempts) <= bound
    raise AssertionError("the ladder did not end")


@given(st.integers(0, 600))
def test_an_unanswered_call_comes_first(seconds: int) -> None:
    """Before the deadline it is repeated under its token, after it it is only settled; nothing new is asked."""
    order = FleetOrder("t-1", Market.SPOT, 4, 4, RUNGS[0].pools, RUNGS[0].template, ())
    attempt = Attempt("int", 1, order, NOON)
    now = NOON + timedelta(seconds=seconds)
    step = next_step(RUNGS, 4, whole=True, attempts=[attempt], now=now, deadline=DEADLINE)
    assert step == (AskAgain(attempt) if now < DEADLINE else Settle(attempt))


def test_a_gang_asks_for_all_or_none() -> None:
    """The minimum is the whole count, and a short answer counts for nothing."""
    step = next_step(RUNGS, 4, whole=True, attempts=[], now=NOON, deadline=DEADLINE)
    assert step == Ask(0, 1, 4, 4)
    order = FleetOrder("t-1", Market.SPOT, 4, 4, RUNGS[0].pools, RUNGS[0].template, ())
    short = answered(Attempt("int", 1, order, NOON), 3, [Verdict.CAPACITY], 1)
    assert next_step(RUNGS, 4, whole=True, attempts=[short], now=NOON, deadline=DEADLINE) == Ask(1, 2, 4, 4)


def test_loose_nodes_ask_for_the_rest() -> None:
    """What came stays; the next rung is asked for what is missing."""
    order = FleetOrder("t-1", Market.SPOT, 4, 0, RUNGS[0].pools, RUNGS[0].template, ())
    short = answered(Attempt("int", 1, order, NOON), 3, [Verdict.CAPACITY], 1)
    assert next_step(RUNGS, 4, whole=False, attempts=[short], now=NOON, deadline=DEADLINE) == Ask(1, 2, 1, 0)


def test_the_graver_code_is_reported() -> None:
    """Beside capacity errors a permission error is what must be told."""
    order = FleetOrder("t-1", Market.SPOT, 4, 4, RUNGS[0].pools, RUNGS[0].template, ())
    bad = answered(Attempt("int", 1, order, NOON), 0, [Verdict.CAPACITY, Verdict.PERMISSION], 1)
    step = next_step(RUNGS, 4, whole=True, attempts=[bad], now=NOON, deadline=DEADLINE)
    assert isinstance(step, GiveUp)
    assert (step.code, step.verdict) == ("permission", Verdict.PERMISSION)
