"""`asbx config`: what follows from the configuration, and where its values come from."""

from __future__ import annotations

import base64
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from asbx.cli import site
from asbx.errors import ConfigError, ExitCode

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

_HIDDEN = "(hidden)"


@app.command()
def slurm(
    config: site.ConfigOption = None,
    programs: Annotated[
        Path | None, typer.Option("--programs", help="Folder of the aws-slurm-burst programs on the controller.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="SLURM_CONF", help="Say what in this slurm.conf breaks bursting.")
    ] = None,
    as_json: site.JsonOption = False,
) -> None:
    """Print the lines for slurm.conf, each with its reason; or check a slurm.conf that is there.

    Example: asbx config slurm > /etc/slurm/aws-burst.conf
    """
    from asbx.cli.facts import may_have_efa
    from asbx.slurm.writers import slurm_conf

    settings = site.load(config).config
    if check is not None:
        _check(check, settings, as_json=as_json)
        return
    text = slurm_conf(settings, programs or _program_folder(), may_have_efa)
    if as_json:
        site.show({"slurm_conf": text})
    else:
        typer.echo(text, nl=False)


@app.command()
def gres(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Print the lines for gres.conf, from the Gres= of the node groups.

    Example: asbx config gres >> /etc/slurm/gres.conf
    """
    from asbx.slurm.writers import gres_conf

    text = gres_conf(site.load(config).config)
    if as_json:
        site.show({"gres_conf": text})
    else:
        typer.echo(text, nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors and other checkers.

    Example: asbx config schema > aws-burst.schema.json
    """
    from asbx.config.schema import Config

    text = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    typer.echo(json.dumps(text, indent=2))


@app.command("plan-schema")
def plan_schema() -> None:
    """Print the JSON Schema of execution plans, for editors and other checkers.

    Example: asbx config plan-schema > plan.schema.json
    """
    from asbx.model.plan_schema import plan_schema as schema_of_plans

    typer.echo(json.dumps(schema_of_plans(), indent=2))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="Show keys that begin with this only.")] = "",
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show every value and where it comes from: file and line, environment, or default.

    Example: asbx config explain slurm
    """
    from asbx.config.origins import is_secret, values
    from asbx.config.problem import key_text

    loaded = site.load(config)
    rows = [
        (key_text(at), _HIDDEN if value and is_secret(loaded.config, at) else value, loaded.origins[key_text(at)])
        for at, value in values(loaded.config)
        if key_text(at).startswith(key)
    ]
    if not rows:
        raise ConfigError("unknown-key", f"no key begins with {key!r}", "", "`asbx config explain` lists all keys")
    if as_json:
        site.show({"path": str(loaded.path), "values": {n: {"value": v, "origin": o} for n, v, o in rows}})
        return
    width = max(len(name) for name, _, _ in rows)
    for name, value, origin in rows:
        typer.echo(f"{name:<{width}}  {_plain(value)}  ({origin})")


@app.command("user-data")
def user_data(  # noqa: PLR0913, PLR0917  # one parameter an option
    conf_server: Annotated[
        str, typer.Option("--conf-server", metavar="HOST[:PORT]", help="slurmctld a configless slurmd asks.")
    ] = "",
    slurm_conf: Annotated[
        str, typer.Option("--slurm-conf", metavar="PATH", help="A slurm.conf on the image instead.")
    ] = "",
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep an instance that cannot serve, to look at it, instead of powering off.")
    ] = False,
    watch: Annotated[
        float, typer.Option("--watch", metavar="SECONDS", help="How often a spot node asks for its notice; 0: never.")
    ] = 5.0,
    watch_rebalance: Annotated[
        bool, typer.Option("--watch-rebalance", help="Let spot nodes drain on a rebalance recommendation too.")
    ] = False,
    watch_hook: Annotated[
        str, typer.Option("--watch-hook", metavar="COMMAND", help="What a spot node runs when it gets a notice.")
    ] = "",
    program: Annotated[bool, typer.Option("--program", help="Print the packed program instead, to read it.")] = False,
    as_base64: Annotated[bool, typer.Option("--base64", help="As EC2's API takes it.")] = False,
) -> None:
    """Print the user data for the launch template: it makes an instance the node its tags name.

    Example: asbx config user-data --conf-server head1 --base64
    """
    from asbx.slurm.userdata import NodeSettings, node_program, node_user_data

    if program:
        typer.echo(node_program(), nl=False)
        return
    if bool(conf_server) == bool(slurm_conf):
        raise typer.BadParameter("state --conf-server or --slurm-conf, one of them")
    text = node_user_data(
        NodeSettings(
            conf_server=conf_server,
            slurm_conf=slurm_conf,
            on_failure="stay" if stay else "poweroff",
            watch_s=watch,
            watch_rebalance=watch_rebalance,
            watch_hook=tuple(shlex.split(watch_hook)),
        )
    )
    typer.echo(base64.b64encode(text.encode()).decode() if as_base64 else text, nl=as_base64)


def _check(path: Path, settings: Any, *, as_json: bool) -> None:
    from asbx.slurm.conf_check import slurm_warnings

    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError("slurm-conf", f"cannot read {path}", error.strerror or "", "check the path") from error
    warnings = slurm_warnings(text, settings)
    if as_json:
        site.show({"path": str(path), "warnings": warnings})
    elif not warnings:
        typer.echo(f"{path}: nothing stands in the way of bursting")
    else:
        typer.echo(f"{path}:")
        for warning in warnings:
            typer.echo(f"  - {warning}")
    if warnings:
        raise typer.Exit(ExitCode.CONFIG)


def _program_folder() -> Path:
    """Return where our programs are installed: beside this one, as pip puts them."""
    from asbx.slurm.writers import PROGRAMS, USUAL_PROGRAMS

    beside = Path(sys.argv[0]).absolute().parent
    return beside if (beside / PROGRAMS["ResumeProgram"]).exists() else Path(USUAL_PROGRAMS)


def _plain(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return "-"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
