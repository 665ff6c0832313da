"""`asbx cost report`."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from asbx.cli import cost_page, cost_table, drawing, site
from asbx.cli.cost_books import Books, books_of
from asbx.daemon.clock import RealClock
from asbx.daemon.outbox import Outbox
from asbx.decide.reports.hours import Hours
from asbx.decide.reports.keys import EVERY
from asbx.decide.reports.month import AccountMonth, account_months
from asbx.decide.reports.savings import OnDemand
from asbx.errors import UsageError
from asbx.flow.cost_report import Days
from asbx.model.market import Market


def report(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; it is made if it is not there.")],
    month: Annotated[str | None, typer.Option("--month", "-m", help="For example 2026-03; else the last one.")] = None,
    account: Annotated[
        list[str] | None, typer.Option("--account", "-A", help="Only this account; may be repeated. Else all.")
    ] = None,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Write a page and a JSON file for each account: what its jobs cost in a month, and why.

    A file has the jobs of its own account alone. It can be read by whoever runs this, until you give it away.

    Example: asbx cost report --month 2026-03 --output /srv/reports
    """
    if not drawing.available():
        site.warn(
            "note: matplotlib is not installed, so the pages have no charts: pip install 'aws-slurm-burst[charts]'"
        )
    now = RealClock().now()
    days = _month(month, now.date())
    with books_of(config, now) as books:
        months, is_final = read(books, days, account)
        written = [path for one in months for path in _write(Outbox(output), books, days, one, is_final)]
    for one in months:
        if account and not one.sums:
            site.warn(f"note: jobs of account {one.account!r} cost nothing in {days.first:%Y-%m}")
    if as_json:
        site.show({"month": f"{days.first:%Y-%m}", "final": is_final, "files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"{path}")
    if not written:
        typer.echo(f"no job cost anything in {days.first:%Y-%m}")


def read(books: Books, days: Days, accounts: list[str] | None) -> tuple[list[AccountMonth], bool]:
    """Return the months of accounts, None for all that bore something, and whether nothing can change any more."""
    found = books.report(days, EVERY)
    changes = books.ledger.price_changes(days.begin or days.end, days.end, markets=[Market.ON_DEMAND])
    hours = Hours(found.sums, books.shares(found))
    months = list(account_months(found.sums, hours, OnDemand(changes), found.unpriced, accounts))
    return months, not found.open and books.now >= days.end


def _month(text: str | None, today: date) -> Days:
    if text is None:
        text = f"{today.replace(day=1) - timedelta(days=1):%Y-%m}"
    if not re.fullmatch(r"\d{4}-\d\d", text):
        raise UsageError("period", f"{text!r} is no month", "", "write it like 2026-03")
    return cost_table.days_of(text, today)


def _write(box: Outbox, books: Books, days: Days, one: AccountMonth, is_final: bool) -> list[Path]:
    name = f"cost-{days.first:%Y-%m}-{file_name(one.account)}"
    facts = cost_page.facts(one, days, books.currency, is_final=is_final)
    charts = cost_page.charts(one, books.frame(days)) if drawing.available() else []
    page = cost_page.page(one, facts, charts, books.currency)
    return [box.write(f"{name}.html", page), box.write(f"{name}.json", f"{json.dumps(facts, indent=2)}\n")]


def file_name(account: str) -> str:
    """Return a name for an account's files; what no file should have in its name gives way to a hash of it."""
    clean = re.sub(r"[^A-Za-z0-9_.-]", "_", account)[:60].lstrip(".-") or "no-account"
    if clean == account:
        return clean
    return f"{clean}-{hashlib.sha256(account.encode(errors='surrogateescape')).hexdigest()[:8]}"
