"""`asbx lab bill`: what the pretend EC2 charges, worked out by itself."""

from __future__ import annotations

from typing import Any

import typer

from asbx.cli import reading
from asbx.cli.lab_ask import JsonOption, StateDirOption, ask, print_json

app = typer.Typer(rich_markup_mode=None)


@app.command()
def bill(state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Show the pretend EC2's own bill, a line for each instance and price; `asbx cost` must come to the same.

    Example: asbx lab bill --json
    """
    found = ask(state_dir, "GET", "bill")
    if as_json:
        print_json(found)
        return
    rows = [row for line in found["instances"] for row in _rows(line)]
    columns = ("INSTANCE", "WHAT", "MARKET", ">SECONDS", ">USD/HOUR", ">USD")
    reading.show_table(columns, rows, ("total", "", "", "", "", found["total_usd"]))


def _rows(line: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = [
        (
            "",
            line["type"],
            line["market"],
            str(part["to_second"] - part["from_second"]),
            part["usd_per_hour"],
            part["usd"],
        )
        for part in line["segments"]
    ]
    if line["is_free"]:
        rows.append(("", f"{line['type']}, taken back in its first hour", line["market"], "0", "", "0.000000000"))
    seconds = str(line["billed_seconds"])
    rows += [("", f"{disk['kind']}, {disk['gib']} GiB", "", seconds, "", disk["usd"]) for disk in line["volumes"]]
    return [(line["id"], *rows[0][1:]), *rows[1:]] if rows else []
