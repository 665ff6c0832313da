"""`asbx status`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asbx.cli import boots, reading, site
from asbx.cli import shortages as short
from asbx.errors import SlurmError
from asbx.model.hostlist import fold

if TYPE_CHECKING:
    from asbx.flow.doors import Doors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(
    config: site.ConfigOption = None,
    shortages: Annotated[
        bool, typer.Option("--shortages", help="Show the pools that EC2 refused instead: why, and until when.")
    ] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Show daemon, nodes by state, launches under way and what the running instances cost an hour.

    Example: asbx status --shortages
    """
    from asbx.daemon.compose import doors as open_doors
    from asbx.daemon.socket import ask

    settings = site.load(config).config
    doors = open_doors(settings)
    now = doors.clock.now()
    lately = short.recent(doors.ledger.shortages(), now)
    if shortages and not as_json:
        short.show(lately, now)
        return
    facts = _facts(doors, ask(settings.paths.socket, "status"))
    facts |= {"interruptions": facts["daemon"] and facts["daemon"].get("interruptions")}
    if as_json:
        groups = boots.overview(doors.ledger, settings, now)
        site.show(facts | {"shortages": [short.facts(each, now) for each in lately], "boots": groups})
        return
    tell(facts)
    shut = boots.line(doors.ledger, settings, now)
    if shut:
        typer.echo(f"boots      {shut}")
    typer.echo(f"shortages  {short.line(lately, now)}")


def _facts(doors: Doors, daemon: dict[str, Any] | None) -> dict[str, Any]:
    live = doors.ledger.instances(live_only=True)
    requests = doors.ledger.open_requests()
    return {
        "daemon": daemon,
        "nodes": _nodes(doors.scheduler.nodes),
        "fences": fences(doors.scheduler.fences),
        "instances": len(live),
        "gangs": [
            {"gang": i.gang_id, "nodes": len(i.nodes), "jobs": list(i.jobs)}
            for r in requests
            for i in doors.ledger.intents(r.request_id)
        ],
        "open_requests": [r.request_id for r in requests],
        "cost_per_hour": str(sum((row.price for row in live if row.price is not None), Decimal(0))),
        "unpriced": sum(1 for row in live if row.price is None),
    }


def tell(facts: dict[str, Any]) -> None:
    """Print it for people."""
    daemon, nodes = facts["daemon"], facts["nodes"]
    typer.echo(f"daemon     {_daemon(daemon) if daemon else 'not running; the hooks do the work'}")
    typer.echo(f"notices    {_notices(facts.get('interruptions'), bool(daemon))}")
    shown = ", ".join(f"{n} {state}" for state, n in nodes.items()) if nodes is not None else "Slurm does not answer"
    typer.echo(f"nodes      {shown}")
    cost = reading.usd_shown(Decimal(facts["cost_per_hour"]))
    typer.echo(f"instances  {facts['instances']}, {cost} USD an hour")
    typer.echo(f"launching  {len(facts['gangs'])} launch(es) in {len(facts['open_requests'])} request(s)")
    if facts["fences"]:
        typer.echo(f"fences     {', '.join(one['name'] for one in facts['fences'])}")
    for line in _unread(daemon):
        typer.echo(f"facts      could not read: {line}")


def _daemon(said: dict[str, Any]) -> str:
    """Return its pid and, of a pair, what it does and since when."""
    role = said.get("role", "alone")
    if role == "alone":
        return f"pid {said.get('pid')}"
    since = reading.time_shown(datetime.fromisoformat(said["role_since"]))
    return f"pid {said.get('pid')} on {said['controller']}, {role} since {since}"


def _nodes(ask_slurm: Any) -> dict[str, int] | None:
    try:
        return dict(Counter("+".join([n.state, *sorted(n.flags - {"CLOUD"})]) for n in ask_slurm()).most_common())
    except SlurmError:
        return None


def fences(ask_slurm: Any) -> list[dict[str, Any]] | None:
    """Return the times in which nodes of Capacity Blocks get no job."""
    try:
        return [
            {
                "name": fence.name,
                "nodes": fold(fence.nodes),
                "starts": reading.time_text(fence.starts),
                "ends": reading.time_text(fence.ends),
            }
            for fence in ask_slurm()
        ]
    except SlurmError:
        return None


def _notices(state: dict[str, Any] | None, is_running: bool) -> str:
    """Say in one line whether anybody hears of interruptions."""
    if not is_running:
        return "not read: no daemon runs"
    if not state or not state["queue"]:
        return "off: interruptions.queue is not set, so only the nodes themselves hear of spot interruptions"
    if state["trouble"]:
        return f"{state['queue']} cannot be read: {state['trouble']}"
    moved = f"; jobs are moved off {fold(state['nodes'])}" if state["nodes"] else ""
    return f"{state['queue']}, {sum(state['messages'].values())} message(s) so far{moved}"


def _unread(daemon: dict[str, Any] | None) -> list[str]:
    """Return what EC2 refuses to tell the daemon: action and code."""
    troubles = (daemon or {}).get("unread_facts") or {}
    return [", ".join(f"{action} ({why.partition(':')[0]})" for action, why in troubles.items())] if troubles else []
