"""Costs added up, as a table for people and as JSON for machines."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import typer

from asbx.cli import reading, site
from asbx.decide.cost import usd_of
from asbx.decide.meter.spans import Bearer, Kind
from asbx.decide.meter.sums import Dimension, Sum
from asbx.errors import UsageError
from asbx.flow.cost_report import Days, Report

_MONTHS, _UNITS = 12, {"d": 1, "w": 7, "m": 30, "y": 365}


@dataclass(frozen=True)
class Table:
    """Sums by dimensions. unpriced: instances without a known price. open: not settled yet.

    others: what is not in the rows, by kind alone.
    """

    by: tuple[Dimension, ...]
    sums: tuple[Sum, ...]
    unpriced: tuple[str, ...]
    open: int
    others: tuple[Sum, ...] = ()

    @classmethod
    def of(cls, found: Report) -> Table:
        """Return the table of a report."""
        return cls(found.by, found.sums, found.unpriced, found.open, found.others)

    def rows(self) -> list[Row]:
        """Return a row for each key, the dearest first; what nobody bears has rows of its own."""
        found: dict[tuple[str, ...], dict[Kind, list[Sum]]] = defaultdict(lambda: defaultdict(list))
        for one in self.sums:
            found[one.key][one.kind].append(one)
        rows = [Row(key, {kind: _sum(parts) for kind, parts in kinds.items()}) for key, kinds in found.items()]
        return sorted(rows, key=lambda row: (-row.nanos, row.key))

    def nanos(self, bearer: Bearer | None = None) -> int:
        """Return what was spent, in billionths of a USD: of one bearer, or all."""
        return sum(one.nanos for one in (*self.sums, *self.others) if bearer in (None, one.bearer))


@dataclass(frozen=True)
class Row:
    """What was spent under one key. kinds: (seconds, compute, volumes)."""

    key: tuple[str, ...]
    kinds: dict[Kind, tuple[int, int, int]]

    @property
    def seconds(self) -> int:
        """Return billed seconds."""
        return sum(seconds for seconds, _, _ in self.kinds.values())

    @property
    def nanos(self) -> int:
        """Return the whole amount in billionths of a USD."""
        return sum(self.of(kind) for kind in self.kinds)

    def of(self, *kinds: Kind) -> int:
        """Return what was spent on some kinds."""
        return sum(sum(self.kinds[kind][1:]) for kind in kinds if kind in self.kinds)


def _sum(parts: Sequence[Sum]) -> tuple[int, int, int]:
    return sum(p.seconds for p in parts), sum(p.compute for p in parts), sum(p.volumes for p in parts)


def days_of(text: str, today: date) -> Days:
    """Read a period of whole UTC days. Raises UsageError (`period`)."""
    ago = re.fullmatch(r"(\d{1,5})([dwmy])", text)
    try:
        if text == "today":
            return Days(today, today)
        if text == "all":
            return Days(None, today)
        if ago and int(ago[1]):
            return Days(today - timedelta(days=int(ago[1]) * _UNITS[ago[2]] - 1), today)
        first, dots, last = text.partition("..")
        days = Days(_edge(first)[0], _edge(last if dots else first)[1])
        if days.first is not None and days.first <= days.last:
            return days
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        "period",
        f"{text!r} is no period",
        "",
        "write 30d, 12w, 1y, today, all, 2026, 2026-03, 2026-03-01 or 2026-03-01..2026-03-15",
    )


def _edge(text: str) -> tuple[date, date]:
    """Return the first and last day of a year, month or day."""
    if re.fullmatch(r"\d{4}", text):
        return date(int(text), 1, 1), date(int(text), _MONTHS, 31)
    if re.fullmatch(r"\d{4}-\d\d", text):
        first = date(int(text[:4]), int(text[5:]), 1)
        following = (first + timedelta(days=31)).replace(day=1)
        return first, following - timedelta(days=1)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError
    day = date.fromisoformat(text)
    return day, day


def period_facts(days: Days) -> dict[str, Any]:
    """Return a period for machines: whole days, `until` being the first moment after it."""
    return {"since": reading.time_text(days.begin), "until": reading.time_text(days.end)}


def csv_of(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return a table's header and every row: exact amounts in USD, a column for each kind there is."""
    kinds = list(Kind)
    header = [*(one.value for one in table.by), "seconds", "usd", "volumes_usd"]
    header += [f"{kind.value.replace('-', '_')}_usd" for kind in kinds]
    return header, [
        [
            *row.key,
            str(row.seconds),
            _usd(row.nanos),
            _usd(sum(volumes for _, _, volumes in row.kinds.values())),
            *(_usd(row.of(kind)) for kind in kinds),
        ]
        for row in table.rows()
    ]


def _usd(nanos: int) -> str:
    return reading.usd_text(usd_of(nanos)) or ""


def show(table: Table, period: dict[str, Any], limit: int, *, as_json: bool) -> None:
    """Print a table."""
    rows = table.rows()
    if as_json:
        site.show(_facts(table, rows, period))
        return
    jobs, idle, waste = (usd_of(table.nanos(bearer)) for bearer in Bearer)
    columns = [one.value.upper() for one in table.by]
    cells = [_cells(row) for row in rows[:limit]]
    rest = table.nanos() - sum(row.nanos for row in rows[:limit])
    if rest:
        cells.append(["others", *[""] * (len(columns) + 4), reading.usd_shown(usd_of(rest))])
    total = ["total", *[""] * (len(columns) + 4), reading.usd_shown(usd_of(table.nanos()))]
    if not columns:
        columns, cells = ["ALL"], [["", *cell] for cell in cells]
    reading.show_table(
        [*columns, ">HOURS", ">RUN", ">BOOT", ">IDLE", ">WASTE", ">USD"], cells, total[: len(columns) + 6]
    )
    typer.echo(f"borne by jobs {jobs:,.2f}, idle {idle:,.2f}, waste {waste:,.2f} USD")
    remarks(table.unpriced, table.open)


def remarks(unpriced: Sequence[str], running: int) -> None:
    """Say what is not in the figures, or not for good."""
    if unpriced:
        some = ", ".join(unpriced[:10]) + (", .." if len(unpriced) > 10 else "")
        typer.echo(f"{len(unpriced)} instance(s) without a known price are not in it: {some}")
    if running:
        typer.echo(f"{running} instance(s) still running or not settled yet, counted to now")


def _cells(row: Row) -> list[str]:
    waste = (Kind.GIVEN_BACK, Kind.NEVER_REGISTERED)
    amounts = (row.of(Kind.RUN, Kind.ASSUMED), row.of(Kind.BOOT), row.of(Kind.IDLE), row.of(*waste), row.nanos)
    shown = [reading.usd_shown(usd_of(amount)) if amount else "" for amount in amounts]
    return [*(part or "-" for part in row.key), f"{row.seconds / 3600:,.2f}", *shown]


def _facts(table: Table, rows: Sequence[Row], period: dict[str, Any]) -> dict[str, Any]:
    return {
        "period": period,
        "by": [one.value for one in table.by],
        "total_usd": reading.usd_text(usd_of(table.nanos())),
        "jobs_usd": reading.usd_text(usd_of(table.nanos(Bearer.JOB))),
        "idle_usd": reading.usd_text(usd_of(table.nanos(Bearer.IDLE))),
        "waste_usd": reading.usd_text(usd_of(table.nanos(Bearer.WASTE))),
        "rows": [
            {
                **dict(zip((one.value for one in table.by), row.key, strict=False)),
                "usd": reading.usd_text(usd_of(row.nanos)),
                "seconds": row.seconds,
                "volumes_usd": reading.usd_text(usd_of(sum(volumes for _, _, volumes in row.kinds.values()))),
                "kinds": {kind.value: reading.usd_text(usd_of(row.of(kind))) for kind in row.kinds},
            }
            for row in rows
        ],
        "unpriced": list(table.unpriced),
        "open": table.open,
    }
