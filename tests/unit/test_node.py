"""The node bootstrap, run as a program against metadata and Slurm programs that behave like the real ones."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from asbx.config.interruptions import Interruptions
from asbx.decide.interrupt import Response, marked
from asbx.model.node import NodeView

NODE = Path(__file__).parents[2] / "node" / "asbx_node.py"
ADDRESS = "127.0.0.1"


class Imds:
    """Instance metadata, version 2, of one instance. late: questions for a tag that are answered with 404 first."""

    def __init__(self) -> None:
        self.values = {
            "instance-id": "i-1",
            "instance-type": "c7i.large",
            "local-ipv4": ADDRESS,
            "reservation-id": "r-1",
            "ami-launch-index": "0",
        }
        self.tags: dict[str, str] = {"asbx:cluster": "lab"}
        self.tags_enabled = True
        self.late: dict[str, int] = {}
        self.asked: list[str] = []
        self.tokens_good_for = 1000
        self._left = 0
        self._token = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/_imds/i-1"

    def answer(self, path: str) -> str | None:
        """Return a value, or None for 404."""
        path = path.removeprefix("/_imds/i-1/latest/meta-data/")
        self.asked.append(path)
        if not path.startswith("tags/instance"):
            return self.values.get(path)
        key = path.removeprefix("tags/instance").removeprefix("/")
        if not self.tags_enabled:
            return None
        if not key:
            return "\n".join(self.tags)
        if self.late.get(key, 0) > 0:
            self.late[key] -= 1
            return None
        return self.tags.get(key)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        imds = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Keep quiet."""

            def do_PUT(self) -> None:
                if not self.path.endswith("/latest/api/token") or not self.headers.get(
                    "X-aws-ec2-metadata-token-ttl-seconds"
                ):
                    return self._send(400, "")
                imds._token += 1
                imds._left = imds.tokens_good_for
                return self._send(200, f"token-{imds._token}")

            def do_GET(self) -> None:
                imds._left -= 1
                if self.headers.get("X-aws-ec2-metadata-token") != f"token-{imds._token}" or imds._left < 0:
                    return self._send(401, "")
                value = imds.answer(self.path)
                return self._send(404 if value is None else 200, value or "")

            def _send(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        return Handler


@pytest.fixture
def imds() -> Iterator[Imds]:
    """Serve metadata while a test runs."""
    served = Imds()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


class Site:
    """A machine with Slurm's programs on it: small scripts that keep to the real ones' words."""

    def __init__(self, folder: Path, imds: Imds) -> None:
        self.folder, self.imds = folder, imds
        self.record("aws-cpu-000", ADDRESS, "IDLE+CLOUD")
        self.slurmd('echo "$@" > "$HERE/slurmd-arguments"; cat /proc/self/status > "$HERE/status"; exec sleep 60')
        update = '[ "$1" = update ] && { for word in "$@"; do echo "$word"; done >> "$HERE/updates"; exit 0; }'
        self._script("scontrol", update + '\ncat "$HERE/record-$4" 2>/dev/null || { echo "No node $4"; exit 1; }')
        self._script("power-off", 'touch "$HERE/powered-off"')

    def _script(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nHERE={self.folder}\n{body}\n")
        path.chmod(0o755)

    def slurmd(self, body: str, help_text: str = "Usage: slurmd [OPTIONS]") -> None:
        """Put another slurmd in place."""
        self._script("slurmd", f'[ "$1" = --help ] && {{ echo "{help_text}"; exit 0; }}\necho $$ > "$HERE/pid"\n{body}')

    def record(self, node: str, address: str, state: str) -> None:
        """Let Slurm hold this of a node."""
        text = f"NodeName={node} CPUAlloc=0 NodeAddr={address} NodeHostName={node} State={state} Comment=State=DOWN\n"
        (self.folder / f"record-{node}").write_text(text)

    def boot(self, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run the bootstrap as user data would."""
        told: dict[str, object] = {
            "slurm_conf": str(self.folder / "slurm.conf"),
            "deadline_s": 0.4,
            "first_pause_s": 0.02,
            "longest_pause_s": 0.05,
            "slurmd": str(self.folder / "slurmd"),
            "scontrol": str(self.folder / "scontrol"),
            "poweroff": [str(self.folder / "power-off")],
            **settings,
        }
        return self.boot_with(json.dumps(told))

    def boot_with(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run the bootstrap with settings as text, fed through standard input."""
        environ = {
            "PATH": os.environ["PATH"],
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.url,
            "ASBX_NODE_SETTINGS": text,
            "http_proxy": "http://127.0.0.1:9",
        }
        with NODE.open() as program, (self.folder / "console").open("w+") as console:
            # A file and no pipe: slurmd goes on holding it, as it does the real console.
            done = subprocess.run(
                [sys.executable, "-"], stdin=program, stderr=console, env=environ, timeout=20, check=False
            )
            console.seek(0)
            return subprocess.CompletedProcess([], done.returncode, "", console.read())

    @property
    def arguments(self) -> list[str] | None:
        """What slurmd was started with; None if it never was."""
        path = self.folder / "slurmd-arguments"
        return path.read_text().split() if path.exists() else None

    @property
    def is_off(self) -> bool:
        """Whether the machine was told to power off."""
        return (self.folder / "powered-off").exists()

    def console(self) -> str:
        """Return what it has said."""
        path = self.folder / "console"
        return path.read_text() if path.exists() else ""

    def watchers(self) -> list[int]:
        """Return the processes that watch for a notice."""
        return [int(pid) for pid in re.findall(r"process (\d+) watches", self.console())]

    def spot(self, **settings: object) -> None:
        """Boot as a spot instance whose notice is looked for all the time."""
        self.imds.values["instance-life-cycle"] = "spot"
        self.imds.tags["asbx:node"] = "aws-cpu-000"
        assert self.boot(watch_s=0.05, **settings).returncode == 0

    def updates(self) -> list[str]:
        """Return what Slurm was told."""
        path = self.folder / "updates"
        return path.read_text().splitlines() if path.exists() else []

    def pid(self) -> int:
        """Return the pid of slurmd."""
        return int((self.folder / "pid").read_text())


@pytest.fixture
def site(tmp_path: Path, imds: Imds) -> Iterator[Site]:
    """Make a machine; its slurmd is ended with the test."""
    machine = Site(tmp_path, imds)
    yield machine
    for pid in machine.watchers():
        os.kill(pid, 15)
    if (tmp_path / "pid").exists() and Path(f"/proc/{machine.pid()}").exists():
        os.kill(machine.pid(), 15)


@pytest.fixture(scope="module")
def node() -> ModuleType:
    """Import the bootstrap as a module."""
    spec = importlib.util.spec_from_file_location("asbx_node", NODE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_is_python_3_6() -> None:
    """The file parses as Python 3.6 and imports the standard library only."""
    tree = ast.parse(NODE.read_text(), feature_version=(3, 6))
    imported = {
        (one.module or "") if isinstance(one, ast.ImportFrom) else one.names[0].name
        for one in ast.walk(tree)
        if isinstance(one, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
    assert "__future__" not in imported  # `annotations` came with 3.7


@pytest.mark.parametrize(
    ("folded", "names"),
    [
        ("aws-cpu-[000-002,009],aws-gpu-7", ["aws-cpu-000", "aws-cpu-001", "aws-cpu-002", "aws-cpu-009", "aws-gpu-7"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("a[1-2]b[3-4]", ["a1b3", "a1b4", "a2b3", "a2b4"]),
        ("n[2,1]", ["n2", "n1"]),
        ("login", ["login"]),
        ("n[098-102]", ["n098", "n099", "n100", "n101", "n102"]),
    ],
)
def test_expands_as_slurm_does(node: ModuleType, tmp_path: Path, folded: str, names: list[str]) -> None:
    """Host lists come out in scontrol's order and padding."""
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=x\nSlurmctldHost=localhost\nNodeName=n\nPartitionName=p Nodes=n\n")
    environ = {**os.environ, "SLURM_CONF": str(conf)}
    shown = subprocess.run(
        ["scontrol", "show", "hostnames", folded], env=environ, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == names
    assert node.expand(folded) == names


@pytest.mark.parametrize("folded", ["", "n[", "n]", "n[1-]", "n[a]", "n[1", ",", "a,,b", "n[]"])
def test_refuses_what_is_no_list(node: ModuleType, folded: str) -> None:
    """A damaged host list is an error, never a shorter list."""
    with pytest.raises(ValueError, match="malformed"):
        node.expand(folded)


def test_serves_under_its_own_tag(site: Site) -> None:
    """A node with asbx:node serves under that name, with what slurmd needs."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    done = site.boot()
    assert done.returncode == 0, done.stderr
    assert site.arguments == ["-D", "-N", "aws-cpu-000", "-b", "-f", str(site.folder / "slurm.conf")]
    assert "serving as aws-cpu-000" in done.stderr
    assert not site.is_off


def test_picks_its_entry_of_the_shared_list(site: Site) -> None:
    """Without a tag of its own, the launch index picks the name from the reservation's list."""
    site.imds.values["ami-launch-index"] = "2"
    site.imds.tags["asbx:nodes"] = "r-1=aws-cpu-[007-008,000]"
    assert site.boot().returncode == 0
    assert site.arguments is not None
    assert "aws-cpu-000" in site.arguments


def test_puts_a_long_list_together(site: Site) -> None:
    """A list in several tags is joined, and one whose end is not there yet is waited for."""
    site.imds.values["ami-launch-index"] = "3"
    site.imds.tags |= {"asbx:nodes": "r-1=a-1,a-2+", "asbx:nodes.2": ",a-3,aws-cpu-+", "asbx:nodes.3": "000"}
    site.imds.late["asbx:nodes.3"] = 2
    done = site.boot()
    assert done.returncode == 0, done.stderr
    assert "no asbx:node or asbx:nodes tag yet" in done.stderr


def test_waits_for_tags(site: Site) -> None:
    """Tags that come after the boot are enough."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.imds.late["asbx:node"] = 3
    assert site.boot().returncode == 0


def test_ignores_another_reservations_list(site: Site) -> None:
    """A list of another launch names nobody here."""
    site.imds.tags["asbx:nodes"] = "r-9=aws-cpu-000"
    done = site.boot()
    assert done.returncode == 4
    assert "speaks of r-9, we are of r-1" in done.stderr
    assert site.arguments is None


def test_says_that_tags_are_off(site: Site) -> None:
    """A launch template without tags in metadata is named as the cause."""
    site.imds.tags_enabled = False
    done = site.boot()
    assert done.returncode == 4
    assert "InstanceMetadataTags=enabled" in done.stderr


def test_powers_off_when_it_cannot_serve(site: Site) -> None:
    """A useless instance ends itself; one that is to stay does not."""
    assert site.boot(on_failure="stay").returncode == 4
    assert not site.is_off
    assert site.boot(on_failure="poweroff").returncode == 4
    assert site.is_off


def test_never_serves_at_anothers_address(site: Site) -> None:
    """A name whose address is another machine's starts no slurmd."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.record("aws-cpu-000", "127.9.9.9", "ALLOCATED+CLOUD+POWERING_UP")
    done = site.boot()
    assert done.returncode == 5
    assert "Slurm has aws-cpu-000 at 127.9.9.9, we are 127.0.0.1" in done.stderr
    assert site.arguments is None
    assert site.is_off


def test_waits_for_its_address(site: Site) -> None:
    """Slurm learning the address after the tags are there is no failure."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.record("aws-cpu-000", "aws-cpu-000", "ALLOCATED+CLOUD+POWERING_UP")
    timer = threading.Timer(0.15, site.record, ["aws-cpu-000", ADDRESS, "IDLE+CLOUD"])
    timer.start()
    assert site.boot(deadline_s=5.0).returncode == 0
    timer.join()


def test_configless_ends_slurmd_under_a_wrong_name(site: Site) -> None:
    """Where Slurm can be asked only through slurmd, a wrong address ends slurmd again."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.record("aws-cpu-000", "127.9.9.9", "IDLE+CLOUD")
    done = site.boot(conf_server="head:6817", slurm_conf="")
    assert done.returncode == 5
    assert site.arguments == ["-D", "-N", "aws-cpu-000", "-b", "--conf-server", "head:6817"]
    assert not Path(f"/proc/{site.pid()}").exists()


def test_reports_a_slurmd_that_dies(site: Site) -> None:
    """A slurmd that ends at once is reported with its status."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.slurmd("exit 3")
    site.record("aws-cpu-000", ADDRESS, "IDLE+CLOUD+POWERING_UP")
    done = site.boot(deadline_s=5.0)
    assert done.returncode == 6
    assert "slurmd ended with status 3" in done.stderr


def test_leaves_slurmd_to_register_later(site: Site) -> None:
    """A node Slurm does not yet see as up keeps its slurmd, which goes on trying."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.record("aws-cpu-000", ADDRESS, "IDLE+CLOUD+NOT_RESPONDING+POWERING_UP")
    done = site.boot()
    assert done.returncode == 0
    assert "slurmd keeps trying" in done.stderr
    assert Path(f"/proc/{site.pid()}").exists()


def test_tells_a_newer_slurmd_what_it_runs_on(site: Site) -> None:
    """Instance id and type are passed on to a slurmd that takes them (23.11)."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.slurmd('echo "$@" > "$HERE/slurmd-arguments"; exec sleep 60', "  --instance-id id  --instance-type type")
    assert site.boot().returncode == 0
    assert site.arguments is not None
    assert site.arguments[-4:] == ["--instance-id", "i-1", "--instance-type", "c7i.large"]


def test_renews_its_token(site: Site) -> None:
    """An expired metadata token is replaced."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    site.imds.tokens_good_for = 3
    assert site.boot(deadline_s=5.0).returncode == 0


def test_gives_up_without_metadata(site: Site) -> None:
    """No metadata service: exit status 3 within the deadline."""
    site.imds.url = "http://127.0.0.1:9"
    done = site.boot()
    assert done.returncode == 3
    assert "no instance metadata in 0.4 s" in done.stderr


@pytest.mark.parametrize("text", ["{", '{"nodes": 3}', '{"deadline_s": "long"}'])
def test_refuses_bad_settings(site: Site, text: str) -> None:
    """Settings that are unknown or of the wrong type end it before anything is done."""
    assert site.boot_with(text.replace("{", '{"poweroff":["true"],' if '"' in text else "{", 1)).returncode == 2
    assert site.imds.asked == []


def test_unblocks_signals(site: Site, request: pytest.FixtureRequest) -> None:
    """Started with SIGTERM blocked, as slurmctld starts its children, it gives slurmd a clean mask."""
    site.imds.tags["asbx:node"] = "aws-cpu-000"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    request.addfinalizer(lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before))
    assert site.boot().returncode == 0
    lines = dict(line.split(":\t", 1) for line in (site.folder / "status").read_text().splitlines() if ":\t" in line)
    assert int(lines["SigBlk"], 16) == 0
    internal = 1 << 31 | 1 << 32  # 32 and 33 are the C library's own; no program can set them
    assert int(lines["SigIgn"], 16) & ~internal == 0


def soon(look: Callable[[], object]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 10
    while not look():
        assert time.monotonic() < ends, "it did not come true in 10 s"
        time.sleep(0.02)


def test_a_spot_node_drains_itself_when_ec2_announces_its_end(site: Site) -> None:
    """Once, with the reason the controller understands, and the site's own command is run."""
    site._script("hook", 'echo "$@" >> "$HERE/hooked"')
    site.spot(watch_hook=[str(site.folder / "hook"), "told"])
    assert site.updates() == []
    site.imds.values["instance-id"] = "changed"  # known from the start, not asked again
    site.imds.values["spot/instance-action"] = '{"action": "terminate", "time": "2026-03-01T12:02:00Z"}'
    soon((site.folder / "hooked").exists)
    time.sleep(0.2)
    _, node, state, reason = site.updates()
    assert (node, state) == ("nodename=aws-cpu-000", "state=drain")
    assert reason == "reason=asbx:spot-interruption i-1 EC2 takes its spot instance back at 2026-03-01T12:02:00Z"
    assert (site.folder / "hooked").read_text() == "told spot-interruption aws-cpu-000\n"


def test_the_controller_reads_the_nodes_reasons(node: ModuleType) -> None:
    """Both kinds, with the instance, and the time where EC2 told one."""

    class Told:
        def __init__(self, values: dict[str, str]) -> None:
            self.get = lambda path: values.get(path, "")

    settings = {"watch_rebalance": True}
    action = {"spot/instance-action": '{"action":"terminate","time":"2026-03-01T12:02:00Z"}'}
    advice = {"events/recommendations/rebalance": '{"noticeTime":"2026-03-01T12:00:00Z"}'}
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for values, response, ends in (
        (action | advice, Response.EVACUATE, now + timedelta(minutes=2)),
        (advice, Response.DRAIN, None),
    ):
        kind, reason = node.noticed(settings, Told(values), "i-0123456789abcdef0")
        view = NodeView("n", "IDLE", frozenset({"DRAIN"}), "n", "n", reason)
        case = marked(view, Interruptions(), now)
        assert case is not None
        assert (case.instance_id, case.kind.value) == ("i-0123456789abcdef0", kind)
        assert (case.response, case.ends_at) == (response, ends)
    assert node.noticed({"watch_rebalance": False}, Told(advice), "i-1") == []


def test_a_node_that_is_another_machine_by_now_is_not_drained(site: Site) -> None:
    """The controller has ended this instance already, and its node may have a new one."""
    site.spot()
    site.record("aws-cpu-000", "10.9.9.9", "IDLE+CLOUD")
    site.imds.values["spot/instance-action"] = '{"action": "terminate", "time": "2026-03-01T12:02:00Z"}'
    soon(lambda: "watching: Slurm has aws-cpu-000 at 10.9.9.9" in site.console())
    assert site.updates() == []


def test_one_watcher_for_each_spot_instance_and_none_for_others(site: Site) -> None:
    """The bootstrap run twice leaves one; on-demand instances need none, nor where it is switched off."""
    site.spot()
    (first,) = site.watchers()
    site.spot()
    assert Path(f"/proc/{first}").exists()
    assert site.watchers() == []
    os.kill(first, 15)
    site.imds.values["instance-life-cycle"] = "on-demand"
    assert site.boot(watch_s=0.05).returncode == 0
    assert site.watchers() == []
    site.imds.values["instance-life-cycle"] = "spot"
    assert site.boot(watch_s=0.0).returncode == 0
    assert site.watchers() == []


def test_the_watcher_outlives_silence(site: Site) -> None:
    """Metadata that does not answer for a while, an expired token: it goes on asking."""
    site.spot()
    site.imds.tokens_good_for = 1
    site.imds._left = 0
    site.imds.values["spot/instance-action"] = '{"action": "terminate", "time": "2026-03-01T12:02:00Z"}'
    soon(site.updates)
