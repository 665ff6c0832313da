"""Start lasting processes, know them again, end them. A recycled process id is never mistaken for ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asbx.lab.trouble import LabBroken

_POLL_S = 0.05


@dataclass(frozen=True)
class Process:
    """A process we started. born: boot id and start time, which no later process with the same pid shares."""

    name: str
    pid: int
    born: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not, nor one that had ended before it was looked at)."""
        return bool(self.born) and birth(self.pid) == self.born


def birth(pid: int) -> str:
    """Return when a process was born, as `<boot id>:<clock ticks>`; "" when there is none or it is a zombie."""
    try:
        # Field 2 (the name) may hold spaces and brackets; everything after the last bracket is regular (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def start(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    environ: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    user: str | None = None,
) -> Process:
    """Start a process that outlives us: own session, clean signals, output to a log. user: whom it runs as.

    Raises LabBroken (`lab-start`) when the program cannot be run at all.
    """
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environ),
                cwd="/",
                start_new_session=True,
                pass_fds=pass_fds,
                user=user,
                preexec_fn=clean_signals,  # noqa: PLW1509  the lab's command line runs one thread
            )
        except OSError as error:
            raise LabBroken(
                "lab-start", f"{command[0]} cannot be started", str(error.strerror), "run `make setup`"
            ) from None
    child.returncode = 0  # ours to forget: it is ended by pid later, by another process
    return Process(name, child.pid, birth(child.pid))


def clean_signals() -> None:
    """Undo what we may have inherited: a lasting process with SIGTERM blocked can never be stopped."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def stop(processes: Iterable[Process], patience_s: float = 10.0) -> None:
    """End processes: SIGTERM to all, SIGKILL to what is left after the patience, and wait until none is left."""
    rest = list(processes)
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 10.0)):
        for one in rest:
            send(one, number)
        wait_until(lambda: not any(one.is_alive for one in rest), wait_s)  # noqa: B023  used at once
        rest = [one for one in rest if one.is_alive]
        if not rest:
            return
    raise LabBroken(
        "lab-stop",
        f"{', '.join(f'{one.name} (pid {one.pid})' for one in rest)} cannot be ended",
        "not even by SIGKILL; such a process waits for a device",
        "look at it with ps; a restart of the machine ends it",
    )


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process, and reap it where it is a child of ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.is_alive:
            os.kill(process.pid, number)


def wait_until(is_true: Callable[[], bool], patience_s: float) -> bool:
    """Poll until the claim holds; return whether it did within the patience."""
    ends = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > ends:
            return False
        time.sleep(_POLL_S)
    return True
