"""From any request to gangs: no node is forgotten, none is in two, and who goes first is Slurm's to say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.samples import NOON
from tests.fakes.site import config

from asbx.decide.intake import LOOSE, Intake, intake, refusal
from asbx.model.gang import Gang
from asbx.model.job import JobAsk, JobFacts, Request, RequestKind
from asbx.model.names import parse_node_name

CONFIG = config()
# Ours, numbers beyond the group, groups and partitions nobody has configured, no names of ours at all.
NAMES = (
    *(f"aws-cpu-{n:03d}" for n in range(12)),
    *(f"aws-gpu-{n}" for n in range(6)),
    "aws-cpu-1000",
    "aws-gpu-10",
    "aws-old-000",
    "hpc-cpu-000",
    "login",
)
GOOD = tuple(name for name in NAMES if refusal(CONFIG, name) is None)


@dataclass(frozen=True)
class Case:
    """A request, what the queue says, and the nodes Slurm does not know."""

    request: Request
    facts: dict[int, JobFacts]
    unknown: dict[str, str]
    together: bool

    def sorted(self) -> Intake:
        """Return its intake."""
        return intake(CONFIG, self.request, self.facts, self.unknown, together=self.together)

    def leader(self, job: int) -> int:
        """Return the leader of a heterogeneous job, else the job itself."""
        return (self.facts[job].leader if job in self.facts else 0) or job

    def priority(self, job: int) -> int:
        """Return the priority of a job: of the resume file, else of the queue."""
        ask = next(ask for ask in self.request.jobs if ask.job_id == job)
        fact = self.facts.get(job)
        return (ask.priority if ask.priority is not None else fact.priority if fact else None) or 0


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a request: jobs may share nodes, be heterogeneous, have nodes that are up, and nodes may have no job."""
    asks: list[JobAsk] = []
    facts: dict[int, JobFacts] = {}
    for number in range(1, draw(st.integers(0, 5)) + 1):
        alloc = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
        launched = [node for node in alloc if draw(st.integers(0, 4))]
        features = draw(st.sampled_from(["", "efa", "no-efa", None]))
        priority = draw(st.none() | st.integers(0, 3))
        asks.append(JobAsk(number, tuple(alloc), tuple(launched), features=features, priority=priority))
        if draw(st.booleans()):
            leader = draw(st.sampled_from([0, 0, *range(1, number)]))
            user = draw(st.sampled_from(["ada", "bob"]))
            facts[number] = JobFacts(
                number, user, "physics", priority=draw(st.none() | st.integers(0, 3)), leader=leader
            )
    named = {node for ask in asks for node in ask.nodes_resume}
    extra = draw(st.sets(st.sampled_from(NAMES), max_size=4))
    nodes = tuple(sorted({*named, *extra}))
    unknown = {node: "no such node" for node in draw(st.sets(st.sampled_from(GOOD), max_size=1)) if node in nodes}
    request = Request("r-1", RequestKind.RESUME, nodes, NOON, tuple(asks))
    return Case(request, facts, unknown, draw(st.booleans()))


def whole(found: Intake) -> list[Gang]:
    """Return the gangs of jobs of several nodes."""
    return [gang for gang in found.gangs if gang.whole]


@given(cases())
def test_every_node_is_in_one_gang_or_refused(case: Case) -> None:
    """Each node of the request is in exactly one gang, or refused with a reason; nothing else is launched."""
    found = case.sorted()
    launched = Counter(node for gang in found.gangs for node in gang.nodes)
    refused = dict(found.refused)
    assert not launched or max(launched.values()) == 1
    assert launched.keys().isdisjoint(refused)
    assert {*launched, *refused} == set(case.request.nodes)
    assert all(refused.values())
    for node in launched:
        assert refusal(CONFIG, node) is None
        assert node not in case.unknown
    assert len({gang.gang_id for gang in found.gangs}) == len(found.gangs)


@given(cases())
def test_parts_are_of_one_group_and_sorted(case: Case) -> None:
    """Each part holds nodes of its own node group, and no gang is empty."""
    for gang in case.sorted().gangs:
        assert gang.nodes
        for part in gang.parts:
            names = [parse_node_name(node) for node in part.nodes]
            assert {name.group for name in names if name is not None} == {part.group}
            assert [name.number for name in names if name] == sorted(name.number for name in names if name)
        assert gang.whole or len(gang.parts) == 1


@given(cases())
def test_the_nodes_of_a_gang_belong_to_its_job(case: Case) -> None:
    """A gang holds nodes of one job, or of one heterogeneous job; its size counts those that are up already."""
    asks = {ask.job_id: ask for ask in case.request.jobs}
    for gang in whole(case.sorted()):
        if not gang.jobs:
            assert case.together
            continue
        assert len({case.leader(job) for job in gang.jobs}) == 1
        alloc = {node for job in gang.jobs for node in asks[job].nodes_alloc}
        assert set(gang.nodes) <= {node for job in gang.jobs for node in asks[job].nodes_resume}
        assert gang.size == len(alloc) > 1
        assert set(gang.others) == alloc - set(case.request.nodes)


@given(cases())
def test_a_job_of_several_nodes_is_never_launched_in_part(case: Case) -> None:
    """Where one of a job's nodes cannot be ours, none of its own is launched for it."""
    found = case.sorted()
    bad = {*case.unknown, *(node for node in case.request.nodes if refusal(CONFIG, node) is not None)}
    for gang in whole(found):
        for ask in case.request.jobs:
            if ask.job_id in gang.jobs:
                assert bad.isdisjoint(ask.nodes_resume)


@given(cases())
def test_loose_nodes_launched_together_are_alike(case: Case) -> None:
    """One user, one account, one node group, the same wishes: what a launch says is true for each of its nodes."""
    found = case.sorted()
    for gang in found.gangs:
        if not gang.gang_id.startswith(LOOSE):
            continue
        takers = {job for node in gang.nodes for job in found.jobs_of.get(node, ())}
        assert set(gang.jobs) == takers
        alone = [ask for ask in case.request.jobs if ask.job_id in takers and len(ask.nodes_alloc) == 1]
        if len(alone) == len(takers):
            users = {case.facts.get(ask.job_id, JobFacts(0)).user for ask in alone}
            shared = any(len(found.jobs_of[node]) > 1 for node in gang.nodes if node in found.jobs_of)
            assert shared or len(users) <= 1
            assert shared or len({ask.features or "" for ask in alone}) <= 1


@given(cases())
def test_gangs_are_in_the_order_of_their_priority(case: Case) -> None:
    """Of whole gangs the one of higher priority comes first, and single nodes come before them only if they outrank."""
    found = case.sorted()
    ranks = [case.priority(gang.jobs[0]) for gang in whole(found) if gang.jobs]
    assert ranks == sorted(ranks, reverse=True)
    kinds = [gang.whole for gang in found.gangs]
    if True not in kinds:
        return
    before = found.gangs[: kinds.index(True)]
    best = max(ranks, default=-1)  # nodes of no job that a plan keeps together have no rank
    for gang in before:
        taken = {job for node in gang.nodes for job in found.jobs_of.get(node, ())}
        assert max((case.priority(job) for job in taken), default=0) > best
    last = len(kinds) - 1 - kinds[::-1].index(True)
    assert all(kinds[kinds.index(True) : last + 1]), "gangs stand together"


@given(cases())
def test_jobs_of_a_node_are_all_that_wait_for_it(case: Case) -> None:
    """Cost and failures of a node concern every job that has it."""
    found = case.sorted()
    for ask in case.request.jobs:
        for node in ask.nodes_alloc:
            assert ask.job_id in found.jobs_of[node]
