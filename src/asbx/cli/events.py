"""`asbx events`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.config.limits import WAIT_POLL
from asbx.daemon.clock import RealClock
from asbx.model.event import Event

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def events(
    job: Annotated[int | None, typer.Option("--job", "-j", help="Only events of this job.")] = None,
    node: Annotated[str | None, typer.Option("--node", "-n", help="Only events of this node.")] = None,
    request: Annotated[str | None, typer.Option("--request", "-r", help="Only events of this request.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until interrupted.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 200,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what happened, oldest first. With --follow, JSON comes as one object a line.

    Example: asbx events --job 12 --follow
    """
    clock = RealClock()
    with reading.ledger_of(config) as ledger:
        found = ledger.marked_events(job_id=job, node=node, request_id=request, limit=limit)
        if as_json and not follow:
            site.show({"events": [facts(at, event) for _, at, event in found]})
            return
        mark = 0
        while True:
            for number, at, event in found:
                mark = number
                typer.echo(json.dumps(facts(at, event)) if as_json else line(at, event))
            if not follow:
                return
            clock.sleep(WAIT_POLL)
            found = ledger.marked_events(job_id=job, node=node, request_id=request, after=mark)


def facts(at: datetime, event: Event) -> dict[str, Any]:
    """Return an event for machines."""
    return {
        "at": reading.time_text(at),
        "kind": event.kind.value,
        "level": event.level,
        "text": event.text,
        "request_id": event.request_id,
        "gang_id": event.gang_id,
        "job_id": event.job_id,
        "node": event.node,
        "instance_id": event.instance_id,
        "data": event.data,
    }


def line(at: datetime, event: Event) -> str:
    """Return an event for people: one line, whatever its text holds."""
    loud = "" if event.level in ("debug", "info") else f"{event.level.upper()} "
    text = " ".join(event.text.split())
    return f"{reading.time_shown(at)}  {event.kind.value:<18} {loud}{text}"
