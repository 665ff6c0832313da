"""Measure a reconcile pass of the daemon as the cluster grows; write JSON and a table.

Everything is as in the daemon but what stands behind the doors (reconcile_world.py): EC2's XML over HTTP through
botocore, scontrol's text (22.05) or JSON (26.05) from a process, the ledger in SQLite. One node of a hundred is wrong,
so that there is something to decide, and to do in the second pass.

(a) a first look, with reading all orders for drift; (b) a pass that only looks, as most do; (c) a pass that acts;
(d) the decision alone. CPU seconds are the process's own with its children's (scontrol), peak memory is the process's.
Bound: 2 s of CPU and 300 MB for each pass at 10,000 nodes and 5,000 instances. Growth: a tenth of the nodes, a tenth
of the instances; 10 is linear. Usage: python -m benchmarks.reconcile [--sizes 1000:100,1000:500,10000:5000] [--check]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.reconcile_world import build

from asbx.config.load import load_config
from asbx.daemon.compose import doors as open_doors
from asbx.daemon.compose import warm
from asbx.decide.reconcile import doubts, findings
from asbx.flow.leftovers import Leftovers
from asbx.flow.reconcile import Sweep

CPU_BOUND_S, MEMORY_BOUND_MB = 2.0, 300
SIZES = "1000:100,1000:500,10000:1000,10000:5000"
LEAST, MOST = (1000, 500), (10000, 5000)


def measure(folder: Path) -> dict[str, Any]:
    """Do passes in this process and return what they took."""
    doors = open_doors(load_config(folder / "aws-burst.yaml", {}).config)
    warm(doors)
    before = _memory_mb()
    sweep, leftovers = Sweep(doors), Leftovers(doors)

    def one_pass() -> int:
        done = sweep.run()
        leftovers.run()
        return len(done)

    figures: dict[str, Any] = {"memory_before_mb": before}
    figures["first"] = timed(one_pass)
    figures["look"] = timed(one_pass)
    # As if the grace were over.
    sweep.sightings = {
        key: type(seen)(seen.first - timedelta(minutes=5), seen.last, seen.tries)
        for key, seen in sweep.sightings.items()
    }
    figures["act"] = timed(one_pass)
    look = sweep.look()
    figures["decision"] = timed(lambda: len([*findings(look, sweep.land), *doubts(look, sweep.land)]))
    figures["memory_mb"] = _memory_mb()
    return figures


def timed(work: Callable[[], int]) -> dict[str, float]:
    """Return CPU and wall seconds of some work, and how many things it found or did."""
    cpu, wall = _cpu(), time.perf_counter()
    count = work()
    return {"cpu_s": round(_cpu() - cpu, 3), "wall_s": round(time.perf_counter() - wall, 3), "count": count}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _memory_mb() -> int:
    """Return the most memory this program ever held (ru_maxrss would count its parent's, from before the exec)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def run_size(root: Path, nodes: int, instances: int, shape: str) -> dict[str, Any]:
    """Build a world and have a fresh process measure in it."""
    folder = root / f"{nodes}-{instances}-{shape}"
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reconcile_world", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        build(folder, nodes, instances, json_shape=shape == "json", endpoint=endpoint)
        child = [sys.executable, "-m", "benchmarks.reconcile", "--measure", str(folder)]
        done = subprocess.run(child, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures
    finally:
        server.terminate()
        server.wait()


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the figures for people."""
    head = "| nodes | instances | Slurm | first look | look | acts | decision | peak | daemon before |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, figures in results.items():
        nodes, instances, shape = name.split(":")
        cpu = [f"{figures[part]['cpu_s']:.2f} s" for part in ("first", "look", "act", "decision")]
        lines.append(
            f"| {nodes} | {instances} | {shape} | {' | '.join(cpu)} | {figures['memory_mb']} MB "
            f"| {figures['memory_before_mb']} MB |"
        )
    return "\n".join(lines)


def judged(results: dict[str, dict[str, Any]]) -> tuple[str, bool]:
    """Return growth and verdict in words, and whether the bounds hold."""
    lines, is_good = [], True
    for shape in ("text", "json"):
        least, most = (results.get(f"{nodes}:{instances}:{shape}") for nodes, instances in (LEAST, MOST))
        if most is None:
            continue
        worst = max(most[part]["cpu_s"] for part in ("first", "look", "act"))
        fits = worst <= CPU_BOUND_S and most["memory_mb"] <= MEMORY_BOUND_MB
        is_good = is_good and fits
        word = "within" if fits else "OVER"
        lines.append(f"{shape}: {worst:.2f} s CPU and {most['memory_mb']} MB, {word} {CPU_BOUND_S:g} s and 300 MB")
        if least is not None:
            growth = most["look"]["cpu_s"] / max(least["look"]["cpu_s"], 0.001)
            lines.append(f"{shape}: ten times nodes and instances take {growth:.1f} times the CPU of a look")
    return "\n".join(lines), is_good


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help="nodes:instances, comma-separated")
    parser.add_argument("--shapes", default="text,json")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bound is missed")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return 0
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="asbx-bench-") as root:
        for size in options.sizes.split(","):
            nodes, instances = map(int, size.split(":"))
            for shape in options.shapes.split(","):
                results[f"{nodes}:{instances}:{shape}"] = run_size(Path(root), nodes, instances, shape)
    words, is_good = judged(results)
    print(f"{table(results)}\n\n{words}")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "reconcile.json").write_text(json.dumps(results, indent=2))
    return 1 if options.check and not is_good else 0


if __name__ == "__main__":
    sys.exit(main())
