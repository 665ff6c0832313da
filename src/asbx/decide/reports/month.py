"""What an account is told of a month: its own jobs, and of the cluster no more than a ratio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from asbx.config.limits import REPORT_DEAREST
from asbx.decide.meter.spans import Bearer, Kind
from asbx.decide.meter.sums import Dimension, Sum
from asbx.decide.reports.hours import Hours
from asbx.decide.reports.keys import EVERY, narrowed, value
from asbx.decide.reports.savings import OnDemand, Savings, savings

_RATIO = Decimal("0.0001")


@dataclass(frozen=True)
class Row:
    """What was spent under one key, in billionths. seconds: of instances; one that jobs share counts for each."""

    key: tuple[str, ...]
    nanos: int
    seconds: int


@dataclass(frozen=True)
class Overhead:
    """What stood idle and what was wasted in the whole cluster, for each unit that jobs bore.

    A ratio says nothing of what other accounts did. None where no job bore anything.
    """

    idle: Decimal
    waste: Decimal


@dataclass(frozen=True)
class AccountMonth:
    """All sums in billionths. sums: the account's own, by all dimensions. jobs: the dearest, of job_count.

    unpriced: its instances whose price is not known, which are not in the sums.
    """

    account: str
    sums: tuple[Sum, ...]
    users: tuple[Row, ...]
    types: tuple[Row, ...]
    jobs: tuple[Row, ...]
    job_count: int
    kinds: tuple[Row, ...]
    savings: Savings
    overhead: Overhead | None
    unpriced: tuple[str, ...]

    @property
    def nanos(self) -> int:
        """Return what its jobs bore."""
        return sum(one.nanos for one in self.sums)

    @property
    def volumes(self) -> int:
        """Return what of it volumes cost."""
        return sum(one.volumes for one in self.sums)


def account_months(
    every: Sequence[Sum],
    hours: Hours,
    prices: OnDemand,
    unpriced: Collection[str],
    wanted: Collection[str] | None = None,
) -> Iterator[AccountMonth]:
    """Return a month for each account that bore something, or for those wanted. every: sums of it by all dimensions."""
    mine: dict[str, list[Sum]] = defaultdict(list)
    for one in every:
        if one.bearer is Bearer.JOB:
            mine[value(one, EVERY, Dimension.ACCOUNT)].append(one)
    overhead = _overhead(every)
    for account in sorted(mine if wanted is None else wanted):
        some = tuple(mine.get(account, ()))
        jobs = rows(some, (Dimension.JOB, Dimension.USER, Dimension.PARTITION))
        ids = {value(one, EVERY, Dimension.INSTANCE) for one in some}
        yield AccountMonth(
            account,
            some,
            rows(some, (Dimension.USER,)),
            rows(some, (Dimension.TYPE, Dimension.MARKET)),
            jobs[:REPORT_DEAREST],
            len({row.key[0] for row in jobs}),
            _kinds(some),
            savings(hours, some, prices),
            overhead,
            tuple(sorted(ids & set(unpriced))),
        )


def rows(some: Iterable[Sum], wanted: Sequence[Dimension]) -> tuple[Row, ...]:
    """Add up sums by some dimensions whatever they were spent on, the dearest first."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for one in narrowed(some, EVERY, wanted):
        found[one.key][0] += one.nanos
        found[one.key][1] += one.seconds
    return tuple(sorted((Row(key, *each) for key, each in found.items()), key=lambda row: (-row.nanos, row.key)))


def _kinds(some: Sequence[Sum]) -> tuple[Row, ...]:
    return tuple(Row((one.kind.value,), one.nanos, one.seconds) for one in narrowed(some, EVERY, ()))


def _overhead(every: Iterable[Sum]) -> Overhead | None:
    spent = dict.fromkeys(Bearer, 0)
    for one in every:
        spent[one.bearer] += one.nanos
    if not spent[Bearer.JOB]:
        return None
    with localcontext(prec=50):
        idle, waste = (
            (Decimal(spent[bearer]) / spent[Bearer.JOB]).quantize(_RATIO) for bearer in (Bearer.IDLE, Bearer.WASTE)
        )
    return Overhead(idle, waste)


MEANINGS = {
    Kind.RUN.value: "while the job ran",
    Kind.BOOT.value: "boot: from launch until the job began",
    Kind.ASSUMED.value: "launched for the job; when it ran on it was not recorded",
}
