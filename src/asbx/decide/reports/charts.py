"""What charts of costs show, as values: who draws them needs to know nothing of costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from asbx.config.limits import CHART_DAYS, CHART_SERIES, CHART_WEEKS
from asbx.decide.meter.spans import Kind
from asbx.decide.meter.sums import Dimension, Sum
from asbx.decide.reports.waits import JobWait
from asbx.model.market import Market

OTHERS = "others"
_CUT = 28


class ChartKind(StrEnum):
    """What is drawn."""

    ACCOUNTS = "accounts"
    MARKETS = "markets"
    WASTE = "waste"
    WAITS = "waits"


class Step(StrEnum):
    """How long a time one bar stands for."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Series:
    """A part of every bar. values: billionths, one for each bar. is_rest: all that is too small to have its own."""

    label: str
    values: tuple[int, ...]
    is_rest: bool = False

    @property
    def total(self) -> int:
        """Return what it comes to."""
        return sum(self.values)


@dataclass(frozen=True)
class Bars:
    """Stacked bars over time. starts: first day of each. legend: what the figures beside the names are.

    note: what is not in it, or "" for nothing. if_empty: what is said where there is nothing to draw.
    """

    title: str
    subtitle: str
    x_label: str
    y_label: str
    step: Step
    starts: tuple[date, ...]
    series: tuple[Series, ...]
    legend: str = ""
    note: str = ""
    if_empty: str = "nothing was spent in this period"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(one.total for one in self.series)


@dataclass(frozen=True)
class Cloud:
    """Points of one name. points: (seconds, billionths)."""

    label: str
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Points:
    """One point for each job."""

    title: str
    subtitle: str
    x_label: str
    y_label: str
    clouds: tuple[Cloud, ...]
    note: str = ""
    if_empty: str = "of no job in this period both wait and cost are known"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(one.points for one in self.clouds)


Chart = Bars | Points


@dataclass(frozen=True)
class Frame:
    """The days of a chart, both ends included, and in what money."""

    first: date
    last: date
    currency: str = "USD"

    @property
    def step(self) -> Step:
        """Return how long a time a bar stands for, so that there are not too many."""
        days = (self.last - self.first).days + 1
        if days <= CHART_DAYS:
            return Step.DAY
        return Step.WEEK if days <= 7 * CHART_WEEKS else Step.MONTH

    @property
    def starts(self) -> tuple[date, ...]:
        """Return the first day of each bar."""
        found, at = [], start_of(self.first, self.step)
        while at <= self.last:
            found.append(at)
            at = start_of(at + {Step.DAY: timedelta(1), Step.WEEK: timedelta(7), Step.MONTH: timedelta(31)}[self.step],
                          self.step)  # fmt: skip
        return tuple(found)

    @property
    def said(self) -> str:
        """Return it in words."""
        if self.first == self.last:
            return f"{self.first} (UTC)"
        return f"{self.first} to {self.last} (UTC days)"


def start_of(day: date, step: Step) -> date:
    """Return the first day of the day, week (Monday) or month it is in."""
    if step is Step.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if step is Step.WEEK else day


def accounts(by_day: Iterable[Sum], frame: Frame, who: str = "") -> Bars:
    """Return cost by account over time. by_day: sums by day and account."""

    def label(one: Sum) -> str:
        return one.key[1] or ("no account" if one.bearer.value == "job" else "idle and waste")

    return _bars(by_day, frame, "Cost", " by account", label, who)


def users(by_day: Iterable[Sum], frame: Frame, who: str) -> Bars:
    """Return cost by user over time. by_day: sums by day and user."""
    return _bars(by_day, frame, "Cost", " by user", lambda one: one.key[1] or "no user", who)


_MARKETS = {
    Market.SPOT.value: "spot",
    Market.ON_DEMAND.value: "on demand",
    Market.CAPACITY_BLOCK.value: "capacity block",
}


def markets(by_day: Iterable[Sum], frame: Frame, who: str = "") -> Bars:
    """Return cost by market over time. by_day: sums by day and market. Every market has its own place in the order."""

    def label(one: Sum) -> str:
        return _MARKETS.get(one.key[1], one.key[1])

    return _bars(by_day, frame, "Cost", ", spot against on demand", label, who, tuple(_MARKETS.values()))


_LOST = {
    Kind.BOOT: "boot (borne by jobs)",
    Kind.IDLE: "idle",
    Kind.GIVEN_BACK: "given back: never bound to a node",
    Kind.NEVER_REGISTERED: "never registered with Slurm",
}


def waste(by_day: Iterable[Sum], frame: Frame, who: str = "") -> Bars:
    """Return what was paid for while no job ran, by kind over time. by_day: sums by day."""
    lost = [one for one in by_day if one.kind in _LOST]
    return _bars(lost, frame, "Cost", " while no job ran, by kind", lambda one: _LOST[one.kind], who,
                 tuple(_LOST.values()))  # fmt: skip


def waits(found: Sequence[JobWait], frame: Frame, who: str = "", left_out: int = 0) -> Points:
    """Return each job's wait for its nodes against its cost. left_out: jobs that are not among them."""
    clouds: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in found:
        clouds[_MARKETS.get(one.market, one.market)].append((one.seconds, one.nanos))
    shown = tuple(Cloud(name, tuple(sorted(points))) for name, points in sorted(clouds.items()))
    note = f"The dearest {len(found):,} jobs; {left_out:,} cheaper ones are not shown." if left_out else ""
    return Points(
        _title("Wait for nodes against cost of jobs", who),
        frame.said,
        "from Slurm's request to all nodes registered (minutes)",
        f"cost of the job ({frame.currency})",
        shown,
        note,
    )


def _bars(
    found: Iterable[Sum],
    frame: Frame,
    what: str,
    how: str,
    label: Callable[[Sum], str],
    who: str,
    order: Sequence[str] = (),
) -> Bars:
    starts = frame.starts
    at = {start: index for index, start in enumerate(starts)}
    values: dict[str, list[int]] = defaultdict(lambda: [0] * len(starts))
    for one in found:
        values[label(one)][at[start_of(date.fromisoformat(one.key[0]), frame.step)]] += one.nanos
    edge = _cut_off(frame)
    return Bars(
        _title(f"{what} per {frame.step.value}{how}", who),
        frame.said,
        f"{frame.step.value} (UTC)",
        f"{frame.currency} per {frame.step.value}",
        frame.step,
        starts,
        _series(values, order),
        f"sum of the period ({frame.currency})",
        edge,
    )


def _cut_off(frame: Frame) -> str:
    """Say where the first or last bar is of less than its whole time."""
    if frame.step is Step.DAY:
        return ""
    after = start_of(frame.last + timedelta(days=1), frame.step)
    is_whole = frame.starts[0] == frame.first and after == frame.last + timedelta(days=1)
    return "" if is_whole else f"Of a {frame.step.value} at either end only the days within the period are counted."


def _series(values: Mapping[str, Sequence[int]], order: Sequence[str]) -> tuple[Series, ...]:
    """Return the dearest first, or in a stated order; what is beyond CHART_SERIES together as others."""
    if order:
        return tuple(Series(name, tuple(values[name])) for name in order if any(values.get(name, ())))
    ranked = sorted(
        ((name, each) for name, each in values.items() if any(each)), key=lambda row: (-sum(row[1]), row[0])
    )
    most = CHART_SERIES if len(ranked) <= CHART_SERIES else CHART_SERIES - 1
    shown = [Series(label, tuple(each)) for label, (_, each) in zip(labels([name for name, _ in ranked[:most]]),
                                                                    ranked[:most], strict=True)]  # fmt: skip
    rest = ranked[most:]
    if rest:
        summed = tuple(sum(column) for column in zip(*(each for _, each in rest), strict=True))
        shown.append(Series(f"{len(rest)} {OTHERS}", summed, is_rest=True))
    return tuple(shown)


def labels(names: Sequence[str]) -> list[str]:
    """Return names short enough for a legend, in the middle cut, and still told apart; signs nobody can see are `?`."""
    found: list[str] = []
    for name in names:
        clean = "".join(letter if letter.isprintable() else "?" for letter in name)
        short = clean if len(clean) <= _CUT else f"{clean[: _CUT // 2]}…{clean[-(_CUT // 2 - 1) :]}"
        number = 2
        label = short
        while label in found:
            label, number = f"{short} ({number})", number + 1
        found.append(label)
    return found


def _title(text: str, who: str) -> str:
    return f"{text}: {labels([who])[0]}" if who else text


BY = {
    ChartKind.ACCOUNTS: (Dimension.DAY, Dimension.ACCOUNT),
    ChartKind.MARKETS: (Dimension.DAY, Dimension.MARKET),
    ChartKind.WASTE: (Dimension.DAY,),
}
OVER_TIME = {ChartKind.ACCOUNTS: accounts, ChartKind.MARKETS: markets, ChartKind.WASTE: waste}
