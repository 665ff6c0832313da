"""How figures are written: money, hours and durations as the advisor's and the budget service's JSON has them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

_HOUR = timedelta(hours=1)
_MICROS = 1_000_000


def usd(amount: Decimal | None) -> float | None:
    """Return an amount as a JSON number with all its digits: one of 15 or fewer is written as it stands."""
    return None if amount is None else float(amount)


def hours(span: timedelta) -> float:
    """Return hours, to the millionth."""
    return round(span / _HOUR, 6)


def fraction(value: float | None) -> float | None:
    """Return a number from 0 to 1, to four digits."""
    return None if value is None else round(min(max(value, 0.0), 1.0), 4)


def go_duration(span: timedelta | None) -> str | None:
    """Return a duration in the form of Go's time.Duration (`2h0m0s`, `1m30s`, `250ms`)."""
    if span is None:
        return None
    micros = span // timedelta(microseconds=1)
    if 0 < micros < _MICROS:
        return f"{micros / 1000:g}ms"
    minutes, rest = divmod(micros, 60 * _MICROS)
    seconds = f"{rest / _MICROS:.6f}".rstrip("0").rstrip(".") + "s"
    if not minutes:
        return seconds
    return f"{minutes // 60}h{minutes % 60}m{seconds}" if minutes >= 60 else f"{minutes}m{seconds}"


def moment(at: datetime | None) -> str | None:
    """Return a time as RFC 3339."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")
