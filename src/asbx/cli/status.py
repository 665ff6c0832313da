"""`asbx status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asbx.cli import boots, reading, site
from asbx.cli import shortages as short
from asbx.cli import status_page as page
from asbx.decide.standing import UnderWay, word
from asbx.errors import SlurmError
from asbx.flow.standing import standing
from asbx.model.hostlist import fold
from asbx.model.node import NodeView
from asbx.model.price import currency_of

if TYPE_CHECKING:
    from asbx.flow.doors import Doors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(
    config: site.ConfigOption = None,
    shortages: Annotated[
        bool, typer.Option("--shortages", help="Show the pools that EC2 refused instead: why, and until when.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew until interrupted.")] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Show daemon, nodes by state, launches under way and what the running instances cost an hour.

    Example: asbx status --watch
    """
    from asbx.daemon.compose import doors as open_doors
    from asbx.daemon.socket import ask

    settings = site.load(config).config
    doors = open_doors(settings)

    def look() -> dict[str, Any]:
        now = doors.clock.now()
        facts = _facts(doors, ask(settings.paths.socket, "status"))
        lately = short.recent(doors.ledger.shortages(), now)
        return facts | {
            "shortages": [short.facts(each, now) for each in lately],
            "boots": boots.overview(doors.ledger, settings, now),
            "interruptions": facts["daemon"] and facts["daemon"].get("interruptions"),
            "closed": short.line(lately, now),
            "shut": boots.line(doors.ledger, settings, now),
        }

    if shortages and not as_json:
        now = doors.clock.now()
        short.show(short.recent(doors.ledger.shortages(), now), now)
    elif as_json:
        site.show({key: value for key, value in look().items() if key not in ("closed", "shut")})
    elif watch:
        page.watch(look, doors.clock)
    else:
        page.show(look())


def _facts(doors: Doors, daemon: dict[str, Any] | None) -> dict[str, Any]:
    now = standing(doors.ledger, doors.clock.now(), doors.price_sources.book if doors.price_sources else None)
    views = _views(doors.scheduler.nodes)
    return {
        "at": reading.time_text(now.at),
        "daemon": daemon,
        "nodes": None if views is None else _counted(views),
        "states": None if views is None else dict(Counter(word(view) for view in views).most_common()),
        "fences": fences(doors.scheduler.fences),
        "instances": len(now.instances),
        "markets": dict(Counter(row.market.value for row in now.instances).most_common()),
        "gangs": [_gang(gang, now.at) for gang in now.gangs],
        "open_requests": [request.request_id for request in now.requests],
        "oldest_request_seconds": _seconds(now.at, [request.received_at for request in now.requests]),
        "cost_per_hour": str(now.cost_per_hour),
        "currency": currency_of(doors.config.aws.region),
        "unpriced": now.unpriced,
        "prices": [
            {"market": market, "source": source, "oldest_age_seconds": int(age.total_seconds())}
            for (market, source), age in sorted(now.price_ages.items())
        ],
    }


def _gang(gang: UnderWay, now: datetime) -> dict[str, Any]:
    intent = gang.intent
    return {
        "gang": intent.gang_id,
        "nodes": len(intent.nodes),
        "jobs": list(intent.jobs),
        "group": str(intent.group),
        "request": intent.request_id,
        "intent": intent.intent_id,
        "bound": gang.bound,
        "calls": gang.calls,
        "rung": gang.rung or None,
        "age_seconds": _seconds(now, [gang.since]),
    }


def _seconds(now: datetime, moments: list[datetime]) -> int:
    return max((int((now - moment).total_seconds()) for moment in moments), default=0)


def _views(ask_slurm: Any) -> tuple[NodeView, ...] | None:
    try:
        return tuple(ask_slurm())
    except SlurmError:
        return None


def _counted(views: Sequence[NodeView]) -> dict[str, int]:
    return dict(Counter("+".join([n.state, *sorted(n.flags - {"CLOUD"})]) for n in views).most_common())


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
