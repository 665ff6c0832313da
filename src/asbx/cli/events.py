"""`asbx events`."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.cli.explain_job import number_of
from asbx.config.limits import WAIT_POLL
from asbx.daemon.clock import RealClock
from asbx.errors import LedgerError, UsageError
from asbx.ledger.store import SqlLedger
from asbx.model.event import LEVELS, Event, EventKind, Wanted

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_COLOURS = {"warning": typer.colors.YELLOW, "error": typer.colors.RED}
# The width of the kinds' column; longer kinds push their own line only.
_KIND = 18
Row = tuple[int, datetime, Event]


@app.command()
def events(  # noqa: PLR0913, PLR0917  an option each
    job: Annotated[
        str | None, typer.Option("--job", "-j", help="Only events of this job: 12, a task 12_3, a component 12+1.")
    ] = None,
    node: Annotated[str | None, typer.Option("--node", "-n", help="Only events of this node.")] = None,
    request: Annotated[str | None, typer.Option("--request", "-r", help="Only events of this request.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="Only of this kind; may be repeated.")] = None,
    level: Annotated[str, typer.Option("--level", "-l", help="From here on: debug, info, warning, error.")] = "debug",
    since: Annotated[str | None, typer.Option("--since", help="From this time on (ISO 8601, UTC), or 10m, 2h.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until interrupted.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 200,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show what happened, oldest first; times are UTC. With --follow, JSON comes as one object a line.

    Example: asbx events --job 12 --follow
    """
    clock = RealClock()
    moment = None if since is None else reading.moment_of(since, clock.now())
    kinds, least = _kinds(kind or []), _level(level)
    with reading.ledger_of(config) as ledger:
        number = None if job is None else number_of(ledger, job, site.load(config).config)
        wanted = Wanted(number, node, request, kinds, least, moment)
        if as_json and not follow:
            site.show({"events": [facts(at, event) for _, at, event in ledger.marked_events(wanted, limit=limit)]})
            return
        show = Machine() if as_json else Person() if sys.stdout.isatty() else Pipe()
        found = False
        for at, event in _rows(ledger, wanted, limit, clock if follow else None):
            show.event(at, event)
            found = True
    if not found:
        site.warn("no such events are in the ledger")


def _rows(ledger: SqlLedger, wanted: Wanted, limit: int, clock: RealClock | None) -> Iterator[tuple[datetime, Event]]:
    """Yield events; with a clock for ever. It is the ledger that is followed: the daemon may come and go."""
    # Taken first: what comes between the two looks is not passed over.
    mark = ledger.last_mark() if clock is not None else 0
    found = ledger.marked_events(wanted, limit=limit)
    while True:
        for number, at, event in found:
            mark = max(mark, number)
            yield at, event
        if clock is None:
            return
        clock.sleep(WAIT_POLL)
        try:
            found = ledger.marked_events(wanted, after=mark)
        except LedgerError:
            found = ()  # busy, or being put in order: it is asked again


def _kinds(names: list[str]) -> frozenset[EventKind]:
    known = {kind.value: kind for kind in EventKind}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError("event-kind", f"there is no kind {unknown[0]!r}", "", f"kinds are {', '.join(sorted(known))}")
    return frozenset(known[name] for name in names)


def _level(name: str) -> str:
    if name not in LEVELS:
        raise UsageError("event-level", f"there is no level {name!r}", "", f"levels are {', '.join(LEVELS)}")
    return name


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
        "jobs": list(event.all_jobs),
        "intent_id": event.intent_id,
        "node": event.node,
        "instance_id": event.instance_id,
        "data": event.data,
    }


class Machine:
    """One JSON object a line, each at once."""

    def event(self, at: datetime, event: Event) -> None:
        """Print an event."""
        print(json.dumps(facts(at, event)), flush=True)


class Pipe:
    """One line an event, whatever its text holds, with date, for grep."""

    def event(self, at: datetime, event: Event) -> None:
        """Print an event."""
        loud = "" if event.level in ("debug", "info") else f"{event.level.upper()} "
        text = " ".join(event.text.split())
        print(f"{reading.time_shown(at)}  {event.kind.value:<{_KIND}} {loud}{text}", flush=True)


class Person:
    """For a terminal: the date once a day, the text folded beside its kind, what is loud in colour."""

    def __init__(self) -> None:
        self._day = ""

    def event(self, at: datetime, event: Event) -> None:
        """Print an event."""
        moment = at.astimezone(UTC)
        day = f"{moment:%Y-%m-%d} UTC"
        if day != self._day:
            self._day = day
            typer.secho(day, bold=True)
        width = max(shutil.get_terminal_size().columns, 60)
        head = f"{moment:%H:%M:%S}  {event.kind.value:<{_KIND}} "
        indent = " " * (10 + _KIND + 1)
        text = " ".join(event.text.split())
        whole = textwrap.fill(head + text, width, subsequent_indent=indent, break_on_hyphens=False)
        typer.secho(whole, fg=_COLOURS.get(event.level))
