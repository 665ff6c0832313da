"""`asbx limits`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from asbx.cli import reading, site
from asbx.config.limits import UNSETTLED
from asbx.daemon.clock import RealClock
from asbx.decide import limits as about
from asbx.decide.limits import AT_ONCE, Owner
from asbx.decide.limits_room import Reach, loads, reaches
from asbx.model.limit import Measure, Use

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asbx.config.limits_section import LimitRule, Limits
    from asbx.ledger.store import SqlLedger
    from asbx.model.limit import LimitMark

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
    for reach in _reaches(settings, rule, use):
        whose = "all" if rule.each == "all" else f"{rule.each} {getattr(reach.ceiling.owner, rule.each) or '-'}"
        yield _row(rule, reach.ceiling.measure, whose, reach.ceiling.most, reach)


def _reaches(settings: Limits, rule: LimitRule, use: Use) -> Sequence[Reach]:
    owners = {about.owner_of(row) for row in use.live}
    owners |= {Owner(intent.user, intent.account, intent.group.partition) for intent, _ in use.asked}
    only = settings.model_copy(update={"rules": (rule,)})
    mine = sorted((one for one in owners if about.covers(rule, one)), key=lambda one: (one.user, one.account))
    ceilings = about.of_rules(only, mine, AT_ONCE)
    if not ceilings and rule.each == "all":
        # Nobody it is about has anything: an owner it is about, whoever that is.
        ceilings = about.of_rules(only, [Owner("", "", "")], AT_ONCE)
    return reaches(ceilings, loads(use, {}, settings.volumes_usd_per_hour))


def _row(rule: LimitRule, measure: Measure, whose: str, most: Decimal, reach: Reach | None) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "limit": measure.value,
        "of": whose,
        "most": f"{most:f}",
        "unit": measure.unit,
        "used": None if reach is None else f"{reach.used:f}",
        "headroom": None if reach is None else f"{reach.headroom:f}",
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
