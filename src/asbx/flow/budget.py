"""Hold money for the jobs of a gang before anything is launched for it, or say what is missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from asbx.config.budgets import Budget
from asbx.config.limits import ASBB_LAUNCH_MOST, FREE_TEXT_MAX
from asbx.decide.asbb import Ask, Word
from asbx.decide.budget import (
    Books,
    Owner,
    Period,
    is_about,
    is_hopeless,
    judge,
    key_of,
    level,
    limit_of,
    not_before,
    period_at,
    shown,
    told,
    weight,
    with_margin,
)
from asbx.decide.cost import total
from asbx.errors import ExitCode
from asbx.flow.asbb import Desk
from asbx.flow.doors import Doors
from asbx.flow.estimating import estimate
from asbx.flow.outcome import Failure
from asbx.flow.plan import PartPlan
from asbx.flow.telling import put_in_front
from asbx.model.budget import Book, Hold, Short
from asbx.model.event import Event, EventKind
from asbx.model.gang import Gang
from asbx.model.job import JobFacts, Request

_CENT = Decimal("0.01")
_AWAY = "asbx:budget-service-away"
Barred = tuple[Gang, Failure]


@dataclass(frozen=True)
class _Cost:
    """What a job's launch may cost; usd: None where it cannot be told. why: the arithmetic."""

    usd: Decimal | None
    why: str


@dataclass(frozen=True)
class _Want:
    """What a job's launch needs. periods: of the budgets it must hold in, by name; none where it holds nothing."""

    job: int
    fact: JobFacts
    owner: Owner
    cost: _Cost
    periods: Mapping[str, Period]


@dataclass
class BudgetGate:
    """The gate of one request. facts: of its jobs, from the queue. jobs_of: node -> jobs that wait for it."""

    doors: Doors
    request: Request
    facts: Mapping[int, JobFacts]
    jobs_of: Mapping[str, tuple[int, ...]]
    _away: str = ""  # why the service is not asked again for this request
    _asked: timedelta = field(default_factory=timedelta)
    _untold: dict[int, str] = field(default_factory=dict)  # jobs that went without its word

    @property
    def _is_needed(self) -> bool:
        return self.doors.budgets is not None and bool(self.doors.config.budgets.rules or self.doors.service)

    def admit(self, gang: Gang, plans: Sequence[PartPlan]) -> tuple[Gang, list[Barred]]:
        """Hold money for each job of a gang; return what of it may be launched, and the other nodes with the reason.

        A gang that must be whole is held for as a whole, or not at all. Nodes no job waits for are nobody's money.
        Raises LedgerError.
        """
        jobs = [job for job in gang.jobs if any(self._nodes(job, plan) for plan in plans)]
        if not self._is_needed or not jobs:
            return gang, []
        refused = self._refused(gang, jobs, plans)
        if not refused:
            return gang, []
        for job, failure in refused.items():
            self._say(EventKind.BUDGET_REFUSED, f"job {job}: {failure.reason}", job, "warning", code=failure.code)
        if gang.whole:
            self.release(jobs, "a gang is whole or nothing")
            return replace(gang, parts=()), [(gang, next(iter(refused.values())))]
        barred: dict[int, list[str]] = {}
        for node in gang.nodes:
            for job in self._jobs(node, gang.jobs):
                if job in refused:
                    barred.setdefault(job, []).append(node)
                    break
        gone = {node for nodes in barred.values() for node in nodes}
        left = self._only(gang, set(gang.nodes) - gone)
        return left, [(replace(self._only(gang, nodes), jobs=(job,)), refused[job]) for job, nodes in barred.items()]

    def _only(self, gang: Gang, nodes: Collection[str]) -> Gang:
        parts = [replace(part, nodes=tuple(node for node in part.nodes if node in nodes)) for part in gang.parts]
        jobs = {job for node in nodes for job in self._jobs(node, gang.jobs)}
        return replace(gang, parts=tuple(part for part in parts if part.nodes), jobs=tuple(sorted(jobs)))

    def settle(self, bound: Collection[str]) -> None:
        """Give back what is held for jobs of which no node came. What has an instance is charged when that is gone."""
        if not self._is_needed or not self.jobs_of:
            return
        alive = {*bound, *(one.node for one in self.doors.ledger.live_bindings(sorted(self.jobs_of)))}
        served = {job for node in alive for job in self.jobs_of.get(node, ())}
        lost = {job for jobs in self.jobs_of.values() for job in jobs} - served
        for job in lost:
            self._untold.pop(job, None)  # it was told why it did not go
        if lost:
            self.release(sorted(lost), "its launch came to nothing")

    def tell(self) -> None:
        """Tell the jobs that went without the service's word. Nobody waits for it."""
        while self._untold:
            put_in_front(self.doors, *self._untold.popitem(), _AWAY)

    def release(self, jobs: Sequence[int], why: str) -> None:
        """Give back what this request holds for jobs, here and at the service."""
        books = self.doors.budgets
        assert books is not None
        now = self.doors.clock.now()
        for one in books.release([key_of(self.request.request_id, job) for job in jobs], now, why):
            text = f"job {one.job_id}: {shown(one.usd)} USD of budget {one.budget} given back: {why}"
            self._say(EventKind.BUDGET_RELEASED, text, one.job_id, "info", budget=one.budget, usd=str(one.usd))
        if self.doors.service is not None:
            desk = Desk(self.doors, books, self.doors.service)
            for job in jobs:
                desk.owe(self.request.request_id, job, Decimal(0))

    # -- the jobs of a gang

    def _refused(self, gang: Gang, jobs: Sequence[int], plans: Sequence[PartPlan]) -> dict[int, Failure]:
        """Hold money for jobs in every budget that is about them, then at the service; return which may not launch."""
        now, found = self.doors.clock.now(), {}
        for job in jobs:
            found[job] = self._look(job, plans, now)
        refused = {job: one for job, one in found.items() if isinstance(one, Failure)}
        wants = [one for one in found.values() if isinstance(one, _Want)]
        refused |= self._hold([one for one in wants if one.periods], now)
        for want in wants:
            if gang.whole and refused:
                break  # none of it is launched: the service has no call that ends what it holds but a charge
            why = None if want.job in refused else self._ask_service(want, plans)
            if why is not None:
                refused[want.job] = why
        return {job: refused[job] for job in jobs if job in refused}

    def _look(self, job: int, plans: Sequence[PartPlan], now: datetime) -> _Want | Failure | None:
        """Return what a job needs, None where no budget is about it, or why it may not launch. Takes nothing."""
        fact = self.facts.get(job)
        if fact is None:
            why = "Slurm did not say whose job it is, so no budget can be asked"
            return Failure("budget-owner-unknown", why, ExitCode.BUDGET)
        partitions = sorted({plan.part.group.partition for plan in plans if self._nodes(job, plan)})
        owner = Owner(fact.user, fact.account, tuple(partitions))
        rules = [rule for rule in self.doors.config.budgets.rules if is_about(rule, owner)]
        if not rules and self.doors.service is None:
            return None
        cost = self._cost(job, plans, fact.time_limit)
        # The service reckons itself: it needs no price of ours, but a time limit.
        is_needed = bool(rules) or fact.time_limit is None
        if cost.usd is None and is_needed and self.doors.config.budgets.unknown_cost == "refuse":
            why = f"what it may cost cannot be told: {cost.why}"
            return Failure("budget-cost-unknown", why, ExitCode.BUDGET, hopeless=fact.time_limit is None)
        periods: dict[str, Period] = {}
        for rule in rules if cost.usd is not None else ():
            period = period_at(rule, now)
            if period is None:
                return _not_in_force(rule, now)
            periods[rule.name] = period
        return _Want(job, fact, owner, cost, periods)

    def _cost(self, job: int, plans: Sequence[PartPlan], limit: timedelta | None) -> _Cost:
        amounts: list[Decimal] = []
        said: list[str] = []
        for plan in plans:
            nodes = self._nodes(job, plan)
            found = estimate(self.doors.config, self.doors.prices, plan, len(nodes), limit) if nodes else None
            if found is None:
                continue
            said.append(found.arithmetic)
            if found.usd is None:
                return _Cost(None, found.arithmetic)
            share = weight(nodes, self.jobs_of) / len(nodes)
            amounts.append((found.usd * share).quantize(_CENT, ROUND_UP))
            if share < 1:
                said.append(f"its part of shared nodes: {share:.2f}")
        usd = with_margin(total(amounts), self.doors.config.budgets.margin_percent)
        return _Cost(usd, "; ".join(said))

    def _hold(self, wants: Sequence[_Want], now: datetime) -> dict[int, Failure]:
        """Hold for all of them in one transaction of the ledger, one after the other; return which found no room."""
        books = self.doors.budgets
        if not wants or books is None:
            return {}
        by_name = {rule.name: rule for rule in self.doors.config.budgets.rules}
        periods = {name: period for want in wants for name, period in want.periods.items()}

        def room(one: Hold, found: Books) -> Short | None:
            return judge(by_name[one.budget], periods[one.budget], one.usd, found)

        launches = [self._holds(want, now) for want in wants]
        taken = books.take(launches, {name: period.previous for name, period in periods.items()}, room)
        refused: dict[int, Failure] = {}
        for want, holds, one in zip(wants, launches, taken, strict=True):
            if one.short is None:
                self._held(want.job, holds)
            else:
                refused[want.job] = _exceeded(by_name[one.short.budget], periods[one.short.budget], one.short, want)
        alert(self.doors, list({(book.budget, book.period): book for one in taken for book in one.books}.values()))
        return refused

    def _holds(self, want: _Want, now: datetime) -> list[Hold]:
        assert want.cost.usd is not None, "only what can be told is held"
        key, request = key_of(self.request.request_id, want.job), self.request.request_id
        user, account, why = want.fact.user, want.fact.account, want.cost.why[:FREE_TEXT_MAX]
        return [
            Hold(key, name, period.key, want.job, request, user, account, want.cost.usd, now, why=why)
            for name, period in want.periods.items()
        ]

    def _held(self, job: int, holds: Sequence[Hold]) -> None:
        names = ", ".join(one.budget for one in holds)
        text = f"job {job}: {shown(holds[0].usd)} USD of budget {names} held: {holds[0].why}"
        self._say(EventKind.BUDGET_HELD, text, job, "info", budgets=names, usd=str(holds[0].usd))

    # -- the service

    def _ask_service(self, want: _Want, plans: Sequence[PartPlan]) -> Failure | None:
        """Ask the budget service for the job; where it is away, do as its policy says."""
        service, books, job = self.doors.service, self.doors.budgets, want.job
        if service is None or books is None or want.fact.time_limit is None:
            return None
        if self._asked > ASBB_LAUNCH_MOST:
            self._away = self._away or "it takes too long for all jobs of a request"
        if not self._away:
            began = self.doors.clock.elapsed()
            answer = Desk(self.doors, books, service).check(self._question(want, plans))
            self._asked += self.doors.clock.elapsed() - began
            if answer.word is Word.YES:
                return None
            if answer.word is Word.NO:
                self.release([job], "the budget service refused")
                why = f"the budget service refuses account {want.fact.account or 'none'}: {answer.said}"
                return Failure("budget-service-refused", why, ExitCode.BUDGET)
            self._away = answer.said or "it does not answer"
        return self._by_policy(job, has_rules=bool(want.periods))

    def _by_policy(self, job: int, *, has_rules: bool) -> Failure | None:
        policy = self.doors.config.asbb.policy
        goes = policy == "fail-open" or (policy == "local" and has_rules)
        does = "launched without its word" if goes else "not launched"
        text = f"the budget service has no word ({self._away}); policy {policy}: {does}"
        self._say(EventKind.BUDGET_SERVICE_AWAY, f"job {job}: {text}", job, "warning", policy=policy)
        if not goes:
            self.release([job], "the budget service has no word")
            return Failure("budget-service-away", text, ExitCode.BUDGET)
        self._untold[job] = f"{_AWAY} {text}"
        return None

    def _question(self, want: _Want, plans: Sequence[PartPlan]) -> Ask:
        """Return what is asked for: the size of the type that is tried first, as many as the job waits for."""
        sizes = [(0, 0)]
        for plan in plans:
            for pool in (pool for rung in plan.choice.rungs[:1] for pool in rung.pools[:1]):
                known = self.doors.catalogue.types([pool.instance_type]).get(pool.instance_type)
                sizes.append((known.vcpus, known.gpus) if known else (0, 0))
        cpus, gpus = max(sizes)
        job, fact = want.job, want.fact
        nodes = sum(len(self._nodes(job, plan)) for plan in plans)
        key = key_of(self.request.request_id, job)
        limit = fact.time_limit or timedelta()
        where = ",".join(want.owner.partitions)
        return Ask(key, job, self.request.request_id, fact.account, fact.user, where, nodes, cpus, gpus, limit)

    # -- whose nodes

    def _nodes(self, job: int, plan: PartPlan) -> list[str]:
        return [node for node in plan.part.nodes if job in self.jobs_of.get(node, ())]

    def _jobs(self, node: str, jobs: Sequence[int]) -> list[int]:
        return [job for job in self.jobs_of.get(node, ()) if job in jobs]

    def _say(self, kind: EventKind, text: str, job: int, level: str, **data: object) -> None:
        self.doors.say(Event(kind, text, self.request.request_id, job_id=job, level=level, data=data))


def _not_in_force(rule: Budget, now: datetime) -> Failure:
    begins = rule.starts is not None and now.date() < rule.starts
    when = f"begins on {rule.starts}" if begins else f"ended on {rule.ends}"
    return Failure("budget-not-in-force", f"budget {rule.name} {when} (UTC)", ExitCode.BUDGET, hopeless=not begins)


def _exceeded(rule: Budget, period: Period, short: Short, want: _Want) -> Failure:
    return Failure(
        "budget-exceeded",
        f"{told(short)} ({want.cost.why})",
        ExitCode.BUDGET,
        hopeless=is_hopeless(rule, short),
        not_before=not_before(short, period),
    )


def alert(doors: Doors, books: Sequence[Book]) -> None:
    """Say once in a period that spent and held money have reached a level. Raises LedgerError."""
    now, kept = doors.clock.now(), doors.budgets
    assert kept is not None
    for rule in doors.config.budgets.rules:
        for book in (one for one in books if one.budget == rule.name):
            period = period_at(rule, now)
            if period is None or period.key != book.period or level(rule, book, rule.limit_usd + book.granted) is None:
                continue
            # What was carried over raises the limit; it is looked up only where a level may be reached.
            limit = limit_of(rule, period, {(one.budget, one.period): one for one in kept.books()})
            reached = level(rule, book, limit)
            if reached is None or not kept.alert(book.budget, book.period, reached):
                continue
            text = (
                f"budget {rule.name} (from {book.period}) has reached {reached} %: {shown(book.spent)} USD spent, "
                f"{shown(book.held)} held, of {shown(limit)}"
            )
            data: dict[str, object] = {"budget": rule.name, "level": reached}
            doors.say(Event(EventKind.BUDGET_ALERT, text, data=data, level="warning"))
