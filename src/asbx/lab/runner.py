"""The data centre: boots the instances the emulator launches and switches off those it ends.

`python -m asbx.lab.runner --state-dir D [--idle] [--claim FD]` runs until SIGTERM, then switches everything off. A
slurmd that crashes stays dead, as on a real instance. --claim: the socket that reserves the lab's ports, held open.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asbx.errors import AsbxError
from asbx.lab.emulation import Control
from asbx.lab.layout import Layout
from asbx.lab.machine import Machine, Wanted, hang
from asbx.lab.record import Record, load
from asbx.lab.site import node_names

_POLL_S = 0.2
_LOOK_S = 0.1


class Runner:
    """Machines by instance id."""

    def __init__(self, layout: Layout, record: Record, control: Control) -> None:
        self._layout = layout
        self._control = control
        self._disguise = record.disguise
        self._address = record.slot.address
        self._ports = {node: record.slot.node_port(index) for index, node in enumerate(node_names(record))}
        self._machines: dict[str, Machine] = {}

    async def turn(self, now: float) -> None:
        """Compare with the emulator once. Raises AsbxError when it does not answer."""
        answer: dict[str, Any] = await asyncio.to_thread(self._control.get, "machines")
        wanted = {row["id"]: _wanted(row) for row in answer["wanted"]}
        for instance_id in [one for one, m in self._machines.items() if one not in wanted or wanted[one].hang]:
            machine = self._machines.pop(instance_id)
            await asyncio.to_thread(machine.switch_off)
            _say(f"{instance_id} is off")
        for instance_id, machine in list(self._machines.items()):
            if machine.wants_off:
                _say(f"{instance_id} powers itself off")
                await asyncio.to_thread(self._control.post, f"machines/{instance_id}", {"state": "stopped-itself"})
        for row in wanted.values():
            if row.hang and row.boot_at <= now:
                hang(self._layout, row)
        for instance_id, row in wanted.items():
            if instance_id not in self._machines and row.boot_at <= now and not row.hang:
                self._machines[instance_id] = Machine(self._layout, row, self._disguise)
                _say(f"{instance_id} boots at {row.address}")

    async def connect(self) -> None:
        """Give machines whose slurmd has appeared their place in the network."""
        for instance_id, machine in list(self._machines.items()):
            if machine.needs_forwarding and (node := machine.node()):
                port = self._ports.get(node)
                if port is None:
                    _say(f"{instance_id} serves as {node}, which is no node of this lab")
                    continue
                await machine.forward(self._address, port)
                _say(f"{instance_id} serves as {node}, port {port}")

    def switch_off_all(self) -> None:
        """End every machine, all at the same time."""
        for machine in self._machines.values():
            machine.press_switch()
        for machine in self._machines.values():
            machine.switch_off()
        self._machines.clear()


def _wanted(row: dict[str, Any]) -> Wanted:
    return Wanted(row["id"], row["boot_at"], row["private_ip"], row["user_data"], row["imds"], bool(row.get("hang")))


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


async def serve(runner: Runner, *, is_idle: bool) -> None:
    """Turn until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    polled = 0.0
    while not ended.is_set():
        try:
            if not is_idle and time.monotonic() - polled >= _POLL_S:
                polled = time.monotonic()
                await runner.turn(time.time())
            await runner.connect()
        except AsbxError as error:
            _say(str(error))
        try:
            await asyncio.wait_for(ended.wait(), _LOOK_S)
        except TimeoutError:
            continue
    await asyncio.to_thread(runner.switch_off_all)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m asbx.lab.runner", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--idle", action="store_true", help="boot nothing")
    parser.add_argument("--claim", type=int, default=-1, help="descriptor of the socket that reserves the ports")
    asked = parser.parse_args(argv)
    layout = Layout.at(asked.state_dir)
    # Machines that are off must not linger as zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    record = load(layout)
    if record is None:
        parser.error(f"no lab in {layout.root}")
    asyncio.run(serve(Runner(layout, record, Control(record.emulator_url)), is_idle=asked.idle))
    return 0


if __name__ == "__main__":
    sys.exit(main())
