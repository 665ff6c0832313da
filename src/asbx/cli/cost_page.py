"""An account's month as facts and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from asbx.cli import drawing, page_html, reading
from asbx.decide.cost import usd_of
from asbx.decide.meter.sums import Dimension
from asbx.decide.reports import charts as drawn
from asbx.decide.reports.charts import Chart, Frame
from asbx.decide.reports.keys import EVERY, narrowed
from asbx.decide.reports.month import MEANINGS, AccountMonth, Row
from asbx.flow.cost_report import Days

_NO_ACCOUNT = "jobs without an account"


def facts(one: AccountMonth, days: Days, currency: str, *, is_final: bool) -> dict[str, Any]:
    """Return a month for machines: amounts as strings that add up exactly."""
    saved = one.savings
    return {
        "account": one.account,
        "period": {"since": reading.time_text(days.begin), "until": reading.time_text(days.end)},
        "currency": currency,
        "final": is_final,
        "total": _text(one.nanos),
        "volumes": _text(one.volumes),
        "users": [{"user": row.key[0], "cost": _text(row.nanos)} for row in one.users],
        "types": [
            {"type": row.key[0], "market": row.key[1], "cost": _text(row.nanos), "seconds": row.seconds}
            for row in one.types
        ],
        "job_count": one.job_count,
        "jobs": [
            {"job_id": int(row.key[0]), "user": row.key[1], "partition": row.key[2], "cost": _text(row.nanos)}
            for row in one.jobs
        ],
        "kinds": {row.key[0]: _text(row.nanos) for row in one.kinds},
        "cluster_overhead": None
        if one.overhead is None
        else {"idle_per_unit": str(one.overhead.idle), "waste_per_unit": str(one.overhead.waste)},
        "spot": {
            "cost": _text(saved.spot),
            "compared": _text(saved.compared),
            "same_on_demand": _text(saved.on_demand),
            "saved": _text(saved.saved),
        },
        "unpriced": list(one.unpriced),
    }


def charts(one: AccountMonth, frame: Frame) -> list[Chart]:
    """Return the charts of a month: of the account's own sums alone."""
    by_user = narrowed(one.sums, EVERY, (Dimension.DAY, Dimension.USER))
    by_market = narrowed(one.sums, EVERY, (Dimension.DAY, Dimension.MARKET))
    return [drawn.users(by_user, frame, one.account), drawn.markets(by_market, frame, one.account)]


def page(one: AccountMonth, told: dict[str, Any], charts_: Sequence[Chart], currency: str) -> str:
    """Return a month as a page. told: its facts."""
    month = told["period"]["since"][:7]
    title = f"{one.account or _NO_ACCOUNT}: {month}"
    figures = [page_html.figure(drawing.svg(chart), chart.title, f"c{number}") for number, chart in enumerate(charts_)]
    return page_html.page(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            *(f'<p class="note">{escape(text)}</p>' for text in _remarks(one, told["final"])),
            "<h2>Totals</h2>",
            page_html.table(["", currency], _totals(one), ["jobs of this account", page_html.usd(one.nanos)]),
            *figures,
            "<h2>By user</h2>",
            page_html.table(["user", currency, "share"], [_shared(row, one.nanos) for row in one.users]),
            f"<h2>Dearest jobs ({len(one.jobs)} of {one.job_count})</h2>",
            page_html.table(
                ["job", "user", "partition", currency],
                [[*(part or "-" for part in row.key), page_html.usd(row.nanos)] for row in one.jobs],
                words=3,
            ),
            "<h2>By instance type and market</h2>",
            page_html.table(
                ["type", "market", currency, "share"], [_shared(row, one.nanos) for row in one.types], words=2
            ),
            "<h2>Idle and waste of the cluster</h2>",
            *(f"<p>{escape(text)}</p>" for text in _overhead(one, currency)),
            "<h2>Spot against on demand</h2>",
            *(f"<p>{escape(text)}</p>" for text in _spot(one, currency)),
        ],
    )


def _totals(one: AccountMonth) -> list[list[str]]:
    found = [[MEANINGS.get(row.key[0], row.key[0]), page_html.usd(row.nanos)] for row in one.kinds]
    return [*found, ["of these, EBS volumes", page_html.usd(one.volumes)]]


def _shared(row: Row, whole: int) -> list[str]:
    share = f"{100 * row.nanos / whole:.1f} %" if whole else ""
    return [*(part or "-" for part in row.key), page_html.usd(row.nanos), share]


def _remarks(one: AccountMonth, is_final: bool) -> list[str]:
    found = ["Metered by the second at the prices in force; not an invoice. Days and months are of UTC."]
    if not is_final:
        found.append("Provisional: the month is not over, or instances of it are not settled yet.")
    if one.unpriced:
        found.append(f"{len(one.unpriced)} instance(s) without a known price are not in it: {', '.join(one.unpriced)}")
    return found


def _overhead(one: AccountMonth, currency: str) -> list[str]:
    if one.overhead is None:
        return ["No job bore anything in this month."]
    idle, waste = (part * usd_of(one.nanos) for part in (one.overhead.idle, one.overhead.waste))
    return [
        (
            f"For each {currency} that jobs bore in the whole cluster, {one.overhead.idle} went to instances that stood"
            f" idle, and {one.overhead.waste} to launches that came to nothing. This account's part, in proportion to"
            f" its jobs and beside its total: {idle:,.2f} idle, {waste:,.2f} waste."
        )
    ]


def _spot(one: AccountMonth, currency: str) -> list[str]:
    saved = one.savings
    if not saved.spot:
        return ["No job of this account used spot instances."]
    found = [f"Spot instances cost {page_html.usd(saved.spot)} {currency}."]
    if not saved.compared:
        return [*found, "What they would have cost on demand is not known."]
    share = 100 * saved.saved / saved.on_demand if saved.on_demand else 0.0
    return [
        *found,
        (
            f"Of these {page_html.usd(saved.compared)} can be compared: the same hours on demand cost"
            f" {page_html.usd(saved.on_demand)}, so {page_html.usd(saved.saved)} ({share:.0f} %) was saved."
        ),
        "What cannot be compared: hours nobody knows whose they were, types whose price on demand is not known.",
    ]


def _text(nanos: int) -> str:
    return reading.usd_text(usd_of(nanos)) or ""
