"""Costs in forms for other programs: CSV, and the columns of FOCUS."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from asbx.cli import cost_table, csv_text, site
from asbx.cli.cost_books import Books
from asbx.decide.meter.sums import Dimension
from asbx.decide.reports.charts import Frame
from asbx.decide.reports.focus import COLUMNS, Payer, focus_rows
from asbx.decide.reports.keys import EVERY
from asbx.errors import UsageError
from asbx.flow.cost_report import Days


class Form(StrEnum):
    """How costs are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    FOCUS = "focus"


def csv_table(table: cost_table.Table, output: Path | None) -> None:
    """Write sums as CSV, all of them. Raises UsageError."""
    header, rows = cost_table.csv_of(table)
    if output is None:
        csv_text.write(sys.stdout, header, rows)
    else:
        csv_text.save(output, header, rows)
    _warn_unpriced(table.unpriced)


def focus(
    books: Books, days: Days, only: Mapping[Dimension, Collection[str]], account: str | None, output: Path | None
) -> None:
    """Write days as FOCUS rows. Raises UsageError (`billing-account`, `output`), LedgerError."""
    payer = Payer(_account(account, books), books.config.aws.region, books.currency)
    unpriced, still_open = set[str](), 0

    def rows() -> Iterator[list[str | None]]:
        nonlocal still_open
        # A month at a time: a year of a large site would not go into memory as rows.
        for part in _months(books.frame(days)):
            found = books.report(part, EVERY, only)
            unpriced.update(found.unpriced)
            still_open = max(still_open, found.open)
            for row in focus_rows(found.sums, payer, found.unpriced, books.shares(found)):
                yield [row[name] for name in COLUMNS]

    if output is None:
        csv_text.write(sys.stdout, list(COLUMNS), rows())
    else:
        csv_text.save(output, list(COLUMNS), rows())
    _warn_unpriced(sorted(unpriced))
    if still_open:
        site.warn(f"{still_open} instance(s) still run or are not settled yet: their last day is not final")


def _months(frame: Frame) -> Iterator[Days]:
    first = frame.first
    while first <= frame.last:
        following = (first.replace(day=1) + timedelta(days=31)).replace(day=1)
        yield Days(first, min(frame.last, following - timedelta(days=1)))
        first = following


def _account(account: str | None, books: Books) -> str:
    found = account or books.config.cost.billing_account
    if re.fullmatch(r"[0-9]{12}", found):
        return found
    raise UsageError(
        "billing-account",
        f"{found!r} is no AWS account" if found else "FOCUS wants the account that is billed",
        "BillingAccountId must not be null, and nothing here knows which account pays",
        "set cost.billing_account in the configuration, or give --billing-account and its 12 digits",
    )


def _warn_unpriced(unpriced: Collection[str]) -> None:
    if unpriced:
        site.warn(f"{len(unpriced)} instance(s) without a known price are not in it: {', '.join(list(unpriced)[:10])}")
