"""A lab driven from outside, as an administrator and a user would: its own commands, Slurm's commands, the emulator."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from asbx.aws.permissions import ALLOWED_BY, PERMISSIONS

_BIN = Path(sys.executable).parent
_POLL_S = 0.15
_LIVE = ("pending", "running")
_OPEN_JOB = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED")
_Seen = TypeVar("_Seen")
# Whatever the caller's shell says of another cluster or account must not reach the lab.
_PLAIN = {"PATH": f"{_BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

# What the product may call, and what the lab itself does to set up its account (src/asbx/lab).
_PERMITTED = {name.partition(":")[2] for name in (*(one.action for one in PERMISSIONS), *ALLOWED_BY)}
_LAB_CALLS = {
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateQueue",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateVpc",
    "GetQueueAttributes",
    "PutRule",
    "PutTargets",
    "RegisterImage",
}

Row = dict[str, Any]


def until(what: str, look: Callable[[], _Seen], seconds: float, good: Callable[[_Seen], object] = bool) -> _Seen:
    """Look again and again until what is seen is good, and return it; fail with the last sight after the deadline."""
    ends = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen}")
        time.sleep(_POLL_S)


def group_in(config: Row, name: str) -> Row:
    """Return a node group of a configuration, by name."""
    groups = [group for partition in config["slurm"]["partitions"] for group in partition["node_groups"]]
    (found,) = [group for group in groups if group["node_group_name"] == name]
    assert isinstance(found, dict)
    return found


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str


def run(command: Iterable[str | Path], environ: Mapping[str, str], cwd: str | Path = "/") -> Said:
    """Run a command to its end in just this environment."""
    done = subprocess.run(
        [str(word) for word in command],
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@dataclass
class Cluster:
    """A lab that is up. environ: what `asbx lab env` gives, over an otherwise empty environment."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    # -- the lab

    def up(self, *options: str) -> None:
        """Start the lab and enter its environment."""
        self.lab("up", *options)
        shell = ["/bin/sh", "-c", 'eval "$(asbx lab env --state-dir "$0")"; exec env -0', str(self.root)]
        done = run(shell, _PLAIN)
        assert done.status == 0, done.err
        self.environ = dict(line.split("=", 1) for line in done.out.split("\0") if line)
        self.out.mkdir(exist_ok=True)

    def lab(self, *words: str) -> str:
        """Run `asbx lab …` for this lab; it must work."""
        done = run([_BIN / "asbx", "lab", *words, "--state-dir", str(self.root)], _PLAIN)
        assert done.status == 0, f"asbx lab {' '.join(words)}: {done.out}{done.err}"
        return done.out

    def down(self) -> None:
        """End the lab."""
        self.lab("down")

    @property
    def out(self) -> Path:
        """Where jobs leave their output."""
        return self.root / "out"

    def shorten(self, **settings: str) -> None:
        """Change settings of slurm.conf wherever they stand in it, and have slurmctld read it."""
        path = self.root / "slurm.conf"
        text = path.read_text(encoding="utf-8")
        for key, value in settings.items():
            text, count = re.subn(rf"(?m)(^|\s){key}=(?!INFINITE)\S+", rf"\g<1>{key}={value}", text)
            assert count, f"{key} is not in slurm.conf"
        path.write_text(text, encoding="utf-8")
        self.slurm("scontrol", "reconfigure")

    def with_topology_tree(self) -> None:
        """Let slurmctld use topology.conf: a plugin is chosen when it starts."""
        self.restart_with(lambda text: f"TopologyPlugin=topology/tree\n{text}")

    def restart_with(self, change: Callable[[str], str]) -> None:
        """Change slurm.conf in a way slurmctld only sees when it starts: it is ended, and started as it was."""
        path = self.root / "slurm.conf"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
        self.restart_slurmctld()

    def pid(self, name: str) -> int:
        """Return the process id of one of the lab's daemons."""
        lab = json.loads((self.root / "lab.json").read_text(encoding="utf-8"))
        (pid,) = [one["pid"] for one in lab["processes"] if one["name"] == name]
        return int(pid)

    def restart_slurmctld(self, number: int = signal.SIGTERM, pause: float = 0.0) -> None:
        """End slurmctld by a signal and start it as it was, after a pause; one of an earlier restart is found, too."""
        file = self.root / "run" / "slurmctld.pid"
        pid = int(file.read_text(encoding="utf-8"))
        proc = Path(f"/proc/{pid}")
        command = (proc / "cmdline").read_text(encoding="utf-8").split("\0")[:-1]
        environ = dict(one.split("=", 1) for one in (proc / "environ").read_text(encoding="utf-8").split("\0") if one)
        os.kill(pid, number)
        until("slurmctld has ended", lambda: run(["scontrol", "ping"], self.environ).status, 15)
        time.sleep(pause)
        # `lab down` ends it by the mark in its environment.
        run(["/bin/sh", "-c", 'setsid "$@" >>"$0" 2>&1 &', self.root / "log" / "slurmctld.out", *command], environ)
        until("slurmctld is up", lambda: "is UP" in run(["scontrol", "ping"], self.environ).out, 15)

    def configure(self, change: Callable[[Row], None]) -> None:
        """Change the product's configuration, and have its daemon read it."""
        path = self.root / "aws-burst.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(config)
        self.lab("daemon", "stop")
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        self.lab("daemon", "start")

    # -- the product

    def asbx(self, *words: str) -> Any:
        """Run `asbx … --json`; it must work. Return what it says."""
        done = run([_BIN / "asbx", *words, "--json"], self.environ)
        assert done.status == 0, f"asbx {' '.join(words)}: {done.out}{done.err}"
        return json.loads(done.out)

    def events(self, *filters: str) -> list[Row]:
        """Return the product's events."""
        rows: list[Row] = self.asbx("events", "--limit", "5000", *filters)["events"]
        return rows

    def bound(self) -> dict[str, str]:
        """Return node -> instance id, as the ledger has it now."""
        return {row["node"]: row["instance"] for row in self.asbx("nodes")["nodes"]}

    def billed(self) -> dict[str, Row]:
        """Return every instance the ledger ever had, by id."""
        return {row["id"]: row for row in self.asbx("cost")["instances"]}

    # -- the emulator

    def ask(self, method: str, path: str, body: Row | None = None) -> Any:
        """Ask the emulator's control door."""
        request = urllib.request.Request(
            f"{self.environ['AWS_ENDPOINT_URL']}/_lab/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.load(answer)

    def instances(self) -> list[Row]:
        """Return every instance EC2 ever launched."""
        rows: list[Row] = self.ask("GET", "instances")
        return rows

    def of_job(self, job: int) -> list[Row]:
        """Return the instances launched for a job (alone or with others)."""
        return [row for row in self.instances() if str(job) in row["job"].split(",")]

    def of_nodes(self, nodes: Iterable[str]) -> list[Row]:
        """Return the instances that have ever borne one of these names."""
        names = set(nodes)
        return [row for row in self.instances() if row["node"] in names]

    def alive(self) -> list[Row]:
        """Return the instances that cost money now."""
        return [row for row in self.instances() if row["state"] in _LIVE]

    def console(self, instance_id: str) -> str:
        """Return what an instance has written to its console."""
        path = self.root / "machines" / instance_id / "console.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # -- Slurm

    def slurm(self, *words: str) -> str:
        """Run one of Slurm's commands; it must work."""
        done = run(words, self.environ)
        assert done.status == 0, f"{' '.join(words)}: {done.out}{done.err}"
        return done.out.strip()

    def submit(self, *options: str, script: str) -> int:
        """Submit a batch script and return the job's id."""
        out = ["--chdir", str(self.out), "--output", "%j.out"]
        return int(self.slurm("sbatch", "--parsable", *out, *options, "--wrap", script))

    def job(self, job: int) -> dict[str, str]:
        """Return a job's fields; {} when Slurm does not know it any more."""
        text = run(["scontrol", "show", "job", str(job)], self.environ).out
        fields = dict(re.findall(r"(\S+?)=(\S*)", text))
        comment = re.search(r"AdminComment=(.*)", text)
        return fields | ({"AdminComment": comment[1].strip()} if comment else {})

    def job_state(self, job: int) -> str:
        """Return a job's state."""
        return self.job(job).get("JobState", "")

    def ended(self, job: int, seconds: float = 100) -> str:
        """Wait for a job's end and return how it ended."""
        return until(
            f"job {job} ends", lambda: self.job_state(job), seconds, lambda state: state and state not in _OPEN_JOB
        )

    def output(self, job: int) -> str:
        """Return what a job has written so far."""
        path = self.out / f"{job}.out"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def nodes(self, names: str) -> dict[str, dict[str, str]]:
        """Return node -> its fields (State, NodeAddr, ...), for a hostlist."""
        lines = self.slurm("scontrol", "-o", "show", "node", names).splitlines()
        # Free text comes last and may hold anything, so the first of each key is Slurm's own.
        rows = [dict(reversed(re.findall(r"(\S+?)=(\S*)", line))) for line in lines]
        return {row["NodeName"]: row for row in rows}

    def states(self, names: str) -> set[str]:
        """Return the states nodes are in."""
        return {row["State"] for row in self.nodes(names).values()}

    def serving(self, names: str, seconds: float = 60) -> dict[str, dict[str, str]]:
        """Wait until slurmd answers on all of these nodes."""
        rising = re.compile("POWER|NOT_RESPONDING|UNKNOWN|DOWN|[*#~%]")
        return until(
            f"{names} serve",
            lambda: self.nodes(names),
            seconds,
            lambda rows: not any(rising.search(row["State"]) for row in rows.values()),
        )

    def powered_down(self, names: str, seconds: float = 60) -> dict[str, dict[str, str]]:
        """Wait until Slurm holds all of these nodes for powered down."""
        return until(
            f"{names} powered down",
            lambda: self.nodes(names),
            seconds,
            lambda rows: all(
                "POWERED_DOWN" in row["State"] and "POWERING" not in row["State"] for row in rows.values()
            ),
        )

    def all_gone(self, ids: Iterable[str], seconds: float = 60) -> None:
        """Wait until these instances are terminated, and the ledger agrees."""
        wanted = set(ids)
        until(
            "the instances are terminated",
            lambda: {row["id"]: row["state"] for row in self.instances() if row["id"] in wanted},
            seconds,
            lambda states: set(states.values()) == {"terminated"},
        )
        until(
            "the ledger has an end for each",
            lambda: {one: row["running"] for one, row in self.billed().items() if one in wanted},
            10,
            lambda rows: rows.keys() == wanted and not any(rows.values()),
        )


@contextlib.contextmanager
def cluster(*options: str) -> Iterator[Cluster]:
    """Keep a lab of its own up for a while. Its folder stays behind when the body fails, for a look at the logs."""
    # The short path is for unix sockets, which a test's own temporary folder is too deep for.
    lab = Cluster(Path(tempfile.mkdtemp(prefix="asbx-e2e-")))
    try:
        lab.up(*options)
        yield lab
        with contextlib.suppress(OSError):  # a test may have ended the emulator
            strange = set(lab.ask("GET", "calls")) - _PERMITTED - _LAB_CALLS
            assert not strange, f"the policy of `asbx iam policy` would forbid {strange}"
    finally:
        lab.down()
        if not os.environ.get("ASBX_KEEP_LABS"):
            shutil.rmtree(lab.root, ignore_errors=True)


class Pinger:
    """Asks slurmctld for a sign of life all the time. longest: seconds the slowest answer took."""

    def __init__(self, lab: Cluster) -> None:
        self._lab = lab
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.longest = 0.0
        self.asked = 0
        self.missed = 0

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            began = time.monotonic()
            said = run(["scontrol", "ping"], self._lab.environ)
            self.longest = max(self.longest, time.monotonic() - began)
            self.asked += 1
            self.missed += "is UP" not in said.out

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._stop.set()
        self._thread.join()
