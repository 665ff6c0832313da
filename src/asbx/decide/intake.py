"""From a request to gangs: which nodes come up together, which are loose, which cannot be ours.

A job of several nodes is a gang and must be whole. Single-node jobs and nodes nobody named a job for are loose: they
are launched together by group (and by user and account, so that the tags in the launch call are true for each of them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asbx.config.schema import Config
from asbx.model.gang import Gang, Part
from asbx.model.hostlist import unique_sorted
from asbx.model.job import JobAsk, JobFacts, Request
from asbx.model.names import GroupName, parse_node_name

# What the ids of loose gangs begin with; a restart tells them from whole gangs by it.
LOOSE = "loose-"


@dataclass(frozen=True)
class Intake:
    """gangs: in the order to launch them. refused: nodes that cannot be ours, and why.

    jobs_of: node -> jobs that wait for it (cost is shared among them).
    """

    gangs: tuple[Gang, ...]
    refused: tuple[tuple[str, str], ...]
    jobs_of: dict[str, tuple[int, ...]]


def refusal(config: Config, node: str) -> str | None:
    """Return why a node cannot be ours, or None."""
    name = parse_node_name(node)
    if name is None:
        return "its name is not <partition>-<nodegroup>-<number>"
    group = config.group(name.group)
    if group is None:
        return f"the configuration has no node group {name.group.group!r} in partition {name.group.partition!r}"
    if not group.first_number <= name.number < group.first_number + group.max_nodes:
        last = group.first_number + group.max_nodes - 1
        return f"group {name.group} has the numbers {group.first_number} to {last}"
    return None


def intake(
    config: Config,
    request: Request,
    facts: Mapping[int, JobFacts],
    unknown: Mapping[str, str] | None = None,
    *,
    together: bool = False,
) -> Intake:
    """Sort the nodes of a request into gangs. unknown: nodes Slurm does not know, and its words.

    together: nodes no job was named for are one gang (a plan asks for that), not loose.
    """
    refused = {node: why for node in request.nodes if (why := refusal(config, node)) is not None}
    refused |= {node: f"Slurm does not know it: {why}" for node, why in (unknown or {}).items()}
    free = set(request.nodes) - set(refused)
    jobs_of: dict[str, list[int]] = {}
    gangs: list[Gang] = []
    loose: dict[tuple[GroupName, str, str], list[str]] = {}
    for job in _in_order(request.jobs):
        for node in job.nodes_alloc:
            jobs_of.setdefault(node, []).append(job.job_id)
        mine = [node for node in unique_sorted(job.nodes_resume) if node in free]
        fact = facts.get(job.job_id, JobFacts(job.job_id))
        if len(set(job.nodes_alloc)) > 1:
            lost = [node for node in job.nodes_resume if node in refused]
            if lost:
                reason = f"job {job.job_id} needs it together with {lost[0]}, which cannot be launched"
                refused.update(dict.fromkeys(mine, reason))
            elif mine:
                gangs.append(Gang(f"job-{job.job_id}", (job.job_id,), _parts(mine), True, fact.user, fact.account))
            free -= set(mine)
        else:
            for node in mine:
                loose.setdefault((_group(node), fact.user, fact.account), []).append(node)
            free -= set(mine)
    if together and len(free) > 1:
        gangs.append(Gang(f"plan-{request.request_id}", (), _parts(sorted(free)), whole=True))
        free = set()
    for node in sorted(free):
        loose.setdefault((_group(node), "", ""), []).append(node)
    gangs.extend(_loose(request, loose, jobs_of))
    return Intake(
        tuple(gangs), tuple(sorted(refused.items())), {n: tuple(dict.fromkeys(j)) for n, j in jobs_of.items()}
    )


def _in_order(jobs: Sequence[JobAsk]) -> list[JobAsk]:
    """Return jobs by falling priority where Slurm tells it (26.05), else in the order of the file."""
    return sorted(jobs, key=lambda job: -(job.priority or 0))


def _loose(
    request: Request, loose: Mapping[tuple[GroupName, str, str], list[str]], jobs_of: Mapping[str, list[int]]
) -> Iterable[Gang]:
    for number, ((group, user, account), nodes) in enumerate(loose.items()):
        jobs = sorted({job for node in nodes for job in jobs_of.get(node, ())})
        part = Part(group, unique_sorted(nodes))
        gang_id = f"{LOOSE}{request.request_id}-{number}"
        yield Gang(gang_id, tuple(jobs), (part,), False, user, account)


def _parts(nodes: Sequence[str]) -> tuple[Part, ...]:
    groups: dict[GroupName, list[str]] = {}
    for node in nodes:
        groups.setdefault(_group(node), []).append(node)
    return tuple(Part(group, unique_sorted(names)) for group, names in groups.items())


def _group(node: str) -> GroupName:
    name = parse_node_name(node)
    assert name is not None, node  # nodes without a good name were refused before
    return name.group
