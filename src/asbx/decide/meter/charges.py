"""What each instance has cost whom, day by day: the rows every report adds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from asbx.decide.meter.spans import Borne, Kind, Life, spans
from asbx.decide.meter.tariff import Rules, Tariff, tariff
from asbx.model.market import Market

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Charge(Borne):
    """A part of an instance's cost: one UTC day, one kind, one bearer. job_id: None unless a job bears it.

    compute, volumes: billionths of a USD. seconds: billed ones; one that jobs share counts for each.
    """

    instance_id: str
    day: date
    kind: Kind
    job_id: int | None
    user: str
    account: str
    partition: str
    node_group: str
    instance_type: str
    zone: str
    market: Market
    seconds: int
    compute: int
    volumes: int


@dataclass(frozen=True)
class Metered:
    """An instance's charges within a period, and their sum. has_price: whether a price is known; else compute is 0."""

    life: Life
    charges: tuple[Charge, ...]
    seconds: int
    nanos: int
    has_price: bool


def meter(life: Life, until: datetime, since: datetime | None = None, rules: Rules | None = None) -> Metered:
    """Charge a life within a period; periods that follow one another add up to the whole."""
    tab = tariff_of(life, rules)
    found: dict[tuple[date, Kind, int | None], list[int]] = {}
    total = seconds = 0
    for span in spans(life, since or _EVER, until):
        billed = tab.seconds(span.end) - tab.seconds(span.begin)
        compute = tab.compute(span.end) - tab.compute(span.begin)
        volumes = tab.volume(span.end) - tab.volume(span.begin)
        total += compute + volumes
        seconds += billed
        day = span.begin.astimezone(UTC).date()
        shares = zip(parted(compute, span.weights), parted(volumes, span.weights), strict=True)
        for (job, _), (part, disk) in zip(span.weights or ((None, 1),), shares, strict=True):
            row = found.setdefault((day, span.kind, job), [0, 0, 0])
            row[0] += billed
            row[1] += part
            row[2] += disk
    return Metered(life, _charges(life, found), seconds, total, bool(tab.steps))


def tariff_of(life: Life, rules: Rules | None = None) -> Tariff:
    """Return the sums of a life."""
    rules = rules or Rules()
    row = life.row
    is_short = row.ended_at is not None and (row.ended_at - row.launched_at).total_seconds() < rules.hold_s
    is_free = rules.free_first_hour and life.is_interrupted and row.market is Market.SPOT and is_short
    return tariff(
        row.launched_at,
        row.price,
        life.changes,
        volumes_month=life.volumes_month,
        rules=rules,
        is_free=is_free,
    )


def parted(amount: int, weights: Sequence[tuple[int, int]]) -> list[int]:
    """Part an amount by weights: each its floor, then one more to those with the largest remainders."""
    if len(weights) <= 1:
        return [amount]
    total = sum(weight for _, weight in weights)
    floors = [divmod(amount * weight, total) for _, weight in weights]
    parts = [whole for whole, _ in floors]
    order = sorted(range(len(floors)), key=lambda index: -floors[index][1])
    for index in order[: amount - sum(parts)]:
        parts[index] += 1
    return parts


def _charges(life: Life, found: dict[tuple[date, Kind, int | None], list[int]]) -> tuple[Charge, ...]:
    row = life.row
    people = {run.job_id: (run.user, run.account) for run in life.runs if run.user}
    return tuple(
        Charge(
            row.instance_id,
            day,
            kind,
            job,
            *(people.get(job, (row.user, row.account)) if job is not None else ("", "")),
            row.group.partition,
            row.group.group,
            row.instance_type,
            row.zone,
            row.market,
            seconds,
            compute,
            volumes,
        )
        for (day, kind, job), (seconds, compute, volumes) in found.items()
    )


def all_charges(
    lives: Iterable[Life], until: datetime, since: datetime | None = None, rules: Rules | None = None
) -> tuple[Metered, ...]:
    """Charge many lives; those that cost nothing in it are left out."""
    metered = (meter(life, until, since, rules) for life in lives)
    return tuple(one for one in metered if one.seconds or one.nanos)
