"""Measure gangs in a lab whose instances never boot, against floors of the same run; write JSON and a table.

(a) a gang of 1,000: from the daemon's word that it has the request (before its Resume starts) until EC2's answer and
    its 1,000 instances stand in the ledger. Planning, the questions to Slurm and parking the nodes are in it. The floor
    is one bare CreateFleet with the very request the daemon made (token and group apart), from the same machine to the
    same emulator. The bound is 1.3. Where the time goes: events of the ledger. The first request after the start finds
    the catalogue warm; calls are counted up to the moment of the record.
(a1) the same where the call itself takes a second, for floor and daemon alike. The emulator makes 1,000 instances in a
    tenth of one, in which hardly two of Slurm's commands can be run; EC2 takes many seconds (config/limits.py).
    What the daemon adds is a sum, not a factor: (a) shows how much, (a1) what that is worth beside a quick EC2.
(b) a gang of 4 whose ladder has 12 rungs, all of them refused: calls, and time until the job was told its next try.
(c) 250 gangs of 2 on empty pools: calls, and time until all have failed and every job was put off.
(d) 250 gangs of 2 with room: calls, and time until all are bound; the floors are their 250 CreateFleet calls alone, one
    after another and 8 at a time. The daemon also makes a placement group for each gang, describes and names the nodes.
(e) 10 gangs of 10 where 55 fit: calls, whole gangs, and what was launched.

Requests come through the resume hook, with jobs that wait in a real queue: nothing else would let several hundred of
them arrive in one request at a moment of ours. So the wait of slurmctld for its jobs' requeue is not in (b) and (c).
The emulator's instances run at once (knob `pending` 0): what EC2 takes to start them is nobody's speed. What was
learned of empty pools is forgotten before each run. Usage: python -m benchmarks.gang [--runs 5] [--only a,a1,b,c,d,e]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from benchmarks.burst import BIN, Bench, as_a_site, progress, spread

from asbx.aws.requests import create_fleet
from asbx.daemon.socket import ask
from asbx.model.event import Event, EventKind
from asbx.model.hostlist import fold
from asbx.model.market import FleetOrder

TYPES = ("c7i.large", "c6i.large", "m7i.large")
RUNG_TYPES = ("c7i.48xlarge", "c6i.32xlarge", "c7i.large")
ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")
MARKETS = ("spot", "on-demand")
BOUND = 1.3
_ENDS = (EventKind.REQUEST_DONE, EventKind.REQUEST_FAILED)
_TICKS = os.sysconf("SC_CLK_TCK")
Job = tuple[int, tuple[str, ...]]


class GangBench(Bench):
    """The lab, requests of many gangs, and bare fleets."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.environ["AWS_DEFAULT_REGION"] = self.config.aws.region
        self.fleets: Any = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fleets.py"), self.config.aws.region],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        file = self.config.ledger_url.removeprefix("sqlite:///")
        self.rows = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        self.jobs: list[int] = []

    def close(self) -> None:
        """End what was started beside the lab."""
        for script in (self.script, self.fleets):
            script.stdin.close()
            script.wait()
        self.rows.close()

    # -- requests

    def resume(self, jobs: Sequence[Job]) -> float:
        """Call the resume hook for these jobs, as slurmctld does; return the moment before."""
        nodes = sorted({node for _, mine in jobs for node in mine})
        file = self.state / "resume.json"
        rows = [{"job_id": job, "nodes_alloc": fold(mine), "nodes_resume": fold(mine)} for job, mine in jobs]
        file.write_text(json.dumps({"jobs": rows, "all_nodes": fold(nodes)}))
        began = time.time()
        environ = self.hook | {"SLURM_RESUME_FILE": str(file)}
        subprocess.run([BIN / "aws-slurm-burst-resume", fold(nodes)], env=environ, check=True)
        return began

    def since(self, mark: int) -> list[tuple[float, Event]]:
        """Return the events after a mark, with their times in seconds."""
        return [(at.timestamp(), event) for _, at, event in self.ledger.marked_events(after=mark)]

    def mark(self) -> int:
        """Return the mark of the newest event."""
        newest = self.ledger.marked_events(limit=1)
        return newest[-1][0] if newest else 0

    def ended(self, mark: int) -> list[tuple[float, Event]]:
        """Wait until the request that came after a mark is closed; return its events."""
        self.calm(lambda: any(event.kind in _ENDS for _, event in self.since(mark)))
        events = self.since(mark)
        mine = next(event.request_id for _, event in events if event.kind is EventKind.REQUEST_RECEIVED)
        return [(at, event) for at, event in events if event.request_id in ("", mine)]

    def free(self, nodes: Sequence[str]) -> None:
        """Power nodes off as slurmctld does, and wait until nothing of them is left.

        Not before the Name tags are set, a call for each instance that nobody waits for: they would be in the next run.
        """
        self.until_still(lambda: self.calls().get("CreateTags", 0))
        subprocess.run([BIN / "aws-slurm-burst-suspend", fold(nodes)], env=self.hook, check=True)
        self.calm(lambda: not self.ledger.live_bindings() and not self.ledger.open_requests())
        self.powered_down()
        self.without_groups()

    def without_groups(self) -> None:
        """Remove the placement groups once they are empty: the account may have 500, and the daemon takes its time."""
        self.until(lambda: not any(one["members"] for one in self.control("GET", "groups")))
        for one in self.control("GET", "groups"):
            self.ec2.delete_placement_group(GroupName=one["name"])

    def powered_down(self) -> None:
        """Wait until Slurm would start every node again."""

        def is_so() -> bool:
            shown = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=True).stdout
            return all(state.rstrip("*") in ("idle~", "idle") for state in shown.split())

        self.calm(is_so)
        self.calm(lambda: not self.ledger.open_requests())

    def queue(self, count: int, nodes: int) -> list[int]:
        """Return the ids of so many held jobs, submitting those that are missing."""
        words = ["sbatch", "-H", "--parsable", f"-N{nodes}", "-o", "/dev/null", "--wrap", "true"]
        while len(self.jobs) < count:
            out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            self.jobs.append(int(out.strip()))
        return self.jobs[:count]

    # -- what EC2 has

    def market(self, types: Sequence[str], capacity: int | None) -> None:
        """Set all pools of these types, and forget what was learned of them."""
        for kind, zone, market in product(types, ZONES, MARKETS):
            self.control("POST", "pools", {"type": kind, "zone": zone, "market": market, "capacity": capacity})
        for row in self.ledger.shortages():
            self.ledger.change_shortage(row.key, lambda _: None)

    # -- the floors

    def orders(self, mark: int) -> list[FleetOrder]:
        """Return what the daemon asked of EC2 for the request after a mark."""
        received = next(event for _, event in self.since(mark) if event.kind is EventKind.REQUEST_RECEIVED)
        intents = self.ledger.intents(received.request_id)
        return [attempt.order for one in intents for attempt in self.ledger.attempts(one.intent_id)]

    def floor_of(self, orders: Sequence[FleetOrder], at_once: int = 1) -> float:
        """Have the barest script ask the same, and give it all back. Seconds of the calls."""
        requests = []
        for order in orders:
            new = uuid.uuid4().hex
            group = f"floor-{new}" if order.placement_group else ""
            requests.append(create_fleet(replace(order, token=new, placement_group=group)))
        self.fleets.stdin.write(json.dumps({"requests": requests, "at_once": at_once}) + "\n")
        self.fleets.stdin.flush()
        answer = json.loads(self.fleets.stdout.readline())
        assert len(answer["ids"]) == sum(order.count for order in orders), "the floor was not given all"
        self.ec2.terminate_instances(InstanceIds=answer["ids"])
        self.without_groups()
        return float(answer["seconds"])

    def cpu(self) -> float:
        """Return the processor seconds of the daemon and of the commands it has waited for."""
        pid = (ask(self.config.paths.socket, "status") or {})["pid"]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / _TICKS


def node(number: int) -> str:
    """Return a node of the lab's large group."""
    return f"aws-cpu-{number:03d}"


def pairs_of(bench: GangBench, gangs: int, size: int) -> list[Job]:
    """Return so many jobs of one size on nodes of their own."""
    jobs = bench.queue(gangs, size)
    return [(job, tuple(node(n * size + i) for i in range(size))) for n, job in enumerate(jobs)]


def first(events: Sequence[tuple[float, Event]], kind: EventKind) -> float:
    """Return when something was first said."""
    return next(at for at, event in events if event.kind is kind)


def last(events: Sequence[tuple[float, Event]], *kinds: EventKind) -> float:
    """Return when something was last said."""
    return max(at for at, event in events if event.kind in kinds)


# -- one large gang (a)


def one_large(bench: GangBench, count: int, latency: float = 0.0) -> dict[str, Any]:
    """Launch one gang of many nodes; return the phases in seconds from the request's arrival, calls and floor.

    latency: what CreateFleet takes beside the emulator's own time.
    """
    bench.market(TYPES, None)
    if latency:
        bench.control("POST", "faults", {"action": "CreateFleet", "latency": latency, "times": -1})
    nodes = tuple(node(number) for number in range(count))
    jobs = [(bench.queue(1, count)[0], nodes)]
    mark, before = bench.mark(), bench.cpu()
    bench.calls(reset=True)
    began = bench.resume(jobs)
    query = "SELECT COUNT(*) FROM instances WHERE ended_at IS NULL"
    bench.until(lambda: bench.rows.execute(query).fetchone()[0] >= count)
    recorded, calls, cpu = time.time(), bench.calls(), bench.cpu() - before
    events = bench.ended(mark)
    start = first(events, EventKind.REQUEST_RECEIVED)
    orders = bench.orders(mark)
    row: dict[str, Any] = {
        "recorded_s": recorded - start,
        "from_hook_s": recorded - began,
        "asked_s": first(events, EventKind.LAUNCH_ASKED) - start,
        "answered_s": last(events, EventKind.LAUNCH_ANSWERED) - start,
        "served_s": last(events, *_ENDS) - start,
        "cpu_s": cpu,
        "calls": calls,
        "calls_in_all": bench.calls(),
        "bound": len(bench.ledger.live_bindings()),
    }
    assert row["bound"] == count, row
    bench.free(nodes)
    row["floor_s"] = bench.floor_of(orders)
    row["added_s"] = recorded - start - row["floor_s"]
    bench.control("DELETE", "faults")
    return row


# -- nothing to be had (b, c)


def all_refused(bench: GangBench, jobs: Sequence[Job], types: Sequence[str]) -> dict[str, Any]:
    """Ask for gangs where nothing is to be had; return calls and when the last job was told its next try."""
    bench.market(types, 0)
    mark = bench.mark()
    bench.calls(reset=True)
    bench.resume(jobs)
    events = bench.ended(mark)
    start = first(events, EventKind.REQUEST_RECEIVED)
    postponed = [event for _, event in events if event.kind is EventKind.JOB_POSTPONED]
    row = {
        "told_s": last(events, EventKind.JOB_POSTPONED) - start,
        "failed_s": last(events, *_ENDS) - start,
        "calls": bench.calls(),
        "rungs": max(planned(events), default=0),
        "told": len(postponed),
        "running": sum(one["state"] in ("pending", "running") for one in bench.control("GET", "instances")),
    }
    assert (row["told"], row["running"]) == (len(jobs), 0), row
    bench.powered_down()
    bench.market(types, None)
    return row


def planned(events: Sequence[tuple[float, Event]]) -> list[int]:
    """Return how many rungs each gang's ladder had."""
    said = [event.data["considered"] for _, event in events if event.kind is EventKind.LADDER_PLANNED]
    return [sum(str(line).startswith("rung ") for line in lines) for lines in said if isinstance(lines, list)]


# -- many gangs (d, e)


def many_with_room(bench: GangBench, gangs: int) -> dict[str, Any]:
    """Launch many gangs of two; return calls, when the last was bound, and both floors."""
    bench.market(TYPES, None)
    jobs, mark, before = pairs_of(bench, gangs, 2), bench.mark(), bench.cpu()
    bench.calls(reset=True)
    bench.resume(jobs)
    events = bench.ended(mark)
    start = first(events, EventKind.REQUEST_RECEIVED)
    row = {
        "bound_s": last(events, EventKind.NODE_BOUND) - start,
        "answered_s": last(events, EventKind.LAUNCH_ANSWERED) - start,
        "cpu_s": bench.cpu() - before,
        "calls": bench.calls(),
        "bound": len(bench.ledger.live_bindings()),
    }
    assert row["bound"] == 2 * gangs, row
    orders = bench.orders(mark)
    bench.free([one for _, mine in jobs for one in mine])
    return row | {"floor_s": bench.floor_of(orders), "floor_8_s": bench.floor_of(orders, 8)}


def some_fit(bench: GangBench) -> dict[str, Any]:
    """Ask for ten gangs of ten where 55 fit; return calls, whole gangs, and instances ever launched for them."""
    bench.market(TYPES, 0)
    bench.control("POST", "pools", {"type": TYPES[0], "zone": ZONES[0], "market": "on-demand", "capacity": 55})
    known = {one["id"] for one in bench.control("GET", "instances")}
    jobs, mark = pairs_of(bench, 10, 10), bench.mark()
    bench.calls(reset=True)
    bench.resume(jobs)
    events = bench.ended(mark)
    bound = {row.node for row in bench.ledger.live_bindings()}
    row = {
        "ended_s": last(events, *_ENDS) - first(events, EventKind.REQUEST_RECEIVED),
        "calls": bench.calls(),
        "whole": sum(set(mine) <= bound for _, mine in jobs),
        "bound": len(bound),
        "launched": sum(one["id"] not in known for one in bench.control("GET", "instances")),
    }
    bench.free(sorted(bound))
    bench.market(TYPES, None)
    return row


# -- all of it


def measure(bench: GangBench, only: Sequence[str], runs: int) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {"runs": runs, "at": f"{datetime.now().astimezone():%F %T}"}
    ladder = tuple(f"aws-hpc-{number:03d}" for number in range(1, 5))
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "a": lambda: one_large(bench, 1000),
        "a1": lambda: one_large(bench, 1000, 1.0),
        "b": lambda: all_refused(bench, [(bench.queue(1, 4)[0], ladder)], RUNG_TYPES),
        "c": lambda: all_refused(bench, pairs_of(bench, 250, 2), TYPES),
        "d": lambda: many_with_room(bench, 250),
        "e": lambda: some_fit(bench),
    }
    for name in only:
        rows = []
        warm_up = name in ("a", "d")
        for number in range(runs + warm_up):
            progress(f"({name}) run {number + 1} of {runs}")
            rows.append(kinds[name]())
        # The first gang pays for what is made once (a warm-up for floor and daemon alike), and is not counted.
        figures[name] = together(rows[warm_up:])
    figures["daemon_peak_mib"] = (ask(bench.config.paths.socket, "status") or {}).get("peak_rss_mib")
    return figures


def together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return medians of the times, the most of every count, and the ratio to each floor."""
    made: dict[str, Any] = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows]
        if isinstance(value, float):
            made[key.removesuffix("_s") + "_ms"] = spread(values)
        elif isinstance(value, dict):
            made[key] = {
                name: max(one.get(name, 0) for one in values) for name in sorted({n for v in values for n in v})
            }
        else:
            made[key] = {"min": min(values), "max": max(values)}
    took = next((key for key in ("recorded_s", "bound_s") if key in rows[0]), "")
    for floor in ("floor_s", "floor_8_s") if took else ():
        if floor in rows[0]:
            ratio = statistics.median(row[took] for row in rows) / statistics.median(row[floor] for row in rows)
            made["ratio" + floor.removeprefix("floor").removesuffix("_s")] = round(ratio, 3)
    return made


TITLES = {
    "a": f"a gang of 1,000: launched and recorded, and the floor (one bare CreateFleet); the bound is {BOUND}",
    "a1": f"the same where CreateFleet takes a second longer, in the floor too; the bound is {BOUND}",
    "b": "a ladder of 12 rungs that fails everywhere",
    "c": "250 gangs of 2, nothing to be had",
    "d": "250 gangs of 2, room for all; the floors are 250 bare CreateFleet, one by one and 8 at a time",
    "e": "10 gangs of 10, room for 55",
}


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"medians of {figures['runs']} runs (min-max); milliseconds; counts are the most of all runs"]
    for name, title in TITLES.items():
        if name not in figures:
            continue
        lines += ["", f"({name}) {title}"]
        for key, value in figures[name].items():
            if key.endswith("_ms"):
                shown = f"{value['median']:9.1f}   ({value['min']}-{value['max']})"
            elif isinstance(value, dict) and set(value) == {"min", "max"}:
                shown = str(value["min"]) if value["min"] == value["max"] else f"{value['min']}-{value['max']}"
            else:
                shown = str(value)
            lines.append(f"    {key.removesuffix('_ms'):<14} {shown}")
    lines += ["", f"peak memory of the daemon: {figures['daemon_peak_mib']} MiB"]
    return "\n".join(lines)


def with_a_long_ladder(state: Path) -> None:
    """Give the small group a ladder of 12 rungs: with EFA and without, in a group and outside, two sorts of types."""
    file = state / "aws-burst.yaml"
    raw = yaml.safe_load(file.read_text())
    group = next(
        one for part in raw["slurm"]["partitions"] for one in part["node_groups"] if one["node_group_name"] == "hpc"
    )
    group |= {"efa": "preferred", "mixed_types": True, "placement": "cluster", "placement_fallback": True}
    group["launch_template_overrides"] = [{"instance_type": one} for one in RUNG_TYPES]
    file.write_text(yaml.safe_dump(raw, sort_keys=False))


def main() -> None:
    """Bring a lab up, measure, write, take it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="a,a1,b,c,d,e")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asbx-bench-") as folder:
        lab = ["--state-dir", folder]
        subprocess.run([BIN / "asbx", "lab", "up", *lab, "--nodes", "1000", "--no-machines"], check=True)
        try:
            with_a_long_ladder(Path(folder))
            as_a_site(Path(folder))
            bench = GangBench(Path(folder))
            bench.control("POST", "knobs", {"pending": 0})
            figures = measure(bench, options.only.split(","), options.runs)
            bench.close()
        finally:
            subprocess.run([BIN / "asbx", "lab", "down", *lab], check=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "gang.json").write_text(json.dumps(figures, indent=2) + "\n")
    (options.output / "gang.txt").write_text(table(figures) + "\n")
    print(f"\n{table(figures)}\n\nwritten to {options.output}/gang.json")


if __name__ == "__main__":
    main()
