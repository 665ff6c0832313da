"""`asbx reconcile`, also `aws-slurm-burst-state-manager`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from asbx.cli import site
from asbx.config.limits import CONTROL_LEASE
from asbx.decide.reconcile import Action, Snapshot, due
from asbx.errors import ConfigError
from asbx.flow.doors import Doors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def reconcile(
    config: site.ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what one look finds, and why.")] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Compare Slurm, EC2 and the ledger, twice with the grace between, and undo what must not last.

    Example: asbx reconcile --dry-run
    """
    from asbx.daemon import post
    from asbx.daemon.compose import doors as open_doors
    from asbx.daemon.lock import worker_lock
    from asbx.flow.blocks import Blocks
    from asbx.flow.boots import Boots
    from asbx.flow.health import Health
    from asbx.flow.making import tidy
    from asbx.flow.reconcile import Sweep, preview

    settings = site.load(config).config
    doors = open_doors(settings)
    sweep = Sweep(doors)
    look = sweep.look(*_busy(doors))
    if dry_run:
        _report(preview(look), look, as_json=as_json, verb="would")
        return
    sweep.sightings = due(look, {}, timedelta(0))[1]
    doors.clock.sleep(timedelta(seconds=settings.reconcile.orphan_grace_seconds))
    with worker_lock(settings.paths.runtime, timedelta(seconds=2)) as held:
        if not held:
            raise ConfigError(
                "daemon-running",
                "the daemon does this every minute by itself",
                "it holds the worker lock",
                "use --dry-run to see what it finds",
            )
        with post.held(doors, CONTROL_LEASE * 2):
            actions = sweep.run(*_busy(doors))
            tidy(doors, doors.clock.now())
            for part in (Boots(doors), Health(doors), Blocks(doors)):
                part.run()
    _report(actions, sweep.look(), as_json=as_json, verb="did")


def _busy(doors: Doors) -> tuple[set[str], set[str]]:
    """Return (nodes, intents) of open requests: what they work on is not judged."""
    requests = doors.ledger.open_requests()
    nodes = {node for request in requests for node in request.nodes}
    return nodes, {i.intent_id for request in requests for i in doors.ledger.intents(request.request_id)}


def _report(actions: tuple[Action, ...], look: Snapshot, *, as_json: bool, verb: str) -> None:
    if as_json:
        site.show(
            {
                "actions": [{"kind": a.kind.value, "target": a.target, "reason": a.reason} for a in actions],
                "snapshot": {
                    "taken_at": look.taken_at.isoformat(),
                    "instances": len(look.owned),
                    "nodes": len(look.nodes),
                    "bindings": len(look.bindings),
                },
            }
        )
        return
    for action in actions:
        typer.echo(f"{verb} {action.kind} {action.target}: {action.reason}")
    typer.echo(f"{len(actions)} action(s); {len(look.owned)} instance(s), {len(look.nodes)} node(s) looked at")
