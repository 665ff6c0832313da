"""The ladder: given the rungs and what was tried so far, the next step of one gang.

A gang is one or more legs: its nodes of one node group, at most a thousand a leg. The legs of a gang that is together
follow the first one: into its subnet and market, of its type; when one of them cannot, all are given back and the place
is left. Critical nodes are a leg of their own, on demand, that follows into the same place.

It ends: what EC2 refused is never asked again, repeats after throttling end each rung, and nothing is asked after the
deadline. A call whose answer never came is asked again as it stands, because EC2 answers the same token with the same
instances; a call that was answered, even with errors only, needs a new token (EC2 user guide, "Ensuring idempotency").
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asbx.config.limits import PROBE_PAUSE, RETRY_FIRST_PAUSE, RETRY_LONGEST_PAUSE, RETRY_MOST
from asbx.decide.rungs import Rung, reservation_key
from asbx.decide.shortage_key import LIMIT_KEY, address_key, capacity_key, family, quota_key
from asbx.model.market import FleetOrder, Launched, Market, Pool, Refusal, Verdict
from asbx.model.record import Attempt

_AGAIN = {Verdict.THROTTLED, Verdict.TRANSIENT}
# Waiting does not help against these: the request, the type or the image is wrong.
_HOPELESS = {Verdict.INVALID, Verdict.NOT_OFFERED}
_GRAVE = (
    Verdict.PERMISSION,
    Verdict.INVALID,
    Verdict.UNKNOWN,
    Verdict.NOT_FOUND,
    Verdict.LIMIT,
    Verdict.QUOTA,
    Verdict.CAPACITY,
)


@dataclass(frozen=True)
class Leg:
    """A part of a gang that one call can launch.

    count: nodes. extra: instances to ask for beyond them. group: node group, whose legs are all of one type.
    critical: its nodes are on demand whatever market the others are in.
    """

    index: int
    rungs: tuple[Rung, ...]
    count: int
    extra: int = 0
    group: str = ""
    critical: bool = False


@dataclass(frozen=True)
class Aim:
    """What is to be reached. whole: all legs or nothing stays. together: all in one subnet, and of one type if so."""

    legs: tuple[Leg, ...]
    whole: bool
    together: bool = False
    one_type: bool = False


# A pool on a rung: key of the rung, type, subnet.
Stand = tuple[str, str, str]


@dataclass(frozen=True)
class Shut:
    """Why a pool is not asked now: the code EC2 gave then, and a sentence.

    is_hopeless: nor will it be later. is_probed: somebody else is trying it right now, so the answer is near.
    """

    code: str
    why: str
    verdict: Verdict = Verdict.CAPACITY
    is_hopeless: bool = False
    is_probed: bool = False


def stand_of(rung: Rung, pool: Pool) -> Stand:
    """Return what names a pool on a rung."""
    return rung.key, pool.instance_type, pool.subnet_id


@dataclass(frozen=True)
class Ask:
    """Make a new call for a leg: these pools of a rung, number of the attempt, how many at least and at most."""

    leg: int
    rung: Rung
    pools: tuple[Pool, ...]
    number: int
    count: int
    minimum: int


@dataclass(frozen=True)
class AskAgain:
    """Repeat an unanswered call under its own token."""

    attempt: Attempt


@dataclass(frozen=True)
class Settle:
    """Too late to repeat an unanswered call: look for what it launched by its tag, launch nothing."""

    attempt: Attempt


@dataclass(frozen=True)
class Wait:
    """Do nothing before this moment. for_probe: another launch is trying the only pools left."""

    until: datetime
    for_probe: bool = False


@dataclass(frozen=True)
class Done:
    """All that were wanted have been launched."""


@dataclass(frozen=True)
class GiveUp:
    """No more tries: EC2's code, a sentence, what the code means where EC2 said it, whether trying later is useless."""

    code: str
    reason: str
    verdict: Verdict | None = None
    is_hopeless: bool = False


Step = Ask | AskAgain | Settle | Wait | Done | GiveUp


@dataclass
class Standing:
    """What the attempts so far amount to.

    held: leg -> attempts whose instances stay. refused: keys EC2 refused. tired: rungs that were repeated too often.
    """

    held: dict[int, list[Attempt]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    tired: set[str] = field(default_factory=set)
    unanswered: Attempt | None = None

    def have(self, leg: int) -> int:
        """Return how many instances a leg has."""
        return sum(len(launched_by(attempt)) for attempt in self.held.get(leg, ()))

    @property
    def kept(self) -> frozenset[int]:
        """Return the numbers of the attempts whose instances stay."""
        return frozenset(attempt.number for attempts in self.held.values() for attempt in attempts)


@dataclass(frozen=True)
class Decision:
    """The next step, and the attempts whose instances stay; those of all others are to be given back."""

    step: Step
    kept: frozenset[int]


def launched_by(attempt: Attempt) -> tuple[Launched, ...]:
    """Return what an attempt launched, as far as it was answered."""
    return attempt.answer.launched if attempt.answer is not None else ()


def next_step(
    aim: Aim,
    attempts: Sequence[Attempt],
    now: datetime,
    deadline: datetime,
    shut: Mapping[Stand, Shut] | None = None,
    left: Collection[int] = (),
) -> Decision:
    """Return what to do next for one gang. attempts: of all its legs, in the order of their numbers.

    shut: pools that are not asked now, from the shortage memory. left: attempts whose instances were given back.
    """
    standing = stand(aim, attempts, left)
    if standing.unanswered is not None:
        step: Step = AskAgain(standing.unanswered) if now < deadline else Settle(standing.unanswered)
        return Decision(step, standing.kept)
    if all(standing.have(leg.index) >= leg.count for leg in aim.legs):
        return Decision(Done(), standing.kept)
    step = _go_on(aim, standing, attempts, now, deadline, shut or {})
    if isinstance(step, GiveUp) and aim.whole:
        return Decision(step, frozenset())
    return Decision(step, standing.kept)


def _go_on(
    aim: Aim,
    standing: Standing,
    attempts: Sequence[Attempt],
    now: datetime,
    deadline: datetime,
    shut: Mapping[Stand, Shut],
) -> Step:
    """Return the next call or the end."""
    repeats = _repeats(attempts)
    # Not their count: after a restart those of a part that has changed since are missing.
    number = max((attempt.number for attempt in attempts), default=0) + 1
    ask = _next_ask(aim, standing, number, shut)
    if ask is None:
        soon = now + PROBE_PAUSE
        is_near = any(one.is_probed for one in shut.values()) and soon < deadline
        return Wait(soon, for_probe=True) if is_near else _why(aim, attempts, shut)
    if repeats:
        answered = attempts[-1].answered_at
        assert answered is not None, "an unanswered attempt is settled before anything else"
        ready = answered + pause(repeats)
        if now < ready:
            late = GiveUp("deadline", f"EC2 asked us to wait and no time was left after {ready:%H:%M:%S} UTC")
            return Wait(ready) if ready < deadline else late
    if now >= deadline:
        return GiveUp("deadline", "no time was left for the nodes to boot before ResumeTimeout")
    return ask


def pause(repeats: int) -> timedelta:
    """Return the pause before the next call after throttling: doubling, bounded."""
    doublings: int = 2 ** max(repeats - 1, 0)
    return min(RETRY_FIRST_PAUSE * doublings, RETRY_LONGEST_PAUSE)


# -- where we stand


def stand(aim: Aim, attempts: Sequence[Attempt], left: Collection[int] = ()) -> Standing:
    """Return what the attempts so far amount to. left: numbers of those whose instances were given back."""
    standing = Standing(tired=set(_tired(attempts)))
    for attempt in attempts:
        if aim.together and attempt.leg == 0 and (leader := standing.held.get(0)):
            _leave(aim, standing, leader[0])  # the first leg was asked for again: the others could not follow it
        if attempt.answered_at is None:
            standing.unanswered = attempt
            continue
        standing.refused.update(_refused_by(attempt))
        if attempt.leg >= len(aim.legs):
            continue  # the configuration has changed since: nothing can come of it any more
        if aim.together:
            _stand_together(aim, standing, attempt, is_left=attempt.number in left)
        elif launched_by(attempt):
            standing.held.setdefault(attempt.leg, []).append(attempt)
    return standing


def _stand_together(aim: Aim, standing: Standing, attempt: Attempt, *, is_left: bool) -> None:
    """Keep a full answer. A place is left when nothing more could follow the first leg there: all was given back."""
    if len(launched_by(attempt)) < aim.legs[attempt.leg].count:
        return
    standing.held[attempt.leg] = [attempt]
    if is_left and attempt.leg == 0:
        _leave(aim, standing, attempt)
    elif is_left:
        del standing.held[attempt.leg]


def _leave(aim: Aim, standing: Standing, leader: Attempt) -> None:
    first = launched_by(leader)[0]
    standing.refused.add(_place(aim, leader.rung, first.instance_type, first.subnet_id))
    standing.held.clear()


def _place(aim: Aim, rung: str, instance_type: str, subnet: str) -> str:
    """Return the key of a place where a gang of several legs found no room. Outside of a group there may be some."""
    return f"place/{subnet}/{instance_type if aim.one_type else '*'}/{rung}"


def _refused_by(attempt: Attempt) -> Iterator[str]:
    """Yield the keys that an answered attempt shows to be without room for it."""
    order, answer = attempt.order, attempt.answer
    assert answer is not None
    short = len(answer.launched) < max(order.minimum, order.count if not order.minimum else 0)
    named = False
    for refusal in answer.refusals:
        named = True
        if refusal.verdict not in _AGAIN:
            for pool in _pools_named(refusal, order.pools):
                yield _key(refusal.verdict, order, pool)
    if short and not named:  # EC2 gave fewer and did not say why: these pools have no more
        for pool in order.pools:
            yield _key(Verdict.CAPACITY, order, pool)


def _pools_named(refusal: Refusal, pools: Sequence[Pool]) -> Sequence[Pool]:
    """Return the pools a refusal names; all where it names none that was asked."""
    found = [
        pool
        for pool in pools
        if pool.instance_type == refusal.instance_type
        and (pool.subnet_id == refusal.subnet_id or (pool.zone and pool.zone == refusal.zone))
    ]
    return found or pools


def _key(verdict: Verdict, order: FleetOrder, pool: Pool) -> str:
    """Return what is not asked again after a refusal: for this gang every refusal but throttling closes something."""
    if order.reservation:
        return reservation_key(order.reservation)
    if verdict is Verdict.QUOTA:
        return quota_key(order.market, family(pool.instance_type, order.market))
    if verdict is Verdict.LIMIT:
        return LIMIT_KEY
    if verdict is Verdict.ADDRESSES:
        return address_key(pool.subnet_id)
    if verdict is Verdict.PERMISSION:
        return f"market/{order.market}"  # the role may launch on-demand and not spot, or lack the Spot role
    where = pool.zone or pool.subnet_id
    return capacity_key(order.market, pool.instance_type, where, placed=bool(order.placement_group))


# -- what to ask


def _next_ask(aim: Aim, standing: Standing, number: int, shut: Mapping[Stand, Shut]) -> Ask | None:
    if not aim.together:
        missing = [(leg, leg.count - standing.have(leg.index)) for leg in aim.legs]
        tries = [(leg, left, _open_pools(leg, standing, shut)) for leg, left in missing if left > 0]
        if aim.whole and not all(found for _, _, found in tries):
            return None  # one part cannot be had, so none is launched in vain
        # A minimum would have EC2 launch nothing where a part is welcome.
        return next((Ask(leg.index, *found, number, left, 0) for leg, left, found in tries if found), None)
    while True:
        leader = standing.held.get(0)
        leg = next(leg for leg in aim.legs if leg.index not in standing.held) if leader else aim.legs[0]
        found = _open_pools(leg, standing, shut, aim, leader[0] if leader else None)
        if found:
            rung, pools = found
            # EC2 keeps no minimum for Capacity Blocks: a fleet launches what fits there, and a part is given back.
            atomic = (rung.single_zone or rung.single_type) and rung.market is not Market.CAPACITY_BLOCK
            least = leg.count if atomic and leg.count > 1 else 0
            return Ask(leg.index, rung, pools, number, leg.count + leg.extra, least)
        if not leader:
            return None
        _leave(aim, standing, leader[0])


def _open_pools(
    leg: Leg, standing: Standing, shut: Mapping[Stand, Shut], aim: Aim | None = None, leader: Attempt | None = None
) -> tuple[Rung, tuple[Pool, ...]] | None:
    """Return the first rung with pools that nobody has refused, and those pools."""
    for rung in _in_order(leg, aim, leader):
        if f"market/{rung.market}" in standing.refused or rung.key in standing.tired:
            continue
        pools = tuple(
            pool
            for pool in rung.pools
            if standing.refused.isdisjoint(rung.keys(pool))
            and stand_of(rung, pool) not in shut
            and (aim is None or _place(aim, rung.key, pool.instance_type, pool.subnet_id) not in standing.refused)
            and _follows(pool, aim, leg, leader)
            and (aim is None or leader is not None or _can_follow(aim, rung, pool, standing, shut))
        )
        if pools:
            return rung, pools
    return None


def _in_order(leg: Leg, aim: Aim | None, leader: Attempt | None) -> list[Rung]:
    """Return a leg's rungs; a follower begins with the leader's, and stays in its placement group, or in none as it."""
    if leader is None or aim is None:
        return list(leg.rungs)
    first = next((rung for rung in aim.legs[0].rungs if rung.key == leader.rung), None)
    alike = leg.rungs if first is None else _beside(leg, first)
    return sorted(alike, key=lambda rung: rung.key != leader.rung)


def _beside(leg: Leg, first: Rung) -> list[Rung]:
    """Return the rungs of a leg whose instances may stand beside those of the leader's rung.

    They are in its placement group, or in none as it, and in its market where the leg is sold there at all: a gang of
    which EC2 takes back half is as lost as one that is all on spot, and costs more.
    """
    alike = [one for one in leg.rungs if (one.placement, one.group_name) == (first.placement, first.group_name)]
    is_sold = any(one.market is first.market for one in leg.rungs)
    return [one for one in alike if one.market is first.market] if is_sold else alike


def _can_follow(aim: Aim, rung: Rung, pool: Pool, standing: Standing, shut: Mapping[Stand, Shut]) -> bool:
    """Whether the legs that stand on other rungs could come where the first one would go; else it is not launched."""
    first = aim.legs[0]
    kinds = {(leg.group, leg.critical): leg for leg in aim.legs}
    del kinds[first.group, first.critical]
    return all(
        any(
            one.subnet_id == pool.subnet_id
            and (leg.group != first.group or not aim.one_type or one.instance_type == pool.instance_type)
            and standing.refused.isdisjoint(other.keys(one))
            and stand_of(other, one) not in shut
            for other in _beside(leg, rung)
            if f"market/{other.market}" not in standing.refused
            for one in other.pools
        )
        for leg in kinds.values()
    )


def _follows(pool: Pool, aim: Aim | None, leg: Leg, leader: Attempt | None) -> bool:
    """Whether a pool is where the leader is; of its type too, where both are of one node group."""
    if leader is None or aim is None:
        return True
    first = launched_by(leader)[0]
    same_group = leg.group == aim.legs[0].group
    return pool.subnet_id == first.subnet_id and (
        not (aim.one_type and same_group) or pool.instance_type == first.instance_type
    )


# -- why it ends


def _is_throttled(attempt: Attempt) -> bool:
    """Whether an answer holds throttling or server trouble: those pools were never tried."""
    refusals = attempt.answer.refusals if attempt.answer is not None else ()
    return any(refusal.verdict in _AGAIN for refusal in refusals)


def _repeats(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts in a row, ending with the last, met throttling or server trouble."""
    count = 0
    for attempt in reversed(attempts):
        if not _is_throttled(attempt):
            break
        count += 1
    return count


def _tired(attempts: Sequence[Attempt]) -> Iterator[str]:
    """Yield the rungs that met throttling or server trouble too often in a row; the next may still have room."""
    row = 0
    for before, attempt in zip([None, *attempts], attempts, strict=False):
        same = before is not None and before.rung == attempt.rung
        row = (row + 1 if same else 1) if _is_throttled(attempt) else 0
        if row > RETRY_MOST:
            yield attempt.rung


def _why(aim: Aim, attempts: Sequence[Attempt], shut: Mapping[Stand, Shut]) -> GiveUp:
    """Say why nothing is left: EC2's true codes, the graver ones first; else what the memory knows."""
    refusals = [r for attempt in attempts if attempt.answer is not None for r in attempt.answer.refusals]
    ranked = sorted(refusals, key=lambda r: _GRAVE.index(r.verdict) if r.verdict in _GRAVE else len(_GRAVE))
    if ranked:
        codes = list(dict.fromkeys(refusal.code for refusal in ranked))
        pools = list(dict.fromkeys(f"{r.instance_type} in {r.zone or r.subnet_id}" for r in ranked if r.instance_type))
        also = [*codes[1:], *([", ".join(pools[1:4])] if len(pools) > 1 else [])]
        more = f" and {len(pools) - 4} more" if len(pools) > 4 else ""
        others = f" (also {'; '.join(also)}{more})" if also else ""
        useless = all(refusal.verdict in _HOPELESS for refusal in ranked)
        said = ranked[0].message.rstrip(".") + others if others else ranked[0].message
        return GiveUp(codes[0], said, ranked[0].verdict, useless)
    if attempts:
        last = attempts[-1]
        got = len(launched_by(last))
        return GiveUp("short", f"EC2 launched {got} of {last.order.count} and named no error")
    if shut:
        codes = list(dict.fromkeys(one.code for one in shut.values()))
        words = list(dict.fromkeys(one.why for one in shut.values()))
        more = f" (and {len(words) - 1} more pool(s))" if len(words) > 1 else ""
        worst = next(iter(shut.values()))
        return GiveUp(codes[0], words[0] + more, worst.verdict, all(one.is_hopeless for one in shut.values()))
    if aim.together and not _share_a_place(aim):
        why = "its node groups are launched into different placement groups, and a gang is in one"
        return GiveUp("placement-differs", why, Verdict.INVALID, is_hopeless=True)
    return GiveUp("no-pool", "nothing is left that the node groups of this job may launch in one place")


def _share_a_place(aim: Aim) -> bool:
    """Whether there is a placement group, or none, that every part may be in."""
    places = [{(rung.placement, rung.group_name) for rung in leg.rungs} for leg in aim.legs if leg.rungs]
    return len(places) < 2 or bool(set.intersection(*places))
