"""`asbx limits`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from asbx.cli import reading, site
from asbx.config.limits import UNSETTLED
from asbx.daemon.clock import RealClock
from asbx.decide.limits import AT_ONCE, plain
from asbx.decide.limits_room import of_rule
from asbx.model.limit import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asbx.config.limits_section import LimitRule, Limits
    from asbx.decide.limits_room import Reach
    from asbx.ledger.store import SqlLedger
    from asbx.model.limit import LimitMark, Use

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def limits(config: site.ConfigOption = None, as_json: site.JsonOption = False) -> None:
    """Show each limit, what of it is in use now and what is left; and the jobs that have reached one.

    What runs is counted at the prices it was launched at; the daemon counts spot instances at today's.

    Example: asbx limits --json
    """
    settings = site.load(config).config.limits
    with reading.ledger_of(config) as ledger:
        use = ledger.in_use(RealClock().now() - UNSETTLED)
        rows = [row for rule in settings.rules for row in _rows(settings, rule, use)]
        facts = {"limits": rows, "reached": _reached(ledger), "unknown": settings.unknown}
    if as_json:
        site.show(facts)
        return
    _tell(facts)


def _reached(ledger: SqlLedger) -> list[dict[str, Any]]:
    return [_mark(mark) for mark in ledger.limit_marks()]


def _mark(mark: LimitMark) -> dict[str, Any]:
    return {
        "job_id": mark.job_id or None,
        "rule": mark.rule,
        "limit": mark.measure.value,
        "step": mark.step.value,
        "at": reading.time_text(mark.at),
        "due_at": reading.time_text(mark.due_at),
    }


def _rows(settings: Limits, rule: LimitRule, use: Use) -> Iterator[dict[str, Any]]:
    """Yield a row for each limit of a rule; of what may be at once one for each whose instances are added up."""
    for measure in Measure:
        if getattr(rule, measure.value) is not None and measure not in AT_ONCE:
            yield _row(rule, measure, "each job", Decimal(getattr(rule, measure.value)), None)
    for reach in of_rule(settings, rule, use, {}):
        whose = "all" if rule.each == "all" else f"{rule.each} {getattr(reach.ceiling.owner, rule.each) or '-'}"
        yield _row(rule, reach.ceiling.measure, whose, reach.ceiling.most, reach)


def _row(rule: LimitRule, measure: Measure, whose: str, most: Decimal, reach: Reach | None) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "limit": measure.value,
        "of": whose,
        "most": plain(most),
        "unit": measure.unit,
        "used": None if reach is None else plain(reach.used),
        "headroom": None if reach is None else plain(reach.headroom),
        "unpriced": 0 if reach is None else reach.unpriced,
        "users": list(rule.users),
        "accounts": list(rule.accounts),
        "partitions": list(rule.partitions),
    }


# -- for people


def _tell(facts: dict[str, Any]) -> None:
    if not facts["limits"]:
        typer.echo("no limits are configured (limits.rules); jobs may still set their own")
    else:
        rows = [
            (
                one["rule"],
                one["limit"],
                one["of"],
                f"{one['most']} {one['unit']}",
                "" if one["used"] is None else one["used"] + (f" + {one['unpriced']} ?" if one["unpriced"] else ""),
                one["headroom"] or "",
            )
            for one in facts["limits"]
        ]
        reading.show_table(("RULE", "LIMIT", "OF", ">MOST", ">IN USE", ">LEFT"), rows)
    for one in facts["reached"]:
        who = f"job {one['job_id']}" if one["job_id"] else "all that runs"
        due = f", next step from {one['due_at']}" if one["due_at"] else ""
        typer.echo(f"reached: {who}: {one['limit']} of {one['rule']}: {one['step']} at {one['at']}{due}")
