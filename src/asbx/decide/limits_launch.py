"""What limits leave of a launch: pools that would be too dear are dropped, so that the cheapest that fits still goes.

A pool stays when the whole gang could run on it, or on it and what else stays, within every limit. So whichever of the
pools EC2 takes, no limit is passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

from asbx.decide.estimate import Course, Estimate
from asbx.decide.limits import AT_ONCE, Ceiling, Prices, hours_of, price_of
from asbx.decide.preflight import Dropped
from asbx.decide.rungs import Choice, Rung
from asbx.errors import LimitError
from asbx.model.limit import Measure
from asbx.model.market import Pool

_MONEY = (Measure.TOTAL, Measure.HOURLY, Measure.HOURLY_AT_ONCE)
_PRECISE = Decimal("1E-9")


@dataclass(frozen=True)
class Piece:
    """The nodes of a job in one node group, and what they may be launched from."""

    choice: Choice
    count: int


@dataclass(frozen=True)
class Frame:
    """What else an estimate needs. others: nodes of the job that are up. others_usd: what those cost an hour.

    has_job: somebody waits; for nodes of no job nothing that lasts as long as a job is reckoned.
    """

    course: Course
    volumes: Decimal = Decimal(0)
    others: int = 0
    others_usd: Decimal | None = Decimal(0)
    has_job: bool = True


@dataclass(frozen=True)
class Capped:
    """What is left. estimate: of the dearest that may be launched. notes: limits that could not be looked at."""

    choices: tuple[Choice, ...]
    estimate: Estimate
    notes: tuple[str, ...] = ()


def cap(pieces: Sequence[Piece], prices: Prices, frame: Frame, ceilings: Sequence[Ceiling], unknown: str) -> Capped:
    """Return what all ceilings leave of the choices for one job.

    unknown: `refuse` or `warn`, where a price or a time limit is missing; `tell` where nothing is launched.
    Raises LimitError: `limit-refused` where nothing is left whatever is waited for, `limit-unknown` where a price is
    missing.
    """
    return _Capper(pieces, prices, frame, ceilings, unknown).capped()


def bounded(course: Course, ceilings: Sequence[Ceiling]) -> Course:
    """Return the course with the time limit that holds: hours that end a running job end its cost, too."""
    ends = [
        one.most
        for one in ceilings
        if one.measure in (Measure.HOURS, Measure.AUTO_TERMINATE) and one.exceeded != "warn"
    ]
    if not ends:
        return course
    least = timedelta(seconds=int(min(ends) * 3600))
    return replace(course, limit=least if course.limit is None else min(course.limit, least))


class _Capper:
    """One gang in the making."""

    def __init__(
        self, pieces: Sequence[Piece], prices: Prices, frame: Frame, ceilings: Sequence[Ceiling], unknown: str
    ) -> None:
        self._pieces, self._prices, self._unknown = pieces, prices, unknown
        self._ceilings = ceilings
        self._course = bounded(frame.course, ceilings)
        self._frame = frame
        self._nodes = frame.others + sum(piece.count for piece in pieces)
        self._notes: list[str] = []
        self._dropped: list[Dropped] = []
        cheapest = [self._cheapest(piece) for piece in pieces]
        parts = [frame.others_usd, *(None if p is None else p * n.count for p, n in zip(cheapest, pieces, strict=True))]
        # What the job costs an hour where every piece is had at its cheapest; without volumes.
        self._least = None if None in parts else sum((part for part in parts if part is not None), Decimal(0))
        self._floor = cheapest

    def capped(self) -> Capped:
        self._refuse_counts()
        money = [one for one in self._ceilings if one.measure in _MONEY and self._can_tell(one)]
        choices = tuple(self._left(number, money) for number in range(len(self._pieces)))
        for before, after in zip(self._pieces, choices, strict=True):
            if before.choice.rungs and not after.rungs:
                raise self._nothing_left(money)
        tops = [self._dearest(choice) for choice in choices]
        top = None
        if self._frame.others_usd is not None and None not in tops:
            rows = zip(tops, self._pieces, strict=True)
            top = self._frame.others_usd + sum((p * n.count for p, n in rows if p is not None), Decimal(0))
        return Capped(choices, self._estimate(top), tuple(dict.fromkeys(self._notes)))

    # -- what needs no price

    def _refuse_counts(self) -> None:
        limit, why = hours_of(self._frame.course.limit), []
        for one in self._ceilings:
            if one.measure in (Measure.NODES, Measure.NODES_AT_ONCE) and self._nodes > one.most:
                why.append(f"{one}: the job has {self._nodes} node(s)")
            if one.measure is Measure.HOURS and limit is not None and limit > one.most and self._frame.has_job:
                why.append(f"{one}: its time limit is {limit:.6g} h")
        if why:
            raise _refused(why)

    def _can_tell(self, one: Ceiling) -> bool:
        """Whether a limit of the whole cost can be reckoned at all; without a time limit by the site's word."""
        if one.measure is not Measure.TOTAL or self._course.limit is not None:
            return True
        if not self._frame.has_job:
            self._notes.append(f"{one} is not looked at: these nodes are for no job, so nobody knows how long")
            return False
        why = f"{one}: the job has no time limit, so what it will cost cannot be told"
        if self._unknown == "refuse":
            raise _refused([why], "give it one (sbatch --time)")
        self._notes.append(f"{why}; {self._what_then('it is launched all the same')}")
        return False

    # -- prices

    def _price(self, rung: Rung, pool: Pool) -> Decimal | None:
        return price_of(self._prices, pool.instance_type, pool.zone, rung.market)

    def _cheapest(self, piece: Piece) -> Decimal | None:
        found = [self._price(rung, pool) for rung in piece.choice.rungs for pool in rung.pools]
        return min((price for price in found if price is not None), default=None)

    def _dearest(self, choice: Choice) -> Decimal | None:
        found = [self._price(rung, pool) for rung in choice.rungs for pool in rung.pools]
        return max((p for p in found if p is not None), default=None) if None not in found else None

    def _estimate(self, per_hour: Decimal | None) -> Estimate:
        """Return the estimate for all nodes of the job, at their mean price."""
        price = None
        if per_hour is not None:
            price = (per_hour / max(self._nodes, 1)).quantize(_PRECISE, ROUND_CEILING).normalize()
        return Estimate(self._nodes, price, self._frame.volumes, self._course)

    def _with(self, number: int, price: Decimal) -> Estimate:
        """Return the estimate of the job with one piece at this price; what is above the cheapest counts for all nodes.

        So two pieces that are both above their cheapest fit together, too.
        """
        floor = self._floor[number]
        assert floor is not None, "one price of the piece is known: this one"
        if self._least is None:  # another piece's prices are not known at all: only this one is judged
            return self._estimate(price * self._nodes)
        return self._estimate(self._least + (price - floor) * self._nodes)

    def _left(self, number: int, money: Sequence[Ceiling]) -> Choice:
        choice = self._pieces[number].choice
        if not money:
            return choice
        zones: dict[tuple[str, str, str], list[str]] = {}  # what is dropped, its code and why -> where
        rungs: list[Rung] = []
        for rung in choice.rungs:
            pools = []
            for pool in rung.pools:
                why = self._why_not(number, rung, pool, money)
                if why is None:
                    pools.append(pool)
                else:
                    zones.setdefault((f"{pool.instance_type} ({rung.market})", *why), []).append(
                        pool.zone or pool.subnet_id
                    )
            if pools:
                rungs.append(replace(rung, pools=tuple(pools)))
        dropped = [
            Dropped(f"{what} in {', '.join(dict.fromkeys(where))}", text, code, is_hopeless=code == "limit-refused")
            for (what, code, text), where in zones.items()
        ]
        self._dropped += dropped
        return replace(choice, rungs=tuple(rungs), dropped=(*choice.dropped, *dropped))

    def _why_not(self, number: int, rung: Rung, pool: Pool, money: Sequence[Ceiling]) -> tuple[str, str] | None:
        price = self._price(rung, pool)
        if price is None or self._frame.others_usd is None:
            said = ", ".join(str(one) for one in money)
            what = f"its price is not known, so {said} cannot be looked at"
            if self._unknown == "refuse":
                return "limit-unknown", what
            then = self._what_then("it may be launched all the same")
            self._notes.append(f"{pool.instance_type}: {what}; {then}")
            return None
        estimate = self._with(number, price)
        above = next((one for one in money if _amount(one, estimate) > one.most), None)
        return None if above is None else ("limit-refused", f"{above}: {_told(above, estimate)}")

    def _what_then(self, launched: str) -> str:
        return f"{launched} (limits.unknown: warn)" if self._unknown == "warn" else "it is looked at before a launch"

    def _nothing_left(self, money: Sequence[Ceiling]) -> LimitError:
        """Return the refusal, with the arithmetic of the cheapest that there would be."""
        if self._least is None:
            return LimitError("limit-unknown", "limits cannot be looked at", self._dropped[0].why, "see docs: limits")
        estimate = self._estimate(self._least)
        above = [one for one in money if _amount(one, estimate) > one.most] or list(money)
        return _refused([f"{one}: {_told(one, estimate)} at the cheapest" for one in above])


def _amount(one: Ceiling, estimate: Estimate) -> Decimal:
    found = estimate.usd if one.measure is Measure.TOTAL else estimate.per_hour
    assert found is not None, "both price and time limit are known"
    return found


def _told(one: Ceiling, estimate: Estimate) -> str:
    if one.measure is Measure.TOTAL:
        return estimate.arithmetic
    price = f"{estimate.price:f}" + (f" + {estimate.volumes:f} of volumes" if estimate.volumes else "")
    return f"{estimate.nodes} node(s) x {price} USD/h = {estimate.per_hour:f} USD/h"


def _refused(why: Sequence[str], hint: str = "") -> LimitError:
    hint = hint or "ask for less: fewer nodes, a shorter time limit, a cheaper type; or have the limit raised"
    return LimitError("limit-refused", "a limit does not allow this launch", "; ".join(why), hint)


def at_once(ceilings: Sequence[Ceiling]) -> Iterator[Ceiling]:
    """Yield the ceilings of what may run at once."""
    yield from (one for one in ceilings if one.measure in AT_ONCE)
