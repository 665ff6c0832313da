"""`asbx cost chart`."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from asbx.cli import cost_table, drawing, page_html, site
from asbx.cli.cost_books import Books, books_of
from asbx.config.limits import CHART_POINTS
from asbx.daemon.clock import RealClock
from asbx.decide.meter.sums import Dimension
from asbx.decide.reports.charts import BY, OVER_TIME, Bars, Chart, ChartKind, waits
from asbx.decide.reports.waits import job_waits
from asbx.errors import UsageError
from asbx.flow.cost_report import Days

_KINDS = ", ".join(ChartKind)
_ENDINGS = (".png", ".svg", ".html")


def chart(
    output: Annotated[Path, typer.Option("--output", "-o", help=f"File to write; it ends in {', '.join(_ENDINGS)}.")],
    kind: Annotated[str, typer.Option("--kind", "-k", help=f"{_KINDS}.")] = ChartKind.ACCOUNTS,
    period: Annotated[
        str,
        typer.Option("--period", "-p", help="Whole UTC days: 30d, 12w, 1y, today, all, 2026, 2026-03, or FIRST..LAST."),
    ] = "30d",
    account: Annotated[str | None, typer.Option("--account", "-A", help="Only what jobs of this account bear.")] = None,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Draw costs over time, or what jobs waited for their nodes against what they cost.

    accounts: cost by account. markets: spot against on demand. waste: paid for while no job ran, by kind.
    waits: a point for each job; from when Slurm asked for its nodes to when the last of them had registered.

    Example: asbx cost chart --kind markets --period 2026-03 --output march.png
    """
    if kind not in list(ChartKind):
        raise UsageError("chart-kind", f"there is no chart {kind!r}", "", f"charts are {_KINDS}")
    if output.suffix.lower() not in _ENDINGS:
        raise UsageError("output", f"{output.name!r} says no format", "", f"let it end in {', '.join(_ENDINGS)}")
    if kind == ChartKind.WASTE and account is not None:
        raise UsageError("usage", "idle and waste belong to no account", "", "leave --account out")
    now = RealClock().now()
    days = cost_table.days_of(period, now.date())
    with books_of(config, now) as books:
        drawn = chart_of(books, ChartKind(kind), days, account)
    _save(output, drawn)
    if as_json:
        site.show({"file": str(output), "title": drawn.title, "empty": drawn.is_empty})
    else:
        typer.echo(f"{output}" + (f": {drawn.if_empty}" if drawn.is_empty else ""))


def chart_of(books: Books, kind: ChartKind, days: Days, account: str | None = None) -> Chart:
    """Return a chart. account: only what its jobs bear. Raises LedgerError."""
    only = {} if account is None else {Dimension.ACCOUNT: [account]}
    frame, who = books.frame(days), account or ""
    if kind is not ChartKind.WAITS:
        return OVER_TIME[kind](books.report(days, BY[kind], only).sums, frame, who)
    found = books.report(days, (Dimension.JOB,), only, CHART_POINTS).sums
    known = job_waits(books.ledger.arrivals(days.begin, days.end), found)
    return waits(known[:CHART_POINTS], frame, who, max(0, len(known) - CHART_POINTS))


def _save(path: Path, drawn: Chart) -> None:
    """Write a chart in the form its name says, whole or not at all. Raises UsageError."""
    ending = path.suffix.lower()
    if ending == ".png":
        data = drawing.png(drawn)
    elif ending == ".svg":
        data = drawing.svg(drawn).encode()
    else:
        data = page_html.page(
            drawn.title, [page_html.figure(drawing.svg(drawn), drawn.title), table_of(drawn)]
        ).encode()
    part = ""
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as out:
            part = out.name
            out.write(data)
        Path(part).replace(path)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        raise UsageError(
            "output", f"{path} cannot be written", error.strerror or "", "name a file in a folder that may be written"
        ) from None


def table_of(drawn: Chart) -> str:
    """Return the figures behind a chart as an HTML table: what a picture does not tell everybody."""
    if isinstance(drawn, Bars):
        header = [drawn.step.value, *(one.label for one in drawn.series)]
        rows = [
            [f"{start}", *(page_html.usd(one.values[index]) for one in drawn.series)]
            for index, start in enumerate(drawn.starts)
        ]
    else:
        header = ["market", "minutes", "cost"]
        rows = [
            [cloud.label, f"{seconds / 60:.1f}", page_html.usd(nanos)]
            for cloud in drawn.clouds
            for seconds, nanos in cloud.points
        ]
    return f"<h2>{escape(drawn.y_label)}</h2>" + page_html.table(header, rows, words=1)
