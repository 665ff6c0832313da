"""From a request to gangs: which nodes come up together, which are loose, which cannot be ours.

A job of several nodes is a gang and must be whole. Single-node jobs and nodes nobody named a job for are loose: they
are launched together by group (and by user and account, so that the tags in the launch call are true for each of them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asbx.config.schema import Config
from asbx.decide.hints import JobHints, hints
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
    plans: Mapping[int, object] | None = None,
) -> Intake:
    """Sort the nodes of a request into gangs. unknown: nodes Slurm does not know, and its words.

    plans: job -> what its plan asks; jobs whose plans ask for different things are not launched together.
    together: nodes no job was named for are one gang (a plan asks for that), not loose.
    """
    refused = {node: why for node in request.nodes if (why := refusal(config, node)) is not None}
    refused |= {node: f"Slurm does not know it: {why}" for node, why in (unknown or {}).items()}
    sorter = _Sorter(request, facts, refused, plans or {})
    for jobs in _in_order(request.jobs, facts):
        sorter.take(jobs)
    gangs = sorter.gangs(together=together)
    jobs_of = {node: tuple(dict.fromkeys(jobs)) for node, jobs in sorter.jobs_of.items()}
    return Intake(tuple(gangs), tuple(sorted(refused.items())), jobs_of)


# Loose nodes by node group, user, account, what their jobs ask for, and their plans: the same for a whole launch. Each
# with the job it is launched for, None for one of no job; others may wait for it too.
Loose = dict[tuple[GroupName, str, str, JobHints, object], dict[str, int | None]]


class _Sorter:
    """Takes jobs in their order and sorts their nodes into gangs and loose nodes."""

    def __init__(
        self, request: Request, facts: Mapping[int, JobFacts], refused: dict[str, str], plans: Mapping[int, object]
    ) -> None:
        self._plans = plans
        self._request, self._facts, self._refused = request, facts, refused
        self._named = frozenset(request.nodes)
        self._free = set(self._named) - set(refused)
        self._whole: list[Gang] = []
        # Loose nodes that outrank every gang, and the others: a single node fills a hole a gang leaves, and a gang
        # can use nothing of what single nodes have taken from it.
        self._before: Loose = {}
        self._after: Loose = {}
        self._gang_priority: int | None = None
        # Of the first gang of the request; less than any where there is none.
        ranks = (_priority([job], facts) for job in request.jobs if len(set(job.nodes_alloc)) > 1)
        self._best_gang = max(ranks, default=-1)
        self.jobs_of: dict[str, list[int]] = {}

    def take(self, jobs: Sequence[JobAsk]) -> None:
        """Take a job, or the components of a heterogeneous one, which start together or not at all."""
        for job in jobs:
            for node in job.nodes_alloc:
                self.jobs_of.setdefault(node, []).append(job.job_id)
        mine = [node for job in jobs for node in unique_sorted(job.nodes_resume) if node in self._free]
        wanted = {node for job in jobs for node in job.nodes_alloc}
        if len(wanted) > 1:
            self._take_gang(jobs, mine, wanted)
        else:
            self._take_loose(jobs[0], mine)
        self._free -= set(mine)

    def _take_gang(self, jobs: Sequence[JobAsk], mine: list[str], wanted: set[str]) -> None:
        lost = [node for job in jobs for node in job.nodes_resume if node in self._refused]
        if lost:
            reason = f"job {jobs[0].job_id} needs it together with {lost[0]}, which cannot be launched"
            self._refused.update(dict.fromkeys(mine, reason))
            return
        if not mine:
            return
        fact = self._fact(jobs[0])
        rank = _priority(jobs, self._facts)
        self._gang_priority = rank if self._gang_priority is None else max(rank, self._gang_priority)
        ids = tuple(job.job_id for job in jobs)
        others = unique_sorted(wanted - self._named)
        gang = Gang(f"job-{ids[0]}", ids, _parts(mine), True, fact.user, fact.account, len(wanted), others)
        self._whole.append(gang)

    def _take_loose(self, job: JobAsk, mine: list[str]) -> None:
        fact, rank = self._fact(job), _priority([job], self._facts)
        first = self._gang_priority is None and rank > self._best_gang
        kept = self._before if first else self._after
        asked = hints(job.features or fact.features, job.extra or fact.extra, fact.comment)
        for node in mine:
            kind = (_group(node), fact.user, fact.account, asked, self._plans.get(job.job_id))
            kept.setdefault(kind, {})[node] = job.job_id

    def _fact(self, job: JobAsk) -> JobFacts:
        return self._facts.get(job.job_id, JobFacts(job.job_id))

    def gangs(self, *, together: bool) -> list[Gang]:
        """Return all gangs in the order to launch them. together: nodes of no job are one gang."""
        if together and len(self._free) > 1:
            nodes = sorted(self._free)
            gang_id = f"plan-{self._request.request_id}"
            self._whole.append(Gang(gang_id, (), _parts(nodes), whole=True, size=len(nodes)))
            self._free = set()
        for node in sorted(self._free):
            self._after.setdefault((_group(node), "", "", JobHints(), None), {})[node] = None
        before = list(_loose(self._request, self._before, self.jobs_of, 0))
        after = list(_loose(self._request, self._after, self.jobs_of, len(before)))
        return [*before, *self._whole, *after]


def _priority(jobs: Sequence[JobAsk], facts: Mapping[int, JobFacts]) -> int:
    """Return the priority Slurm gives a job: of the resume file (26.05), else of the queue."""
    fact = facts.get(jobs[0].job_id)
    stated = jobs[0].priority if jobs[0].priority is not None else (fact.priority if fact else None)
    return stated or 0


def _in_order(jobs: Sequence[JobAsk], facts: Mapping[int, JobFacts]) -> list[list[JobAsk]]:
    """Return jobs by falling priority, else in the order of the file; components of one heterogeneous job together."""
    by_leader: dict[int, list[JobAsk]] = {}
    for job in jobs:
        fact = facts.get(job.job_id)
        by_leader.setdefault((fact.leader if fact else 0) or job.job_id, []).append(job)
    return sorted(by_leader.values(), key=lambda members: -_priority(members, facts))


def _loose(request: Request, loose: Loose, jobs_of: Mapping[str, list[int]], first: int) -> Iterable[Gang]:
    for number, ((group, user, account, _, _), nodes) in enumerate(loose.items(), first):
        theirs = {job for job in nodes.values() if job is not None}
        others = {job for node in nodes for job in jobs_of.get(node, ())} - theirs
        part = Part(group, unique_sorted(list(nodes)))
        gang_id = f"{LOOSE}{request.request_id}-{number}"
        yield Gang(gang_id, (*sorted(theirs), *sorted(others)), (part,), False, user, account)


def _parts(nodes: Sequence[str]) -> tuple[Part, ...]:
    groups: dict[GroupName, list[str]] = {}
    for node in nodes:
        groups.setdefault(_group(node), []).append(node)
    return tuple(Part(group, unique_sorted(names)) for group, names in groups.items())


def _group(node: str) -> GroupName:
    name = parse_node_name(node)
    assert name is not None, node  # nodes without a good name were refused before
    return name.group
