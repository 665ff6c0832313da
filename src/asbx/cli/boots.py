"""`asbx boots`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.config.limits import BOOT_FAILURES_READ
from asbx.config.schema import Config
from asbx.daemon.clock import RealClock
from asbx.decide.breaker import gate, opens_at, reset, streak
from asbx.errors import UsageError
from asbx.flow.boots import opened
from asbx.model.boot import BootFailure, Breaker
from asbx.model.names import GroupName
from asbx.ports import Ledger

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_COLUMNS = ("GROUP", "STATE", ">IN A ROW", ">LAST 24 H", "LAST FAILURE", "NEXT TRY")
_LATELY = timedelta(hours=24)


@app.command()
def boots(
    config: site.ConfigOption = None,
    reset_group: Annotated[
        str, typer.Option("--reset", metavar="GROUP", help="Let a group launch again, for example aws-cpu.")
    ] = "",
    as_json: site.JsonOption = False,
) -> None:
    """Show how many instances of each node group never became nodes, and which groups launch nothing for it.

    Example: asbx boots --reset aws-cpu
    """
    now, settings = RealClock().now(), site.load(config).config
    with reading.ledger_of(config) as ledger:
        if reset_group:
            _reset(ledger, settings, reset_group, now)
        rows = overview(ledger, settings, now)
    if as_json:
        site.show({"groups": rows})
        return
    reading.show_table(_COLUMNS, [_row(row) for row in rows])


def groups(settings: Config) -> list[GroupName]:
    """Return the names of all node groups."""
    return [GroupName(partition.partition_name, group.node_group_name) for partition, group in settings.groups()]


def _reset(ledger: Ledger, settings: Config, text: str, now: datetime) -> None:
    names = {str(name): name for name in groups(settings)}
    if text not in names:
        raise UsageError("usage", f"there is no node group {text}", "", f"say one of {', '.join(names)}")
    old: list[Breaker | None] = []

    def change(found: Breaker | None) -> Breaker:
        old.append(found)
        return reset(found, now) or Breaker(names[text], cleared_at=now)

    ledger.change_breaker(names[text], change)
    if old[0] is not None and old[0].closed_at is not None:
        ledger.add_event(opened(names[text], "somebody has reset it"), now)


def overview(ledger: Ledger, settings: Config, now: datetime) -> list[dict[str, Any]]:
    """Return how every group boots, for machines."""
    breakers = {one.group: one for one in ledger.breakers()}
    failures: dict[GroupName, list[BootFailure]] = {}
    for one in ledger.boot_failures(limit=BOOT_FAILURES_READ):
        failures.setdefault(one.group, []).append(one)
    return [
        group_facts(
            settings,
            name,
            breakers.get(name),
            failures.get(name, ()),
            ledger.last_boot(name) if name in failures else None,
            now,
        )
        for name in groups(settings)
    ]


def facts(ledger: Ledger, settings: Config, group: GroupName, now: datetime) -> dict[str, Any]:
    """Return how one group boots, for machines."""
    breaker = next((one for one in ledger.breakers() if one.group == group), None)
    known = ledger.boot_failures(group=group, limit=BOOT_FAILURES_READ)
    return group_facts(settings, group, breaker, known, ledger.last_boot(group) if known else None, now)


def group_facts(
    settings: Config,
    group: GroupName,
    breaker: Breaker | None,
    known: Sequence[BootFailure],
    good: datetime | None,
    now: datetime,
) -> dict[str, Any]:
    """Return how a group boots. good: launch of the youngest instance that registered."""
    cleared = breaker.cleared_at if breaker else None
    is_shut = breaker is not None and breaker.closed_at is not None
    return {
        "group": str(group),
        "state": gate(breaker, now).value,
        "failures_in_a_row": len(streak(known, good, now - settings.boots.window, cleared)),
        "failures_last_day": sum(1 for one in known if now - one.failed_at <= _LATELY),
        "last_failure": reading.time_text(known[-1].failed_at) if known else None,
        "closed_at": reading.time_text(breaker.closed_at) if breaker else None,
        "closings": breaker.closings if breaker else 0,
        "next_try": reading.time_text(opens_at(breaker, now)) if breaker and is_shut else None,
        "probe_by": (breaker.probe_by or None) if breaker else None,
    }


def line(ledger: Ledger, settings: Config, now: datetime) -> str:
    """Return which groups are not open, for `asbx status`; "" where all are."""
    shut = [one for one in ledger.breakers() if one.closed_at is not None and settings.group(one.group) is not None]
    return ", ".join(
        f"{one.group} {gate(one, now)} ({one.streak} never became nodes; "
        f"next try {reading.time_shown(opens_at(one, now))})"
        for one in shut
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    last = datetime.fromisoformat(row["last_failure"]) if row["last_failure"] else None
    following = datetime.fromisoformat(row["next_try"]) if row["next_try"] else None
    return (
        row["group"],
        row["state"],
        str(row["failures_in_a_row"]),
        str(row["failures_last_day"]),
        reading.time_shown(last) or "-",
        reading.time_shown(following) or "-",
    )
