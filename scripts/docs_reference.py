"""Write docs/reference/*.md from the code, so that they cannot be wrong. `--check` only compares.

Usage: python scripts/docs_reference.py [--check]
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import sys
import types
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from asbx.aws.permissions import PERMISSIONS, Permission
from asbx.cli.main import COMMANDS, main
from asbx.config.rules import WITHOUT_EFFECT
from asbx.config.schema import Config
from asbx.config.upkeep import Reconcile as ReconcileSection
from asbx.decide.node_state import TABLE, Condition
from asbx.decide.node_state import Row as StateRow
from asbx.decide.reconcile_rules import OURS, RULES, Book, Claim, Cloud, Grace, Rule
from asbx.decide.reports.focus import COLUMNS as FOCUS_COLUMNS
from asbx.decide.reports.focus import VERSION as FOCUS_VERSION
from asbx.decide.sightings import patience
from asbx.errors import ExitCode
from asbx.model import plan as plan_module
from asbx.model.event import EventKind
from asbx.model.plan_environment import VARIABLES
from asbx.model.plan_schema import plan_schema
from asbx.sim.scenario import Scenario
from asbx.telemetry.definitions import COUNTED, READ, Definition
from asbx.telemetry.meanings import MEANINGS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
WIDTH = "100"
NOTE = "<!-- Written by scripts/docs_reference.py from the code; change that. -->\n"

# Where a meaning is not a docstring in the code, it is said here; the checks below keep both in step.
EXIT_MEANINGS = {
    ExitCode.DONE: "done; for `--dry-run`: would succeed",
    ExitCode.USAGE: "the command line cannot be understood",
    ExitCode.CONFIG: "the configuration is missing or invalid",
    ExitCode.PLAN: "the execution plan is invalid, or asks for more than the site allows",
    ExitCode.NO_CAPACITY: "EC2 had no capacity within the deadline",
    ExitCode.BUDGET: "a cost limit or the budget refused",
    ExitCode.AWS_ACCESS: "AWS credentials are missing, expired or lack a permission",
    ExitCode.SLURM: "Slurm cannot be reached or refused",
    ExitCode.PARTLY: "partly done: something was given back or could not be bound",
    ExitCode.LEDGER: "the ledger cannot be read or written",
    ExitCode.INTERNAL: "internal error; the message names a report file",
}
TAGS = {
    "asbx:cluster": "`cluster.name`, or Slurm's ClusterName; nothing without it is ever touched",
    "asbx:partition": "Slurm partition",
    "asbx:nodegroup": "node group of the configuration",
    "asbx:intent": "the launch in the ledger that wanted it",
    "asbx:gang": "the nodes launched together, such as `job-12`",
    "asbx:job": "ids of the jobs it was launched for",
    "asbx:user": "owner of the job, where Slurm told it",
    "asbx:account": "Slurm account of the job",
    "ManagedBy": "`aws-slurm-burst`",
    "asbx:nodes": "set after the launch, once for each EC2 reservation: its node names in launch-index order; "
    "continued in `asbx:nodes.2`, `asbx:nodes.3` ..",
    "asbx:node": "node name, where instances are named one by one",
    "Name": "node name, for people; set when nothing more urgent is to be done",
}


def configuration() -> str:
    """Return the reference of every configuration key."""
    lines = [
        "# Configuration keys",
        "",
        "YAML, by default `/etc/slurm/aws-burst.yaml`; `$ASBX_CONFIG` and `--config` name another file. A variable",
        "`ASBX__SECTION__KEY` replaces one key, list items are counted from 0:",
        "`ASBX__SLURM__PARTITIONS__0__NODE_GROUPS__0__MAX_NODES=8`. Unknown keys are refused. Keys marked *no effect*",
        "are accepted from files of the predecessor and change nothing in this version.",
        "`asbx config explain` shows every value and where it comes from; `asbx config schema` prints JSON Schema.",
        "",
    ]
    for key, model in _sections(Config, ""):
        title = f"`{key}`" if key else "The file"
        lines += [f"## {title}", "", inspect.getdoc(model) or "", ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(key, name, field) for name, field in model.model_fields.items()]
        lines.append("")
    return "\n".join(lines)


def scenario() -> str:
    """Return the reference of every key of a scenario."""
    lines = [
        "# Scenarios",
        "",
        "TOML for `asbx simulate`. Lengths of time are numbers of seconds or texts such as `90s`, `5m`, `2h`, `1.5d`;",
        "where there are two, chance draws one between them. Unknown keys are refused. `examples/scenarios/` has some",
        "to begin with.",
        "",
    ]
    for key, model in _sections(Scenario, ""):
        lines += [f"## {f'`{key}`' if key else 'The file'}", "", inspect.getdoc(model) or "", ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(key, name, field) for name, field in model.model_fields.items()]
        lines.append("")
    return "\n".join(lines)


def commands() -> str:
    """Return the help texts of every command."""
    lines = [
        "# Commands",
        "",
        "Every command answers `--help`, and most print one JSON object with `--json`. Slurm's programs are short",
        "names: `aws-slurm-burst-resume`, `-suspend` and `-resume-fail` are `asbx resume`, `suspend` and `resume-fail`",
        "when given options; `aws-slurm-burst-validate` is `asbx validate`, `aws-slurm-burst-state-manager` is",
        "`asbx reconcile`, `aws-slurm-burst-export-performance` is `asbx export-performance`.",
        "",
    ]
    for name, (module, summary) in COMMANDS.items():
        lines += [f"## asbx {name}", "", summary, "", "```text", _help(name), "```", ""]
        for sub in _subcommands(typer.main.get_command(importlib.import_module(module).app), ()):
            lines += [f"### asbx {name} {' '.join(sub)}", "", "```text", _help(name, *sub), "```", ""]
    return "\n".join(lines)


def exit_codes() -> str:
    """Return the table of exit statuses."""
    assert set(EXIT_MEANINGS) == set(ExitCode)
    lines = [
        "# Exit statuses",
        "",
        "A promise to scripts: a number never changes its meaning. Errors go to standard error as what happened, its",
        'code, why, and what to do; with `--json` as `{"error": {code, what, why, hint}}`.',
        "",
        "| status | meaning |",
        "|---|---|",
        *(f"| {int(code)} | {EXIT_MEANINGS[code]} |" for code in ExitCode),
        "",
    ]
    return "\n".join(lines)


def tags() -> str:
    """Return the table of tags."""
    lines = [
        "# Tags in AWS",
        "",
        "Everything ASBX launches carries these; the first nine are in the CreateFleet call itself: an instance",
        "is never without them. The group's own `tags` come beside them and cannot replace them.",
        "",
        "| tag | value |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in TAGS.items()),
        "",
    ]
    return "\n".join(lines)


def reconcile() -> str:
    """Return the decision table of the sweep, and what node states mean to it."""
    lines = [
        "# What a reconcile pass does",
        "",
        "The first rule that fits counts, and a finding must last its grace, on two looks at least. How that works and",
        "why is in [Reconciling](../explanation/reconcile.md). An empty cell fits anything.",
        "",
        "| rule | Slurm | EC2 | ledger | and | is done | grace | because |",
        "|---|---|---|---|---|---|---|---|",
        *(_rule_row(rule) for rule in RULES),
        "",
        "What is said: {node}, {more} stand for names and details of the case.",
        "",
        "| rule | said |",
        "|---|---|",
        *(f"| `{rule.name}` | {rule.reason} |" for rule in RULES),
        "",
        "## Graces",
        "",
        "| grace | lasts |",
        "|---|---|",
        *(f"| {grace.value} | {_grace(grace)} |" for grace in Grace if grace is not Grace.NONE),
        "",
        "## Node states",
        "",
        "Read from top to bottom: the first row that fits. Flags are subsets; others may be there.",
        "",
        "| is | states | all of | one of | none of | reason | means |",
        "|---|---|---|---|---|---|---|",
        *(_state_row(row) for row in TABLE),
        "",
        "Reasons of Slurm's own or of ASBX, or none, are *Slurm's*; all others are somebody's.",
        "",
    ]
    return "\n".join(lines)


def _rule_row(rule: Rule) -> str:
    claims = [claim.value for claim in Claim if claim in rule.claims]
    claims += [f"not: {claim.value}" for claim in Claim if claim in rule.lacks]
    sides = [_side(kind, picked) for kind, picked in ((Condition, rule.slurm), (Cloud, rule.cloud), (Book, rule.book))]
    return f"| `{rule.name}` | {' | '.join(sides)} | {'; '.join(claims)} | {rule.kind} | {rule.grace} | {rule.why} |"


def _side(kind: type[StrEnum], picked: frozenset[Any]) -> str:
    if picked >= OURS:
        return "a launch of ours"
    return " / ".join(one.value for one in kind if one in picked)


def _grace(grace: Grace) -> str:
    seconds = patience(ReconcileSection()).of(grace).total_seconds()
    return f"{seconds:.0f} s" + (" (`reconcile.orphan_grace_seconds`)" if grace is Grace.ORPHAN else "")


def _state_row(row: StateRow) -> str:
    sets = [", ".join(sorted(one)) for one in (row.states, row.every, row.some, row.none)]
    whose = {True: "Slurm's", False: "somebody's", None: ""}[row.slurms]
    return f"| {row.condition} | {' | '.join(sets)} | {whose} | {row.meaning} |"


PLANS = """\
# Execution plans

A plan is JSON. Two dialects are read into one value: the documented one (it has `execution_metadata`) and the one the
advisor really writes (it has `job_metadata`). Lines of `ASBA_` variables are a third (below).
`null`, `0`, `""`, `[]` and a missing key all mean *not stated*: the node group decides. Unknown keys are
named, not refused. A plan can narrow what the configuration allows, never widen it.
`aws-slurm-burst-validate execution-plan FILE --config CONFIG` says what would be made of a plan, and for each value of
the launch who said so; so do `--dry-run`, and the event `ladder-planned` of a launch (`data.filled`).
`asbx config plan-schema` prints the JSON Schema ([execution-plan.schema.json](execution-plan.schema.json)).

## Where a job's plan comes from

The first of these that there is:

1. `--execution-plan` of the resume program: it counts for every job of that call;
2. the file `<jobid>.json` in `plans/` of `paths.spool`;
3. the file `ID.json` there, where the job says `asbx:plan=ID` in its `--extra` or `--comment` (lower-case letters,
   digits, `-` and `_`);
4. the job's own script, for jobs of several nodes (`analyzer.enabled`): where its tasks depend on each other, its nodes
   come together; types, markets and amounts stay the node group's;
5. the node group.

A file's owner decides what it may say. One of SlurmUser, root or `security.allowed_uids` that nobody else can write to
is an administrator's. One of the job's own user counts too, but can never name another launch template or an instance
profile (`policy.users_plans`). Files of anybody else are passed over. Links, pipes and files of more than a mebibyte
are refused. A job whose plan is refused is held, and told which field, value and rule.

## What a plan may not do

Whatever a plan says is held against the node group and the rules of `policy:` that are about the job's user, account
and partition. User data is refused from anybody: nodes find their names by the launch template's. Security groups and
instance profile may only repeat what the node group says. Another launch template, which holds all of these, needs a
rule that grants it and a plan of an administrator; tags need a rule that grants them.

## Keys

| section | keys |
|---|---|
"""
PLAN_VALUES = """
Durations are whole nanoseconds or Go durations (`2h30m0s`); prices and costs are USD; `max_spot_price` is
per instance and hour; `*_hours` are hours. `should_burst` is the one required key. Limits of cost and time
hold before a launch and while the job runs: [Limit what is spent](../how-to/limits.md).

## Variables

A text of lines `NAME=value` (`export` before it and quotes around the value are allowed) is a plan too. slurmctld gives
its programs no environment, so these reach a launch only in a file.

| variable | key |
|---|---|
"""


def execution_plan() -> str:
    """Return what is read of an execution plan, and where it comes from."""
    keys = [
        f"| {f'`{section}`' if section else 'top'} | {', '.join(f'`{key}`' for key in keys.split())} |"
        for section, keys in plan_module.KEYS.items()
    ]
    variables = [f"| `{name}` | `{f'{at}.{key}' if at else key}` |" for name, (at, key, _) in VARIABLES.items()]
    return PLANS + "\n".join([*keys, ""]) + PLAN_VALUES + "\n".join([*variables, ""])


def permissions() -> str:
    """Return the table of what is asked of AWS."""
    rows: dict[str, list[Permission]] = {}
    for one in PERMISSIONS:
        rows.setdefault(one.action, []).append(one)
    lines = [
        "# Permissions in AWS",
        "",
        "Every action ASBX needs, what for, and what happens without it. `asbx iam policy` prints those that a",
        "configuration needs as a policy ([how to](../how-to/iam.md)). Tests hold this list and the calls in the code",
        "together. *asked by EC2*: we do not call it, EC2 asks for it on behalf of a call of ours.",
        "",
        "| action | on | what for | without |",
        "|---|---|---|---|",
    ]
    for action, ones in rows.items():
        asked = "" if all(one.called for one in ones) else " (asked by EC2)"
        scopes = "; ".join(dict.fromkeys(one.scope.value for one in ones))
        why = "; ".join(dict.fromkeys(one.why for one in ones))
        without = "; ".join(dict.fromkeys(one.without for one in ones))
        lines.append(f"| `{action}`{asked} | {scopes} | {why} | {without} |")
    return "\n".join([*lines, ""])


def metrics() -> str:
    """Return the table of metrics."""
    lines = [
        "# Metrics",
        "",
        "The daemon serves these at `/metrics` of `telemetry.listen`, by default `http://127.0.0.1:9815/metrics`,",
        "beside Prometheus' own `process_*`. Labels hold what configuration and code bound: groups, types, zones,",
        "codes; never a job, a node or an instance. `asbx events` tells of those.",
        "What is counted begins at zero with each start of the daemon. What is read comes from the ledger, asked every",
        "few seconds at most, and from the last look at Slurm: a scrape starts no process and asks EC2 nothing.",
        "",
        *_metric_table("Counted", COUNTED),
        *_metric_table("Read", READ),
        "Interruptions, boot failures and everything else that happens are in `asbx_events_total` by kind; see",
        "[Events](events.md).",
        "",
    ]
    return "\n".join(lines)


def _metric_table(title: str, rows: tuple[Definition, ...]) -> list[str]:
    table = [f"## {title}", "", "| name | type | labels | meaning |", "|---|---|---|---|"]
    for one in rows:
        labels = ", ".join(f"`{label}`" for label in one.labels) or "-"
        table.append(f"| `{one.name}` | {one.kind} | {labels} | {one.meaning} |")
    return [*table, ""]


def events() -> str:
    """Return the table of events."""
    assert set(MEANINGS) == set(EventKind), "each kind of event has its meaning in telemetry/meanings.py"
    lines = [
        "# Events",
        "",
        "Whatever happens is one event: a line of JSON in the log (`logging.file`), a row in the ledger",
        "(`asbx events`), and one more in `asbx_events_total`. Times are UTC.",
        "",
        "| key | what |",
        "|---|---|",
        "| `at`, `level`, `event`, `text` | when, how important, the kind below, a sentence for people |",
        "| `request_id` | the call of Slurm's program, as its spool file was named |",
        "| `gang_id` | the nodes launched together, such as `job-12`; the tag `asbx:gang` |",
        "| `intent_id` | the launch in the ledger; the tag `asbx:intent` of its instances |",
        "| `job_id`, `jobs` | the job where there is one, and all of them always |",
        "| `node`, `instance_id` | where the event is about one |",
        "| `data` | further facts of the kind |",
        "",
        "Every event of a launch names its request, gang, intent and jobs, and so do those that end its instances,",
        "whoever ends them: `asbx events --job 12` follows a job from Slurm's call to the end of its last instance.",
        "",
        "| kind | level | meaning |",
        "|---|---|---|",
        *(f"| `{kind}` | {', '.join(MEANINGS[kind].levels)} | {MEANINGS[kind].text} |" for kind in EventKind),
        "",
    ]
    return "\n".join(lines)


def focus() -> str:
    """Return what each column of a FOCUS export holds."""
    lines = [
        "# Columns of FOCUS exports",
        "",
        f"`asbx cost --format focus` writes the columns of FOCUS {FOCUS_VERSION} in this order. An empty cell is null;",
        "times are UTC, amounts exact decimals. [How it is used](../how-to/cost-reports.md), and what is not claimed.",
        "",
        "| column | holds |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in FOCUS_COLUMNS.items()),
        "",
    ]
    return "\n".join(lines)


PAGES = {
    "permissions.md": permissions,
    "configuration.md": configuration,
    "commands.md": commands,
    "exit-codes.md": exit_codes,
    "tags.md": tags,
    "execution-plan.md": execution_plan,
    "scenario.md": scenario,
    "reconcile.md": reconcile,
    "metrics.md": metrics,
    "events.md": events,
    "focus.md": focus,
}


def plan_schema_text() -> str:
    """Return the JSON Schema of execution plans, as the command prints it."""
    return json.dumps(plan_schema(), indent=2) + "\n"


def pages() -> dict[str, str]:
    """Return every generated page by file name."""
    made = {}
    for name, make in PAGES.items():
        title, rest = make().split("\n", 1)
        made[name] = f"{title}\n\n{NOTE}{rest}".rstrip() + "\n"
    return made | {"execution-plan.schema.json": plan_schema_text()}


def stale() -> list[str]:
    """Return the pages whose file is not what the code says."""
    return [
        name
        for name, text in pages().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]


def _sections(model: type[BaseModel], key: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield key, model
    for name, field in model.model_fields.items():
        inner, is_list = _model_in(field.annotation)
        if inner is not None:
            yield from _sections(inner, f"{key}.{name}".lstrip(".") + ("[]" if is_list else ""))


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        for argument in get_args(annotation):
            inner, _ = _model_in(argument)
            if inner is not None:
                return inner, get_origin(annotation) is tuple
    return None, False


def _row(section: str, name: str, field: FieldInfo) -> str:
    key = tuple(part for part in (*section.split("."), name) if part)
    meaning = " ".join((field.description or "").split())
    if key in WITHOUT_EFFECT:
        meaning += f" *No effect: {WITHOUT_EFFECT[key]}.*"
    return f"| `{name}` | {_type(field)} | {_default(field)} | {meaning} |".replace("\n", " ")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default if field.default is not PydanticUndefined else None
    if value is None or value in ("", ()) or isinstance(value, BaseModel) or field.default_factory is not None:
        return "-"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: FieldInfo) -> str:
    inner, is_list = _model_in(field.annotation)
    if inner is not None:
        return "list of sections" if is_list else "section"
    if any(isinstance(one, BeforeValidator) for one in field.metadata):
        return "length of time"
    return _type_name(field.annotation)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_length = any(isinstance(one, BeforeValidator) for one in arguments[1:])
        return "length of time" if is_length else _type_name(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return "map"
    if origin in (Union, types.UnionType):
        names = [_type_name(argument) for argument in arguments if argument is not type(None)]
        return names[0] if len(set(names)) == 1 or origin is Union else " or ".join(dict.fromkeys(names))
    plain: dict[Any, str] = {str: "text", int: "whole number", bool: "true or false", Path: "path"}
    return plain.get(annotation, "number")


def _help(*words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main([*words, "--help"])
    return out.getvalue().strip()


def _subcommands(command: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield (*above, name)
        yield from _subcommands(inner, (*above, name))


def run() -> int:
    """Write the pages, or with --check say which are stale."""
    os.environ["COLUMNS"] = WIDTH
    if "--check" in sys.argv[1:]:
        old = stale()
        for name in old:
            print(f"docs/reference/{name} is not what the code says; run scripts/docs_reference.py")
        return 1 if old else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run())
