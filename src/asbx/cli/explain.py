"""`asbx explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asbx.cli import boots, explain_job, job_page, page, reading, site
from asbx.cli import nodes as served
from asbx.daemon.clock import RealClock
from asbx.decide.explain import outlook
from asbx.decide.intake import refusal
from asbx.errors import SlurmError, UsageError
from asbx.model.names import parse_node_name

if TYPE_CHECKING:
    from datetime import datetime

    from asbx.config.schema import Config
    from asbx.model.boot import BootFailure, Console, Service
    from asbx.model.node import NodeView
    from asbx.ports import Ledger

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_HISTORY = 10
_TAIL_LINES = 30


@app.command()
def explain(
    target: Annotated[
        str, typer.Argument(metavar="NODE|JOBID", help="A node (aws-cpu-003) or a job (12, 12_3, 12+1).")
    ],
    config: site.ConfigOption = None,
    lines: Annotated[int, typer.Option("--lines", min=0, help="Lines of a node's console to show.")] = _TAIL_LINES,
    as_json: site.JsonOption = False,
) -> None:
    """Explain a job (its plan, what EC2 said, when it is tried next, its cost), or a node (its boots, its console).

    Example: asbx explain 12
    """
    if explain_job.is_job(target):
        told = explain_job.explain(target, config)
        site.show(told) if as_json else job_page.show(told)
        return
    settings, now = site.load(config).config, RealClock().now()
    why = refusal(settings, target)
    if why is not None:
        hint = "`asbx nodes` lists those that have an instance; a job is named by 12, 12_3 or 12+1"
        raise UsageError("usage", f"{target} is no node of ours", why, hint)
    view = _view(settings, target)
    with reading.ledger_of(config) as ledger:
        facts = explained(ledger, settings, target, view, now)
    if as_json:
        site.show(facts)
        return
    _tell(facts, lines)


def explained(ledger: Ledger, settings: Config, node: str, view: NodeView | None, now: datetime) -> dict[str, Any]:
    """Return all that is known of a node, for machines."""
    name = parse_node_name(node)
    assert name is not None, "looked at by refusal"
    binding = next(iter(ledger.live_bindings([node])), None)
    live = {row.instance_id: row for row in ledger.instances(live_only=True)} if binding else {}
    instance = None
    if binding is not None:
        instance = served.Serving(binding, live, {node: view} if view else {}, now).facts()
    failures = ledger.boot_failures(node=node, limit=_HISTORY)
    breaker = next((one for one in ledger.breakers() if one.group == name.group), None)
    consoles = (ledger.console(one.instance_id) for one in reversed(failures))
    return {
        "node": node,
        "slurm": _slurm(view),
        "instance": instance,
        "history": [_service(one) for one in ledger.services(node, _HISTORY)],
        "failures": [_failure(one) for one in failures],
        "console": _console(next((one for one in consoles if one is not None), None)),
        "group": boots.facts(ledger, settings, name.group, now),
        "next": outlook(view, binding, breaker, now, settings.resume_deadline),
    }


def _view(settings: Config, node: str) -> NodeView | None:
    from asbx.slurm.process import SlurmCommands
    from asbx.slurm.scontrol import Slurm

    try:
        table = Slurm(SlurmCommands(settings.slurm.bin_path, settings.slurm.config_path)).nodes()
    except SlurmError as error:
        site.warn(f"Slurm does not answer: {error.why}")
        return None
    return next((one for one in table if one.name == node), None)


def _slurm(view: NodeView | None) -> dict[str, Any] | None:
    if view is None:
        return None
    state = "+".join([view.state, *sorted(view.flags - {"CLOUD"})])
    return {"state": state, "reason": view.reason, "address": view.address}


def _service(one: Service) -> dict[str, Any]:
    took = (one.registered_at - one.bound_at).total_seconds() if one.registered_at else None
    return {
        "instance": one.instance_id,
        "type": one.instance_type or None,
        "zone": one.zone or None,
        "market": one.market or None,
        "launched_at": reading.time_text(one.launched_at),
        "bound_at": reading.time_text(one.bound_at),
        "registered_at": reading.time_text(one.registered_at),
        "registered_after_seconds": took,
        "released_at": reading.time_text(one.released_at),
        "ended_at": reading.time_text(one.ended_at),
        "end_reason": one.end_reason or None,
    }


def _failure(one: BootFailure) -> dict[str, Any]:
    return {
        "instance": one.instance_id,
        "trouble": one.trouble.value,
        "detail": one.detail,
        "jobs": list(one.jobs),
        "type": one.instance_type,
        "zone": one.zone,
        "launched_at": reading.time_text(one.launched_at),
        "failed_at": reading.time_text(one.failed_at),
    }


def _console(found: Console | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"instance": found.instance_id, "taken_at": reading.time_text(found.taken_at), "text": found.text}


# -- for people


def rows(facts: dict[str, Any], lines: int) -> Iterator[tuple[str, str]]:
    """Return the page of a node, without the console itself."""
    slurm, instance, group = facts["slurm"], facts["instance"], facts["group"]
    yield "node", f"{facts['node']}: {_state(slurm)}"
    yield "instance", _instance(instance)
    yield "group", f"{group['group']}: {_group(group)}"
    yield "next", facts["next"]
    for one in facts["history"]:
        yield "history", _served(one)
    if not facts["history"]:
        yield "history", "it never had an instance"
    for one in facts["failures"]:
        yield "failure", f"{_shown(one['failed_at'])} {one['instance']} {one['trouble']}: {one['detail']}"
    yield "console", _heading(facts, lines)


def _tell(facts: dict[str, Any], lines: int) -> None:
    page.show(rows(facts, lines))
    for one in _tail(facts["console"], lines):
        typer.echo(f"  | {one}")


def _tail(console: dict[str, Any] | None, lines: int) -> list[str]:
    return console["text"].splitlines()[-lines:] if console is not None and lines else []


def _heading(facts: dict[str, Any], lines: int) -> str:
    console = facts["console"]
    if console is None:
        return "none is kept" if facts["failures"] else "kept only of instances that failed"
    many = len(_tail(console, lines))
    return f"of {console['instance']}, {_shown(console['taken_at'])}, the last {many} line(s):"


def _served(one: dict[str, Any]) -> str:
    took = one["registered_after_seconds"]
    registered = "never registered" if took is None else f"registered after {took:.0f} s"
    ended = _shown(one["ended_at"])
    end = f"ended {ended} ({one['end_reason'] or 'no reason is kept'})" if ended else "has not ended"
    kind = f"{one['type'] or '?'} in {one['zone'] or '?'}"
    return f"{one['instance']} {kind}: launched {_shown(one['launched_at']) or '?'}, {registered}, {end}"


def _shown(moment: str | None) -> str:
    from datetime import datetime

    return reading.time_shown(datetime.fromisoformat(moment)) if moment else ""


def _state(slurm: dict[str, Any] | None) -> str:
    if slurm is None:
        return "not known to Slurm"
    return f"{slurm['state']} ({slurm['reason']})" if slurm["reason"] else str(slurm["state"])


def _instance(instance: dict[str, Any] | None) -> str:
    if instance is None:
        return "none"
    seen = _shown(instance["registered_at"])
    registered = f"registered {seen}" if seen else "not registered yet"
    kind = f"{instance['type'] or '?'} in {instance['zone'] or '?'}"
    return f"{instance['instance']}, {kind}, since {_shown(instance['since'])}, {registered}"


def _group(group: dict[str, Any]) -> str:
    said = f"{group['state']}, {group['failures_in_a_row']} failure(s) in a row, {group['failures_last_day']} in a day"
    return said + (f"; next try {_shown(group['next_try'])}" if group["next_try"] else "")
