"""`--dry-run`: the same decisions as the real thing, with nothing behind the doors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import typer

from asbx.aws import requests
from asbx.aws.bundled import bundled
from asbx.cli import site
from asbx.cli.trial import trial
from asbx.config.limits import FLEET_MAX_NODES
from asbx.config.load import LoadedConfig
from asbx.config.schema import Config
from asbx.decide.filling import as_data
from asbx.decide.intake import Intake, intake
from asbx.decide.ladder import GiveUp
from asbx.decide.place import group_name, template_name
from asbx.decide.policy import Who
from asbx.decide.rungs import Choice, Rung
from asbx.decide.tags import launch_tags
from asbx.errors import ExitCode
from asbx.flow.outcome import Failure
from asbx.flow.plan import job_hints
from asbx.hooks import spool
from asbx.model.catalogue import TypeFacts
from asbx.model.gang import Gang, Part
from asbx.model.hostlist import expand, fold, unique_sorted
from asbx.model.job import Request
from asbx.model.market import FleetOrder, Pool, Template
from asbx.model.plan import ExecutionPlan, Origin, parse_plan
from asbx.model.record import Intent
from asbx.slurm.inbox import read_request

_ORIGIN = Origin("--execution-plan", privileged=True)
_SOURCE = "bundled catalogue of instance types; neither EC2 nor Slurm was asked"


def rehearse_resume(loaded: LoadedConfig, nodes: str, plan_text: str | None, *, as_json: bool) -> int:
    """Show gangs, choices and the CreateFleet calls that would be made. Return the exit status it would have."""
    expand(nodes)  # a person's typing error is told as such; Slurm's hooks take it more patiently
    request = read_request("dry-run", spool.request("resume", [nodes], dict(os.environ), plan_text), datetime.now(UTC))
    plan = parse_plan(plan_text) if plan_text else None
    sorted_out = intake(loaded.config, request, {}, together=plan is not None and plan.is_gang)
    found = (
        [_launch(loaded, request, gang, part, plan) for gang in sorted_out.gangs for part in gang.parts]
        if plan is None or plan.should_burst
        else []
    )
    launches = [facts for facts, _ in found]
    facts = {
        "dry_run": True,
        "configuration": str(loaded.path),
        "source": _SOURCE,
        "plan": None if plan is None else {"dialect": plan.dialect, "unknown": list(plan.unknown)},
        "launches": launches,
        "refused": dict(sorted_out.refused),
        "notes": [*request.notes, *_plan_notes(plan)],
    }
    if as_json:
        site.show(facts)
    else:
        _tell(facts, sorted_out)
    return int(_status(sorted_out, [failure for _, failure in found]))


def _status(sorted_out: Intake, failures: Sequence[Failure | None]) -> ExitCode:
    """Return what the real thing would: of a launch that could ask EC2 nothing, the reason of the first."""
    first = next((one for one in failures if one is not None), None)
    if sorted_out.refused:
        return ExitCode.PARTLY if sorted_out.gangs else ExitCode.USAGE
    if first is None:
        return ExitCode.DONE
    return first.exit_code if all(failures) else ExitCode.PARTLY


def _failure(choice: Choice) -> Failure | None:
    if choice.rungs or not choice.dropped:
        return None
    first = choice.dropped[0]
    return Failure.of_ladder(GiveUp(first.code, str(first), first.verdict))


def _plan_notes(plan: ExecutionPlan | None) -> list[str]:
    if plan is None:
        return []
    if not plan.should_burst:
        return ["the plan says should_burst=false: nothing would be launched, the nodes would be given back"]
    return []


def _launch(
    loaded: LoadedConfig, request: Request, gang: Gang, part: Part, plan: ExecutionPlan | None
) -> tuple[dict[str, Any], Failure | None]:
    """Return a launch for machines, and why nothing of it would be asked of EC2."""
    config, now = loaded.config, datetime.now(UTC)
    hints = job_hints({job.job_id: job for job in request.jobs}, {}, gang.asking[:1])
    size = max(gang.size, len(gang.nodes)) if gang.whole else 1
    user, account = (gang.user, gang.account) if gang.jobs else (None, None)
    who = Who(part.group, user, account, gang.jobs, size)
    tried = trial(config, who, plan, hints, len(part.nodes), origin=_ORIGIN, now=now)
    want, choice, group = tried.want, tried.choice, tried.judged.group
    intent = Intent(
        "dry-run",
        request.request_id,
        gang.gang_id,
        gang.jobs,
        part.group,
        part.nodes,
        gang.user,
        gang.account,
        now,
    )
    tags = launch_tags(config, group, intent, tried.judged.tags)
    types = {pool.instance_type for rung in choice.rungs for pool in rung.pools}
    catalogue = bundled()
    facts = {
        "gang": gang.gang_id,
        "whole": want.whole,
        "group": str(part.group),
        "nodes": fold(part.nodes),
        "count": len(part.nodes),
        "notes": [*tried.judged.notes, *choice.notes, *([f"estimate: {tried.estimate}"] if tried.estimate else [])],
        "filled": as_data(tried.filled),
        "estimate": tried.estimate,
        "rules": list(tried.judged.rules),
        "considered": list(choice.considered),
        "dropped": [{"what": one.what, "why": one.why, "code": one.code} for one in choice.dropped],
        "types": {name: _facts(catalogue.get(name)) for name in sorted(types)},
        "calls": [requests.create_fleet(order) for order in _orders(config, choice, gang, part, want.whole, tags)],
    }
    return facts, _failure(choice)


def _orders(
    config: Config, choice: Choice, gang: Gang, part: Part, whole: bool, tags: tuple[tuple[str, str], ...]
) -> list[FleetOrder]:
    count = min(len(part.nodes), FLEET_MAX_NODES)
    return [
        FleetOrder(
            "dry-run",
            rung.market,
            count,
            count if whole and count > 1 and (rung.single_zone or rung.single_type) else 0,
            tuple(_with_template(config, rung, pool) for pool in rung.pools),
            rung.template,
            tags,
            rung.strategy,
            rung.single_zone and count > 1,
            rung.single_type and count > 1,
            rung.group_name or (group_name(config.cluster.name, gang.gang_id, "dry-run") if rung.placement else ""),
            rung.reservation,
            rung.open_reservations,
        )
        for rung in choice.rungs
    ]


def _with_template(config: Config, rung: Rung, pool: Pool) -> Pool:
    change = rung.change(pool.instance_type)
    if change is None:
        return pool
    name = template_name(config.cluster.name, repr(rung.template), repr(change))
    return replace(pool, template=Template(name=name, version="1"))


def _facts(facts: TypeFacts | None) -> dict[str, Any] | None:
    return None if facts is None else {"vcpus": facts.vcpus, "memory_mib": facts.memory_mib, "efa": facts.efa}


def _tell(facts: dict[str, Any], sorted_out: Intake) -> None:
    typer.echo(f"dry run with {facts['configuration']} ({facts['source']})")
    for launch in facts["launches"]:
        for line in _lines(launch, has_plan=bool(facts["plan"])):
            typer.echo(line)
    reasons: dict[str, list[str]] = {}
    for node, why in sorted_out.refused:
        reasons.setdefault(why, []).append(node)
    for why, nodes in reasons.items():
        typer.echo(f"refused {fold(unique_sorted(nodes))}: {why}")
    for note in facts["notes"]:
        typer.echo(f"note: {note}")
    typer.echo("\nnothing was launched")


def _lines(launch: dict[str, Any], *, has_plan: bool) -> Iterator[str]:
    kind = "all or none" if launch["whole"] else "each for itself"
    yield f"\n{launch['nodes']}  {launch['count']} node(s) of group {launch['group']}, {kind}"
    for name, known in launch["types"].items():
        size = f"{known['vcpus']} vCPU, {known['memory_mib'] // 1024} GiB" if known else "not in the catalogue"
        yield f"  {name:<16} {size}{', EFA' if known and known['efa'] else ''}"
    for number, call in enumerate(launch["calls"], 1):
        yield f"  {number}. CreateFleet: {launch['count']} {_call(call)}"
    if not launch["calls"]:
        yield "  nothing would be asked of EC2"
    for one in launch["dropped"]:
        yield f"  not asked: {one['what']}: {one['why']}"
    for row in launch["filled"] if has_plan else ():
        yield f"  {row['field']}: {row['value'] or 'none'} ({row['source']})"
    for note in launch["notes"]:
        yield f"  note: {note}"


def _call(call: dict[str, Any]) -> str:
    """Return a CreateFleet as a person reads it."""
    market = call["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
    pools = [pool for config in call["LaunchTemplateConfigs"] for pool in config["Overrides"]]
    subnets = len({pool["SubnetId"] for pool in pools})
    options = call.get("SpotOptions" if market == "spot" else "OnDemandOptions", {})
    words = (("SingleInstanceType", "one type"), ("SingleAvailabilityZone", "one zone"))
    same = " and ".join(word for key, word in words if options.get(key))
    group = next((pool["Placement"]["GroupName"] for pool in pools if "Placement" in pool), "")
    specs = [config["LaunchTemplateSpecification"] for config in call["LaunchTemplateConfigs"]]
    names = [spec.get("LaunchTemplateName", "") for spec in specs]
    parts = [
        f"{market} from {len(pools)} pool(s) in {subnets} subnet(s)",
        *([f"all of {same}"] if same else []),
        *([f"in placement group {group}"] if group else []),
        *(["with a network layout of their own"] if any(name.startswith("asbx-") for name in names) else []),
    ]
    return ", ".join(parts)


def rehearse_suspend(loaded: LoadedConfig, nodes: str, *, as_json: bool) -> int:
    """Show which instances the ledger knows behind these nodes."""
    from asbx.ledger.store import open_ledger

    names = expand(nodes)
    bindings = open_ledger(loaded.config.ledger_url).live_bindings(names)
    behind = {binding.node: binding.instance_id for binding in bindings}
    if as_json:
        site.show({"dry_run": True, "would_end": behind, "without_instance": sorted(set(names) - set(behind))})
    else:
        for node, instance in behind.items():
            typer.echo(f"would end {instance} behind {node}")
        typer.echo(f"{len(names) - len(behind)} of {len(names)} node(s) have no instance; nothing was ended")
    return 0
