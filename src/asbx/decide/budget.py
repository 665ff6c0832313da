"""Budgets: which are about a job, what a period is, whether there is room, what the end of the period may bring.

A hold is had where limit + granted + carried over - spent - held is at least what is needed. Money counts in the period
in which it was held, whenever the job ends. Carried over is a share of what the period before has left of its own
limit, what is still held in it for jobs that run on counted as spent; what was carried into that one is not carried on.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Context, Decimal, localcontext
from fnmatch import fnmatchcase

from asbx.config.budgets import Budget
from asbx.decide.cost import total
from asbx.model.budget import Book, Hold, Short

Books = Mapping[tuple[str, str], Book]
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
# Any first of January: calendar months, quarters and years are counted from it.
_CALENDAR = date(2000, 1, 1)
_CENT = Decimal("0.01")
_PERCENT = Decimal(100)
_EXACT = Context(prec=50)
# A forecast from less of a period than this says nothing.
_LEAST_SHARE = Decimal("0.02")


@dataclass(frozen=True)
class Period:
    """One period of a budget. key: its first day, as the ledger has it. ends: None for one without an end."""

    key: str
    starts: datetime
    ends: datetime | None
    previous: str = ""


@dataclass(frozen=True)
class Owner:
    """Whose job it is; partitions: where its nodes are. Accounts are empty on clusters without accounting."""

    user: str
    account: str
    partitions: tuple[str, ...]


def is_about(rule: Budget, owner: Owner) -> bool:
    """Return whether a job's money comes out of a budget. Of several partitions its nodes are in one is enough."""
    named = ((rule.accounts, (owner.account,)), (rule.users, (owner.user,)), (rule.partitions, owner.partitions))
    return all(
        not patterns or any(fnmatchcase(name, one) for name in names for one in patterns) for patterns, names in named
    )


# -- periods


def period_at(rule: Budget, now: datetime) -> Period | None:
    """Return the period a moment is in; None before the budget starts and after its end."""
    today = now.astimezone(UTC).date()
    if rule.starts is not None and today < rule.starts:
        return None
    if rule.period == "once":
        begin = rule.starts or _CALENDAR
        if rule.ends is not None and today > rule.ends:
            return None
        return Period(begin.isoformat(), _midnight(begin), _midnight(rule.ends, 1) if rule.ends else None)
    anchor, step = rule.starts or _CALENDAR, _MONTHS[rule.period]
    number = ((today.year - anchor.year) * 12 + today.month - anchor.month) // step
    if today < _later(anchor, number * step):
        number -= 1  # the anchor's day of the month is still to come
    begin = _later(anchor, number * step)
    has_previous = number > 0 or rule.starts is None
    previous = _later(anchor, (number - 1) * step).isoformat() if has_previous else ""
    return Period(begin.isoformat(), _midnight(begin), _midnight(_later(anchor, (number + 1) * step)), previous)


def _later(day: date, months: int) -> date:
    """Return the same day so many months later, or the last one of a month that is too short."""
    count = day.year * 12 + day.month - 1 + months
    year, month = divmod(count, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _midnight(day: date, later: int = 0) -> datetime:
    return datetime.combine(day + timedelta(days=later), time(), UTC)


# -- room


def carried(rule: Budget, previous: Book | None) -> Decimal:
    """Return what a period has beside its own limit; previous: the book before, None where nothing was spent in it."""
    if not rule.carry_over_percent:
        return Decimal(0)
    # What is still held there will be charged there: carried on, it would be spent twice.
    used = previous.spent + previous.held if previous else Decimal(0)
    unspent = max(rule.limit_usd - used, Decimal(0))
    share = (unspent * rule.carry_over_percent / _PERCENT).quantize(_CENT, ROUND_DOWN)
    return share if rule.carry_over_most_usd is None else min(share, rule.carry_over_most_usd)


def limit_of(rule: Budget, period: Period, books: Books) -> Decimal:
    """Return what may be spent in a period: the limit, what was carried over, what was granted by hand."""
    book = books.get((rule.name, period.key))
    more = carried(rule, books.get((rule.name, period.previous))) if period.previous else Decimal(0)
    return rule.limit_usd + more + (book.granted if book else 0)


def judge(rule: Budget, period: Period, needed: Decimal, books: Books) -> Short | None:
    """Return None where there is room for an amount, else the arithmetic."""
    limit = limit_of(rule, period, books)
    book = books.get((rule.name, period.key)) or Book(rule.name, period.key)
    if limit - book.spent - book.held >= needed:
        return None
    return Short(rule.name, period.key, limit, book.spent, book.held, needed)


def with_margin(usd: Decimal, percent: int) -> Decimal:
    """Return what is held for an estimate, rounded up to a cent."""
    return (usd * (100 + percent) / _PERCENT).quantize(_CENT, ROUND_UP)


def weight(nodes: Sequence[str], jobs_of: Mapping[str, Sequence[int]]) -> Decimal:
    """Return how many nodes a job pays for, of those it waits for: one that others wait for too is paid in parts."""
    with localcontext(_EXACT):
        return sum((1 / Decimal(max(len(jobs_of.get(node, ())), 1)) for node in nodes), Decimal(0))


def can_ever(rule: Budget, short: Short) -> bool:
    """Return whether an amount could be held in an untouched period."""
    most = rule.carry_over_most_usd
    share = rule.limit_usd * rule.carry_over_percent / _PERCENT
    return short.needed <= rule.limit_usd + (share if most is None else min(share, most))


def not_before(short: Short, period: Period) -> datetime | None:
    """Return when trying again can help: None for as soon as other jobs give back what they hold."""
    return None if short.limit - short.spent >= short.needed else period.ends


def is_hopeless(rule: Budget, short: Short) -> bool:
    """Return whether waiting cannot help: what is needed is more than any period has, or no other period comes."""
    if short.limit - short.spent >= short.needed:
        return False
    return not can_ever(rule, short) or rule.period == "once"


def told(short: Short) -> str:
    """Return the arithmetic as a sentence."""
    return (
        f"budget {short.budget} (from {short.period}): {short.needed:f} USD needed, {shown(short.left)} left of "
        f"{shown(short.limit)}: {shown(short.spent)} spent, {shown(short.held)} held for other jobs"
    )


def shown(usd: Decimal) -> str:
    """Return an amount for people, to the cent."""
    return f"{usd.quantize(_CENT, ROUND_HALF_EVEN):f}"


# -- how it goes on


def level(rule: Budget, book: Book, limit: Decimal) -> int | None:
    """Return the highest alert level that spent and held money have reached and nobody was told of."""
    used = book.spent + book.held
    reached = [one for one in rule.alerts_percent if used * _PERCENT >= limit * one]
    highest = max(reached, default=0)
    return highest if highest > book.alerted else None


def forecast(spent: Decimal, period: Period, now: datetime) -> Decimal | None:
    """Return what will be spent by the end of a period at the pace so far; None without an end, or too early to say."""
    if period.ends is None:
        return None
    whole, gone = _seconds(period.ends - period.starts), _seconds(now - period.starts)
    if gone < whole * _LEAST_SHARE:
        return None
    return (spent * whole / gone).quantize(_CENT, ROUND_HALF_EVEN)


def _seconds(span: timedelta) -> Decimal:
    return Decimal(int(span.total_seconds()))


def key_of(request_id: str, job_id: int) -> str:
    """Return what names the launch of a job by a request, however often it is begun."""
    return f"{request_id}/{job_id}"


def sums(holds: Sequence[Hold]) -> Decimal:
    """Return what holds set apart together."""
    return total(one.usd for one in holds)


@dataclass(frozen=True)
class Stand:
    """How a budget stands. period: None before its first day and after its last; then nothing may be spent."""

    rule: Budget
    period: Period | None
    limit: Decimal
    book: Book
    forecast: Decimal | None

    @property
    def left(self) -> Decimal:
        """Return what could be held."""
        return max(self.limit - self.book.spent - self.book.held, Decimal(0))


def stands(rules: Sequence[Budget], books: Sequence[Book], now: datetime) -> tuple[Stand, ...]:
    """Return how every budget stands, in the order of the configuration."""
    by_key = {(one.budget, one.period): one for one in books}
    return tuple(_stand(rule, by_key, now) for rule in rules)


def _stand(rule: Budget, books: Books, now: datetime) -> Stand:
    period = period_at(rule, now)
    if period is None:
        return Stand(rule, None, Decimal(0), Book(rule.name, ""), None)
    book = books.get((rule.name, period.key)) or Book(rule.name, period.key)
    return Stand(rule, period, limit_of(rule, period, books), book, forecast(book.spent, period, now))
