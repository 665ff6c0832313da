"""Column types that give back exactly what was put in: moments, money, lists."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import DateTime, LargeBinary, Text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect


def as_utc(value: datetime) -> datetime:
    """Return the same moment in UTC. Raises ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be recorded")
    return value.astimezone(UTC)


class Moment(TypeDecorator[datetime]):
    """An aware time, kept as UTC to the microsecond. SQLite keeps text that sorts like the time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Refuse a naive time: nobody could say later which zone was meant."""
        return None if value is None else as_utc(value)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Give the zone back, which SQLite does not keep."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """A decimal as its exact text: SQLite has no decimals, and a float would lose cents."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _: Dialect) -> str | None:
        """Write the number as it was given, with its trailing zeros."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, _: Dialect) -> Decimal | None:
        """Read the number back."""
        return None if value is None else Decimal(value)


class Names(TypeDecorator[tuple[str, ...]]):
    """Strings in their order, as a JSON list."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, _: Dialect) -> str:
        """Write a list."""
        return json.dumps(value or ())

    def process_result_value(self, value: str | None, _: Dialect) -> tuple[str, ...]:
        """Read it back as a tuple."""
        return tuple(json.loads(value or "[]"))


class Numbers(TypeDecorator[tuple[int, ...]]):
    """Whole numbers in their order, as a JSON list."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[int, ...] | None, _: Dialect) -> str:
        """Write a list."""
        return json.dumps(value or ())

    def process_result_value(self, value: str | None, _: Dialect) -> tuple[int, ...]:
        """Read it back as a tuple."""
        return tuple(json.loads(value or "[]"))


class Facts(TypeDecorator[dict[str, object]]):
    """A JSON object. What JSON cannot say is kept as its text: no audit row is refused for its details."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, object] | None, _: Dialect) -> str:
        """Write an object."""
        return json.dumps(value or {}, default=str)

    def process_result_value(self, value: str | None, _: Dialect) -> dict[str, object]:
        """Read it back; tuples have become lists."""
        return dict(json.loads(value or "{}"))


@lru_cache(maxsize=64)
def _pack(text: str) -> bytes:
    """Pack a text. Many rows written at once hold the same one: packing takes longer than writing them."""
    return zlib.compress(text.encode())


class Packed(TypeDecorator[str]):
    """A long text, compressed: a console's 64 KiB take some ten."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, _: Dialect) -> bytes | None:
        """Pack it."""
        return None if value is None else _pack(value)

    def process_result_value(self, value: bytes | None, _: Dialect) -> str | None:
        """Unpack it."""
        return None if value is None else zlib.decompress(value).decode()
