"""A PostgreSQL of one's own, for a lab of two controllers and for tests: one folder, one unix socket, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from asbx.lab import programs
from asbx.lab.processes import Process, clean_signals, start, wait_until
from asbx.lab.trouble import LabBroken, LabError

_PATIENCE_S = 20.0
# PostgreSQL refuses to run as root; this user owns nothing on any system (Debian policy, "UIDs and GIDs").
_NOBODY = "nobody"
USER = "asbx"


def server_program(name: str) -> Path:
    """Return one of the server's programs, of the newest version there is. Raises LabError (`lab-program-missing`)."""
    # Debian keeps them out of the PATH: several versions may be installed side by side.
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    elsewhere = shutil.which(name, path=f"{programs.SYSTEM_PATH}:{os.environ.get('PATH', '')}")
    if not found and elsewhere is None:
        raise LabError(
            "lab-program-missing", f"{name} is not installed", "Debian's package postgresql has it", "run `make setup`"
        )
    return found[-1] if found else Path(str(elsewhere))


def url(folder: Path, database: str = "postgres") -> str:
    """Return the URL of a database of the server in a folder."""
    return f"postgresql+psycopg://{USER}@/{database}?host={folder}"


def make(folder: Path) -> None:
    """Make the server's files in a folder. Raises LabBroken (`lab-database`), LabError (`lab-program-missing`).

    Nothing is synced to the disk, now or later: what a lab or a test keeps does not outlive a power cut.
    """
    folder.mkdir(exist_ok=True)
    user = _user()
    if user:
        shutil.chown(folder, user)
    # Only this folder's owner reaches the socket, so nobody needs a password.
    options = ["--auth=trust", f"--username={USER}", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
    done = subprocess.run(
        [server_program("initdb"), "--pgdata", folder / "data", *options],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        preexec_fn=clean_signals,
    )
    if done.returncode != 0:
        raise LabBroken(
            "lab-database", "PostgreSQL's files cannot be made", done.stderr.strip()[-400:], f"see {folder}"
        )


def serve(folder: Path, log: Path) -> Process:
    """Start the server and return it once it takes connections. SIGINT ends it quickly. Raises LabBroken."""
    options = {"listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off", "max_connections": "200"}
    words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    command = [str(server_program("postgres")), "-D", str(folder / "data"), *words]
    environ = {"PATH": programs.SYSTEM_PATH, "LC_ALL": "C.UTF-8"}
    process = start("postgres", command, log, environ, user=_user())
    if not wait_until(_ready(folder, process), _PATIENCE_S) or not process.is_alive:
        raise LabBroken("lab-database", "PostgreSQL does not answer", "", f"see {log}")
    return process


def _ready(folder: Path, process: Process) -> Callable[[], bool]:
    def looks_ready() -> bool:
        # The last line of this file is the server's own word (documentation, "postmaster.pid").
        try:
            lines = (folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except OSError:
            return not process.is_alive
        ours = lines[0].strip() == str(process.pid)  # not what a crashed one has left
        return not process.is_alive or (ours and len(lines) > 7 and lines[7].strip() == "ready")

    return looks_ready


def _user() -> str | None:
    """Return whom the server must run as: None for ourselves."""
    return pwd.getpwnam(_NOBODY).pw_name if os.geteuid() == 0 else None
