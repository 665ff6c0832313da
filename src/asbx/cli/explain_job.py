"""`asbx explain JOBID`: ask Slurm and the ledger about a job, and say it to machines; job_page.py says it to people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asbx.cli import reading, shortages, site
from asbx.cli.past import Past, past_facts
from asbx.daemon.clock import RealClock
from asbx.decide.estimate import course
from asbx.decide.explain_job import Call, Known, Try, closed, identity, tries, whereabouts
from asbx.decide.history import Expectation
from asbx.decide.job_cost import Money, limit_of, money, node_count
from asbx.decide.job_standing import standing
from asbx.errors import SlurmError, UsageError
from asbx.flow.lives import Lives, job_bill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from asbx.config.schema import Config
    from asbx.model.job import JobView
    from asbx.model.job_plan import JobPlan
    from asbx.model.record import InstanceRow, Setback
    from asbx.ports import JobArchive, Launches, Ledger

    class Book(Ledger, Launches, Protocol):
        """A ledger that also tells whom its instances were for."""


_LABEL = re.compile(r"([0-9]{1,10})(?:[_+]([0-9]{1,7}))?")
# Slurm's numbers have 32 bits.
_MOST = 2**32


def is_job(target: str) -> bool:
    """Whether a word names a job: `12`, a task `12_3`, a component `12+1`."""
    return _LABEL.fullmatch(target) is not None


@dataclass(frozen=True)
class Asked:
    """What Slurm said to a name. siblings: further tasks or components under it. silence: why it did not answer."""

    view: JobView | None
    siblings: tuple[JobView, ...] = ()
    silence: str = ""


def explain(target: str, config: Path | None) -> dict[str, Any]:
    """Return all that is known of a job, for machines. Raises UsageError (`job-unknown`), LedgerError, ConfigError."""
    from asbx.slurm.jobs import SlurmJobs
    from asbx.slurm.process import SlurmCommands

    settings, now = site.load(config).config, RealClock().now()
    archive = SlurmJobs(SlurmCommands(settings.slurm.bin_path, settings.slurm.config_path))
    asked = ask(archive, target)
    with reading.ledger_of(config) as ledger:
        job_id = _number(ledger, target, asked)
        known = gather(ledger, job_id, asked, now)
        if not known.is_anything:
            raise _unknown(target, asked)
        who = identity(known)
        past = Past(ledger, archive, settings, now).of(
            who.user, who.name, node_count(known), limit_of(known), without=known.job_id
        )
        spent = job_bill(Lives(ledger, settings, now), known.instances, job_id)
    cost = money(known, course(settings, limit_of(known)), past, spent)
    return facts(target, known, asked, past, cost)


def number_of(ledger: Ledger, text: str, settings: Config) -> int:
    """Return the number of a job as people name it. Raises UsageError (`job-name`, `job-unknown`)."""
    from asbx.slurm.jobs import SlurmJobs
    from asbx.slurm.process import SlurmCommands

    if not is_job(text):
        raise UsageError("job-name", f"{text!r} names no job", "", "a job is named by 12, 12_3 or 12+1")
    if text.isdecimal():
        return _number(ledger, text, Asked(None))
    return _number(
        ledger, text, ask(SlurmJobs(SlurmCommands(settings.slurm.bin_path, settings.slurm.config_path)), text)
    )


def ask(archive: JobArchive, target: str) -> Asked:
    """Ask Slurm which job is meant."""
    try:
        found = archive.find(target)
    except SlurmError as error:
        return Asked(None, silence=error.why or error.what)
    mine = next((one for one in found if one.label == target), None)
    mine = mine or next((one for one in found if str(one.job_id) == target), found[0] if found else None)
    return Asked(mine, tuple(one for one in found if one is not mine))


def _number(ledger: Ledger, target: str, asked: Asked) -> int:
    """Return the job's number. Raises UsageError (`job-unknown`) where nobody knows which one a task has."""
    if asked.view is not None:
        return asked.view.job_id
    if target.isdecimal() and int(target) < _MOST:
        return int(target)
    found = ledger.labelled_job(target)
    if found is None:
        raise _unknown(target, asked)
    return found


def _unknown(target: str, asked: Asked) -> UsageError:
    silent = f"Slurm does not answer ({asked.silence}), and " if asked.silence else ""
    why = f"{silent or 'neither Slurm nor '}the ledger {'does not know it' if silent else 'knows it'}"
    hint = "`squeue` lists jobs; `asbx events --job JOBID` may tell of one that is long over"
    return UsageError("job-unknown", f"there is no job {target}", why, hint)


def gather(ledger: Book, job_id: int, asked: Asked, now: datetime) -> Known:
    """Return what the ledger knows of a job."""
    decisions = ledger.job_plans(job_id)
    instances = tuple(one.row for one in ledger.job_launches(job_id))
    requests = dict.fromkeys(one.request_id for one in decisions)
    intents = tuple(one for name in requests for one in ledger.intents(name) if job_id in one.jobs)
    return Known(
        job_id,
        now,
        asked.view,
        asked.silence,
        decisions,
        intents,
        ledger.attempts_of(one.intent_id for one in intents),
        instances,
        {one.instance_id: one for one in ledger.live_bindings()} if instances else {},
        ledger.shortages(),
        ledger.setbacks([job_id]).get(job_id),
    )


# -- for machines


def facts(target: str, known: Known, asked: Asked, past: Expectation | None, cost: Money) -> dict[str, Any]:
    """Return the page as JSON has it."""
    stand, where = standing(known), whereabouts(known)
    return {
        "job": _job(target, known, asked),
        "slurm": {"answers": not known.silence, "why": known.silence or None},
        "now": {"word": stand.word, "text": stand.text},
        "next_try": reading.time_text(stand.next_try),
        "setback": _setback(known.setback),
        "plan": _plan(known.newest),
        "tries": [_try(one) for one in tries(known)],
        "closed": [shortages.facts(one, known.now) for one in closed(known)],
        "place": None
        if where is None
        else {
            "placement_groups": list(where.groups),
            "zones": list(where.zones),
            "types": list(where.types),
            "markets": list(where.markets),
            "efa": where.efa,
        },
        "instances": [_instance(row, known) for row in known.instances],
        "cost": _cost(cost),
        "history": past_facts(past),
    }


def _job(target: str, known: Known, asked: Asked) -> dict[str, Any]:
    who, view = identity(known), known.view
    return {
        "id": known.job_id,
        "asked": target,
        "label": who.label,
        "name": who.name or None,
        "user": who.user or None,
        "account": who.account or None,
        "partition": who.partition or None,
        "node_count": node_count(known) or None,
        "time_limit_seconds": _seconds(limit_of(known)),
        "state": (view.state or None) if view else None,
        "reason": (view.reason or None) if view else None,
        "nodes": (view.nodes or None) if view else None,
        "submitted_at": reading.time_text(view.submitted_at) if view else None,
        "starts_at": reading.time_text(view.starts_at) if view else None,
        "ended_at": reading.time_text(view.ended_at) if view else None,
        "siblings": [{"id": one.job_id, "label": one.label, "state": one.state} for one in asked.siblings],
    }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _setback(setback: Setback | None) -> dict[str, Any] | None:
    if setback is None:
        return None
    return {
        "code": setback.code,
        "reason": setback.reason,
        "count": setback.count,
        "at": reading.time_text(setback.at),
        "next_at": reading.time_text(setback.next_at),
    }


def _plan(decision: JobPlan | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    return {
        "origin": decision.origin,
        "why": decision.why or None,
        "refusal": decision.refusal or None,
        "decided_at": reading.time_text(decision.decided_at),
        "request_id": decision.request_id,
        "text": decision.plan or None,
        "filled": [
            {"group": one.group, "field": one.field, "value": one.value, "source": one.source}
            for one in decision.filled
        ],
    }


def _try(one: Try) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "at": reading.time_text(one.at),
        "launched": one.launched,
        "rungs": [
            {"group": rung.group, "rung": rung.text, "calls": [_call(call) for call in rung.calls]}
            for rung in one.rungs
        ],
        "not_asked": list(one.dropped),
        "weighed": list(one.weighed),
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "number": call.number,
        "at": reading.time_text(call.at),
        "market": call.market.value,
        "placement_group": call.placement_group or None,
        "asked": call.asked,
        "launched": call.launched,
        "answered": not call.is_open,
        "error": call.error or None,
        "refusals": [{"code": one.code, "pool": one.what or None, "count": one.count} for one in call.refusals],
    }


def _instance(row: InstanceRow, known: Known) -> dict[str, Any]:
    binding = known.bindings.get(row.instance_id)
    return {
        "instance": row.instance_id,
        "node": row.node or None,
        "type": row.instance_type,
        "zone": row.zone,
        "market": row.market.value,
        "launched_at": reading.time_text(row.launched_at),
        "registered_at": reading.time_text(binding.registered_at) if binding else None,
        "ended_at": reading.time_text(row.ended_at),
        "end_reason": row.end_reason or None,
    }


def _cost(cost: Money) -> dict[str, Any]:
    return {
        "at_most_usd": reading.usd_text(cost.most.usd),
        "at_most": cost.most.arithmetic,
        "likely_usd": _range([one.usd for one in cost.likely]) if cost.likely else None,
        "so_far_usd": reading.usd_text(cost.so_far),
        "wasted_usd": reading.usd_text(cost.wasted),
        "unpriced": list(cost.unpriced),
        "running": cost.is_running,
    }


def _range(ends: Sequence[Any]) -> list[str | None]:
    return [reading.usd_text(end) for end in ends]
