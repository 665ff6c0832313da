"""A daemon without Slurm and EC2: its page, its words to systemd, a log that is moved away, a port that is taken."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.site import group


def site(folder: Path, listen: str) -> Path:
    """Write a configuration that reaches nobody."""
    raw = {
        "aws": {
            "region": "us-east-2",
            "endpoint_url": "http://127.0.0.1:9",
            "retry_max_attempts": 1,
            "authentication_method": "access_keys",
            "access_keys": {"access_key_id": "x", "secret_access_key": "x"},
        },
        "cluster": {"name": "lab"},
        "slurm": {
            "config_path": str(folder / "no-slurm.conf"),
            "partitions": [{"partition_name": "aws", "node_groups": [group("cpu", 4)]}],
        },
        "paths": {name: str(folder / name) for name in ("spool", "state", "runtime")},
        "logging": {"file": str(folder / "log" / "asbx.log")},
        "reconcile": {"interval_seconds": 1},
        "telemetry": {"listen": listen},
    }
    folder.mkdir()
    (folder / "site.yaml").write_text(yaml.safe_dump(raw))
    return folder / "site.yaml"


def start(config: Path, notify: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a daemon."""
    environ = os.environ | ({"NOTIFY_SOCKET": str(notify)} if notify else {})
    return subprocess.Popen([sys.executable, "-m", "asbx", "daemon", "--config", str(config)], env=environ)


def until(what: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    ends = time.monotonic() + 60
    while not (seen := what()):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return seen


def get(url: str) -> tuple[int, str, str]:
    """Return (status, content type, body)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the log, [] where there is none."""
    path = folder / "log" / "asbx.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(folder: Path) -> list[str]:
    """Return the kinds in the log."""
    return [line["event"] for line in lines(folder)]


@pytest.mark.timeout(180)
def test_a_daemon_answers_for_itself(tmp_path: Path) -> None:
    """It says ready and stopping, serves two pages, follows its log, and a second one without the port works on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        systemd.bind(str(tmp_path / "n"))
        systemd.settimeout(60)
        first = start(site(tmp_path / "a", f"127.0.0.1:{port}"), tmp_path / "n")
        second: subprocess.Popen[bytes] | None = None
        try:
            assert systemd.recv(4096) == b"READY=1"
            assert systemd.recv(4096) == b"WATCHDOG=1"
            second = start(site(tmp_path / "b", f"127.0.0.1:{port}"))
            _check_pages(f"http://127.0.0.1:{port}")
            (tmp_path / "a" / "log" / "asbx.log").rename(tmp_path / "a" / "log" / "asbx.log.1")
            assert until(lambda: kinds(tmp_path / "a")), "lines go to a new file"
            until(lambda: "telemetry-off" in kinds(tmp_path / "b"))
            assert second.poll() is None, "the daemon goes on"
            first.send_signal(signal.SIGTERM)
            words = [b""]
            while words[-1] != b"STOPPING=1":
                words.append(systemd.recv(4096))
            assert first.wait(60) == 0
            assert kinds(tmp_path / "a")[-1] == "daemon-stopped"
        finally:
            for one in (first, second):
                if one is not None:
                    one.terminate()
                    one.wait(60)


def _check_pages(url: str) -> None:
    status, kind, text = get(f"{url}/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert 'asbx_events_total{kind="daemon-started",level="info"} 1.0' in text
    assert "asbx_requests_open" in text
    assert get(f"{url}/")[0] == 404
    status, kind, text = until(lambda: (seen := get(f"{url}/healthz"))[0] == 200 and "degraded" in seen[2] and seen)
    body = json.loads(text)
    assert kind == "application/json"
    # EC2's door is closed and there is no Slurm: trouble of others, so the daemon is degraded, not failing.
    assert (status, body["failing"]) == (200, [])
    assert body["checks"]["ledger"]["ok"]
