"""`asbx nodes`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.daemon.clock import RealClock
from asbx.decide.standing import WORDS, word
from asbx.errors import UsageError
from asbx.model.hostlist import unique_sorted
from asbx.model.node import NodeView
from asbx.model.record import Binding, InstanceRow

app = typer.Typer(add_completion=False, rich_markup_mode=None)
# What is left out first where the terminal is too narrow; --json always has everything.
_OPTIONAL = ("INSTANCE", "ZONE", "MARKET")


@app.command()
def nodes(
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Only nodes of this group: NODEGROUP or PARTITION-NODEGROUP.")
    ] = None,
    state: Annotated[str | None, typer.Option("--state", "-s", help=f"Only nodes that are {', '.join(WORDS)}.")] = None,
    config: site.ConfigOption = None,
    as_json: site.JsonOption = False,
) -> None:
    """Show the nodes that have an instance now: how Slurm sees them, which instance, how old, at what price.

    Example: asbx nodes --group cpu --state idle
    """
    if state is not None and state not in WORDS:
        raise UsageError("node-state", f"there is no state {state!r}", "", f"states are {', '.join(WORDS)}")
    now = RealClock().now()
    settings = site.load(config).config
    known = {
        stem for p, g in settings.groups() for stem in (g.node_group_name, f"{p.partition_name}-{g.node_group_name}")
    }
    if group is not None and group not in known:
        raise UsageError(
            "node-group", f"there is no node group {group!r}", "", f"groups are {', '.join(sorted(known))}"
        )
    with reading.ledger_of(config) as ledger:
        bindings = {binding.node: binding for binding in ledger.live_bindings()}
        rows = {row.instance_id: row for row in ledger.instances(live_only=True)}
    views = {view.name: view for view in reading.slurm_nodes(settings) or ()} if bindings else {}
    shown = [Serving(bindings[name], rows, views, now) for name in unique_sorted(bindings)]
    shown = [one for one in shown if one.is_of(group) and state in (None, one.word)]
    if as_json:
        site.show({"nodes": [one.facts() for one in shown]})
    elif not shown:
        typer.echo("No node has an instance." if not bindings else "No node with an instance is like that.")
    else:
        _show(shown)


def _show(shown: list[Serving]) -> None:
    columns = ["NODE", "STATE", "INSTANCE", "TYPE", "ZONE", "MARKET", ">AGE", ">USD/H", "JOBS"]
    table = [one.row() for one in shown]
    if sys.stdout.isatty():
        columns, table = fitting(columns, table, shutil.get_terminal_size().columns)
    reading.show_table(columns, table)


def fitting(columns: list[str], rows: list[list[str]], width: int) -> tuple[list[str], list[list[str]]]:
    """Leave out optional columns until the table fits."""
    for name in _OPTIONAL:
        widest = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        if sum(widest) + reading.GAP * len(widest) <= width:
            break
        gone = columns.index(name)
        columns = columns[:gone] + columns[gone + 1 :]
        rows = [row[:gone] + row[gone + 1 :] for row in rows]
    return columns, rows


@dataclass(frozen=True)
class Serving:
    """A node with its instance; what is not known of either is None."""

    binding: Binding
    rows: Mapping[str, InstanceRow]
    views: Mapping[str, NodeView]
    now: datetime

    @property
    def instance(self) -> InstanceRow | None:
        """Return its row in the ledger, None where there is none."""
        return self.rows.get(self.binding.instance_id)

    @property
    def word(self) -> str | None:
        """Return how Slurm has it, in one word."""
        view = self.views.get(self.binding.node)
        return None if view is None else word(view)

    @property
    def age(self) -> timedelta:
        """Return how long the instance has been there."""
        return self.now - (self.instance.launched_at if self.instance else self.binding.bound_at)

    def is_of(self, group: str | None) -> bool:
        """Whether it is of a group: its name, or with its partition."""
        stem = self.binding.node.rpartition("-")[0]
        return group is None or group in (stem, stem.rpartition("-")[2])

    def facts(self) -> dict[str, Any]:
        """Return it for machines; what is not known is null."""
        row = self.instance
        view = self.views.get(self.binding.node)
        return {
            "node": self.binding.node,
            "state": self.word,
            "slurm_state": "+".join([view.state, *sorted(view.flags)]) if view else None,
            "instance": self.binding.instance_id,
            "type": row.instance_type if row else None,
            "zone": row.zone if row else None,
            "market": row.market.value if row else None,
            "price": reading.usd_text(row.price) if row else None,
            "since": reading.time_text(self.binding.bound_at),
            "launched_at": reading.time_text(row.launched_at) if row else None,
            "age_seconds": int(self.age.total_seconds()),
            "registered_at": reading.time_text(self.binding.registered_at),
            "address": row.private_ip if row else None,
            "jobs": list(row.jobs) if row else [],
        }

    def row(self) -> list[str]:
        """Return it for people."""
        row, age = self.instance, reading.age_shown(self.age)
        head = [self.binding.node, self.word or "?", self.binding.instance_id]
        if row is None:
            return [*head, "?", "?", "?", age, "?", ""]
        jobs = ",".join(str(job) for job in row.jobs)
        return [*head, row.instance_type, row.zone, row.market.value, age, reading.usd_shown(row.price), jobs]
