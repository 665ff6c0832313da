"""Measure the burst against its floor, in one run, and write JSON and a table.

(a) wall time of the resume hook beside a running daemon;
(b) time from the hook's start until a real slurmctld has the addresses of all nodes, as a ratio to the floor: the
    barest possible script with a warm client (floor.py) that makes one CreateFleet, the DescribeInstances it needs and
    one scontrol update; both are seen by the same observer, who asks slurmctld for the last node;
(c) EC2 calls by action and Slurm processes behind each burst; (d) peak memory of the daemon.

Everything runs in one lab whose instances never boot. Floor and burst take turns, so that a noisy machine hits both.
The emulator's instances run at once (knob `pending` 0): the nodes of a job are a gang, of which Slurm hears only when
all of it runs, while the floor tells addresses as soon as there are some. What EC2 takes to start instances is in
neither.
Usage: python benchmarks/burst.py [--runs 5] [--sizes 1,16,100,500] [--output build/bench]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3

from asbx.config.load import load_config
from asbx.daemon.socket import ask
from asbx.ledger.store import open_ledger
from asbx.model.hostlist import expand, fold

BIN = Path(sys.executable).parent
HOOK_SIZES = (1, 100, 1000)
DEADLINE_S = 120.0


class Bench:
    """One lab, and the ways to burst and to undo it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.environ = os.environ | lab_environ(state)
        os.environ.update(self.environ)
        self.config = load_config(Path(self.environ["ASBX_CONFIG"]), {}).config
        self.ledger = open_ledger(self.config.ledger_url)
        self.ec2 = boto3.client(
            "ec2", region_name=self.config.aws.region, endpoint_url=self.environ["AWS_ENDPOINT_URL"]
        )
        group = self.config.slurm.partitions[0].node_groups[0]
        setting = {
            "region": self.config.aws.region,
            "template": group.launch_template_specification.model_dump(),
            "types": [override.instance_type for override in group.launch_template_overrides],
            "subnets": list(group.subnet_ids),
        }
        self.script: Any = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("floor.py"), json.dumps(setting)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.hook = {"SLURM_CONF": self.environ["SLURM_CONF"]} | {
            key: value for key, value in self.environ.items() if key.startswith("ASBX_")
        }

    # -- the burst

    def burst(self, count: int, number: int) -> dict[str, Any]:
        """Call the hook as slurmctld does and wait until Slurm has every address. Times in seconds."""
        nodes = names(count)
        file = self.state / "resume.json"
        jobs = [{"job_id": self.held_job(), "nodes": fold(nodes)}]
        file.write_text(json.dumps({"jobs": jobs if number >= 0 else [], "all_nodes": fold(nodes)}))
        self.calls(reset=True)
        before = self.processes()
        start = time.perf_counter()
        subprocess.run(
            [BIN / "aws-slurm-burst-resume", fold(nodes)], env=self.hook | {"SLURM_RESUME_FILE": str(file)}, check=True
        )
        hook = time.perf_counter() - start
        self.until(lambda: self.has_address(nodes[-1]))
        reached = time.perf_counter() - start
        assert all(self.has_address(node) for node in (nodes[0], nodes[len(nodes) // 2])), "an address is missing"
        self.calm(lambda: not self.ledger.open_requests())
        critical = self.processes()
        return {
            "hook_s": hook,
            "reached_s": reached,
            "slurm_processes": {k: critical[k] - before.get(k, 0) for k in critical if critical[k] != before.get(k, 0)},
        }

    def undo(self, count: int) -> dict[str, int]:
        """Power the nodes off as slurmctld does, wait until all is closed, and return the burst's calls by action."""
        self.until_still(lambda: self.calls().get("CreateTags", 0))
        calls = self.calls()
        subprocess.run([BIN / "aws-slurm-burst-suspend", fold(names(count))], env=self.hook, check=True)
        self.calm(lambda: not self.ledger.live_bindings() and not self.ledger.open_requests())
        return calls

    # -- the floor

    def floor(self, count: int) -> float:
        """Have the barest script do the same, seen by the same observer. Seconds."""
        nodes = names(count)
        start = time.perf_counter()
        self.script.stdin.write(f"{count}\n")
        self.script.stdin.flush()
        self.until(lambda: self.has_address(nodes[-1]))
        took = time.perf_counter() - start
        ids = json.loads(self.script.stdout.readline())
        self.ec2.terminate_instances(InstanceIds=ids)
        subprocess.run(["scontrol", "update", f"nodename={fold(nodes)}", f"nodeaddr={fold(nodes)}"], check=True)
        return took

    # -- looking

    def has_address(self, node: str) -> bool:
        """Whether slurmctld knows an instance's address for the node."""
        shown = subprocess.run(["scontrol", "show", "node", node], capture_output=True, text=True, check=True).stdout
        return "NodeAddr=127." in shown

    def held_job(self) -> int:
        """Return a job that waits in the queue, as the jobs of a resume file do."""
        queued = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True).stdout.split()
        if queued:
            return int(queued[0])
        out = subprocess.run(["sbatch", "-H", "--parsable", "-N", "1", "-o", "/dev/null", "--wrap", "true"],
                             capture_output=True, text=True, check=True)  # fmt: skip
        return int(out.stdout.strip())

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the emulator's control door."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.environ['AWS_ENDPOINT_URL']}/_lab/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method)) as answer:
            return json.load(answer)

    def calls(self, *, reset: bool = False) -> dict[str, int]:
        """Return (or forget) the emulator's calls by action."""
        return dict(self.control("DELETE" if reset else "GET", "calls"))

    def processes(self) -> dict[str, int]:
        """Return how many of each of Slurm's commands the daemon has started."""
        return dict((ask(self.config.paths.socket, "status") or {}).get("slurm_processes", {}))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Look until something is so. Raises TimeoutError."""
        give_up = time.monotonic() + DEADLINE_S
        while not is_so():
            if time.monotonic() > give_up:
                raise TimeoutError("the burst did not get there")
            time.sleep(0.005)  # the observer leaves the two cores to those it observes

    def calm(self, is_so: Callable[[], bool]) -> None:
        """Wait without hurry, so that the looking is not what is measured next."""
        self.until(lambda: time.sleep(0.02) or is_so())  # type: ignore[func-returns-value]
        time.sleep(0.3)

    def until_still(self, value: Callable[[], int]) -> None:
        """Wait until a number has not moved for half a second."""
        last, since = value(), time.monotonic()
        while time.monotonic() - since < 0.5:
            time.sleep(0.05)
            if (now := value()) != last:
                last, since = now, time.monotonic()


def names(count: int) -> tuple[str, ...]:
    """Return the first nodes of the lab's group."""
    return (
        tuple(f"aws-cpu-{n:03d}" for n in range(count)) if count < 1000 else expand(f"aws-cpu-[0000-{count - 1:04d}]")
    )


def lab_environ(state: Path) -> dict[str, str]:
    """Return what `asbx lab env` exports."""
    text = subprocess.run(
        [BIN / "asbx", "lab", "env", "--state-dir", state], capture_output=True, text=True, check=True
    )
    script = f"{text.stdout}\nenv -0"
    shell = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    return dict(pair.split("=", 1) for pair in shell.stdout.split("\0") if "=" in pair)


def spread(values: list[float]) -> dict[str, float]:
    """Return minimum, median and maximum, in milliseconds."""
    rows = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value * 1000, 1) for name, value in rows.items()}


def measure(bench: Bench, sizes: list[int], runs: int) -> dict[str, Any]:
    """Return all figures."""
    bench.floor(1)
    bench.burst(1, 0)
    bench.undo(1)
    figures: dict[str, Any] = {"runs": runs, "hook": {}, "burst": {}}
    for count in HOOK_SIZES:
        times = []
        for number in range(runs):
            progress(f"(a) hook with {count} node(s), run {number + 1} of {runs}")
            times.append(hook_only(bench, count))
        figures["hook"][count] = spread(times)
    for count in sizes:
        floors, bursts, calls, processes = [], [], [], []
        for number in range(runs):
            progress(f"(b) {count} node(s), run {number + 1} of {runs}")
            floors.append(bench.floor(count))
            one = bench.burst(count, number)
            bursts.append(one["reached_s"])
            processes.append(one["slurm_processes"])
            calls.append(bench.undo(count))
        figures["burst"][count] = {
            "floor_ms": spread(floors),
            "reached_ms": spread(bursts),
            "ratio": round(statistics.median(bursts) / statistics.median(floors), 3),
            "ratio_pairs": sorted(round(b / f, 3) for b, f in zip(bursts, floors, strict=True)),
            "calls": most(calls),
            "critical_create_tags": max(0, most(calls).get("CreateTags", 0) - count),
            "slurm_processes": most(processes),
        }
    figures["per_added_node_ms"] = slopes(figures["burst"])
    figures["daemon_peak_mib"] = (ask(bench.config.paths.socket, "status") or {}).get("peak_rss_mib")
    return figures


def hook_only(bench: Bench, count: int) -> float:
    """Time the hook for nodes of no group: the daemon refuses them at once, so nothing else is on the machine."""
    environ = bench.hook | {"SLURM_RESUME_FILE": str(bench.state / "hook.json")}
    nodes = f"nowhere-x-[0000-{count - 1:04d}]" if count > 1 else "nowhere-x-0000"
    (bench.state / "hook.json").write_text(json.dumps({"jobs": [{"job_id": 1, "nodes": nodes}], "all_nodes": nodes}))
    start = time.perf_counter()
    subprocess.run([BIN / "aws-slurm-burst-resume", nodes], env=environ, check=True)
    took = time.perf_counter() - start
    bench.calm(lambda: not bench.ledger.open_requests())
    return took


def most(rows: list[dict[str, int]]) -> dict[str, int]:
    """Return the largest count of each key."""
    return {key: max(row.get(key, 0) for row in rows) for key in sorted({key for row in rows for key in row})}


def slopes(burst: dict[int, Any]) -> dict[str, float]:
    """Return what each added node costs between neighbouring sizes, in milliseconds, by the medians."""
    sizes = sorted(burst)
    return {
        f"{low}-{high}": round(
            (burst[high]["reached_ms"]["median"] - burst[low]["reached_ms"]["median"]) / (high - low), 3
        )
        for low, high in pairwise(sizes)
    }


def as_a_site(state: Path) -> None:
    """Give the daemon a site's own sweep interval: a lab sweeps every ten seconds, into every other burst."""
    file = state / "aws-burst.yaml"
    file.write_text(file.read_text().replace("interval_seconds: 10\n", "interval_seconds: 60\n"))
    for what in ("stop", "start"):
        subprocess.run([BIN / "asbx", "lab", "daemon", what, "--state-dir", state], check=True)


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"medians of {figures['runs']} runs (min-max); milliseconds", ""]
    lines.append("(a) the resume hook beside a running daemon")
    for count, row in figures["hook"].items():
        lines.append(f"    {count:>5} nodes   {row['median']:7.1f}   ({row['min']}-{row['max']})")
    lines += ["", "(b) from the hook's start to all addresses in slurmctld, and the floor of the same run"]
    lines.append(f"    {'nodes':>5}   {'burst':>22}   {'floor':>22}   ratio")
    for count, row in figures["burst"].items():
        burst, floor = row["reached_ms"], row["floor_ms"]
        lines.append(
            f"    {count:>5}   {burst['median']:7.1f} ({burst['min']:6.1f}-{burst['max']:6.1f})"
            f"   {floor['median']:7.1f} ({floor['min']:6.1f}-{floor['max']:6.1f})   {row['ratio']:.2f}"
        )
    lines.append(f"    each added node: {figures['per_added_node_ms']}")
    lines += ["", "(c) EC2 calls and Slurm processes of one burst (CreateTags beyond the nodes' own = critical path)"]
    for count, row in figures["burst"].items():
        lines.append(f"    {count:>5}   {row['calls']}   critical CreateTags {row['critical_create_tags']}   "
                     f"{row['slurm_processes']}")  # fmt: skip
    lines += ["", f"(d) peak memory of the daemon: {figures['daemon_peak_mib']} MiB"]
    return "\n".join(lines)


def progress(text: str) -> None:
    """Say where we are, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Bring a lab up, measure, write, take it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sizes", default="1,16,100,500")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="asbx-bench-") as folder:
        lab = ["--state-dir", folder]
        subprocess.run([BIN / "asbx", "lab", "up", *lab, "--nodes", str(max(sizes)), "--no-machines"], check=True)
        try:
            as_a_site(Path(folder))
            bench = Bench(Path(folder))
            bench.control("POST", "knobs", {"pending": 0})
            figures = measure(bench, sizes, options.runs)
            bench.script.stdin.close()
            bench.script.wait()
        finally:
            subprocess.run([BIN / "asbx", "lab", "down", *lab], check=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "burst.json").write_text(json.dumps(figures, indent=2) + "\n")
    (options.output / "burst.txt").write_text(table(figures) + "\n")
    print(f"\n{table(figures)}\n\nwritten to {options.output}/burst.json")


if __name__ == "__main__":
    main()
