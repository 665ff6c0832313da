"""Run the pretend EC2: `python -m asbx.lab.emulator --state-dir D [--region us-east-2] [--boot SECONDS]`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from moto.ec2.models import ec2_backends

from asbx.lab.emulator.actions import install
from asbx.lab.emulator.faults import FaultBook
from asbx.lab.emulator.front import Front
from asbx.lab.emulator.knobs import Knobs
from asbx.lab.emulator.machine import LAB_ACCOUNT
from asbx.lab.emulator.server import Server
from asbx.lab.emulator.world import World


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    asked = _arguments(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    state_dir = Path(asked.state_dir)
    state_dir.mkdir(parents=True, exist_ok=True)
    knobs = Knobs(boot=asked.boot, pending=asked.pending)
    world = World(time.time, asked.region, lambda instance_id: _console(state_dir, instance_id), knobs)
    install(world)
    servers: list[Server] = []
    try:
        server = Server(("127.0.0.1", asked.port), Front(world, FaultBook(), lambda: servers[0].url))
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{asked.port}: {error}", file=sys.stderr)  # noqa: T201  # a program's last word
        return 1
    servers.append(server)
    # The first use builds the region's VPC and images, a second of work nobody should wait for later.
    ec2_backends[LAB_ACCOUNT][asked.region]
    for signum in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop, which runs in this thread: another one must ask.
        signal.signal(signum, lambda *_: threading.Thread(target=server.shutdown).start())
    ready = state_dir / "emulator.json"
    _announce(ready, server)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    _retract(ready)
    return 0


def _console(state_dir: Path, instance_id: str) -> bytes:
    """Return what the lab's runner let a machine write."""
    try:
        return (state_dir / "machines" / instance_id / "console.log").read_bytes()
    except OSError:
        return b""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asbx.lab.emulator", description=__doc__)
    parser.add_argument("--state-dir", required=True, help="folder for emulator.json, which says where to reach it")
    parser.add_argument("--region", default="us-east-2", help="the region it serves (default: %(default)s)")
    parser.add_argument("--boot", type=float, default=2.0, help="seconds from launch until an instance's system is up")
    parser.add_argument("--pending", type=float, default=0.5, help="seconds an instance stays pending")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    return parser.parse_args(argv)


def _announce(ready: Path, server: Server) -> None:
    """Write emulator.json at once: whoever sees the file can call."""
    facts = {"pid": os.getpid(), "port": server.server_port, "url": server.url}
    draft = ready.with_suffix(".json.part")
    draft.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    draft.replace(ready)


def _retract(ready: Path) -> None:
    """Take emulator.json away, unless it is another emulator's by now."""
    try:
        owner = json.loads(ready.read_text(encoding="utf-8")).get("pid")
    except (OSError, ValueError):
        return
    if owner == os.getpid():
        ready.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
