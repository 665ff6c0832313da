"""Labs on the real Slurm: everything comes up on loopback, works, and goes away without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from asbx.lab.layout import Layout
from asbx.lab.machine_init import descendants
from asbx.lab.processes import birth, wait_until
from asbx.lab.record import require
from asbx.lab.sweep import leftovers

pytestmark = pytest.mark.slurm

ASBX = Path(sys.executable).parent / "asbx"
CHECKOUT = Path(__file__).parents[2]


class Lab:
    """A lab through its command line, as a user has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `asbx lab ...` for this folder."""
        whole = [str(ASBX), "lab", *words, "--state-dir", str(self.root)]
        return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=300)

    def up(self, *words: str) -> None:
        """Start it."""
        done = self.command("up", "--nodes", "4", "--boot", "1.5", *words)
        assert done.returncode == 0, done.stderr

    def environ(self) -> dict[str, str]:
        """Return what `eval "$(asbx lab env)"` gives a shell."""
        lines = self.command("env").stdout
        shown = subprocess.run(["sh", "-c", f"{lines}\nenv"], capture_output=True, text=True, check=True)
        return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)

    def slurm(self, *words: str) -> str:
        """Run a client of Slurm in the lab's environment and return what it printed."""
        done = subprocess.run(words, env=self.environ(), capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *words: str) -> Any:
        """Run a lab command with --json and return its answer."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def pids(self) -> list[int]:
        """Return every process of the lab."""
        return [one.pid for one in leftovers(self.layout)]


@pytest.fixture
def root() -> Iterator[Path]:
    """Make a folder with a path short enough for sockets; whatever runs in it is ended with the test."""
    folder = Path(tempfile.mkdtemp(prefix="asbx-"))
    yield folder
    for record in folder.glob("**/lab.json"):
        Lab(record.parent).command("down")
    shutil.rmtree(folder)


@pytest.fixture
def lab(root: Path) -> Lab:
    """Make a lab that is not up yet."""
    return Lab(root / "lab")


def _listening(pids: set[int]) -> set[str]:
    """Return the addresses these processes listen on, as /proc/net/tcp and tcp6 write them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            target = str(link.readlink()) if link.is_symlink() else ""
            inodes |= {target[8:-1]} if target.startswith("socket:[") else set()
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {row[1].split(":")[0] for row in rows if len(row) > 9 and row[3] == "0A" and row[9] in inodes}


def test_up_works_and_down_leaves_nothing(lab: Lab) -> None:
    """A lab comes up once, listens on loopback only, says what runs, and leaves no process when it ends."""
    lab.up()
    again = lab.command("up")
    assert again.returncode == 0
    assert "up already" in again.stdout
    pids = set(lab.pids())
    assert len(pids) >= 5
    # /proc/net/tcp writes addresses in hexadecimal, lowest byte first: 127.x.y.z ends in 7F.
    listening = _listening(pids)
    assert listening
    assert all(address.endswith("7F") and len(address) == 8 for address in listening)
    status = lab.ask("status")
    assert status["up"]
    assert status["slurm"]
    assert all(one["alive"] for one in status["processes"].values())
    assert "aws-cpu-[000-003]" in lab.slurm("sinfo", "-h", "-p", "aws", "-o", "%N")
    assert lab.command("down").returncode == 0
    assert lab.pids() == []
    assert all(birth(pid) == "" for pid in pids)
    assert "No lab is up" in lab.command("down").stdout


def test_comes_up_again_after_down(lab: Lab) -> None:
    """A folder can be used for one lab after another; the second knows nothing of the first."""
    lab.up("--no-daemon", "--no-machines")
    (lab.layout.log / "mark").touch()
    lab.command("down")
    lab.up("--no-daemon", "--no-machines")
    assert not (lab.layout.log / "mark").exists()


def test_ends_a_lab_whose_folder_is_gone(lab: Lab) -> None:
    """Removing the folder of a running lab does not put its processes out of reach."""
    lab.up("--no-daemon", "--no-machines")
    shutil.rmtree(lab.root)
    assert lab.pids()
    assert lab.command("down").returncode == 0
    assert lab.pids() == []
    assert not lab.root.exists()


def test_two_labs_side_by_side(root: Path) -> None:
    """Two labs run at the same time with own networks and ports; ending one leaves the other alone."""
    first, second = Lab(root / "a"), Lab(root / "b")
    first.up("--no-daemon")
    second.up("--no-daemon")
    try:
        assert require(first.layout).slot.network != require(second.layout).slot.network
        assert "is UP" in first.slurm("scontrol", "ping")
        first.command("down")
        assert "is UP" in second.slurm("scontrol", "ping")
        assert first.pids() == []
        assert second.pids()
    finally:
        first.command("down")
        second.command("down")


def test_a_killed_lab_can_be_ended(lab: Lab) -> None:
    """When parts died, `up` says so instead of making it worse, and `down` still ends every process."""
    lab.up("--no-daemon")
    runner = require(lab.layout).process("runner")
    assert runner is not None
    os.kill(runner.pid, signal.SIGKILL)
    assert wait_until(lambda: not runner.is_alive, 5.0)
    broken = lab.command("up")
    assert broken.returncode != 0
    assert "runner died" in broken.stderr
    assert lab.command("down").returncode == 0
    assert lab.pids() == []


def test_a_machine_dies_whole(lab: Lab) -> None:
    """A job runs on a burst node; when its instance is killed, slurmd, the job's tasks and their children end."""
    lab.up()
    mark = lab.root / "task.pid"
    script = f"(setsid sh -c 'echo $$ > {mark}; exec sleep 300' &) ; sleep 300"
    # srun, because slurmctld looks only every 30 s whether a batch job's nodes are all there.
    command = ["srun", "--nodes=1", "sh", "-c", script]
    srun = subprocess.Popen(command, env=lab.environ(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: mark.exists() and mark.read_text().strip().isdigit(), 90.0)
    task = int(mark.read_text())
    (instance,) = [row for row in lab.ask("instances") if row["state"] == "running"]
    machine = next(
        one
        for one in leftovers(lab.layout)
        if Path(f"/proc/{one.pid}/comm").read_text() == "asbx-machine\n" and task in descendants(one.pid)
    )
    lab.ask("instance", "kill", "--node", instance["node"])
    assert wait_until(lambda: not birth(task) and not machine.is_alive, 15.0)
    srun.kill()
    srun.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give this test a host name of its own")
def test_works_under_any_host_name(lab: Lab) -> None:
    """Where the host's name does not resolve to loopback, Slurm still comes up, on loopback only, and runs a job."""
    script = f"""
        hostname no-such-host || exit 77
        {ASBX} lab up --nodes 4 --boot 1.5 --state-dir {lab.root} || exit 1
        eval "$({ASBX} lab env --state-dir {lab.root})"
        srun --nodes=2 printenv SLURMD_NODENAME
    """
    done = subprocess.run(["unshare", "--uts", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode in (1, 77) and "unshare failed" in done.stderr:
        pytest.skip("this machine allows no UTS namespace")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()[-2:]) == ["aws-cpu-000", "aws-cpu-001"]
    assert all(address.endswith("7F") for address in _listening(set(lab.pids())))


def test_the_daemon_is_killed_and_started(lab: Lab) -> None:
    """`lab daemon kill` ends it without a goodbye, `start` brings another."""
    lab.up()
    before = lab.ask("daemon", "start")["daemon"]
    assert lab.ask("daemon", "kill") == {"daemon": None}
    assert birth(before) == ""
    after = lab.ask("daemon", "start")["daemon"]
    assert after != before
    assert birth(after)


def test_demo_with_accounting(lab: Lab) -> None:
    """The demo's MPI job bursts, is billed, sacct says COMPLETED, the epilog exports it, and nothing is left."""
    lab.up("--accounting")
    done = lab.command("demo", "--json", "--accounting")
    assert done.returncode == 0, done.stdout + done.stderr
    _check_story(done.stdout)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {"name": "sacct", "ok": True, "detail": "sacct: COMPLETED"} in summary["checks"]
    _check_learned(lab, summary)
    assert lab.command("down").returncode == 0
    assert lab.pids() == []


def _check_learned(lab: Lab, summary: dict[str, Any]) -> None:
    """Check what the epilog left of the demo's job, against sacct, bill and emulator; and the command itself."""
    job, folder = summary["job_id"], lab.root / "learning"
    names = [f"job-{job}-performance.json", f"job-{job}-comment.txt", f"job-{job}-asbb-reconciliation.json"]
    log = lab.layout.log / "epilog.log"
    done = wait_until(lambda: log.exists() and "exported" in log.read_text(), 30.0)
    assert done, log.read_text() if log.exists() else "the epilog was not run"
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    made = json.loads((folder / names[0]).read_text())
    jsonschema.validate(made, json.loads((CHECKOUT / "docs/reference/learning.schema.json").read_text()))
    execution, metrics = made["job_metadata"]["actual_execution"], made["aws_performance_metrics"]
    assert (made["provisional"], execution["success"], execution["node_count"]) == (False, True, 4)
    told = lab.slurm("sacct", "-nXP", "-j", str(job), "-o", "ElapsedRaw,JobName,Partition").strip().split("|")
    assert execution["execution_duration"] == f"{told[0]}s"
    assert [made["job_metadata"]["job_name"], made["job_metadata"]["partition"]] == told[1:]
    mine = [row for row in lab.ask("instances") if row["job"] == str(job)]
    assert execution["instance_types_used"] == sorted({row["type"] for row in mine})
    assert metrics["availability_zones"] == sorted({row["zone"] for row in mine})
    assert len(metrics["instance_launch_times"]) == 4
    assert None not in metrics["instance_launch_times"]
    usd = Decimal(summary["cost"]["job_usd"])
    # The summary was made before the last look at Slurm's jobs, and took idle time for the job's.
    exported = Decimal(repr(execution["actual_cost_usd"]))
    assert 0 < exported <= usd
    charge, cost = folder / names[2], lab.root / "spool" / f"job_{job}_cost.json"
    for path in (charge, cost):
        assert json.loads(path.read_text(), parse_float=Decimal)["actual_cost"] == exported
    command = [str(ASBX), "export-performance", "--job-id", str(job), "--format", "slurm-comment", "--admin-comment"]
    said = subprocess.run(command, env=lab.environ(), capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert "aws_meta:{`cost`:" in lab.slurm("sacct", "-nXP", "-j", str(job), "-o", "AdminComment")


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user; the other tests run as an ordinary one"
)
def test_demo_as_an_ordinary_user(root: Path) -> None:
    """The whole demo runs without any privilege."""
    root.chmod(0o755)
    python = _readable_copy(root / "venv")
    home = root / "h"
    home.mkdir()
    os.chown(home, 65534, 65534)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    command = [*become, str(python), "-m", "asbx", "lab", "demo", "--json", "--state-dir", str(home / "lab")]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    _check_story(done.stdout)
    assert leftovers(Layout(home / "lab")) == []


def _readable_copy(folder: Path) -> Path:
    """Copy our environment to where every user can read it, under the system's Python; return its interpreter.

    The checkout may lie in a home folder that is closed to others, and so may its Python.
    """
    system = Path("/usr/bin/python3")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = [str(system), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    if (
        not system.exists()
        or subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() != version
    ):
        pytest.skip(f"the system's Python is not {version}, so our packages do not fit it")
    subprocess.run([system, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = folder / "lib" / f"python{version}" / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__", "*.pth", "asbx", "mypy*", "ruff*", "pytest*", "material")
    shutil.copytree(sysconfig.get_path("purelib"), packages, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(CHECKOUT / "src" / "asbx", packages / "asbx", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "node", packages / "asbx" / "_node", ignore=shutil.ignore_patterns("__pycache__"))
    python = folder / "bin" / "python3"
    for program in (Path(sys.executable).parent).glob("aws-slurm-burst-*"):
        text = program.read_text(encoding="utf-8").replace(str(Path(sys.executable).parent), str(folder / "bin"))
        copy = folder / "bin" / program.name
        copy.write_text(text.replace("/bin/python\n", "/bin/python3\n", 1), encoding="utf-8")
        copy.chmod(0o755)
    return python


def _check_story(output: str) -> None:
    """Check the demo's events and its summary."""
    rows = [json.loads(line) for line in output.splitlines()]
    names = [row["event"] for row in rows]
    order = ["submitted", "powering-up", "instance", "registered", "running", "output", "completed", "powering-down"]
    positions = [names.index(name) for name in [*order, "terminated", "cost", "summary"]]
    assert positions == sorted(positions)
    assert names.count("instance") == 4
    assert names.count("registered") == 4
    summary = rows[-1]
    assert summary["ok"]
    assert summary["calls"]["CreateFleet"] == 1
    assert summary["seconds"] < 90
    assert all(check["ok"] for check in summary["checks"])
