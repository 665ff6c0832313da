"""`asbx cost`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.daemon.clock import RealClock
from asbx.decide.cost import Bill, InstanceCost, JobCost, bill

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def cost(
    job: Annotated[int | None, typer.Option("--job", "-j", help="Only what was launched for this job.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Count from this time on (ISO 8601, UTC), or from 2h, 1d ago.")
    ] = None,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what jobs cost, what stood idle and what was wasted, from launch to end or to now.

    Example: asbx cost --since 2026-03-01 --json
    """
    begin = None if since is None else reading.moment_of(since, RealClock().now())
    least = site.load(config).config.cost.minimum_seconds
    with reading.ledger_of(config) as ledger:
        found = bill(ledger.instances(), RealClock().now(), begin, job, minimum_s=least)
    if as_json:
        site.show(facts(found))
        return
    _tell(found)


def facts(found: Bill) -> dict[str, Any]:
    """Return a bill as contract.md promises it: USD as strings that add up exactly."""
    return {
        "period": {"since": reading.time_text(found.since), "until": reading.time_text(found.until)},
        "total_usd": reading.usd_text(found.total_usd),
        "jobs": [_job(job) for job in found.jobs],
        "idle_usd": reading.usd_text(found.idle_usd),
        "waste_usd": reading.usd_text(found.waste_usd),
        "instances": [_instance(instance) for instance in found.instances],
        "unpriced": list(found.unpriced),
    }


def _job(job: JobCost) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "user": job.user,
        "account": job.account,
        "partition": job.partition,
        "usd": reading.usd_text(job.usd),
        "instances": job.instances,
        "seconds": job.seconds,
    }


def _instance(instance: InstanceCost) -> dict[str, Any]:
    return {
        "id": instance.instance_id,
        "type": instance.instance_type,
        "market": instance.market.value,
        "seconds": instance.seconds,
        "usd": reading.usd_text(instance.usd),
        "usd_per_hour": reading.usd_text(instance.price),
        "zone": instance.zone,
        "node": instance.node,
        "jobs": list(instance.jobs),
        "running": instance.is_running,
        "charged_to": [
            {"bearer": share.bearer.value, "job_id": share.job_id, "usd": reading.usd_text(share.usd)}
            for share in instance.shares
        ],
    }


def _tell(found: Bill) -> None:
    rows = [
        (
            str(job.job_id),
            job.user,
            job.account,
            job.partition,
            str(job.instances),
            f"{job.seconds / 3600:,.2f}",
            reading.usd_shown(job.usd),
        )
        for job in found.jobs
    ]
    rows += [
        ("idle", "", "", "", "", "", reading.usd_shown(found.idle_usd)),
        ("waste", "", "", "", "", "", reading.usd_shown(found.waste_usd)),
    ]
    columns = ("JOB", "USER", "ACCOUNT", "PARTITION", ">INSTANCES", ">HOURS", ">USD")
    reading.show_table(columns, rows, ("total", "", "", "", "", "", reading.usd_shown(found.total_usd)))
    if found.unpriced:
        typer.echo(
            f"{len(found.unpriced)} instance(s) without a known price are not in it: {', '.join(found.unpriced)}"
        )
    running = sum(1 for instance in found.instances if instance.is_running)
    if running:
        typer.echo(f"{running} instance(s) still running, counted to now")
