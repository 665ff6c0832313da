"""What most commands begin with: the configuration, the doors, and answers as text or JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from asbx.config.load import LOCAL_NAME, LoadedConfig, find_config, load_config

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; else $ASBX_CONFIG, else /etc/slurm/aws-burst.yaml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
NodesArgument = Annotated[str, typer.Argument(metavar="NODES", help="Hostlist, for example 'aws-cpu-[001-004]'.")]


def load(path: Path | None, *, here: bool = True) -> LoadedConfig:
    """Load the configuration. Raises ConfigError.

    here: ./config.yaml may serve a person; what slurmctld or systemd starts never looks where it happens to stand.
    """
    found = find_config(path, os.environ, Path() if here and path is None else None)
    if found.path == Path(LOCAL_NAME):
        warn(f"note: {LOCAL_NAME} of the working directory is used; name another with --config or $ASBX_CONFIG")
    return load_config(found.path, os.environ)


def show(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(value, indent=2, default=str))


def warn(text: str) -> None:
    """Say something beside the answer."""
    print(text, file=sys.stderr, flush=True)


def mark(*, ok: bool) -> str:
    """Return a tick or a cross, in letters where the terminal has no such signs."""
    if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        return "✓" if ok else "✗"
    return "ok" if ok else "x"
