"""Periods of whole days."""

from datetime import date

import pytest

from asbx.cli.cost_table import days_of
from asbx.flow.cost_report import Days

TODAY = date(2026, 3, 9)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("today", TODAY, TODAY),
        ("all", None, TODAY),
        ("1d", TODAY, TODAY),
        ("30d", date(2026, 2, 8), TODAY),
        ("1y", date(2025, 3, 10), TODAY),
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2026-12", date(2026, 12, 1), date(2026, 12, 31)),
        ("2026-03-02", date(2026, 3, 2), date(2026, 3, 2)),
        ("2025-12..2026-01-15", date(2025, 12, 1), date(2026, 1, 15)),
    ],
)
def test_periods(text: str, first: date | None, last: date) -> None:
    """Both ends are in it."""
    assert days_of(text, TODAY) == Days(first, last)
