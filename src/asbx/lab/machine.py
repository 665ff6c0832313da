"""One emulated instance as the runner sees it: start its init, find its slurmd, forward its address, switch it off."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asbx.lab import machine_init, programs
from asbx.lab.layout import Layout
from asbx.lab.processes import Process, send, start, stop

_PIECE = 64 * 1024


@dataclass(frozen=True)
class Wanted:
    """An instance the emulator wants running. boot_at: seconds since the epoch. imds: its metadata address."""

    instance_id: str
    boot_at: float
    address: str
    user_data: str
    imds: str
    hang: bool


class Machine:
    """A booted instance."""

    def __init__(self, layout: Layout, wanted: Wanted, disguise: Mapping[str, str]) -> None:
        self.wanted = wanted
        self._spools = layout.root / "nodes"
        self._folder = layout.machines / wanted.instance_id
        self._init = self._boot(layout, disguise)
        self._server: asyncio.Server | None = None

    def _boot(self, layout: Layout, disguise: Mapping[str, str]) -> Process | None:
        """Run the user data, as cloud-init does with a script; None where there is no script to run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        script = base64.b64decode(self.wanted.user_data)
        console = self._folder / "console.log"
        if not script.startswith(b"#!"):
            console.write_text("machine: the user data is not a script; nothing to run\n", encoding="utf-8")
            return None
        program = self._folder / "user-data"
        program.write_bytes(script)
        program.chmod(0o700)
        environ = {
            "PATH": programs.SYSTEM_PATH,
            "LC_ALL": "C.UTF-8",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.wanted.imds,
            "ASBX_INSTANCE": self.wanted.instance_id,
            "ASBX_MACHINE": str(self._folder),
            "ASBX_LAB": str(layout.root),
            **disguise,
        }
        command = [sys.executable, "-I", "-S", machine_init.__file__, str(program)]
        return start(self.wanted.instance_id, command, console, environ)

    @property
    def needs_forwarding(self) -> bool:
        """Whether slurmd may still appear."""
        return self._init is not None and self._server is None

    @property
    def wants_off(self) -> bool:
        """Whether its own system has asked for power-off."""
        return (self._folder / "poweroff").exists()

    def node(self) -> str:
        """Return the name its slurmd serves under, "" while there is none."""
        for pid in machine_init.descendants(self._init.pid) if self._init else ():
            words = _command_line(pid)
            if words and Path(words[0]).name == "slurmd" and "-N" in words[:-1]:
                return words[words.index("-N") + 1]
        return ""

    async def forward(self, target: str, port: int) -> None:
        """Listen on the instance's own address and pass everything to slurmd, which binds one address for all."""

        async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                far_reader, far_writer = await asyncio.open_connection(target, port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

        self._server = await asyncio.start_server(passed_on, self.wanted.address, port, backlog=256)

    def switch_off(self) -> None:
        """End everything on the machine, at once."""
        if self._server is not None:
            self._server.close()
        if self._init is not None:
            node = self.node()
            stop([self._init])
            self._init = None
            # The next machine of that name begins without it; the PMIx plugin binds the same name again.
            for socket in self._spools.glob(f"{node}/stepd.slurm.pmix.*") if node else ():
                socket.unlink(missing_ok=True)
        (self._folder / "poweroff").unlink(missing_ok=True)

    def press_switch(self) -> None:
        """Ask for the end without waiting for it."""
        if self._init is not None:
            send(self._init, signal.SIGTERM)


def hang(layout: Layout, wanted: Wanted) -> None:
    """Write the console of a machine that boots and never comes to its user data."""
    console = layout.machines / wanted.instance_id / "console.log"
    if not console.exists():
        console.parent.mkdir(parents=True, exist_ok=True)
        console.write_text(f"machine: {wanted.instance_id} boots\nmachine: it hangs before its user data\n", "utf-8")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction until it ends, then end it on the other side too."""
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


def _command_line(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")[:-1]
    return []
