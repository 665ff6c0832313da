"""Sums by all dimensions at once, which is what charges are, and what can be read off them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal, localcontext

from asbx.decide.meter.sums import Dimension, Sum, joined

EVERY = tuple(Dimension)
# Digits after the point of hours: seconds are 3600ths, which no decimal holds.
_HOURS_DIGITS = Decimal("1e-9")


def value(one: Sum, by: Sequence[Dimension], dimension: Dimension) -> str:
    """Return a sum's value of a dimension, "" for none."""
    return one.key[by.index(dimension)]


def day_of(one: Sum, by: Sequence[Dimension]) -> date:
    """Return a sum's day."""
    return date.fromisoformat(value(one, by, Dimension.DAY))


class Shared:
    """Which sums may have had their seconds at the same time as others: seconds that jobs share count for each.

    Of an instance, day and kind that several jobs have, nobody can tell from sums alone; their hours are not known.
    """

    def __init__(self, every: Iterable[Sum], by: Sequence[Dimension]) -> None:
        self._where = [by.index(one) for one in (Dimension.INSTANCE, Dimension.DAY)]
        self._count = Counter(self._key(one) for one in every)

    def _key(self, one: Sum) -> tuple[object, ...]:
        return (one.kind, *(one.key[index] for index in self._where))

    def hours(self, one: Sum) -> Decimal | None:
        """Return billed hours; None where they may overlap another's."""
        if self._count[self._key(one)] > 1:
            return None
        with localcontext(prec=50):
            return (Decimal(one.seconds) / 3600).quantize(_HOURS_DIGITS)


def narrowed(some: Iterable[Sum], by: Sequence[Dimension], wanted: Sequence[Dimension]) -> tuple[Sum, ...]:
    """Add up sums by fewer dimensions."""
    places = [by.index(one) for one in wanted]
    return joined(replace(one, key=tuple(one.key[place] for place in places)) for one in some)
