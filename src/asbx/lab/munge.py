"""A munged of the lab's own: key, socket and logs in the state folder, beside any the system runs."""

from __future__ import annotations

import secrets
from pathlib import Path

from asbx.lab import programs
from asbx.lab.layout import Layout
from asbx.lab.loopback import LOCALHOST
from asbx.lab.processes import Process, start, wait_until
from asbx.lab.trouble import LabBroken

_PATIENCE_S = 10.0


def start_munged(layout: Layout, environ: dict[str, str]) -> Process:
    """Make a key and start munged. Raises LabBroken (`lab-munge`)."""
    key = layout.run / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    log = layout.log / "munged.log"
    command: list[str | Path] = [
        programs.find("munged"),
        "--foreground",
        # It refuses folders others could write to, which says nothing here: its key lives minutes.
        "--force",
        f"--key-file={key}",
        f"--socket={layout.munge_socket}",
        f"--pid-file={layout.run / 'munged.pid'}",
        f"--seed-file={layout.run / 'munge.seed'}",
        f"--log-file={log}",
        # Else it looks up the host's name, which may not resolve.
        f"--origin={LOCALHOST}",
        "--num-threads=2",
    ]
    process = start("munged", command, layout.log / "munged.out", environ)
    if not wait_until(lambda: layout.munge_socket.exists() or not process.is_alive, _PATIENCE_S):
        raise LabBroken("lab-munge", "munged did not open its socket", "", f"see {log}")
    if not process.is_alive:
        raise LabBroken("lab-munge", "munged ended at once", "", f"see {log} and {layout.log / 'munged.out'}")
    return process
