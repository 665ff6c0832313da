"""`asbx cost`."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import typer

from asbx.cli import cost_table, reading, site
from asbx.cli.explain_job import number_of
from asbx.daemon.clock import RealClock
from asbx.decide.cost import Bill, InstanceCost, JobCost, bill_of
from asbx.decide.meter.spans import Kind
from asbx.decide.meter.sums import Dimension, Slice, sums
from asbx.decide.meter.tariff import Rules
from asbx.errors import UsageError
from asbx.flow.cost_report import Inquiry, report, rules_of
from asbx.flow.lives import Lives
from asbx.ledger.store import SqlLedger

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_BY = ", ".join(Dimension)


@app.command()
def cost(  # noqa: PLR0913, PLR0917  an option each
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
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what jobs cost, what stood idle and what was wasted, from launch to end or to now.

    Without --period and --by: job by job with the instances behind them, to the second. With them: sums.

    Example: asbx cost --period 2026-03 --by account --by market --json
    """
    now, loaded = RealClock().now(), site.load(config).config
    mine = {Dimension.USER: getpass.getuser() if me else user, Dimension.ACCOUNT: account}
    only = {dimension: [value] for dimension, value in mine.items() if value is not None}
    dimensions = _dimensions(by or [])
    if period is not None and (since is not None or job is not None):
        raise UsageError("usage", "--period is about whole days of all jobs", "", "leave --since and --job out")
    begin = None if since is None else reading.moment_of(since, now)
    rules = rules_of(loaded)
    with reading.ledger_of(config) as ledger:
        lives = Lives(ledger, loaded, now)
        if period is not None:
            days = cost_table.days_of(period, now.date())
            keys = dimensions or (Dimension.ACCOUNT, Dimension.USER)
            asked = Inquiry(days, keys, only, 0 if as_json else limit)
            found = report(ledger, lives, asked, now, rules)
            cost_table.show(cost_table.Table.of(found), cost_table.period_facts(days), limit, as_json=as_json)
            return
        number = None if job is None else number_of(ledger, job, loaded)
        found_bill = _bill(ledger, lives, begin, number, rules)
    if dimensions or only:
        keys = dimensions or (Dimension.JOB,)
        wanted = Slice(None, date.max, only)
        added = sums((charge for charge in found_bill.charges if wanted.holds(charge)), keys)
        running = sum(1 for one in found_bill.instances if one.is_running)
        cost_table.show(
            cost_table.Table(keys, added, found_bill.unpriced, running), _period(found_bill), limit, as_json=as_json
        )
    elif as_json:
        site.show(facts(found_bill))
    else:
        _tell(found_bill, job)


def _bill(ledger: SqlLedger, lives: Lives, begin: datetime | None, job: int | None, rules: Rules) -> Bill:
    rows = [row for row in ledger.instances() if begin is None or row.ended_at is None or row.ended_at > begin]
    return bill_of(lives(rows), lives.now, begin, job, rules=rules)


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
