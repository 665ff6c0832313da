"""Which limits are about a job: of the site's rules, of its plan and of its hints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fnmatch import fnmatchcase

from asbx.config.limits_section import Exceeded, LimitRule, Limits
from asbx.decide.hints import JobHints
from asbx.model.limit import InUse, JobLimit, Measure
from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan

AT_ONCE = (Measure.HOURLY_AT_ONCE, Measure.NODES_AT_ONCE)
# What a job may cost or take by itself.
OF_JOB = tuple(one for one in Measure if one not in AT_ONCE)
_HINTS: Mapping[str, Measure] = {
    "max-cost": Measure.TOTAL,
    "max-cost-per-hour": Measure.HOURLY,
    "max-hours": Measure.HOURS,
    "cost-alert": Measure.ALERT,
    "auto-terminate-hours": Measure.AUTO_TERMINATE,
}
_SECTION = "cost_constraints"


@dataclass(frozen=True)
class Owner:
    """Whose instances they are; "" where that is not known. has_job: launched for one, and not by hand."""

    user: str
    account: str
    partition: str
    has_job: bool = True


@dataclass(frozen=True)
class Ceiling:
    """A limit. said_by: what it is called to people. rule: the site's rule behind it, "" for a job's own.

    owner: whose instances an `_at_once` limit adds up, "" in each field that does not count.
    """

    said_by: str
    measure: Measure
    most: Decimal
    exceeded: Exceeded
    grace: timedelta
    rule: LimitRule | None = None
    owner: Owner = Owner("", "", "")

    def __str__(self) -> str:
        """Return it as a refusal says it."""
        return f"{self.measure} {plain(self.most)} of {self.said_by}"

    @property
    def label(self) -> str:
        """Return the name a metric has for it; a job's own all share one."""
        return self.rule.name if self.rule else "job"

    def adds(self, owner: Owner) -> bool:
        """Whether instances of an owner count against it."""
        return self.rule is not None and covers(self.rule, owner) and _of(self.rule, owner) == self.owner


def plain(amount: Decimal) -> str:
    """Return an amount as people write it: no exponent, no zeros at its end."""
    return f"{amount.normalize():f}"


def covers(rule: LimitRule, owner: Owner) -> bool:
    """Whether a rule is about an owner; one that is not known is among all of them, nodes of no job are nobody's."""
    if not owner.has_job and (rule.users or rule.accounts):
        return False
    named = (
        (rule.users, owner.user),
        (rule.accounts, owner.account),
        (rule.partitions, owner.partition),
    )
    return all(
        not patterns or not name or any(fnmatchcase(name, pattern) for pattern in patterns) for patterns, name in named
    )


def of_rules(limits: Limits, owners: Iterable[Owner], measures: Iterable[Measure] = tuple(Measure)) -> list[Ceiling]:
    """Return the ceilings of the site's rules for a job, whose nodes may be in several partitions."""
    found: dict[Ceiling, None] = {}
    wanted = tuple(measures)
    for owner in owners:
        for rule in limits.rules:
            if covers(rule, owner):
                found |= dict.fromkeys(_of_rule(limits, rule, owner, wanted))
    return list(found)


def _of_rule(limits: Limits, rule: LimitRule, owner: Owner, measures: Iterable[Measure]) -> Iterator[Ceiling]:
    grace = limits.grace if rule.grace_seconds is None else timedelta(seconds=rule.grace_seconds)
    for measure in measures:
        most = getattr(rule, measure.value)
        if most is None:
            continue
        whose = _of(rule, owner) if measure in AT_ONCE else Owner("", "", "")
        said = f"limit {rule.name!r}"
        if measure in AT_ONCE and rule.each != "all":
            said += f" for {rule.each} {getattr(whose, rule.each) or 'unknown'}"
        exceeded = rule.when_exceeded or limits.when_exceeded
        if measure in AT_ONCE:
            exceeded = rule.when_exceeded_at_once or limits.when_exceeded_at_once
        yield Ceiling(said, measure, Decimal(most), exceeded, grace, rule, whose)


def _of(rule: LimitRule, owner: Owner) -> Owner:
    """Return what of an owner a rule adds up by."""
    if rule.each == "all":
        return Owner("", "", "")
    return Owner(
        owner.user if rule.each == "user" else "",
        owner.account if rule.each == "account" else "",
        owner.partition if rule.each == "partition" else "",
    )


def own(limits: Limits, plan: ExecutionPlan | None, hints: JobHints) -> list[Ceiling]:
    """Return the ceilings that a plan and a job's own words set."""
    stated: list[tuple[Measure, Decimal | None, str]] = []
    if plan is not None:
        whole = None if is_forecast(limits, plan) else plan.max_total_cost
        stated = [
            (Measure.TOTAL, whole, f"the plan's {_SECTION}.max_total_cost"),
            (Measure.HOURLY, plan.max_cost_per_hour, f"the plan's {_SECTION}.max_cost_per_hour"),
            (Measure.HOURS, hours_of(plan.max_duration), f"the plan's {_SECTION}.max_duration_hours"),
            (Measure.AUTO_TERMINATE, hours_of(plan.auto_terminate), f"the plan's {_SECTION}.auto_terminate_hours"),
            (Measure.ALERT, plan.cost_alert, f"the plan's {_SECTION}.cost_alert_threshold"),
        ]
    stated += [(_HINTS[name], amount, f"the job's hint asbx:{name}") for name, amount in hints.amounts]
    return [_own(limits, measure, most, said) for measure, most, said in stated if most is not None]


def is_forecast(limits: Limits, plan: ExecutionPlan | None) -> bool:
    """Whether a plan's whole cost is what the advisor expects, which nobody has asked for as a limit.

    Its own estimate knows one price, 0.10 USD an hour, for every type (seen in all its recorded plans).
    """
    return plan is not None and plan.dialect == "real" and plan.max_total_cost is not None and limits.forecast == "note"


def forecast(limits: Limits, plan: ExecutionPlan | None) -> tuple[str, ...]:
    """Return the sentence that tells of it, if any."""
    if plan is None or plan.max_total_cost is None or not is_forecast(limits, plan):
        return ()
    usd = plan.max_total_cost.quantize(Decimal("0.01"))
    return (f"the advisor's forecast of {usd} USD in {_SECTION}.max_total_cost is no limit (limits.forecast: note)",)


def kept(limits: Limits, row: JobLimit) -> Ceiling:
    """Return the ceiling a job set for itself, as the ledger has kept it."""
    return _own(limits, row.measure, row.most, row.said_by)


def _own(limits: Limits, measure: Measure, most: Decimal, said: str) -> Ceiling:
    return Ceiling(said, measure, most, limits.when_exceeded, limits.grace)


def hours_of(span: timedelta | None) -> Decimal | None:
    """Return a duration in hours, to the second."""
    return None if span is None else Decimal(int(span.total_seconds())) / Decimal(3600)


# Prices by (type, zone, market), USD an hour; of a pool whose zone is not known the zone is "".
Prices = Mapping[tuple[str, str, Market], Decimal]


def price_of(prices: Prices, instance_type: str, zone: str, market: Market) -> Decimal | None:
    """Return a price; a spot price that is not known is at most the on-demand one, which is EC2's own limit for it.

    Source: EC2 user guide, "Spot Instance pricing": the default maximum price is the On-Demand price.
    """
    found = prices.get((instance_type, zone, market))
    return prices.get((instance_type, zone, Market.ON_DEMAND)) if found is None else found


def owner_of(row: InUse) -> Owner:
    """Return whose these are."""
    return Owner(row.user, row.account, row.partition, row.has_job)
