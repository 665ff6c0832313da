"""How many hours of an instance belong to each part of its cost; seconds that jobs share count in full for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from asbx.decide.meter.charges import tariff_of
from asbx.decide.meter.spans import Kind, Life, spans
from asbx.decide.meter.sums import Dimension, Sum
from asbx.decide.meter.tariff import Rules
from asbx.decide.reports.keys import EVERY

# Instance, day, kind and job, as in the key of a sum.
Part = tuple[str, str, Kind, str]
_PLACES = [EVERY.index(one) for one in (Dimension.INSTANCE, Dimension.DAY, Dimension.JOB)]


@dataclass(frozen=True)
class Share:
    """Billed seconds of a part. whole: in full, as a charge has them. own: its part of those that others had too."""

    whole: int = 0
    own: Fraction = Fraction(0)


class Hours:
    """Billed seconds of sums by all dimensions.

    Where several jobs had an instance on one day the sums do not tell whether at the same time; shares do. They are of
    what is known now: where a charge was settled on other knowledge, its seconds differ, and nothing is said of it.
    """

    def __init__(self, every: Iterable[Sum], shares: Mapping[Part, Share] | None = None) -> None:
        self._count = Counter(_part(one)[:3] for one in every)
        self._shares = shares or {}

    def seconds(self, one: Sum) -> Fraction | None:
        """Return a sum's own seconds; all of an instance add up to what EC2 bills. None where they are not known."""
        part = _part(one)
        if self._count[part[:3]] <= 1:
            return Fraction(one.seconds)
        share = self._shares.get(part)
        return share.own if share is not None and share.whole == one.seconds else None


def shared(every: Iterable[Sum]) -> frozenset[str]:
    """Return the instances several jobs had on one day."""
    count = Counter(_part(one)[:3] for one in every)
    return frozenset(instance for (instance, _, _), times in count.items() if times > 1)


def shares(life: Life, since: datetime, until: datetime, rules: Rules) -> dict[Part, Share]:
    """Return the seconds of each part of an instance's cost within a time."""
    tab, name = tariff_of(life, rules), life.row.instance_id
    found: dict[Part, Share] = {}
    for span in spans(life, since, until):
        billed = tab.seconds(span.end) - tab.seconds(span.begin)
        weights = span.weights or ((None, 1),)
        total = sum(weight for _, weight in weights)
        for job, weight in weights:
            part = (name, f"{span.begin.astimezone(UTC):%Y-%m-%d}", span.kind, "" if job is None else str(job))
            old = found.get(part, Share())
            found[part] = Share(old.whole + billed, old.own + Fraction(billed * weight, total))
    return found


def _part(one: Sum) -> Part:
    instance, day, job = (one.key[place] for place in _PLACES)
    return instance, day, one.kind, job
