"""`asbx analyze`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from asbx import __version__
from asbx.cli import page, site
from asbx.cli.past import Past, past_facts
from asbx.config.limits import SCRIPT_MAX_BYTES
from asbx.config.schema import Config, NodeGroup
from asbx.decide.history import Expectation
from asbx.decide.price_history import in_force
from asbx.decide.script.advice import Advice, Site, advise, cost_of
from asbx.decide.script.as_plan import as_plan
from asbx.decide.script.geometry import mistyped
from asbx.decide.script.sbatch import Stating, Submission, read
from asbx.errors import ConfigError, LedgerError, UsageError
from asbx.model.catalogue import TypeFacts

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Format = Literal["text", "json", "execution-plan"]


@app.command(context_settings={"ignore_unknown_options": True})
def analyze(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[SBATCH OPTIONS] SCRIPT", help="As for sbatch; `-` reads the script from stdin."),
    ],
    format: Annotated[Format, typer.Option("--format", help="What to print.")] = "text",  # noqa: A002
    output: Annotated[Path | None, typer.Option("--output", help="Write to this file instead of stdout.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Choose among this site's node groups.")] = None,
    prices: Annotated[bool, typer.Option("--prices", help="Ask AWS for prices, to tell what it costs.")] = False,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Look at your earlier runs of this name (needs a site).")
    ] = True,
    as_json: site.JsonOption = False,
) -> None:
    """Read a job script as sbatch does and say what it asks of EC2: how its tasks belong together, types, market.

    Without a configuration it chooses among all instance types there are; nothing is submitted or launched.

    Example: asbx analyze -N 4 job.sbatch --format=execution-plan --output=plan.json
    """
    from asbx.daemon.clock import RealClock

    submission = _submission(words)
    settings = _settings(config)
    clock = RealClock()
    found = [
        _advice(submission, settings, index, ask_prices=prices, clock=clock)
        for index in range(len(submission.components))
    ]
    if history and settings is not None:
        found = [
            _with_history(one, submission.components[at], settings, words, clock.now()) for at, one in enumerate(found)
        ]
    shown = "json" if as_json else format
    if shown == "execution-plan":
        if len(found) > 1:
            why = f"it has {len(found)} components, and a plan is for one"
            raise UsageError("plan-components", "a heterogeneous job has no single plan", why, "use --format json")
        text = json.dumps(as_plan(found[0].advice, clock.now(), __version__), indent=2) + "\n"
    elif shown == "json":
        text = json.dumps({"components": [facts_of(one) for one in found]}, indent=2, default=str) + "\n"
    else:
        most = page.width() if output is None else page.UNFOLDED
        text = "".join(_page(one, n, len(found), is_asked=prices, most=most) for n, one in enumerate(found))
    _write(text, output)


@dataclass(frozen=True)
class Judged:
    """Advice, where its candidates come from, and what earlier runs say. likely: (least, most) USD by those."""

    advice: Advice
    group: str
    choice: Site
    past: Expectation | None = None
    likely: tuple[Decimal, Decimal] | None = None


def _submission(words: Sequence[str]) -> Submission:
    """Read the script the words name. Raises UsageError."""
    named = read("#!/bin/sh\n", words, {}).arguments
    wrapped = any(word.startswith("--wrap") for word in words)
    if not named and not wrapped:
        raise UsageError("no-script", "no script is named", "", "asbx analyze job.sbatch; `-` reads it from stdin")
    text = "" if wrapped else script_text(named[0])
    submission = read(text, words, os.environ)
    wrong = mistyped(submission)
    if wrong:
        raise UsageError("option-value", "sbatch would refuse what is typed", "; ".join(wrong), "see man sbatch")
    return submission


def script_text(name: str) -> str:
    """Return a script, that of stdin for `-`. Raises UsageError for what sbatch takes for no script either."""
    try:
        if name == "-":
            body = sys.stdin.buffer.read(SCRIPT_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                body = file.read(SCRIPT_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            "script-unreadable", f"{name} cannot be read", str(error.strerror), "name a job script"
        ) from None
    if len(body) > SCRIPT_MAX_BYTES:
        why = f"it has more than {SCRIPT_MAX_BYTES} bytes; slurmctld takes no such script either"
        raise UsageError("script-too-long", f"{name} is no job script", why, "name a job script")
    if b"\0" in body:
        raise UsageError("script-binary", f"{name} is no job script", "it holds a zero byte", "name a job script")
    return body.decode("utf-8", "replace")


def _settings(path: Path | None) -> Config | None:
    """Return the site's configuration; None where none is named and none is found."""
    try:
        return site.load(path).config
    except ConfigError as error:
        if path is None and error.code == "config-missing":
            return None
        raise


def _advice(submission: Submission, settings: Config | None, index: int, *, ask_prices: bool, clock: Any) -> Judged:
    name, types = _candidates(submission, settings, index)
    mpi = settings.mpi if settings else None
    choice = Site(
        types,
        mpi.hpc_instances_threshold if mpi else 8,
        mpi.placement_group_threshold if mpi else 2,
        {},
        {},
    )
    advice = advise(submission, choice, index)
    if ask_prices and settings is not None:
        names = [one.name for one in advice.types]
        on_demand, spot = _prices(settings, names, clock)
        choice = replace(choice, prices=on_demand, spot_prices=spot)
        advice = advise(submission, choice, index)
    return Judged(advice, name, choice)


def _name_of(stated: Stating, words: Sequence[str]) -> str:
    """Return the job's name: as sbatch has it without one, the script's, `wrap`, or `sbatch` for stdin (sbatch(1))."""
    named = stated.get("job-name")
    if named is not None:
        return named.value
    script = next(iter(read("#!/bin/sh\n", words, {}).arguments), None)
    if script is None:
        return "wrap"
    return "sbatch" if script == "-" else Path(script).name


def _with_history(one: Judged, stated: Stating, settings: Config, words: Sequence[str], now: datetime) -> Judged:
    """Add what earlier runs of the caller's jobs of this name say. The ledger is rarely theirs to read."""
    from asbx.daemon.user_names import user_name
    from asbx.ledger.store import open_ledger
    from asbx.slurm.jobs import SlurmJobs
    from asbx.slurm.process import SlurmCommands

    archive = SlurmJobs(SlurmCommands(settings.slurm.bin_path, settings.slurm.config_path))
    limit = one.advice.geometry.time_limit
    user, name = user_name(os.getuid()), _name_of(stated, words)
    with contextlib.ExitStack() as stack:
        ledger = None
        with contextlib.suppress(LedgerError):
            ledger = stack.enter_context(contextlib.closing(open_ledger(settings.ledger_url, migrate=False)))
        past = Past(ledger, archive, settings, now).of(
            user, name, one.advice.nodes, None if limit == timedelta.max else limit
        )
    if past.shortest is None or past.longest is None:
        return replace(one, past=past)
    ends = [cost_of(one.advice, one.choice, span) for span in (past.shortest, past.longest)]
    told = [end for end in ends if end is not None]
    return replace(one, past=past, likely=(told[0][0], told[-1][1]) if told else None)


def _candidates(submission: Submission, settings: Config | None, index: int) -> tuple[str, Mapping[str, TypeFacts]]:
    """Return (where from, types): those of the job's partition, else all that EC2 sells."""
    from asbx.aws.bundled import bundled

    if settings is None:
        return "all instance types of EC2 (no configuration)", bundled()
    stated = submission.components[index].get("partition")
    wanted = stated.value.split(",") if stated else []
    groups = [(p, g) for p, g in settings.groups() if p.partition_name in wanted]
    groups = groups or ([] if wanted else list(settings.groups()))
    if not groups:
        known = ", ".join(one.partition_name for one in settings.slurm.partitions)
        why = f"the configuration has {known}"
        raise UsageError("partition-unknown", f"partition {','.join(wanted)} does not burst", why, "say --partition")
    names = {name for _, group in groups for name in _names(group)}
    where = ", ".join(dict.fromkeys(f"{p.partition_name}-{g.node_group_name}" for p, g in groups))
    return f"node group(s) {where}", {name: facts for name, facts in bundled().items() if name in names}


def _names(group: NodeGroup) -> list[str]:
    return [override.instance_type for override in group.launch_template_overrides]


def _prices(settings: Config, names: Sequence[str], clock: Any) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Ask AWS what types cost now: on demand, and spot in the cheapest zone. What it does not tell is left out."""
    from asbx.aws.price_list import Ec2PriceList
    from asbx.ports import CloudError

    told = Ec2PriceList(settings.aws, clock)
    on_demand: dict[str, Decimal] = {}
    spot: dict[str, Decimal] = {}
    with contextlib.suppress(CloudError):
        on_demand = {one.instance_type: one.usd for one in told.on_demand(names)}
    with contextlib.suppress(CloudError):
        for one in in_force(told.spot(names, (), clock.now())):
            spot[one.instance_type] = min(spot.get(one.instance_type, one.usd), one.usd)
    return on_demand, spot


# -- saying it


def facts_of(one: Judged) -> dict[str, Any]:
    """Return the judgement on one component, for JSON."""
    advice = one.advice
    asked = advice.geometry
    return {
        "coupling": advice.finding.coupling.value,
        "is_mpi": advice.finding.coupling.value == "mpi",
        "confidence": advice.finding.confidence,
        "library": advice.finding.library or None,
        "evidence": [{"says": e.says.value, "weight": e.weight, "text": e.text} for e in advice.finding.evidence],
        "nodes": advice.nodes,
        "nodes_stated": asked.nodes_stated,
        "tasks": asked.tasks,
        "cpus_per_task": asked.cpus_per_task,
        "tasks_per_node": asked.tasks_per_node or None,
        "memory_mib_per_node": asked.memory_mib or None,
        "memory_mib_per_cpu": asked.memory_per_cpu_mib or None,
        "memory_mib_per_gpu": asked.memory_per_gpu_mib or None,
        "gpus_per_node": asked.gpus_per_node or None,
        "gpus": asked.gpus or None,
        "gpu_type": asked.gpu_type or None,
        "time_limit_seconds": _seconds(asked.time_limit),
        "array_tasks": asked.array_tasks,
        "candidates": one.group,
        "types": [
            {"type": t.name, "nodes": t.need.nodes, "tasks_per_node": t.need.tasks, "unused": t.unused, "efa": t.efa}
            for t in advice.types
        ],
        "purchasing_option": advice.purchase,
        "requires_efa": advice.efa,
        "placement": advice.placement or None,
        "cost_usd": [str(round(amount, 2)) for amount in advice.cost] if advice.cost else None,
        "history": past_facts(one.past),
        "likely_cost_usd": [str(round(amount, 2)) for amount in one.likely] if one.likely else None,
        "reasons": [{"about": r.about, "text": r.text} for r in advice.reasons],
        "notes": list(advice.notes),
    }


def _seconds(limit: timedelta | None) -> float | None:
    return None if limit is None or limit == timedelta.max else limit.total_seconds()


def _page(one: Judged, number: int, count: int, *, is_asked: bool, most: int) -> str:
    advice, asked = one.advice, one.advice.geometry
    rows = [
        ("job", f"{advice.nodes} node(s), {asked.tasks} task(s) of {asked.cpus_per_task} processor(s){_array(advice)}"),
        ("time", "not stated" if asked.time_limit is None else _time(asked.time_limit)),
        ("candidates", one.group),
        *((reason.about, reason.text) for reason in advice.reasons),
        ("cost", _money(advice, is_asked=is_asked)),
        *([("history", one.past.text)] if one.past is not None else []),
        *([("likely", _likely(one.likely))] if one.likely is not None else []),
        *(("note", note) for note in advice.notes),
    ]
    title = f"component {number}\n" if count > 1 else ""
    return title + "".join(f"{line}\n" for line in page.lines(rows, most))


def _array(advice: Advice) -> str:
    asked = advice.geometry
    return f", {asked.array_tasks} times (array)" if asked.array_tasks > 1 else ""


def _time(limit: timedelta) -> str:
    return "no limit" if limit == timedelta.max else str(limit)


def _why_no_cost(advice: Advice, *, is_asked: bool) -> str:
    if advice.geometry.time_limit in (None, timedelta.max):
        return "there is no time limit"
    return "AWS told no price" if is_asked else "no prices were asked for (--prices)"


def _money(advice: Advice, *, is_asked: bool) -> str:
    if advice.cost is None:
        return f"not known: {_why_no_cost(advice, is_asked=is_asked)}"
    least, most = (f"{amount:,.2f}" for amount in advice.cost)
    return f"at most {most} USD" if least == most else f"{least} to {most} USD if it runs to its time limit"


def _likely(ends: tuple[Decimal, Decimal]) -> str:
    return f"{ends[0]:,.2f} to {ends[1]:,.2f} USD if it runs as long as those did"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("output", f"{output} cannot be written", str(error.strerror), "name another file") from None
