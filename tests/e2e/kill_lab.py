"""Kill the product's processes by SIGKILL at random moments of bursts in a lab, then count what is lost.

Each burst is some jobs at once: gangs, single nodes, arrays, shared nodes, jobs that forbid requeues, spot and
on-demand. During each, one process dies: the daemon some milliseconds after something it has said, or at any
moment; a hook some milliseconds after its start (its wrapper has a fuse); the worker a hook has started because no
daemon runs. Some of EC2's answers are lost or late besides. When all is over the lab is left alone until nothing
moves, and what should be there is compared with what is.

The seed decides what is done and how long is waited, not how the processes race. Usage:
    python -m tests.e2e.kill_lab [--kills 200] [--seed 1] [--state-dir DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import Cluster, Row, run
from tests.e2e.kill_report import Verdict, judge

HOOKS = ("resume", "suspend", "resume-fail")
# What is killed, and how often in a hundred. resume-fail is called only for nodes whose resume was lost before.
TARGETS = {"daemon": 55, "worker": 15, "resume": 15, "suspend": 15}
# After these words of the daemon it may die; "" is any moment.
MOMENTS = (
    "", "request-received", "ladder-planned", "resource-made", "launch-asked", "launch-answered", "node-bound",
    "request-done", "node-released", "given-back", "node-registered",
)  # fmt: skip
# Nodes, and options of sbatch.
_KINDS = (
    (1, "-N1 --exclusive"),
    (1, "-n1"),
    (4, "-n1 --array=0-3"),
    (2, "-N2 --exclusive"),
    (3, "-N3 --exclusive --comment=asbx:market=spot"),
    (4, "-N4 --exclusive --comment=asbx:market=on-demand"),
    (2, "-N2 --exclusive --constraint=pg-cluster"),
    (2, "-N2 --exclusive --no-requeue"),
    (1, "-N1 --exclusive --no-requeue --comment=asbx:market=spot"),
    (2, "-N2 --exclusive --partition=hpc"),
)
RESUME_TIMEOUT_S = 40
_MOST_OPEN = 30
_HOOK_S = 0.03  # about as long as a hook lives
_FUSE = """#!/bin/sh
if mv '{fuse}' '{fuse}'.$$ 2>/dev/null; then
    read -r delay < '{fuse}'.$$
    '{real}' "$@" &
    pid=$!
    sleep "$delay"
    kill -KILL $pid 2>/dev/null
    wait $pid
    echo "$? $pid $delay $*" >> '{fuse}.log'
    exit 1
fi
exec '{real}' "$@"
"""


@dataclass(frozen=True)
class Kill:
    """One process that died. phase: the last thing its program has said; for a hook, whether its request was kept."""

    burst: int
    target: str
    phase: str


@dataclass
class Lab:
    """A lab and what was done to it. jobs: id -> nodes it asked for. seen: id -> last state, restarts."""

    cluster: Cluster
    chance: random.Random
    say: Callable[[str], None]
    targets: Mapping[str, int]
    kills: list[Kill] = field(default_factory=list)
    jobs: dict[int, int] = field(default_factory=dict)
    seen: dict[str, tuple[str, int]] = field(default_factory=dict)
    bursts: int = 0

    # -- preparing

    def prepare(self) -> None:
        """Shorten what Slurm waits for, and put fuses into the hooks."""
        one = self.cluster
        path = one.root / "slurm.conf"
        text = path.read_text(encoding="utf-8")
        # A requeued job waits for the life of a credential (120 s by default; slurm.conf(5), AuthInfo, cred_expire).
        path.write_text(re.sub(r"(?m)^AuthInfo=(.*)$", r"AuthInfo=\1,cred_expire=10", text), encoding="utf-8")
        one.shorten(SuspendTime="6", SuspendTimeout="4", ResumeTimeout=str(RESUME_TIMEOUT_S))
        one.restart_slurmctld()
        (one.root / "fuse").mkdir()
        for hook in HOOKS:
            program = one.root / "bin" / f"{hook}-program"
            real = program.rename(program.with_suffix(".real"))
            program.write_text(_FUSE.format(fuse=self.fuse(hook), real=real), encoding="utf-8")
            program.chmod(0o755)
        one.configure(_short)

    def fuse(self, hook: str) -> Path:
        """Return the file that, while it is there, ends the next call of a hook."""
        return self.cluster.root / "fuse" / hook

    # -- bursts

    def submit(self) -> None:
        """Submit one burst."""
        self.bursts += 1
        for _ in range(self.chance.randint(1, 3)):
            count, options = self.chance.choice(_KINDS)
            script = f"srun hostname; sleep {self.chance.choice((0, 1, 3))}"
            self.jobs[self.cluster.submit(*options.split(), script=script)] = count

    def look(self) -> None:
        """Note the state of all jobs before slurmctld forgets them."""
        text = run(["scontrol", "--oneliner", "show", "job"], self.cluster.environ).out
        for line in text.splitlines():
            found = dict(re.findall(r"\b(JobId|ArrayTaskId|JobState|Restarts)=(\S+)", line))
            if "JobState" in found and found.get("ArrayTaskId", "").find("-") < 0:
                self.seen[found["JobId"]] = (found["JobState"], int(found.get("Restarts", 0)))

    @property
    def open(self) -> list[str]:
        """Return the jobs that are not over."""
        return [job for job, (state, _) in self.seen.items() if state in _OPEN]

    # -- killing

    def kill_one(self) -> None:
        """Submit a burst and kill somebody during it."""
        target = self.chance.choices(list(self.targets), list(self.targets.values()))[0]
        if self.chance.random() < 0.3:
            self._trouble()
        before = len(self.kills)
        {"daemon": self._daemon, "worker": self._worker}.get(target, lambda: self._hook(target))()
        if self.chance.random() < 0.5:
            self.fuse("resume-fail").write_text(f"{self.chance.uniform(0, _HOOK_S):.3f}\n")
        self._blown("resume-fail")
        self.look()
        for one in self.kills[before:]:
            self.say(f"{len(self.kills):4} killed: {one.target} ({one.phase}); {len(self.open)} jobs open")

    def _trouble(self) -> None:
        action = self.chance.choice(["CreateFleet", "DescribeInstances", "TerminateInstances", "CreateTags"])
        fault: Row = {"action": action, "latency": round(self.chance.uniform(0.1, 1.0), 2)}
        if self.chance.random() < 0.5:
            fault["then"] = "drop-answer"
        self.cluster.ask("POST", "faults", fault)

    def _daemon(self) -> None:
        moment = self.chance.choice(MOMENTS)
        log = _Tail(self.cluster.root / "log" / "aws-burst.log")
        self.submit()
        if moment:
            log.wait_for(moment, 6 if moment != "node-released" else 12)
            time.sleep(self.chance.uniform(0, 0.1))
        else:
            time.sleep(self.chance.uniform(0, 8))
        self._kill("daemon", self.cluster.pid("daemon"), log)
        time.sleep(self.chance.uniform(0, 3))
        self.cluster.lab("daemon", "start")

    def _worker(self) -> None:
        """Let a hook start a worker, because there is no daemon, and kill that."""
        self.cluster.lab("daemon", "kill")
        log = _Tail(self.cluster.root / "log" / "aws-burst.log")
        self.submit()
        ends = time.monotonic() + 12
        while not (pids := self._workers()) and time.monotonic() < ends:
            time.sleep(0.01)
        if pids:
            time.sleep(self.chance.uniform(0, 2.0))
            self._kill("worker", pids[0], log)
        time.sleep(self.chance.uniform(0, 3))
        self.cluster.lab("daemon", "start")

    def _workers(self) -> list[int]:
        mark = f"ASBX_LAB={self.cluster.root}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                is_worker = folder.name.isdigit() and (folder / "cmdline").read_bytes().endswith(b"\0-m\0asbx\0work\0")
                if is_worker and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def _kill(self, target: str, pid: int, log: _Tail) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills.append(Kill(self.bursts, target, f"after {log.last or 'nothing'}"))

    def _hook(self, hook: str) -> None:
        self.fuse(hook).write_text(f"{self.chance.uniform(0, _HOOK_S):.3f}\n")
        alone = self.chance.random() < 0.3
        if alone:
            self.cluster.lab("daemon", "kill")
        self.submit()
        ends = time.monotonic() + 20
        while not self._blown(hook) and time.monotonic() < ends:
            time.sleep(0.05)
        self.fuse(hook).unlink(missing_ok=True)
        self._blown(hook)
        if alone:
            self.cluster.lab("daemon", "start")

    def _blown(self, hook: str) -> bool:
        """Count the hooks that died since the last look; whether there were any calls with a fuse."""
        log = self.fuse(f"{hook}.log")
        if not log.exists():
            return False
        taken = log.rename(log.with_suffix(f".{time.monotonic_ns()}"))
        for line in taken.read_text(encoding="utf-8").splitlines():
            status, pid, delay, *_ = line.split()
            if status == "137":
                kept = self._is_kept(int(pid), hook)
                phase = "its request was kept" if kept else "before its request was kept"
                self.kills.append(Kill(self.bursts, f"{hook} hook", phase))
            else:
                self.say(f"     the {hook} hook had ended with {status} before {delay} s")
        return True

    def _is_kept(self, pid: int, hook: str) -> bool:
        name = f"-{pid}-{hook}"
        if any(one.name.endswith(f"{name}.json") for one in (self.cluster.root / "spool" / "requests").iterdir()):
            return True
        return f'{name}"' in (self.cluster.root / "log" / "aws-burst.log").read_text(encoding="utf-8")


_OPEN = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "STOPPED")


class _Tail:
    """What the product has said since a moment."""

    def __init__(self, path: Path) -> None:
        self._path, self._from = path, path.stat().st_size if path.exists() else 0
        self.last = ""

    def read(self) -> list[str]:
        """Return the kinds of all events since."""
        with self._path.open("rb") as file:
            file.seek(self._from)
            kinds = re.findall(r'"event": "([a-z-]+)"', file.read().decode(errors="replace"))
        self.last = kinds[-1] if kinds else self.last
        return kinds

    def wait_for(self, kind: str, seconds: float) -> None:
        """Wait until something is said, but not for ever."""
        ends = time.monotonic() + seconds
        while kind not in self.read() and time.monotonic() < ends:
            time.sleep(0.004)


def _short(config: Row) -> None:
    config["slurm"] |= {"resume_timeout": RESUME_TIMEOUT_S, "suspend_time": 6, "suspend_timeout": 4}
    config["reconcile"] = {"interval_seconds": 3, "orphan_grace_seconds": 8}


def kill_test(
    cluster: Cluster,
    kills: int,
    seed: int,
    say: Callable[[str], None],
    *,
    patience: float,
    targets: Mapping[str, int] = TARGETS,
) -> Verdict:
    """Kill so many processes, let the lab settle and judge it."""
    lab = Lab(cluster, random.Random(seed), say, targets)
    lab.prepare()
    began = time.monotonic()
    while len(lab.kills) < kills:
        lab.kill_one()
        while len(lab.open) > _MOST_OPEN:
            time.sleep(1)
            lab.look()
    cluster.ask("DELETE", "faults")
    for hook in HOOKS:
        lab.fuse(hook).unlink(missing_ok=True)
    counted = Counter((one.target, one.phase) for one in lab.kills)
    say(f"{len(lab.kills)} kills in {time.monotonic() - began:.0f} s; waiting until nothing moves")
    return judge(lab.cluster, lab.jobs, _Jobs(lab), counted, lab.bursts, patience)


class _Jobs:
    """The lab's jobs, looked at again with each call."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __call__(self) -> dict[str, tuple[str, int]]:
        self._lab.look()
        return self._lab.seen


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run it and print the table; 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--state-dir", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--patience", type=float, default=420, help="most seconds for the lab to come to rest")
    options = parser.parse_args()
    root = options.state_dir or Path(tempfile.mkdtemp(prefix="asbx-kill-"))
    cluster = Cluster(root)
    began = time.monotonic()

    def say(text: str) -> None:
        _tell(f"{time.monotonic() - began:6.0f} s  {text}")

    try:
        cluster.up("--nodes", "40", "--boot", "1.5")
        verdict = kill_test(cluster, options.kills, options.seed, say, patience=options.patience)
    finally:
        cluster.down()
    _tell(verdict.table())
    if options.json:
        options.json.write_text(json.dumps(verdict.facts(), indent=2) + "\n", encoding="utf-8")
    if verdict.is_good:
        _tell("Nothing leaked, nothing stuck, nothing was lost.")
        return 0
    _tell(f"NOT all is well: {'; '.join(verdict.wrong)}. The lab's logs are in {root}/log.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
