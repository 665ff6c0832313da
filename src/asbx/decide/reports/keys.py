"""Sums by all dimensions at once, which is what charges are, and what can be read off them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction

from asbx.decide.meter.sums import Dimension, Sum, joined

EVERY = tuple(Dimension)


def value(one: Sum, by: Sequence[Dimension], dimension: Dimension) -> str:
    """Return a sum's value of a dimension, "" for none."""
    return one.key[by.index(dimension)]


def day_of(one: Sum, by: Sequence[Dimension]) -> date:
    """Return a sum's day."""
    return date.fromisoformat(value(one, by, Dimension.DAY))


def narrowed(some: Iterable[Sum], by: Sequence[Dimension], wanted: Sequence[Dimension]) -> tuple[Sum, ...]:
    """Add up sums by fewer dimensions."""
    places = [by.index(one) for one in wanted]
    return joined(replace(one, key=tuple(one.key[place] for place in places)) for one in some)


def rounded(number: Fraction, digits: int) -> Decimal:
    """Return a fraction as a decimal of so many digits after the point, half to even."""
    with localcontext(prec=60):
        return Decimal(round(number * 10**digits)).scaleb(-digits)
