"""`asbx validate`, `aws-slurm-burst-validate`: say whether a file is usable and what it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from asbx.cli import integration, site
from asbx.cli.trial import trial
from asbx.config.limits import PLAN_MAX_BYTES
from asbx.config.load import LoadedConfig
from asbx.config.problem import InvalidConfigError
from asbx.daemon.guard import examine, refuse
from asbx.decide.filling import as_data
from asbx.decide.hints import JobHints
from asbx.decide.policy import Who
from asbx.decide.rungs import Choice
from asbx.errors import AsbxError, LimitError, PlanError
from asbx.model.names import GroupName
from asbx.model.plan import ExecutionPlan, Origin, parse_plan

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
app.command()(integration.integration)


@app.command()
def config(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Configuration; else the usual search.")] = None,
    as_json: site.JsonOption = False,
) -> None:
    """Check a configuration: every problem with file, line and key, and who else could write the daemon's folders.

    Exit status 3 when it is not usable.

    Example: aws-slurm-burst-validate config examples/config.yaml
    """
    try:
        loaded = site.load(file)
        dangers = examine(loaded.config, loaded.path)
        refuse([danger for danger in dangers if danger.is_fatal])
    except AsbxError as error:
        if not as_json and not isinstance(error, InvalidConfigError):
            raise
        problems = error.problems if isinstance(error, InvalidConfigError) else (f"{error.what} {error.why}".strip(),)
        _refused("config", file, problems, error, as_json=as_json)
        raise typer.Exit(error.exit_code) from error
    facts = [f"{loaded.path} is YAML, and every key is known", *_config_facts(loaded)]
    told = [f"{danger}; {danger.hint}" for danger in dangers]
    _fine("config", loaded.path, facts, [*loaded.warnings, *told], as_json=as_json)


@app.command("execution-plan")
def execution_plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Execution plan (JSON).")],
    config: site.ConfigOption = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Judge it as a plan this user has left for a job of their own.")
    ] = None,
    account: Annotated[str | None, typer.Option("--account", help="The job's Slurm account, for the policy.")] = None,
    as_json: site.JsonOption = False,
) -> None:
    """Check an execution plan; with --config also which node groups could serve it, and where each value comes from.

    Exit status 4 when none could, or it is not valid.

    Example: aws-slurm-burst-validate execution-plan plan.json --config config.yaml
    """
    filled: dict[str, list[dict[str, str]]] = {}
    try:
        plan = parse_plan(_read_plan(file))
        facts = [f"{file} is an execution plan ({plan.dialect} dialect)", *_plan_facts(plan)]
        warnings = list(_plan_warnings(plan))
        if config is not None:
            facts += _serving(plan, site.load(config), warnings, filled, (user, account))
    except PlanError as error:
        _refused("execution-plan", file, (error.why or error.what,), error, as_json=as_json)
        raise typer.Exit(error.exit_code) from error
    _fine("execution-plan", file, facts, warnings, as_json=as_json, filled=filled)


def _config_facts(loaded: LoadedConfig) -> Iterator[str]:
    settings = loaded.config
    method = settings.aws.authentication_method
    yield f"AWS region {settings.aws.region}, credentials: {'the usual chain' if method == 'default' else method}"
    for partition, group in settings.groups():
        types = [override.instance_type for override in group.launch_template_overrides]
        spec = group.launch_template_specification
        yield (
            f"{partition.node_range(group)}: {group.max_nodes} nodes, {group.purchasing_option}, {', '.join(types)}, "
            f"{len(group.subnet_ids)} subnet(s), template {spec.launch_template_id or spec.launch_template_name}"
        )

    if settings.prices.file is not None:
        from asbx.aws.price_file import read_table

        table = read_table(settings.prices.file, settings.aws.region)
        dated = f"{min(one.since for one in table):%Y-%m-%d}, " if table else ""
        yield f"prices where AWS tells none: {settings.prices.file}, {dated}{len(table)} price(s)"


def _plan_facts(plan: ExecutionPlan) -> Iterator[str]:
    if not plan.should_burst:
        yield "it says not to burst: nodes asked for with it are given back"
        return
    yield f"types: {', '.join(plan.instance_types) or 'those of the node group'}"
    price = f", at most {plan.max_spot_price} USD an hour and instance on spot" if plan.max_spot_price else ""
    yield f"markets: {', then '.join(plan.markets) or 'those of the node group'}{price}"
    if plan.subnet_ids or plan.zones:
        yield f"places: {', '.join((*plan.subnet_ids, *plan.zones))}"
    shape = [
        "all nodes or none" if plan.is_gang else "",
        "EFA" if plan.needs_efa else "",
        f"placement {plan.placement}" if plan.placement else "",
        "one zone" if plan.single_zone else "",
    ]
    if any(shape):
        yield f"launch: {', '.join(word for word in shape if word)}"
    limits = [
        f"{plan.max_total_cost} USD in total" if plan.max_total_cost else "",
        f"{plan.max_cost_per_hour} USD an hour" if plan.max_cost_per_hour else "",
        f"{plan.max_duration} of run time" if plan.max_duration else "",
        f"stopped after {plan.auto_terminate}" if plan.auto_terminate else "",
        f"told at {plan.cost_alert} USD" if plan.cost_alert else "",
    ]
    if any(limits):
        yield f"limits: {', '.join(word for word in limits if word)}"


def _plan_warnings(plan: ExecutionPlan) -> Iterator[str]:
    from asbx.aws.bundled import bundled

    known = bundled()
    for name in plan.instance_types:
        if name not in known:
            yield f"{name} is not in the bundled catalogue of instance types"
        elif plan.needs_efa and not known[name].efa:
            yield f"{name} has no EFA, which the plan requires"
    for key in plan.privileged:
        yield f"{key} is a site's to decide: a plan may only repeat what the node group says"
    if plan.unknown:
        yield f"unknown keys, not read: {', '.join(plan.unknown)}"


def _serving(
    plan: ExecutionPlan,
    loaded: LoadedConfig,
    warnings: list[str],
    filled: dict[str, list[dict[str, str]]],
    whose: tuple[str | None, str | None],
) -> list[str]:
    """Say what each node group would make of the plan, by the decision a launch takes.

    filled: gets group -> each value and who said so, of the groups that could serve it. whose: user and account.

    Raises PlanError (`plan-refused`) when no group may serve it.
    """
    if not plan.should_burst:
        return []
    choices: dict[str, Choice] = {}
    refusals: list[str] = []
    told: list[str] = []
    limited = True
    for partition, group in loaded.config.groups():
        name = f"{partition.partition_name}-{group.node_group_name}"
        try:
            size = plan.node_count or (2 if plan.is_gang else 1)
            who = Who(GroupName(partition.partition_name, group.node_group_name), *whose, size=size)
            tried = trial(loaded.config, who, plan, JobHints(), size, origin=_origin(whose[0]))
            choice = replace(tried.choice, notes=(*tried.judged.notes, *tried.choice.notes))
        except PlanError as error:
            limited = limited and isinstance(error, LimitError)
            refusals.append(f"{name}: {error.why or error.what}")
            continue
        if choice.rungs:
            choices[name] = choice
            told += [f"{name}: estimate: {tried.estimate}"] if tried.estimate else []
            filled[name] = as_data(tried.filled)
        else:
            limited = False
            refusals.append(f"{name}: {'; '.join(str(one) for one in choice.dropped)}")
    if not choices and limited:
        raise LimitError("limit-refused", "no node group may serve this plan within the limits", "; ".join(refusals))
    if not choices:
        raise PlanError(
            "plan-refused",
            "no node group may serve this plan",
            "; ".join(refusals),
            "a plan can narrow what the configuration allows, never widen it",
        )
    everywhere = set.intersection(*(set(choice.notes) for choice in choices.values()))
    first = next(iter(choices.values()))
    warnings.extend(note for note in first.notes if note in everywhere)
    own = {name: [note for note in choice.notes if note not in everywhere] for name, choice in choices.items()}
    serving = [_offer(name, choices[name]) for name, notes in own.items() if not notes]
    if not serving:  # what other groups would make of it matters only where none takes it as it is
        warnings.extend(f"node group {name}: {note}" for name, notes in own.items() for note in notes)
    return [*serving, *told]


def _origin(user: str | None) -> Origin:
    return Origin("--execution-plan", privileged=True) if user is None else Origin(f"a file of user {user}")


def _offer(name: str, choice: Choice) -> str:
    types = dict.fromkeys(pool.instance_type for rung in choice.rungs for pool in rung.pools)
    markets = ", then ".join(dict.fromkeys(rung.market for rung in choice.rungs))
    return f"node group {name} can serve it: {', '.join(types)}; {markets}"


def _read_plan(path: Path) -> str:
    """Return the text of a plan. Raises PlanError (`plan-unreadable`)."""
    try:
        if path.exists() and not path.is_file():
            raise PlanError("plan-unreadable", f"cannot read {path}", "it is not a regular file")
        with path.open("rb") as file:
            content = file.read(PLAN_MAX_BYTES + 1)
        if len(content) > PLAN_MAX_BYTES:
            raise PlanError("plan-unreadable", f"cannot read {path}", f"it is larger than {PLAN_MAX_BYTES} bytes")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError("plan-unreadable", f"cannot read {path}", "it is not UTF-8 text") from error
    except OSError as error:
        raise PlanError("plan-unreadable", f"cannot read {path}", error.strerror or str(error)) from error


def _fine(
    kind: str,
    path: Path,
    facts: Iterable[str],
    warnings: Iterable[str],
    *,
    as_json: bool,
    filled: Mapping[str, list[dict[str, str]]] | None = None,
) -> None:
    facts, warnings = list(facts), list(warnings)
    if as_json:
        more = {} if filled is None else {"filled": filled}
        site.show({"kind": kind, "path": str(path), "valid": True, "facts": facts, "warnings": warnings, **more})
        return
    for fact in facts:
        typer.echo(f"{site.mark(ok=True)} {fact}")
    for name, rows in (filled or {}).items():
        typer.echo(f"  launched by {name}:")
        for row in rows:
            typer.echo(f"    {row['field']}: {row['value'] or 'none'} ({row['source']})")
    for warning in warnings:
        typer.echo(f"! {warning}")
    count = f"{len(warnings)} warning(s)" if warnings else "no warnings"
    typer.echo(f"usable, {count}")


def _refused(kind: str, path: Path | None, problems: Iterable[str], error: AsbxError, *, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = {"kind": kind, "path": str(path or ""), "valid": False, "problems": list(problems)}
        site.show({**facts, "error": error.as_dict()})
        return
    site.warn(f"error: {error.what} [{error.code}]")
    for problem in problems:
        if problem != error.what:
            site.warn(f"  {site.mark(ok=False)} {problem}")
    if error.hint:
        site.warn(f"  do: {error.hint}")
