"""`asbx nodes`."""

from __future__ import annotations

from typing import Any

import typer

from asbx.cli import reading, site
from asbx.model.record import Binding, InstanceRow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def nodes(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Show the nodes that have an instance now: which, of what kind, at what price, since when.

    Example: asbx nodes --json
    """
    with reading.ledger_of(config) as ledger:
        bindings = ledger.live_bindings()
        rows = {row.instance_id: row for row in ledger.instances(live_only=True)}
    if as_json:
        site.show({"nodes": [facts(binding, rows.get(binding.instance_id)) for binding in bindings]})
        return
    columns = ("NODE", "INSTANCE", "TYPE", "ZONE", "MARKET", ">USD/HOUR", "SINCE", "JOBS")
    reading.show_table(columns, [_row(binding, rows.get(binding.instance_id)) for binding in bindings])


def facts(binding: Binding, row: InstanceRow | None) -> dict[str, Any]:
    """Return one node for machines; what is not known of its instance is null."""
    return {
        "node": binding.node,
        "instance": binding.instance_id,
        "type": row.instance_type if row else None,
        "zone": row.zone if row else None,
        "market": row.market.value if row else None,
        "price": reading.usd_text(row.price) if row else None,
        "since": reading.time_text(binding.bound_at),
        "launched_at": reading.time_text(row.launched_at) if row else None,
        "address": row.private_ip if row else None,
        "jobs": list(row.jobs) if row else [],
    }


def _row(binding: Binding, row: InstanceRow | None) -> tuple[str, ...]:
    since = reading.time_shown(binding.bound_at)
    if row is None:
        return (binding.node, binding.instance_id, "?", "?", "?", "?", since, "")
    price = reading.usd_text(row.price) or "?"
    jobs = ",".join(str(job) for job in row.jobs)
    return (binding.node, binding.instance_id, row.instance_type, row.zone, row.market.value, price, since, jobs)
