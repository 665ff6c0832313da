"""The ladder: given the rungs and what was tried so far, the next step of one launch.

It ends: each rung is left after a refusal, repeats of one rung are counted, and nothing is asked after the deadline.
A call whose answer never came is asked again as it stands, because EC2 answers the same token with the same instances;
a call that was answered, even with errors only, needs a new token (EC2 user guide, "Ensuring idempotency").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from asbx.config.limits import RETRY_FIRST_PAUSE, RETRY_LONGEST_PAUSE, RETRY_MOST
from asbx.decide.rungs import Rung
from asbx.model.market import Refusal, Verdict
from asbx.model.record import Attempt

_AGAIN = {Verdict.THROTTLED, Verdict.TRANSIENT}
_HOPELESS = {Verdict.INVALID, Verdict.PERMISSION}


@dataclass(frozen=True)
class Ask:
    """Make a new call: rung by index, number of the attempt, how many instances at least and at most."""

    rung: int
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
    """Do nothing before this moment."""

    until: datetime


@dataclass(frozen=True)
class Done:
    """All that were wanted have been launched."""


@dataclass(frozen=True)
class GiveUp:
    """No more tries: EC2's code, a sentence, and what the code means where EC2 said it."""

    code: str
    reason: str
    verdict: Verdict | None = None


Step = Ask | AskAgain | Settle | Wait | Done | GiveUp


def next_step(
    rungs: Sequence[Rung], wanted: int, *, whole: bool, attempts: Sequence[Attempt], now: datetime, deadline: datetime
) -> Step:
    """Return what to do next for one intent. attempts: oldest first. wanted: instances, at least 1."""
    have = sum(len(a.answer.launched) for a in attempts if a.answer is not None and _counts(a, whole=whole))
    if have >= wanted:
        return Done()
    if not rungs:
        return GiveUp("no-pool", "nothing is left that this group may launch")
    if not attempts:
        rung: int | GiveUp | Wait = 0
    elif attempts[-1].answered_at is None:
        return AskAgain(attempts[-1]) if now < deadline else Settle(attempts[-1])
    else:
        rung = _after(rungs, attempts, now)
    if not isinstance(rung, int):
        return _in_time(rung, now, deadline)
    if now >= deadline:
        return GiveUp("deadline", "no time was left for the nodes to boot before ResumeTimeout")
    left = wanted - have
    return Ask(rung, len(attempts) + 1, left, left if whole and left > 1 else 0)


def _counts(attempt: Attempt, *, whole: bool) -> bool:
    """Whether an attempt's instances stay: a whole launch keeps nothing that came short of its order."""
    assert attempt.answer is not None
    return not whole or len(attempt.answer.launched) >= attempt.order.count


def _after(rungs: Sequence[Rung], attempts: Sequence[Attempt], now: datetime) -> int | GiveUp | Wait:
    """Return the rung to stand on after an answered attempt, or the end of it, or a pause."""
    last = attempts[-1]
    rung = _rung_of(last, rungs)
    verdicts = {refusal.verdict for refusal in _refusals(last)}
    if verdicts & _HOPELESS:
        return _why(last)
    if verdicts & _AGAIN:  # beside capacity errors of other pools too: the throttled ones were never tried
        repeats = _repeats(attempts)
        if repeats >= RETRY_MOST:
            return _why(last)
        assert last.answered_at is not None
        ready = last.answered_at + pause(repeats)
        return max(rung, 0) if now >= ready else Wait(ready)
    return rung + 1 if rung + 1 < len(rungs) else _why(last)


def pause(repeats: int) -> timedelta:
    """Return the pause before the next repeat of a rung: doubling, bounded."""
    doublings: int = 2 ** max(repeats - 1, 0)
    return min(RETRY_FIRST_PAUSE * doublings, RETRY_LONGEST_PAUSE)


def _repeats(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts in a row, ending with the last, met throttling or server trouble."""
    count = 0
    for attempt in reversed(attempts):
        verdicts = {refusal.verdict for refusal in _refusals(attempt)}
        if not verdicts & _AGAIN:
            break
        count += 1
    return count


def _refusals(attempt: Attempt) -> tuple[Refusal, ...]:
    return attempt.answer.refusals if attempt.answer is not None else ()


def _rung_of(attempt: Attempt, rungs: Sequence[Rung]) -> int:
    """Return the rung an attempt stood on; -1 if the configuration has changed since."""
    for index, rung in enumerate(rungs):
        if attempt.order.market is rung.market and attempt.order.pools == rung.pools:
            return index
    return -1


def _in_time(step: GiveUp | Wait, now: datetime, deadline: datetime) -> GiveUp | Wait:
    if isinstance(step, Wait) and step.until >= deadline:
        return GiveUp("deadline", f"EC2 asked us to wait and no time was left after {now:%H:%M:%S} UTC")
    return step


def _why(attempt: Attempt) -> GiveUp:
    """Say why an attempt failed: EC2's true codes, the graver ones first."""
    order = [Verdict.PERMISSION, Verdict.INVALID, Verdict.UNKNOWN, Verdict.NOT_FOUND, Verdict.QUOTA]
    ranked = sorted(_refusals(attempt), key=lambda r: order.index(r.verdict) if r.verdict in order else len(order))
    if not ranked:
        short = len(attempt.answer.launched) if attempt.answer else 0
        return GiveUp("short", f"EC2 launched {short} of {attempt.order.count} and named no error")
    codes = list(dict.fromkeys(refusal.code for refusal in ranked))
    others = f" (also {', '.join(codes[1:])})" if len(codes) > 1 else ""
    return GiveUp(codes[0], ranked[0].message + others, ranked[0].verdict)
