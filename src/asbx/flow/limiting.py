"""Limits before a launch: which are about a gang, and what they leave of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from asbx.decide import limits as about
from asbx.decide.estimate import course
from asbx.decide.filling import Filled
from asbx.decide.hints import JobHints
from asbx.decide.limits import Ceiling, Owner
from asbx.decide.limits_launch import Capped, Frame, Piece, cap
from asbx.errors import LimitError
from asbx.flow.doors import Doors
from asbx.flow.plan import PartPlan, dearest, job_hints
from asbx.flow.plans import JobPlans
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang
from asbx.model.job import JobFacts, Request
from asbx.model.limit import JobLimit, Measure
from asbx.model.market import Market

Prices = dict[tuple[str, str, Market], Decimal]
_RUNNING = (Measure.TOTAL, Measure.HOURS, Measure.ALERT, Measure.AUTO_TERMINATE)


def current(doors: Doors, kinds: Iterable[tuple[str, str, Market]]) -> Prices:
    """Return what these cost now, and what they cost on demand: asked for where it is not known, which is cached."""
    wanted = dict.fromkeys(kinds)
    wanted |= dict.fromkeys((name, zone, Market.ON_DEMAND) for name, zone, _ in list(wanted))
    found = {kind: doors.prices.hourly(*kind) for kind in wanted}
    return {kind: price for kind, price in found.items() if price is not None}


@dataclass(frozen=True)
class Limited:
    """What limits leave of a gang. at_once: those that each of its calls must leave room for."""

    parts: list[PartPlan]
    at_once: tuple[Ceiling, ...] = ()


class Limiter:
    """The limits of one request's gangs."""

    def __init__(self, doors: Doors, request: Request, facts: Mapping[int, JobFacts], plans: JobPlans) -> None:
        self._doors, self._request, self._facts, self._plans = doors, request, facts, plans
        self._settings = doors.config.limits
        self._asks = {job.job_id: job for job in request.jobs}

    # -- which limits

    def kinds(self, plans: Mapping[int, object]) -> dict[int, object]:
        """Return what tells jobs apart that may not share a launch: beside their plans, what limits look at."""
        if not self._settings.rules and not any(self._own([job]) for job in self._asks):
            return dict(plans)
        spans = {job: fact.time_limit for job, fact in self._facts.items()}
        return {job: (plans.get(job), spans.get(job)) for job in self._asks}

    def _hints(self, jobs: Sequence[int]) -> JobHints:
        return job_hints(self._asks, self._facts, jobs[:1])

    def _own(self, jobs: Sequence[int]) -> list[Ceiling]:
        return about.own(self._settings, self._plans.of(jobs).plan, self._hints(jobs))

    def keep(self) -> None:
        """Let the ledger know what jobs set for themselves that holds while they run. Raises LedgerError."""
        jobs = sorted(self._asks)
        now = self._doors.clock.now()
        rows = [
            JobLimit(job, one.measure, one.most, one.said_by, now)
            for job in jobs
            for one in self._own([job])
            if one.measure in _RUNNING
        ]
        bare = {replace(row, at=now) for row in self._doors.ledger.job_limits(jobs)} if jobs else set()
        if bare != set(rows):
            self._doors.ledger.set_job_limits(jobs, rows)

    # -- what they leave

    def cap(self, gang: Gang, parts: Sequence[PartPlan]) -> Limited:
        """Return what limits leave of a gang's parts. Raises LimitError where that is nothing."""
        owners = [Owner(gang.user, gang.account, part.part.group.partition, bool(gang.jobs)) for part in parts]
        ceilings = [*about.of_rules(self._settings, owners), *self._own(gang.asking)]
        parts = _noted(parts, about.forecast(self._settings, self._plans.of(gang.asking).plan))
        if not ceilings:
            return Limited(list(parts))
        try:
            capped, prices = self._capped(gang, parts, ceilings)
        except LimitError as error:
            self._refused(gang, ceilings, error)
            raise
        # What follows reckons with the dearest of what is left.
        left = [
            part if choice == part.choice else replace(part, choice=choice, price=dearest(choice, prices))
            for part, choice in zip(parts, capped.choices, strict=True)
        ]
        if left:
            notes, said = list(left[0].choice.notes), list(left[0].filled)
            first = replace(left[0].choice, notes=(*notes, *capped.notes))
            told = Filled("estimate", capped.estimate.arithmetic, "limits: " + ", ".join(str(one) for one in ceilings))
            left[0] = replace(left[0], choice=first, filled=(*said, told))
        return Limited(left, tuple(one for one in ceilings if one.measure in about.AT_ONCE))

    def _capped(self, gang: Gang, parts: Sequence[PartPlan], ceilings: Sequence[Ceiling]) -> tuple[Capped, Prices]:
        kinds = {
            (pool.instance_type, pool.zone, rung.market)
            for part in parts
            for rung in part.choice.rungs
            for pool in rung.pools
        }
        fact = self._facts.get(gang.jobs[0]) if gang.jobs else None
        others, usd = self._others(gang, parts)
        frame = Frame(
            course(self._doors.config, fact.time_limit if fact else None),
            self._settings.volumes_usd_per_hour,
            others,
            usd,
            has_job=bool(gang.jobs),
        )
        pieces = [Piece(part.choice, len(part.part.nodes) if gang.whole else 1) for part in parts]
        prices = current(self._doors, kinds)
        return cap(pieces, prices, frame, ceilings, self._settings.unknown), prices

    def _others(self, gang: Gang, parts: Sequence[PartPlan]) -> tuple[int, Decimal | None]:
        """Return how many nodes of the job are up, and what those cost an hour, None where that is not known."""
        count = max(gang.size - sum(len(part.part.nodes) for part in parts), 0) if gang.whole else 0
        if not count:
            return 0, Decimal(0)
        launched = {node for part in parts for node in part.part.nodes}
        nodes = {node for node in (*gang.others, *gang.nodes) if node not in launched}
        bound = {one.instance_id for one in self._doors.ledger.live_bindings(sorted(nodes))}
        rows = [row for row in self._doors.ledger.instances(live_only=True) if row.instance_id in bound]
        prices = [row.price or self._doors.prices.hourly(row.instance_type, row.zone, row.market) for row in rows]
        known = [price for price in prices if price is not None]
        # Nodes of the job that are no instances of ours cost nothing here.
        return count, sum(known, Decimal(0)) if len(known) == len(prices) else None

    def _refused(self, gang: Gang, ceilings: Sequence[Ceiling], error: LimitError) -> None:
        guilty = next((one for one in ceilings if str(one) in error.why), None)
        say_refused(self._doors, guilty, f"{error.code}: {error.why}", self._request.request_id, gang)


def _noted(parts: Sequence[PartPlan], notes: Sequence[str]) -> Sequence[PartPlan]:
    """Say something with the first part."""
    if not notes or not parts:
        return parts
    first = parts[0]
    return [replace(first, choice=replace(first.choice, notes=(*first.choice.notes, *notes))), *parts[1:]]


def say_refused(doors: Doors, ceiling: Ceiling | None, text: str, request_id: str, gang: Gang) -> None:
    """Record that a limit kept something from being launched."""
    data: dict[str, object] = {
        "rule": ceiling.label if ceiling else "unknown",
        "limit": ceiling.measure.value if ceiling else "unknown",
    }
    doors.say(
        Event(EventKind.LIMIT_REFUSED, text, request_id, gang.gang_id, jobs=gang.jobs, data=data, level="warning")
    )
