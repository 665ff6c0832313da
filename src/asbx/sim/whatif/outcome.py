"""What came of one policy in one run: figures, and what charts draw.

Money is metered by the product's own meter (asbx.decide.cost) over what the pretend Slurm knows of its jobs; the sum is
compared with EC2's bill, which the auditor works out from the machines alone.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from statistics import fmean
from typing import Any

from asbx.config.limits import SLOWDOWN_BOUND
from asbx.decide.cost import Bill, bill_of
from asbx.decide.meter.spans import BEARERS, Bearer, Capacity, Kind, Life
from asbx.model.market import Market
from asbx.model.usage import JobRun
from asbx.sim.audit import Bills
from asbx.sim.hub import SECOND
from asbx.sim.jobs import Job, Spell
from asbx.sim.machine import RECLAIMED, Machine
from asbx.sim.whatif.place import Placed
from asbx.sim.world import World

_BOUND_S = SLOWDOWN_BOUND.total_seconds()
_MOMENTS = 600  # of the chart: as many as there are pixels to tell apart
_NUMBERS = re.compile(r"\d[\d.,:T-]*")
_REASON = re.compile(r"^asbx: *")
_DETAILS = re.compile(r"; | \(")
_LONGEST_REASON = 110


@dataclass(frozen=True)
class Outcome:
    """One run. figures: plain values by name. kinds: USD by what was paid for. waits: seconds, sorted.

    nodes: (hours, instances that are paid for, mean of that time). ends: what became of the jobs, their sum is the
    trace. usd, cloud_usd: the meter's total and EC2's bill.
    """

    policy: str
    seed: int
    figures: Mapping[str, float]
    kinds: Mapping[str, Decimal]
    waits: tuple[float, ...]
    nodes: tuple[tuple[float, float], ...]
    ends: Mapping[str, int]
    usd: Decimal
    cloud_usd: Decimal
    faults: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines, without the points of the charts."""
        return {
            "seed": self.seed,
            "cost_usd": f"{self.usd:.6f}",
            "bill_usd": f"{self.cloud_usd:.6f}",
            "kinds_usd": {kind: f"{usd:.6f}" for kind, usd in self.kinds.items()},
            "figures": {name: round(value, 6) for name, value in self.figures.items()},
            "jobs": dict(self.ends),
            "faults": list(self.faults),
        }


def outcome(world: World, policy: str, work: Placed) -> Outcome:
    """Read what came of a run that has come to rest."""
    told = bill_of(_lives(world), world.hub.now())
    bills = world.auditor.bills()
    cloud = Decimal(bills.cloud.numerator) / Decimal(bills.cloud.denominator)
    done = [job for job in world.jobs if job.state == "COMPLETED"]
    waits = tuple(
        sorted(_s(job.first_start_us - job.submit_us) for job in world.jobs if job.first_start_us is not None)
    )
    ends = _ends(world.jobs, work.refused)
    figures = {
        **_money(told, done, work),
        **_times(waits, done),
        **_use(world, done, work),
        "jobs_done": len(done),
        "jobs_not_done": sum(ends.values()) - len(done),
    }
    return Outcome(
        policy,
        world.scenario.seed,
        figures,
        {kind.value: usd for kind, usd in told.kinds.items()},
        waits,
        tuple(_nodes(world.cloud.machines.values(), world.hub.now_us)),
        ends,
        told.total_usd,
        cloud,
        tuple(_faults(world, told, bills)),
    )


# -- money


def _lives(world: World) -> Iterator[Life]:
    """Yield every instance with the jobs that ran on it."""
    spells = _by_node(world.controller.spells)
    moment, now_us, nodes = world.hub.moment, world.hub.now_us, world.controller.table.nodes
    for row in world.ledger.instances():
        machine, name = world.cloud.machines.get(row.instance_id), world.auditor.served.get(row.instance_id)
        if machine is None or name is None or machine.registered_us is None:
            yield Life(row, is_tracked=True)
            continue
        runs = tuple(
            _run(one, nodes[name].cpus, name, moment) for one in _during(spells.get(name, []), machine, now_us)
        )
        capacity = Capacity(cpus=nodes[name].cpus)
        yield Life(row, moment(machine.registered_us), runs, capacity=capacity, is_tracked=True)


def _run(one: Spell, cpus: int, node: str, moment: Callable[[int], datetime]) -> JobRun:
    job = one.job
    return JobRun(
        *(job.job_id, job.restarts, node, moment(one.begin_us), moment(one.end_us), job.user, job.account),
        cpus=job.cpus or cpus,
    )


def _by_node(spells: Iterable[Spell]) -> dict[str, list[Spell]]:
    found: dict[str, list[Spell]] = defaultdict(list)
    for one in spells:
        for name in one.nodes:
            found[name].append(one)
    for some in found.values():
        some.sort(key=lambda one: one.end_us)
    return found


def _during(spells: Sequence[Spell], machine: Machine, now_us: int) -> Iterator[Spell]:
    """Yield what ran on a node while a machine was behind it."""
    begin = machine.registered_us or 0
    end = now_us if machine.ended_us is None else machine.ended_us
    first = bisect.bisect_right(spells, begin, key=lambda one: one.end_us)
    return (one for one in itertools.islice(spells, first, None) if one.begin_us < end)


def _money(told: Bill, done: Sequence[Job], work: Placed) -> dict[str, float]:
    hours = sum(work.traced[job.job_id].core_hours for job in done)
    spot = sum((one.usd or Decimal(0) for one in told.instances if one.market is Market.SPOT), Decimal(0))
    paid = sum(one.seconds for one in told.instances)
    on_spot = sum(one.seconds for one in told.instances if one.market is Market.SPOT)
    lost = sum((told.kinds[kind] for kind in Kind if BEARERS[kind] is Bearer.WASTE), Decimal(0))
    usd = float(told.total_usd)
    return {
        "cost_usd": usd,
        "usd_per_job": usd / len(done) if done else 0.0,
        "usd_per_core_hour": usd / hours if hours else 0.0,
        "spot_usd_share": float(spot / told.total_usd) if told.total_usd else 0.0,
        "spot_hours_share": on_spot / paid if paid else 0.0,
        "boot_usd": float(told.kinds[Kind.BOOT]),
        "idle_usd": float(told.idle_usd),
        "waste_usd": float(lost),
        "instance_hours": paid / 3600,
    }


# -- time


def _times(waits: Sequence[float], done: Sequence[Job]) -> dict[str, float]:
    slow = sorted(_slowdown(job) for job in done)
    return {
        "wait_mean_s": fmean(waits) if waits else 0.0,
        "wait_median_s": share_of(waits, 0.5),
        "wait_p90_s": share_of(waits, 0.9),
        "wait_p99_s": share_of(waits, 0.99),
        "wait_most_s": share_of(waits, 1.0),
        "slowdown_mean": fmean(slow) if slow else 0.0,
        "slowdown_median": share_of(slow, 0.5),
        "slowdown_p90": share_of(slow, 0.9),
        "makespan_hours": _s(max((job.end_us or 0 for job in done), default=0)) / 3600,
    }


def _slowdown(job: Job) -> float:
    """Return the bounded slowdown: the whole stay by the run time, of short jobs by ten seconds; requeues included."""
    return max(1.0, _s((job.end_us or 0) - job.submit_us) / max(_s(job.runtime_us), _BOUND_S))


def share_of(rising: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed; 0 where there are none."""
    return rising[math.ceil(share * len(rising)) - 1] if rising else 0.0


def _s(microseconds: int) -> float:
    return microseconds / SECOND


# -- use


def _use(world: World, done: Sequence[Job], work: Placed) -> dict[str, float]:
    machines = [one for one in world.cloud.machines.values() if not one.instance_id.startswith("i-stranger")]
    now = world.hub.now_us
    cpus = {f"{group.partition}-{group.name}": group.cpus for group in world.scenario.groups}
    paid = sum(
        _s((now if one.ended_us is None else one.ended_us) - one.launched_us)
        * cpus.get(f"{one.tags.get('asbx:partition')}-{one.tags.get('asbx:nodegroup')}", 0)
        for one in machines
    )
    finished = {job.job_id: job.end_us for job in done}
    again = [one for one in world.controller.spells if finished.get(one.job.job_id) != one.end_us]
    useful = sum(work.traced[job.job_id].core_hours for job in done) * 3600
    return {
        "utilisation": min(useful / paid, 1.0) if paid else 0.0,
        "instances": len(machines),
        "interruptions": sum(one.end_reason == RECLAIMED for one in machines),
        "requeues": world.controller.requeues,
        "lost_core_hours": sum(work.traced[one.job.job_id].procs * _s(one.end_us - one.begin_us) for one in again)
        / 3600,
    }


def _nodes(machines: Iterable[Machine], now_us: int) -> Iterator[tuple[float, float]]:
    """Yield how many instances lived, as the mean of each of some hundred equal times."""
    lives = [(one.launched_us, now_us if one.ended_us is None else one.ended_us) for one in machines]
    last = max((end for _, end in lives), default=0)
    width = max(last / _MOMENTS, 1.0)
    sums = [0.0] * (_MOMENTS + 1)
    for begin, end in lives:
        for slot in range(int(begin / width), min(int(end / width), _MOMENTS) + 1):
            sums[slot] += max(min(end, (slot + 1) * width) - max(begin, slot * width), 0.0)
    for slot in range(_MOMENTS if lives else 0):
        yield slot * width / SECOND / 3600, sums[slot] / width


# -- what became of them


def _ends(jobs: Iterable[Job], refused: Mapping[str, int]) -> dict[str, int]:
    found = Counter(_end(job) for job in jobs)
    for why, count in refused.items():
        found[f"left out: {why}"] += count
    return dict(sorted(found.items(), key=lambda row: -row[1]))


def _end(job: Job) -> str:
    if job.state == "COMPLETED":
        return "done"
    if job.state == "NODE_FAIL":
        return "ended: its node was lost, and it forbids a requeue"
    # Reasons name amounts and moments of one job each: alike but for numbers is alike.
    told = _DETAILS.split(_REASON.sub("", " ".join(job.told.split())))[0]
    why = textwrap.shorten(_NUMBERS.sub("N", told), _LONGEST_REASON, placeholder=" ..")
    if job.is_over:
        return f"refused: {why}" if why else "cancelled"
    if job.ran:
        return "not finished at the end: their nodes were lost again and again" if job.restarts else "still running"
    return f"still waiting at the end: {why}" if why else "still waiting at the end"


def _faults(world: World, told: Bill, bills: Bills) -> Iterator[str]:
    """Yield what went against a promise: there must be none."""
    metered = Fraction(told.total_usd)
    if round(metered * 100) != round(bills.cloud * 100):
        yield f"the meter says {float(metered):.2f} USD and EC2's bill {float(bills.cloud):.2f} USD"
    for promise, count in sorted(world.auditor.broken.items()):
        yield f"promise {promise} was broken {count} times: {world.auditor.texts[promise][0]}"
    yield from (f"a pass of the daemon failed: {text}" for text in world.recorder.texts)
    left = world.auditor.leftovers()
    if not left.unfinished and not left.is_clean:
        yield "something was left over at the end"
