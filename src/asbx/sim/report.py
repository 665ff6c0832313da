"""What a run was like: jobs, waits, money, calls, trouble, promises. One value for machines, lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from asbx.decide.cost import bill
from asbx.sim.audit import PROMISES, Bills, Leftovers
from asbx.sim.hub import SECOND
from asbx.sim.jobs import Job
from asbx.sim.machine import RECLAIMED
from asbx.sim.world import World

_SHOWN = 10


@dataclass(frozen=True)
class Report:
    """The outcome of a run; figures as asbx simulate --json prints them."""

    figures: dict[str, Any]
    leftovers: Leftovers
    bills: Bills
    is_good: bool


def report(world: World) -> Report:
    """Audit a world that has come to rest."""
    auditor = world.auditor
    left, bills = auditor.leftovers(), auditor.bills()
    if not bills.agree:
        auditor.accuse(7, f"the ledger says {float(bills.ledger):.2f} USD and EC2 {float(bills.cloud):.2f} USD")
    for promise, names in ((1, left.orphans), (4, [""] * bool(auditor.doubles)), (7, left.unended)):
        if names and not auditor.broken[promise]:
            auditor.accuse(promise, f"{len(names)} left at the end")
    is_good = left.is_clean and not auditor.broken and not world.recorder.texts
    return Report(_figures(world, left, bills), left, bills, is_good)


def _figures(world: World, left: Leftovers, bills: Bills) -> dict[str, Any]:
    auditor = world.auditor
    return {
        "scenario": world.scenario.name,
        "seed": world.scenario.seed,
        "virtual_seconds": world.hub.now_us // SECOND,
        "jobs": _jobs(world, left),
        "wait_seconds": _waits(world.jobs),
        "cost": _cost(world, bills),
        "instances": {
            "launched": sum(not one.startswith("i-stranger") for one in world.cloud.machines),
            "reclaimed": sum(one.end_reason == RECLAIMED for one in world.cloud.machines.values()),
            "died": sum(one.end_reason == "Server.InternalError" for one in world.cloud.machines.values()),
        },
        "calls": {"ec2": dict(sorted(world.cloud.calls.items())), "slurm": dict(sorted(world.scheduler.calls.items()))},
        "requests": len(world.ledger._requests),  # noqa: SLF001
        "slowest_request_seconds": round(auditor.slowest_s, 1),
        "daemon_starts": world.restarts,
        "deaths": dict(sorted(world.deaths.items())),
        "events": dict(sorted(world.recorder.counts.items())),
        "failed_passes": dict(world.recorder.texts),
        "left": {
            "orphans": list(left.orphans),
            "stuck_nodes": list(left.stuck),
            "lost_jobs": list(left.lost),
            "instances_without_end": list(left.unended),
            "double_launches": auditor.doubles,
            "open_requests": list(left.open_requests),
            "placement_groups": list(left.groups),
            "unfinished_jobs": list(left.unfinished),
        },
        "promises": {
            str(number): {"says": says, "broken": auditor.broken[number], "examples": auditor.texts.get(number, [])}
            for number, says in PROMISES.items()
        },
    }


def _jobs(world: World, left: Leftovers) -> dict[str, int]:
    states = Counter(job.state for job in world.jobs)
    return {
        "submitted": len(world.jobs),
        "done": states["COMPLETED"],
        "requeues": world.controller.requeues,
        "ended_as_asked": states["NODE_FAIL"] - len(left.lost),
        "lost": len(left.lost),
        "unfinished": len(left.unfinished),
    }


def _waits(jobs: Sequence[Job]) -> dict[str, float]:
    waits = sorted((job.first_start_us - job.submit_us) / SECOND for job in jobs if job.first_start_us is not None)
    if not waits:
        return {}
    return {name: round(waits[int(share * (len(waits) - 1))], 1) for name, share in _SHARES.items()}


_SHARES = {"least": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}


def _cost(world: World, bills: Bills) -> dict[str, Any]:
    rows = world.ledger.instances()
    told = bill(rows, world.hub.now())
    markets: Counter[str] = Counter()
    for one in told.instances:
        markets[one.market.value] += int((one.usd or 0) * 1_000_000)
    return {
        "cloud_usd": _usd(bills.cloud),
        "ledger_usd": _usd(bills.ledger),
        "idle_usd": _usd(Fraction(told.idle_usd)),
        "waste_usd": _usd(Fraction(told.waste_usd)),
        "by_market_usd": {name: _usd(Fraction(micro, 1_000_000)) for name, micro in sorted(markets.items())},
        "wrong_rows": len(bills.wrong),
        "wrong_examples": list(bills.wrong[:_SHOWN]),
    }


def _usd(amount: Fraction) -> str:
    return f"{float(round(amount * 100)) / 100:.2f}"


def lines(said: Report) -> Iterator[str]:
    """Yield the report for people."""
    figures = said.figures
    jobs, cost, left = figures["jobs"], figures["cost"], figures["left"]
    yield f"scenario   {figures['scenario']}, seed {figures['seed']}, {figures['virtual_seconds'] / 86400:.2f} days"
    yield (
        f"jobs       {jobs['submitted']} submitted, {jobs['done']} done, {jobs['requeues']} requeues, "
        f"{jobs['ended_as_asked']} ended by a lost node as they had asked, {jobs['lost']} lost"
    )
    yield "waits      " + ", ".join(f"{name} {value:g} s" for name, value in figures["wait_seconds"].items())
    markets = ", ".join(f"{name} {usd}" for name, usd in cost["by_market_usd"].items())
    yield f"cost       {cost['ledger_usd']} USD in the ledger, {cost['cloud_usd']} USD on EC2's bill ({markets})"
    yield f"           {cost['waste_usd']} USD waste, {cost['idle_usd']} USD for no job"
    instances = figures["instances"]
    yield f"instances  {instances['launched']}, {instances['reclaimed']} reclaimed, {instances['died']} died"
    yield f"calls      {_counts(figures['calls']['ec2'])}"
    yield f"           {sum(figures['calls']['slurm'].values())} processes for Slurm, {figures['requests']} requests"
    yield f"programs   {sum(figures['deaths'].values())} killed, {figures['daemon_starts']} starts of the daemon"
    yield ""
    for name, value in left.items():
        count = value if isinstance(value, int) else len(value)
        yield f"  {count:>6}  {name.replace('_', ' ')}"
    yield ""
    for number, promise in figures["promises"].items():
        verdict = f"broken {promise['broken']} times" if promise["broken"] else "kept"
        yield f"  promise {number}  {verdict:<8} {promise['says']}"
        yield from (f"             {text}" for text in promise["examples"][:_SHOWN])
    yield from (f"  a pass of the daemon failed: {text}" for text in figures["failed_passes"])


def _counts(calls: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(calls.items(), key=lambda row: -row[1]))
