"""What the commands share that only read the ledger: opening it, and tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from asbx.cli import site
from asbx.ledger.store import SqlLedger, open_ledger

# Where nobody watches there is no width to keep to; cut columns would be lost to grep and awk.
_WIDTH_OF_A_PIPE = 500


@contextmanager
def ledger_of(config: Path | None) -> Iterator[SqlLedger]:
    """Open the ledger of a configuration for reading: nothing is created, nothing upgraded.

    Raises ConfigError, LedgerError.
    """
    ledger = open_ledger(site.load(config).config.ledger_url, migrate=False)
    try:
        yield ledger
    finally:
        ledger.close()


def usd_text(amount: Decimal | None) -> str | None:
    """Return an amount for machines: every digit, at least two after the point, never an exponent."""
    if amount is None:
        return None
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def usd_shown(amount: Decimal | None) -> str:
    """Return an amount for people: four digits after the point."""
    return "?" if amount is None else f"{amount:,.4f}"


def time_text(moment: datetime | None) -> str | None:
    """Return a time for machines."""
    return None if moment is None else moment.isoformat()


def time_shown(moment: datetime | None) -> str:
    """Return a time for people: theirs, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] | None = None) -> None:
    """Print a table; columns that begin with `>` are set to the right."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, show_footer=footer is not None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(
            column.removeprefix(">"),
            footer[number] if footer else "",
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
