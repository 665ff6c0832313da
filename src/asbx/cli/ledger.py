"""`asbx ledger`: is it sound, copy it, rebuild it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.config.limits import CONTROL_LEASE
from asbx.config.schema import Config
from asbx.errors import ConfigError, LedgerError

if TYPE_CHECKING:
    from asbx.decide.rebuild import Finding
    from asbx.flow.doors import Doors

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Look after the ledger.\n\nExample: asbx ledger check",
)


@app.command()
def check(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Read every page of the ledger and say whether it is sound, how large it is and what it holds.

    Example: asbx ledger check
    """
    from asbx.ledger.upkeep import examine

    found = examine(site.load(config).config.ledger_url)
    if as_json:
        site.show({"sound": True, **vars(found)})
        return
    typer.echo(f"ledger     {found.place}, sound, schema {found.schema}")
    typer.echo(f"size       {found.size / 2**20:.1f} MiB, {found.free / 2**20:.1f} MiB of it free for new rows")
    typer.echo(f"rows       {', '.join(f'{count} {name}' for name, count in found.rows.items() if count)}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")],
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Write a consistent copy of an SQLite ledger, while the daemon goes on.

    Example: asbx ledger backup /var/backups/asbx-ledger.db
    """
    from asbx.ledger.upkeep import copy

    copy(site.load(config).config.ledger_url, file)
    size = file.stat().st_size
    if as_json:
        site.show({"file": str(file), "size": size})
        return
    typer.echo(f"{file}, {size / 2**20:.1f} MiB")


@app.command()
def rebuild(
    config: site.ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Write down anew what EC2's tags and Slurm tell of live instances the ledger does not know.

    A damaged file is set aside, never deleted. Stop the daemon first.

    Example: asbx ledger rebuild --dry-run
    """
    from asbx.daemon import post
    from asbx.daemon.lock import worker_lock
    from asbx.daemon.loop import RUN_PATIENCE
    from asbx.flow import rebuild as flow

    settings = site.load(config).config
    if dry_run:
        damage = _damage(settings)
        doors = _doors(_scratch(settings) if damage else settings)
        _report(flow.look(doors), damage, (), as_json=as_json, done=False)
        return
    with worker_lock(settings.paths.runtime, RUN_PATIENCE) as held:
        if not held:
            raise ConfigError(
                "daemon-running", "the daemon uses the ledger", "it holds the worker lock", "stop it first"
            )
        damage = _damage(settings)
        aside = _set_aside(settings) if damage else ()
        doors = _doors(settings)
        with post.held(doors, CONTROL_LEASE * 2):
            found = flow.look(doors)
            flow.rebuild(doors, found)
    _report(found, damage, aside, as_json=as_json, done=True)


def _doors(settings: Config) -> Doors:
    from asbx.daemon.compose import doors

    return doors(settings)


def _damage(settings: Config) -> str:
    """Return why the ledger must be begun anew, "" where it need not. Raises LedgerError for passing trouble."""
    from asbx.ledger.upkeep import REPLACEABLE, examine, file_of

    try:
        examine(settings.ledger_url)
    except LedgerError as error:
        if error.code == "ledger-older":
            return ""  # it is brought up to date when it is opened
        if error.code not in REPLACEABLE or (file_of(settings.ledger_url) is None and error.code != "ledger-missing"):
            raise
        return f"{error.what} ({error.why})"
    return ""


def _scratch(settings: Config) -> Config:
    """Return the configuration with a ledger that is nowhere: a rehearsal leaves nothing behind."""
    return settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"url": "sqlite://"})})


def _set_aside(settings: Config) -> tuple[Path, ...]:
    from asbx.daemon.clock import RealClock
    from asbx.ledger.upkeep import file_of, set_aside

    file = file_of(settings.ledger_url)
    return () if file is None else set_aside(file, RealClock().now())


def _report(found: tuple[Finding, ...], damage: str, aside: tuple[Path, ...], *, as_json: bool, done: bool) -> None:
    lost = (
        ["what earlier instances have cost", "events", "requests under way", "shortages and setbacks"] if damage else []
    )
    if as_json:
        site.show(
            {
                "done": done,
                "damage": damage,
                "set_aside": [str(path) for path in aside],
                "instances": [_facts(one) for one in found],
                "lost": lost,
            }
        )
        return
    if damage:
        typer.echo(f"ledger     {damage}")
    for path in aside:
        typer.echo(f"set aside  {path}")
    rows = [[one.instance.instance_id, one.node, one.fate.value, one.why] for one in found]
    if rows:
        reading.show_table(["instance", "node", "fate", "why"], rows)
    else:
        typer.echo("instances  EC2 shows none that the ledger does not know")
    if lost:
        typer.echo(f"lost       {'; '.join(lost)}")
    typer.echo("done       start the daemon: it ends the spare ones" if done else "dry run    nothing was changed")


def _facts(one: Finding) -> dict[str, Any]:
    instance = one.instance
    return {
        "id": instance.instance_id,
        "type": instance.instance_type,
        "launched_at": reading.time_text(instance.launched_at),
        "node": one.node,
        "fate": one.fate.value,
        "why": one.why,
    }
