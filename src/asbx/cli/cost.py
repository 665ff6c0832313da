"""`asbx cost`."""

from __future__ import annotations

import getpass
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from asbx.cli import cost_chart, cost_formats, cost_month, cost_table, reading, site
from asbx.cli.cost_books import Books, books_of
from asbx.cli.cost_formats import Form
from asbx.cli.explain_job import number_of
from asbx.daemon.clock import RealClock
from asbx.decide.cost import Bill, InstanceCost, JobCost, bill_of
from asbx.decide.meter.spans import Kind
from asbx.decide.meter.sums import Dimension, Slice, sums
from asbx.errors import UsageError
from asbx.flow.cost_report import Days, rules_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command("chart")(cost_chart.chart)
app.command("report")(cost_month.report)
_BY = ", ".join(Dimension)
_FORMS = ", ".join(Form)


@app.callback(invoke_without_command=True)
def cost(  # noqa: PLR0913, PLR0917  an option each
    context: typer.Context,
    job: Annotated[
        str | None, typer.Option("--job", "-j", help="Only what this job bears: 12, a task 12_3, a component 12+1.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Count from this time on (ISO 8601, UTC), or from 2h, 1d ago.")
    ] = None,
    period: Annotated[
        str | None,
        typer.Option("--period", "-p", help="Whole UTC days: 30d, 12w, 1y, today, all, 2026, 2026-03, or FIRST..LAST."),
    ] = None,
    by: Annotated[list[str] | None, typer.Option("--by", "-b", help=f"Add up by this; may be repeated: {_BY}.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only what jobs of this user bear.")] = None,
    account: Annotated[str | None, typer.Option("--account", "-A", help="Only what jobs of this account bear.")] = None,
    me: Annotated[bool, typer.Option("--me", help="Only what my own jobs bear.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show the dearest so many rows of a table.")] = 50,
    form: Annotated[str, typer.Option("--format", "-f", help=f"{_FORMS}.")] = Form.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for csv and focus; else standard output.")
    ] = None,
    billing: Annotated[
        str | None, typer.Option("--billing-account", help="For focus: the AWS account; else cost.billing_account.")
    ] = None,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what jobs cost, what stood idle and what was wasted, from launch to end or to now.

    Without --period and --by: job by job with the instances behind them, to the second. With them: sums.
    focus: FOCUS 1.0 columns for FinOps tools, of --period or this month.

    Example: asbx cost --period 2026-03 --by account --by market --format csv --output march.csv
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    only = _only(user, account, me=me)
    if period is not None and (since is not None or job is not None):
        raise UsageError("usage", "--period is about whole days of all jobs", "", "leave --since and --job out")
    if as_json and form not in (Form.TABLE, Form.JSON):
        raise UsageError("usage", f"--json and --format {form} are two forms", "", "leave one of them out")
    way, now = _form(Form.JSON if as_json else form, output), RealClock().now()
    if way is Form.FOCUS and (since is not None or job is not None or by):
        raise UsageError("usage", "focus is about whole days, row by row", "", "give --period alone")
    begin = None if since is None else reading.moment_of(since, now)
    if way is Form.FOCUS and period is None:
        period = f"{now:%Y-%m}"
    days = None if period is None else cost_table.days_of(period, now.date())
    dimensions = _dimensions(by or [])
    with books_of(config, now) as books:
        wish = _Wish(books, dimensions, only, way, limit, output)
        if days is None:
            wish.to_the_second(begin, job)
        elif way is Form.FOCUS:
            cost_formats.focus(books, days, only, billing, output)
        else:
            wish.of_days(days)


def _only(user: str | None, account: str | None, *, me: bool) -> dict[Dimension, list[str]]:
    """Return whose costs are wanted; nobody's in particular: all."""
    if me and user is not None:
        raise UsageError("usage", "--me and --user are about two people", "", "leave one of them out")
    mine = {Dimension.USER: getpass.getuser() if me else user, Dimension.ACCOUNT: account}
    return {dimension: [value] for dimension, value in mine.items() if value is not None}


@dataclass(frozen=True)
class _Wish:
    """What is to be shown, and how."""

    books: Books
    by: tuple[Dimension, ...]
    only: Mapping[Dimension, Collection[str]]
    form: Form
    limit: int
    output: Path | None

    def of_days(self, days: Days) -> None:
        """Show sums of whole days."""
        keys = self.by or (Dimension.ACCOUNT, Dimension.USER)
        found = self.books.report(days, keys, self.only, self.limit if self.form is Form.TABLE else 0)
        self._show(cost_table.Table.of(found), cost_table.period_facts(days))

    def to_the_second(self, begin: datetime | None, job: str | None) -> None:
        """Show job by job, or sums."""
        books = self.books
        rows = [row for row in books.ledger.instances() if begin is None or (row.ended_at or books.now) > begin]
        number = None if job is None else number_of(books.ledger, job, books.config)
        found = bill_of(books.lives(rows), books.now, begin, number, rules=rules_of(books.config))
        if self.by or self.only or self.form is Form.CSV:
            keys = self.by or (Dimension.JOB, *((Dimension.USER, Dimension.ACCOUNT) if self.form is Form.CSV else ()))
            wanted = Slice(None, date.max, self.only)
            added = sums((charge for charge in found.charges if wanted.holds(charge)), keys)
            running = sum(1 for one in found.instances if one.is_running)
            self._show(cost_table.Table(keys, added, found.unpriced, running), _period(found))
        elif self.form is Form.JSON:
            site.show(facts(found))
        else:
            _tell(found, job)

    def _show(self, table: cost_table.Table, period: dict[str, Any]) -> None:
        if self.form is Form.CSV:
            cost_formats.csv_table(table, self.output)
        else:
            cost_table.show(table, period, self.limit, as_json=self.form is Form.JSON)


def _form(text: str, output: Path | None) -> Form:
    if text not in list(Form):
        raise UsageError("format", f"there is no format {text!r}", "", f"formats are {_FORMS}")
    form = Form(text)
    if output is not None and form in (Form.TABLE, Form.JSON):
        raise UsageError("usage", f"--output is for csv and focus, not for {form.value}", "", "redirect it with `>`")
    return form


def _refuse_options(context: typer.Context) -> None:
    """Say what would be without effect: options of the sums do not reach a chart or a report."""
    defaults = {one.name: one.default for one in context.command.params}
    told = [name for name, value in context.params.items() if value and value != defaults.get(name)]
    if told:
        raise UsageError(
            "usage",
            f"options before `{context.invoked_subcommand}` have no effect on it",
            "",
            f"write them after it: asbx cost {context.invoked_subcommand} --help shows which there are",
        )


def _dimensions(names: Sequence[str]) -> tuple[Dimension, ...]:
    unknown = [name for name in names if name not in list(Dimension)]
    if unknown:
        raise UsageError("cost-by", f"costs are not added up by {unknown[0]!r}", "", f"by one of {_BY}")
    return tuple(dict.fromkeys(Dimension(name) for name in names))


def facts(found: Bill) -> dict[str, Any]:
    """Return a bill as contract.md promises it: USD as strings that add up exactly."""
    return {
        "period": _period(found),
        "total_usd": reading.usd_text(found.total_usd),
        "jobs": [_job(job) for job in found.jobs],
        "idle_usd": reading.usd_text(found.idle_usd),
        "waste_usd": reading.usd_text(found.waste_usd),
        "volumes_usd": reading.usd_text(found.volumes_usd),
        "kinds": {kind.value: reading.usd_text(usd) for kind, usd in found.kinds.items()},
        "instances": [_instance(instance) for instance in found.instances],
        "unpriced": list(found.unpriced),
        "without_volumes": list(_without_volumes(found)),
    }


def _without_volumes(found: Bill) -> tuple[str, ...]:
    """Return the instances whose volumes cost nothing: EC2 did not tell of them, or nobody knows their price."""
    return tuple(one.instance_id for one in found.instances if not one.volumes_usd and one.seconds)


def _period(found: Bill) -> dict[str, Any]:
    return {"since": reading.time_text(found.since), "until": reading.time_text(found.until)}


def _job(job: JobCost) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "user": job.user,
        "account": job.account,
        "partition": job.partition,
        "usd": reading.usd_text(job.usd),
        "instances": job.instances,
        "seconds": job.seconds,
        "kinds": {kind.value: reading.usd_text(usd) for kind, usd in job.kinds.items()},
    }


def _instance(instance: InstanceCost) -> dict[str, Any]:
    return {
        "id": instance.instance_id,
        "type": instance.instance_type,
        "market": instance.market.value,
        "seconds": instance.seconds,
        "usd": reading.usd_text(instance.usd),
        "volumes_usd": reading.usd_text(instance.volumes_usd),
        "usd_per_hour": reading.usd_text(instance.price),
        "zone": instance.zone,
        "node": instance.node,
        "jobs": list(instance.jobs),
        "running": instance.is_running,
        "charged_to": [
            {
                "bearer": share.bearer.value,
                "kind": share.kind.value,
                "job_id": share.job_id,
                "usd": reading.usd_text(share.usd),
            }
            for share in instance.shares
        ],
    }


def _tell(found: Bill, job: str | None) -> None:
    if job is not None and not found.instances:
        typer.echo(f"nothing was launched for job {job}, and it ran on no instance of ours")
        return
    rows = [
        (
            str(one.job_id),
            one.user,
            one.account,
            one.partition,
            str(one.instances),
            f"{one.seconds / 3600:,.2f}",
            reading.usd_shown(one.kinds.get(Kind.BOOT)) if Kind.BOOT in one.kinds else "",
            reading.usd_shown(one.usd),
        )
        for one in found.jobs
    ]
    rows += [
        ("idle", "", "", "", "", "", "", reading.usd_shown(found.idle_usd)),
        ("waste", "", "", "", "", "", "", reading.usd_shown(found.waste_usd)),
    ]
    columns = ("JOB", "USER", "ACCOUNT", "PARTITION", ">INSTANCES", ">HOURS", ">BOOT", ">USD")
    reading.show_table(columns, rows, ("total", "", "", "", "", "", "", reading.usd_shown(found.total_usd)))
    cost_table.remarks(found.unpriced, sum(1 for instance in found.instances if instance.is_running))
    if bare := _without_volumes(found):
        typer.echo(
            f"{len(bare)} instance(s) are counted without EBS volumes: none are known of them, or not their price"
        )
