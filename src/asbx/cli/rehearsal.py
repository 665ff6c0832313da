"""`--dry-run`: the same decisions as the real thing, with nothing behind the doors."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import typer

from asbx.aws import requests
from asbx.aws.bundled import bundled
from asbx.cli import site
from asbx.config.load import LoadedConfig
from asbx.decide.intake import Intake, intake
from asbx.decide.rungs import Choice, choose
from asbx.decide.tags import launch_tags
from asbx.errors import ExitCode
from asbx.hooks import spool
from asbx.model.catalogue import TypeFacts
from asbx.model.gang import Gang, Part
from asbx.model.hostlist import expand, fold, unique_sorted
from asbx.model.job import Request
from asbx.model.market import FleetOrder
from asbx.model.plan import ExecutionPlan, parse_plan
from asbx.model.record import Intent
from asbx.slurm.inbox import read_request

_SOURCE = "bundled catalogue of instance types; neither EC2 nor Slurm was asked"


def rehearse_resume(loaded: LoadedConfig, nodes: str, plan_text: str | None, *, as_json: bool) -> int:
    """Show gangs, choices and the CreateFleet calls that would be made. Return the exit status it would have."""
    expand(nodes)  # a person's typing error is told as such; Slurm's hooks take it more patiently
    request = read_request("dry-run", spool.request("resume", [nodes], dict(os.environ), plan_text), datetime.now(UTC))
    plan = parse_plan(plan_text) if plan_text else None
    sorted_out = intake(loaded.config, request, {}, together=plan is not None and plan.is_gang)
    launches = (
        [_launch(loaded, request, gang, part, plan) for gang in sorted_out.gangs for part in gang.parts]
        if plan is None or plan.should_burst
        else []
    )
    facts = {
        "dry_run": True,
        "configuration": str(loaded.path),
        "source": _SOURCE,
        "launches": launches,
        "refused": dict(sorted_out.refused),
        "notes": [*request.notes, *_plan_notes(plan)],
    }
    if as_json:
        site.show(facts)
    else:
        _tell(facts, sorted_out)
    return int(_status(sorted_out))


def _status(sorted_out: Intake) -> ExitCode:
    if not sorted_out.refused:
        return ExitCode.DONE
    return ExitCode.PARTLY if sorted_out.gangs else ExitCode.USAGE


def _plan_notes(plan: ExecutionPlan | None) -> list[str]:
    if plan is None:
        return []
    if not plan.should_burst:
        return ["the plan says should_burst=false: nothing would be launched, the nodes would be given back"]
    return []


def _launch(
    loaded: LoadedConfig, request: Request, gang: Gang, part: Part, plan: ExecutionPlan | None
) -> dict[str, Any]:
    group = loaded.config.group(part.group)
    assert group is not None, part.group  # the intake refused nodes without a group
    choice = choose(group, plan, together=gang.whole and len(gang.nodes) > 1)
    intent = Intent(
        "dry-run",
        request.request_id,
        gang.gang_id,
        gang.jobs,
        part.group,
        part.nodes,
        gang.user,
        gang.account,
        datetime.now(UTC),
    )
    tags = launch_tags(loaded.config, group, intent)
    types = {pool.instance_type for rung in choice.rungs for pool in rung.pools}
    catalogue = bundled()
    return {
        "gang": gang.gang_id,
        "whole": gang.whole,
        "group": str(part.group),
        "nodes": fold(part.nodes),
        "count": len(part.nodes),
        "notes": list(choice.notes),
        "types": {name: _facts(catalogue.get(name)) for name in sorted(types)},
        "calls": [requests.create_fleet(order) for order in _orders(choice, len(part.nodes), gang, tags)],
    }


def _orders(choice: Choice, count: int, gang: Gang, tags: tuple[tuple[str, str], ...]) -> list[FleetOrder]:
    least = count if gang.whole and count > 1 else 0
    return [
        FleetOrder(
            "dry-run",
            rung.market,
            count,
            least,
            rung.pools,
            rung.template,
            tags,
            rung.strategy,
            rung.single_zone and count > 1,
        )
        for rung in choice.rungs
    ]


def _facts(facts: TypeFacts | None) -> dict[str, Any] | None:
    return None if facts is None else {"vcpus": facts.vcpus, "memory_mib": facts.memory_mib, "efa": facts.efa}


def _tell(facts: dict[str, Any], sorted_out: Intake) -> None:
    typer.echo(f"dry run with {facts['configuration']} ({facts['source']})")
    for launch in facts["launches"]:
        kind = "all or none" if launch["whole"] else "each for itself"
        typer.echo(f"\n{launch['nodes']}  {launch['count']} node(s) of group {launch['group']}, {kind}")
        for name, known in launch["types"].items():
            size = f"{known['vcpus']} vCPU, {known['memory_mib'] // 1024} GiB" if known else "not in the catalogue"
            typer.echo(f"  {name:<16} {size}{', EFA' if known and known['efa'] else ''}")
        for number, call in enumerate(launch["calls"], 1):
            market = call["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
            pools = call["LaunchTemplateConfigs"][0]["Overrides"]
            zones = len({pool["SubnetId"] for pool in pools})
            typer.echo(
                f"  {number}. CreateFleet: {launch['count']} {market}, {len(pools)} pool(s) in {zones} subnet(s)"
            )
        for note in launch["notes"]:
            typer.echo(f"  note: {note}")
    reasons: dict[str, list[str]] = {}
    for node, why in sorted_out.refused:
        reasons.setdefault(why, []).append(node)
    for why, nodes in reasons.items():
        typer.echo(f"refused {fold(unique_sorted(nodes))}: {why}")
    for note in facts["notes"]:
        typer.echo(f"note: {note}")
    typer.echo("\nnothing was launched")


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
