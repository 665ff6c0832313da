"""How the lab's commands speak to the pretend EC2 of one lab, and how they answer."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from asbx.errors import AsbxError, UsageError

StateDirOption = Annotated[
    Path | None,
    typer.Option("--state-dir", help="The lab's folder; else $ASBX_LAB_STATE, else asbx/lab in the user's cache."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
NodeOption = Annotated[str, typer.Option("--node", help="Node name, or instance id.")]

# A site's proxy has no business between two programs of one machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ANSWER_WITHIN = 30.0  # seconds; the emulator answers in milliseconds unless something is very wrong


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return where a lab lives when nothing is said."""
    if environment.get("ASBX_LAB_STATE"):
        return Path(environment["ASBX_LAB_STATE"])
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "asbx" / "lab"


def ask(state_dir: Path | None, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask the emulator of a lab. Raises UsageError when it is not there or does not understand."""
    folder = state_dir or default_state_dir(os.environ)
    request = urllib.request.Request(  # noqa: S310  # our own loopback address, out of our own file
        f"{_url(folder)}/_lab/{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json"},
        method=method,
    )
    try:
        with _OPENER.open(request, timeout=_ANSWER_WITHIN) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _no_lab(folder, f"the emulator does not answer: {error}") from error


def _url(folder: Path) -> str:
    try:
        return str(json.loads((folder / "emulator.json").read_text(encoding="utf-8"))["url"])
    except FileNotFoundError as error:
        raise _no_lab(folder, "emulator.json is not there") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_lab(folder, f"emulator.json cannot be read: {error}") from error


def _no_lab(folder: Path, why: str) -> AsbxError:
    return UsageError(
        "no-lab", f"no lab is running in {folder}", why, "start one with 'asbx lab up', or say --state-dir"
    )


def _refusal(error: urllib.error.HTTPError) -> AsbxError:
    try:
        why = str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        why = f"HTTP {error.code}"
    return UsageError("lab-refused", "the pretend EC2 refused", why, "'asbx lab instances' shows what there is")


# -- answering


def print_json(value: object) -> None:
    """Print JSON for machines."""
    typer.echo(json.dumps(value, indent=2))


def confirm(value: object, text: str, *, as_json: bool) -> None:
    """Say that something is done."""
    if as_json:
        print_json(value)
    else:
        typer.echo(text)


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], what: str, *, as_json: bool) -> None:
    """Print rows: JSON, or plain columns, which no terminal cuts."""
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(f"no {what}")
    else:
        typer.echo(_plain(rows, columns))


def _plain(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    lines = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
