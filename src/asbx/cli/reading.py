"""What the commands share that only read the ledger: opening it, and tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import get_terminal_size

from rich.console import Console
from rich.table import Table

from asbx.cli import site
from asbx.config.schema import Config
from asbx.errors import SlurmError, UsageError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.node import NodeView
from asbx.slurm.process import SlurmCommands
from asbx.slurm.scontrol import Slurm

# Where nobody watches there is no width to keep to; cut columns would be lost to grep and awk.
_WIDTH_OF_A_PIPE = 500
# Spaces between columns.
GAP = 2
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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
    """Return a time for people, to the second: UTC, as the log and what jobs are told have it."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age_shown(age: timedelta) -> str:
    """Return how long something lasts, in the two largest units that say something."""
    seconds = max(int(age.total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60:02d}" if hours < 48 else f"{days} d {hours % 24} h"


def moment_of(text: str, now: datetime) -> datetime:
    """Read a time, in UTC where it names no zone, or how long ago it was (10m, 2h, 1d). Raises UsageError (`time`)."""
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "time", f"{text!r} is not a time", str(error), "write it like 2026-03-01, 2026-03-01T12:00:00+01:00 or 2h"
        ) from error


def slurm_nodes(config: Config) -> tuple[NodeView, ...] | None:
    """Return Slurm's node table, None where Slurm does not answer."""
    try:
        return Slurm(SlurmCommands(config.slurm.bin_path, config.slurm.config_path)).nodes()
    except SlurmError:
        return None


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] | None = None) -> None:
    """Print a table; columns that begin with `>` are set to the right.

    Nothing is ever cut: a terminal that is too narrow folds the lines, so no figure loses its last digits.
    """
    table = Table(box=None, show_footer=footer is not None, pad_edge=False, padding=(0, GAP, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(
            column.removeprefix(">"),
            footer[number] if footer else "",
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*row)
    width = get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    console = Console(width=max(width, _natural(table)), markup=False, emoji=False, highlight=False)
    console.print(table)


def _natural(table: Table) -> int:
    """Return how wide a table is that nobody folds."""
    return Console(width=sys.maxsize).measure(table).maximum
