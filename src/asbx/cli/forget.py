"""`asbx forget`."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from asbx.cli import reading, shortages, site
from asbx.errors import UsageError
from asbx.model.event import Event, EventKind

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def forget(
    patterns: Annotated[
        list[str],
        typer.Argument(
            metavar="PATTERN...",
            help="Keys of shortages as `asbx status --json` shows them; * stands for anything, '*' for all.",
        ),
    ],
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Forget shortages, so that EC2 is asked at once: after a quota was raised, for instance.

    Jobs that were put off still wait for their StartTime: `scontrol update jobid=N starttime=now` brings one back.

    Example: asbx forget 'quota/*'
    """
    now = datetime.now(UTC)
    with reading.ledger_of(config) as ledger:
        found = [row for row in ledger.shortages() if any(fnmatchcase(row.key, pattern) for pattern in patterns)]
        if not found and "*" not in patterns:
            raise UsageError(
                "no-shortage",
                f"no shortage has a key like {' or '.join(patterns)}",
                "",
                "`asbx status --json` shows the keys under `shortages`",
            )
        for row in found:
            ledger.change_shortage(row.key, lambda _: None)
            text = f"{row.key} ({row.code}) was forgotten by hand"
            ledger.add_event(Event(EventKind.SHORTAGE_FORGOTTEN, text, data={"key": row.key}), now)
    if as_json:
        site.show({"forgotten": [shortages.facts(row, now) for row in found]})
        return
    for row in found:
        typer.echo(f"forgotten: {row.key} ({row.code})")
    typer.echo(f"{len(found)} shortage(s) forgotten")
