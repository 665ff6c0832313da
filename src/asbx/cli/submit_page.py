"""What `asbx submit` says: a page for people, one object for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from asbx.cli import page
from asbx.cli.analyze import Judged, facts_of
from asbx.cli.reading import usd_text
from asbx.cli.submission import Case, Component, Landed
from asbx.decide.attach import Way
from asbx.decide.estimate import Estimate
from asbx.decide.filling import as_data
from asbx.decide.script.advice import Site
from asbx.errors import PlanError
from asbx.slurm.sbatch import Answer

# Of what a launch would be, what a submitter wants to see.
_SHOWN = ("instance_types", "markets", "placement", "efa", "launch")


def text(case: Case, *, dry_run: bool) -> str:
    """Return the page."""
    rows: list[tuple[str, str]] = []
    for number, one in enumerate(case.components):
        if len(case.components) > 1:
            rows.append(("component", str(number)))
        rows += _rows(one, has_site=case.has_site)
    found = list(page.lines((*rows, *_ends(case)), page.width()))
    if dry_run:  # never folded: it is there to be copied
        found += [f"{'would run':<{page.WORD}}{shlex.join(['sbatch', *case.command])}", "nothing was submitted"]
    return "\n".join(found) + "\n"


def _rows(one: Component, *, has_site: bool) -> Iterator[tuple[str, str]]:
    advice, asked = one.advice, one.advice.geometry
    array = f", {asked.array_tasks} times (array)" if asked.array_tasks > 1 else ""
    yield "job", f"{advice.nodes} node(s), {asked.tasks} task(s) of {asked.cpus_per_task} processor(s){array}"
    reasons = {reason.about: reason.text for reason in reversed(advice.reasons)}
    for about in ("coupling", "market"):
        if about in reasons:
            yield about, reasons[about]
    if not one.groups and has_site:
        yield "site", "no node group of its configuration takes it"
    for landed in one.groups:
        yield from _of_group(landed)
    if one.cost is not None:
        yield "cost", _money(one.cost, one.least)
    for note in one.notes:
        yield "note", note
    for word in one.hints.unknown:
        yield "note", f"{word!r} is not understood and will be left out"


def _of_group(landed: Landed) -> Iterator[tuple[str, str]]:
    if landed.found is None:
        assert landed.refusal is not None, "it is the one or the other"
        yield "refused", f"{landed.group}: {_why(landed.refusal)}"
        return
    yield "group", str(landed.group)
    for row in landed.found.filled:
        if row.field in _SHOWN:
            yield "group", f"  {_short(row.field)}: {row.value or 'none'} ({row.source})"
    for note in (*landed.found.judged.notes, *landed.found.choice.notes):
        yield "group", f"  note: {note}"
    if not landed.found.choice.rungs:
        yield "group", "  nothing of it can serve the job: " + "; ".join(map(str, landed.found.choice.dropped))


def _why(error: PlanError) -> str:
    return error.why or error.what


def _short(field: str) -> str:
    return {"instance_types": "types", "launch": "gang"}.get(field, field)


def _money(most: Estimate, least: Sequence[Decimal]) -> str:
    if most.usd is None:
        return f"not known: {most.arithmetic}"
    said = f"at most {most.arithmetic}"
    spot = " to ".join(dict.fromkeys(f"{usd:f}" for usd in least))
    return f"{said}; on spot, at today's prices: {spot} USD" if spot else said


def _ends(case: Case) -> Iterator[tuple[str, str]]:
    way = case.attachment.way
    what = {
        Way.NAMED: f"{case.plan_name}.json in the plans folder",
        Way.BY_ID: "in the plans folder",
        Way.HINTS: f"no plan, but hints: {case.attachment.comment}",
        Way.NOTHING: "none is attached",
    }[way]
    yield "plan", f"{what}: {case.attachment.why}"
    for note in case.notes:
        yield "note", note


def facts(case: Case, answer: Answer | None, trouble: str = "") -> dict[str, Any]:
    """Return the object. answer: None where nothing was submitted. trouble: why the plan did not get to its place."""
    status = None if answer is None else answer.status
    return {
        "submitted": status == 0,
        "job_id": None if answer is None else answer.job_id,
        "sbatch": {
            "words": list(case.command),
            "status": status,
            "stdout": None if answer is None else answer.out,
        },
        "plan": {
            "attached": case.attachment.way.value if not trouble else Way.NOTHING.value,
            "name": case.plan_name if case.attachment.way is Way.NAMED else None,
            "why": trouble or case.attachment.why,
        },
        "cost_usd": usd_text(case.usd),
        "components": [_component(one) for one in case.components],
        "notes": list(case.notes),
    }


def _component(one: Component) -> dict[str, Any]:
    groups = ", ".join(str(landed.group) for landed in one.groups)
    said = facts_of(Judged(one.advice, groups, Site({}, 0, 0, {}, {})))
    del said["cost_usd"]
    return said | {"groups": [_landed(landed) for landed in one.groups], "notes": list(one.notes)}


def _landed(landed: Landed) -> dict[str, Any]:
    found = landed.found
    return {
        "group": str(landed.group),
        "refused": _why(landed.refusal) if landed.refusal else None,
        "filled": as_data(found.filled) if found else [],
        "considered": list(found.choice.considered) if found else [],
        "estimate": _estimate(landed.most),
        "estimate_spot": _estimate(landed.least),
        "time_limit_by": landed.limit_by or None,
    }


def _estimate(one: Estimate | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "usd": usd_text(one.usd),
        "usd_an_hour": usd_text(one.per_hour),
        "arithmetic": one.arithmetic,
    }
