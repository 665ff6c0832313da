"""Jobs of the pretend Slurm: what they ask for, where they are, and the queue."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from asbx.model.job import JobFacts
from asbx.sim.scenario import OneJob, Scenario, Stream

_TAIL = 43_200.0  # the last jobs come so long before the end, so that they can run


@dataclass(eq=False)
class Job:
    """One job. runtime_us: how long it runs once it has all its nodes. Moments are microseconds since the start.

    state: PENDING, CONFIGURING, RUNNING, COMPLETING, or how it ended. waits: its nodes that are not up yet.
    limit_us: its time limit, which ends nothing here. run_us: when it began to run last.
    turn: changes with every start and end of it. ran: whether it has ever begun to run.
    """

    job_id: int
    group: str
    nodes: int
    cpus: int
    runtime_us: int
    submit_us: int
    priority: int = 1000
    requeue: bool = True
    user: str = "sim"
    account: str = "sim"
    extra: str = ""
    state: str = "PENDING"
    begin_us: int = 0
    on: tuple[str, ...] = ()
    waits: set[str] = field(default_factory=set)
    turn: int = 0
    restarts: int = 0
    first_start_us: int | None = None
    end_us: int | None = None
    is_held: bool = False
    ran: bool = False
    told: str = ""
    limit_us: int | None = None
    run_us: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it has left the queue."""
        return self.end_us is not None

    def facts(self) -> JobFacts:
        """Return what the queue says of it. Without a limit of its own, its owner has asked for twice what it takes."""
        limit = timedelta(microseconds=2 * self.runtime_us if self.limit_us is None else self.limit_us)
        priority = 0 if self.is_held else self.priority
        return JobFacts(
            *(self.job_id, self.user, self.account, f"job-{self.job_id}", self.state, priority),
            extra=self.extra,
            time_limit=limit,
        )


@dataclass(frozen=True)
class Spell:
    """A time in which a job ran on its nodes: to its end, or until it was taken off them."""

    job: Job
    nodes: tuple[str, ...]
    begin_us: int
    end_us: int


class Queue:
    """Jobs of one group that could start, by falling priority, then by submission."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, Job]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, job: Job) -> None:
        """Put a job into its place."""
        bisect.insort(self._rows, (-job.priority, job.job_id, job))

    def first(self, most: int) -> list[Job]:
        """Return the first ones."""
        return [row[2] for row in self._rows[:most]]

    def remove(self, job: Job) -> None:
        """Take a job out, where it is in."""
        place = bisect.bisect_left(self._rows, (-job.priority, job.job_id), key=lambda row: row[:2])
        if place < len(self._rows) and self._rows[place][2] is job:
            del self._rows[place]


def work(scenario: Scenario, chance: random.Random) -> list[Job]:
    """Return the jobs of a scenario, by submission; ids follow it."""
    drafts = [draft for stream in scenario.streams for draft in _drawn(stream, scenario.lasts, chance)]
    drafts += [_named(one) for one in scenario.jobs]
    drafts.sort(key=lambda job: job.submit_us)
    for number, job in enumerate(drafts, 1):
        job.job_id = number
    return drafts


def _drawn(stream: Stream, lasts: float, chance: random.Random) -> Iterator[Job]:
    ends = lasts - min(lasts / 4, _TAIL) if stream.ends is None else stream.ends
    left, sigma = stream.count, math.log(stream.runtime_spread)
    while left > 0:
        size = min(chance.choice(stream.array), left)
        left -= size
        at = round(chance.uniform(stream.begins, ends) * 1_000_000)
        nodes, priority = chance.choice(stream.nodes), chance.choice(stream.priority)
        for _ in range(size):
            runtime = stream.runtime * math.exp(chance.gauss(0, sigma)) if sigma else stream.runtime
            requeue = chance.random() >= stream.no_requeue
            yield Job(
                0, stream.group, nodes, stream.cpus if nodes == 1 else 0, round(max(runtime, 1.0) * 1_000_000), at,
                priority, requeue, f"user-{stream.name}", stream.name, stream.extra,
            )  # fmt: skip


def _named(one: OneJob) -> Job:
    at, runtime = round(one.at * 1_000_000), round(one.runtime * 1_000_000)
    return Job(0, one.group, one.nodes, one.cpus, runtime, at, one.priority, one.requeue, extra=one.extra)
