"""`asbx status`."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import typer

from asbx.cli import site
from asbx.errors import SlurmError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Show daemon, nodes by state, launches under way and what the running instances cost an hour.

    Example: asbx status --json
    """
    from asbx.daemon.compose import doors as open_doors
    from asbx.daemon.socket import ask

    settings = site.load(config).config
    doors = open_doors(settings)
    live = doors.ledger.instances(live_only=True)
    requests = doors.ledger.open_requests()
    facts: dict[str, Any] = {
        "daemon": ask(settings.paths.socket, "status"),
        "nodes": _nodes(doors.scheduler.nodes),
        "instances": len(live),
        "gangs": [
            {"gang": i.gang_id, "nodes": len(i.nodes), "jobs": list(i.jobs)}
            for r in requests
            for i in doors.ledger.intents(r.request_id)
        ],
        "open_requests": [r.request_id for r in requests],
        "shortages": [],
        "cost_per_hour": str(sum((row.price for row in live if row.price is not None), Decimal(0))),
        "unpriced": sum(1 for row in live if row.price is None),
    }
    if as_json:
        site.show(facts)
        return
    daemon = facts["daemon"]
    typer.echo(f"daemon     {'pid ' + str(daemon.get('pid')) if daemon else 'not running; the hooks do the work'}")
    nodes = facts["nodes"]
    shown = ", ".join(f"{n} {state}" for state, n in nodes.items()) if nodes is not None else "Slurm does not answer"
    typer.echo(f"nodes      {shown}")
    typer.echo(f"instances  {facts['instances']}, {facts['cost_per_hour']} USD an hour")
    typer.echo(f"launching  {len(facts['gangs'])} launch(es) in {len(requests)} request(s)")


def _nodes(ask_slurm: Any) -> dict[str, int] | None:
    try:
        return dict(Counter("+".join([n.state, *sorted(n.flags - {"CLOUD"})]) for n in ask_slurm()).most_common())
    except SlurmError:
        return None
