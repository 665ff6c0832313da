"""The ladder ends, and never asks again what EC2 has refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import NOON, POOLS

from asbx.config.limits import RETRY_MOST
from asbx.decide.ladder import Aim, Ask, AskAgain, Done, GiveUp, Leg, Settle, Shut, Wait, next_step, stand, stand_of
from asbx.decide.rungs import Rung
from asbx.model.market import FleetAnswer, FleetOrder, Launched, Market, Pool, Refusal, Template, Verdict
from asbx.model.record import Attempt

RUNGS = tuple(
    Rung(market.value, market, POOLS, Template(name="t"), single_zone=True, single_type=True)
    for market in (Market.SPOT, Market.ON_DEMAND)
)
DEADLINE = NOON + timedelta(minutes=5)
AGAIN = {Verdict.THROTTLED, Verdict.TRANSIENT}
verdicts = st.sampled_from(list(Verdict))
# For each call: how many come, which pool they come from, and what is refused (verdict, pool it names or none).
answers = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 2), st.lists(st.tuples(verdicts, st.integers(0, 3)), max_size=3)),
    max_size=60,
)


def aim(*counts: int, whole: bool, together: bool = True, rungs: tuple[Rung, ...] = RUNGS) -> Aim:
    """Return what a gang with legs of these sizes is after."""
    legs = tuple(Leg(index, rungs, count) for index, count in enumerate(counts))
    return Aim(legs, whole, together=whole and together, one_type=whole and together)


def asked(step: Ask) -> Attempt:
    """Return the attempt a step makes."""
    order = FleetOrder(
        f"t-{step.number}", step.rung.market, step.count, step.minimum, step.pools, step.rung.template, ()
    )
    return Attempt("int", step.number, order, NOON, rung=step.rung.key, leg=step.leg)


def answered(attempt: Attempt, got: int, pool: Pool, refusals: tuple[Refusal, ...], seconds: int = 1) -> Attempt:
    """Return the attempt with EC2's answer."""
    launched = tuple(
        Launched(f"i-{attempt.number}-{n}", pool.instance_type, pool.zone, pool.subnet_id, attempt.order.market)
        for n in range(got)
    )
    at = attempt.asked_at + timedelta(seconds=seconds)
    return replace(attempt, answered_at=at, answer=FleetAnswer("f", launched, refusals))


def refusal(verdict: Verdict, pool: Pool | None) -> Refusal:
    """Return a refusal that names a pool, or none."""
    if pool is None:
        return Refusal(verdict.value, "text", verdict)
    return Refusal(verdict.value, "text", verdict, pool.instance_type, pool.zone, pool.subnet_id)


Script = Iterator[tuple[int, int, list[tuple[Verdict, int]]]]


def answer_of(attempt: Attempt, script: Script, seconds: int) -> Attempt:
    """Answer as the script says, within what EC2 may do: from one of the pools asked, at most what was asked."""
    got, which, refused = next(script, (0, 0, [(Verdict.CAPACITY, 3)]))
    pools = attempt.order.pools
    got = min(got, attempt.order.count)
    if attempt.order.minimum > got:
        got = 0
    named = tuple(refusal(verdict, pools[n % len(pools)] if n < 3 else None) for verdict, n in refused)
    return answered(attempt, got, pools[which % len(pools)], named, seconds)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=3), st.booleans(), st.booleans(), answers, st.integers(0, 40))
def test_it_ends(
    counts: list[int],
    whole: bool,
    together: bool,
    script: list[tuple[int, int, list[tuple[Verdict, int]]]],
    seconds: int,
) -> None:
    """Whatever EC2 answers, the ladder ends within its deadline, asks no refused pool again, and a gang is whole."""
    goal = aim(*counts, whole=whole, together=together)
    now, attempts, turns = NOON, list[Attempt](), iter(script)
    bound = (len(RUNGS) * len(POOLS) + 1) * (RETRY_MOST + 2) * len(counts)
    for _ in range(4 * bound):
        decision = next_step(goal, attempts, now, DEADLINE)
        match decision.step:
            case Done():
                kept = [a for a in attempts if a.number in decision.kept]
                for leg in goal.legs:
                    have = sum(len(a.answer.launched) for a in kept if a.answer and a.leg == leg.index)
                    assert have >= leg.count
                places = {(i.subnet_id, i.instance_type) for a in kept if a.answer for i in a.answer.launched}
                assert not goal.together or len(places) == 1
                return
            case GiveUp() as end:
                assert end.code
                assert not (whole and decision.kept), "a gang that is given up keeps nothing"
                return
            case Wait(until):
                assert now < until < DEADLINE
                now = until
            case Ask() as ask:
                assert now < DEADLINE
                refused = stand(goal, attempts).refused
                assert all(refused.isdisjoint(ask.rung.keys(pool)) for pool in ask.pools)
                attempt = replace(asked(ask), asked_at=now)
                attempts.append(answer_of(attempt, turns, seconds))
                now += timedelta(seconds=seconds)
            case other:
                raise AssertionError(other)
        assert len(attempts) <= bound
    raise AssertionError("the ladder did not end")


def test_a_number_is_never_given_twice() -> None:
    """Calls of a part that has changed over a restart are missing: the next call still has a token of its own."""
    goal = aim(2, 2, whole=True)
    first = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(first, Ask)
    known = [answered(replace(asked(first), number=3), 0, POOLS[0], (refusal(Verdict.CAPACITY, POOLS[0]),))]
    step = next_step(goal, known, NOON, DEADLINE).step
    assert isinstance(step, Ask)
    assert step.number == 4


@given(st.integers(0, 600))
def test_an_unanswered_call_comes_first(seconds: int) -> None:
    """Before the deadline it is repeated under its token, after it it is only settled; nothing new is asked."""
    goal = aim(4, whole=True)
    step = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(step, Ask)
    attempt = asked(step)
    now = NOON + timedelta(seconds=seconds)
    assert next_step(goal, [attempt], now, DEADLINE).step == (AskAgain(attempt) if now < DEADLINE else Settle(attempt))


def test_a_gang_asks_for_all_or_none() -> None:
    """The minimum is the whole count, and a short answer counts for nothing: its instances are not kept."""
    goal = aim(4, whole=True)
    step = next_step(goal, [], NOON, DEADLINE).step
    assert step == Ask(0, RUNGS[0], POOLS, 1, 4, 4)
    short = answered(asked(step), 3, POOLS[0], (refusal(Verdict.CAPACITY, POOLS[0]),))
    decision = next_step(goal, [short], NOON, DEADLINE)
    assert decision.step == Ask(0, RUNGS[0], POOLS[1:], 2, 4, 4)
    assert not decision.kept


def test_what_no_answer_names_is_asked_again_in_the_same_market_first() -> None:
    """EC2 may refuse one pool and say nothing of the others: they are asked before another market is."""
    goal = aim(4, whole=True)
    first = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(first, Ask)
    tried = [answered(asked(first), 0, POOLS[0], (refusal(Verdict.CAPACITY, POOLS[1]),))]
    second = next_step(goal, tried, NOON, DEADLINE).step
    assert second == Ask(0, RUNGS[0], (POOLS[0], POOLS[2]), 2, 4, 4)
    tried.append(answered(asked(second), 0, POOLS[0], (refusal(Verdict.CAPACITY, None),)))
    third = next_step(goal, tried, NOON, DEADLINE).step
    assert third == Ask(0, RUNGS[1], POOLS, 3, 4, 4)


def test_loose_nodes_ask_for_the_rest() -> None:
    """What came stays; the next call asks for what is missing, of the pools that are left."""
    goal = aim(4, whole=False)
    step = next_step(goal, [], NOON, DEADLINE).step
    assert step == Ask(0, RUNGS[0], POOLS, 1, 4, 0)
    short = answered(asked(step), 3, POOLS[0], (refusal(Verdict.CAPACITY, POOLS[0]),))
    decision = next_step(goal, [short], NOON, DEADLINE)
    assert decision.step == Ask(0, RUNGS[0], POOLS[1:], 2, 1, 0)
    assert decision.kept == {1}


def test_the_legs_of_a_gang_follow_the_first_into_its_place() -> None:
    """The second thousand is asked for where the first is, in its market; refused, all leave for another place."""
    goal = aim(1000, 500, whole=True)
    first = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(first, Ask)
    tried = [answered(asked(first), 1000, POOLS[1], ())]
    second = next_step(goal, tried, NOON, DEADLINE)
    assert second.step == Ask(1, RUNGS[0], (POOLS[1],), 2, 500, 500)
    assert second.kept == {1}
    assert isinstance(second.step, Ask)
    tried.append(answered(asked(second.step), 0, POOLS[1], (refusal(Verdict.CAPACITY, POOLS[1]),)))
    third = next_step(goal, tried, NOON, DEADLINE)
    assert third.step == Ask(0, RUNGS[0], (POOLS[0], POOLS[2]), 3, 1000, 1000)
    assert not third.kept, "the first thousand is given back"
    assert next_step(goal, tried, NOON, DEADLINE, left={1}) == third, "and stays left"


def test_throttling_of_a_follower_leaves_the_first_where_it_is() -> None:
    """Throttled is not refused: the same is asked again after a pause, and nothing is given back."""
    goal = aim(1000, 500, whole=True)
    first = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(first, Ask)
    tried = [answered(asked(first), 1000, POOLS[1], ())]
    second = next_step(goal, tried, NOON, DEADLINE).step
    assert isinstance(second, Ask)
    tried.append(answered(asked(second), 0, POOLS[1], (refusal(Verdict.THROTTLED, POOLS[1]),)))
    waiting = next_step(goal, tried, NOON + timedelta(seconds=1), DEADLINE)
    assert isinstance(waiting.step, Wait)
    assert waiting.kept == {1}
    again = next_step(goal, tried, waiting.step.until, DEADLINE).step
    assert again == Ask(1, RUNGS[0], (POOLS[1],), 3, 500, 500)


def test_the_graver_code_is_reported() -> None:
    """Beside capacity errors a permission error is what must be told."""
    goal = aim(4, whole=True, rungs=RUNGS[1:])
    step = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(step, Ask)
    said = (refusal(Verdict.CAPACITY, None), refusal(Verdict.PERMISSION, POOLS[0]))
    end = next_step(goal, [answered(asked(step), 0, POOLS[0], said)], NOON, DEADLINE).step
    assert isinstance(end, GiveUp)
    assert (end.code, end.verdict) == ("permission", Verdict.PERMISSION)


def test_no_permission_for_spot_leaves_on_demand() -> None:
    """A role that may not use Spot is no reason not to run on demand."""
    goal = aim(4, whole=True)
    step = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(step, Ask)
    tried = [answered(asked(step), 0, POOLS[0], (refusal(Verdict.PERMISSION, None),))]
    assert next_step(goal, tried, NOON, DEADLINE).step == Ask(0, RUNGS[1], POOLS, 2, 4, 4)


def test_what_is_known_to_be_short_is_not_asked() -> None:
    """The memory's word counts without a call; with everything shut the gang hears the code EC2 gave then."""
    goal = aim(4, whole=True)
    shut = {stand_of(RUNGS[0], pool): Shut("InsufficientInstanceCapacity", "no room") for pool in POOLS}
    assert next_step(goal, [], NOON, DEADLINE, shut).step == Ask(0, RUNGS[1], POOLS, 1, 4, 4)
    shut |= {stand_of(RUNGS[1], pool): Shut("InsufficientInstanceCapacity", "no room") for pool in POOLS}
    end = next_step(goal, [], NOON, DEADLINE, shut).step
    assert isinstance(end, GiveUp)
    assert end.code == "InsufficientInstanceCapacity"


def test_a_probe_of_another_is_waited_for() -> None:
    """Where somebody else is trying the only pools left, the answer is near: nothing is given up yet."""
    goal = aim(4, whole=True, rungs=RUNGS[:1])
    shut = {stand_of(RUNGS[0], pool): Shut("short", "tried", is_probed=True) for pool in POOLS}
    step = next_step(goal, [], NOON, DEADLINE, shut).step
    assert isinstance(step, Wait)
    assert NOON < step.until < DEADLINE


def test_only_what_no_wait_can_help_is_hopeless() -> None:
    """All pools impossible: held. One of them only empty: tried again later."""
    goal = aim(4, whole=True, rungs=RUNGS[1:])
    step = next_step(goal, [], NOON, DEADLINE).step
    assert isinstance(step, Ask)
    for verdict, hopeless in ((Verdict.NOT_OFFERED, True), (Verdict.CAPACITY, False)):
        said = (*(refusal(Verdict.NOT_OFFERED, pool) for pool in POOLS[:2]), refusal(verdict, POOLS[2]))
        end = next_step(goal, [answered(asked(step), 0, POOLS[0], said)], NOON, DEADLINE).step
        assert isinstance(end, GiveUp)
        assert end.is_hopeless is hopeless
