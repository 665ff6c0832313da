"""The first process of an emulated instance: runs its user data, adopts orphans, takes everything down with it.

Started as a plain file by `python -I -S`, so it imports the standard library only, and little of that: there is one
for each instance. Being the subreaper (prctl(2)) of all that runs on "its" machine, it knows every process of it,
daemons and job tasks alike. SIGTERM is the power switch.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PR_SET_NAME = 15


def main() -> int:
    """Run the program given as the only argument; return 0 after a SIGTERM."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, b"asbx-machine", 0, 0, 0)
    power_off = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_SETMASK, power_off | {signal.SIGCHLD})
    first = os.fork()
    if first == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        try:
            os.execv(sys.argv[1], [sys.argv[1]])
        finally:
            os._exit(127)
    while signal.sigwait(power_off | {signal.SIGCHLD}) not in power_off:
        reap(first)
    log("power off")
    return 0 if end_descendants() else 1


def log(text: str) -> None:
    """Write a line on the machine's console."""
    os.write(2, f"machine: {text}\n".encode())


def reap(first: int) -> None:
    """Collect children that have ended, and say how the user data did."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == first:
            log(f"user data ended with status {os.waitstatus_to_exitcode(status)}")


def end_descendants() -> bool:
    """Kill everything below us, again and again until nothing is left; return whether that came true.

    A machine that loses its power gives nobody time to say goodbye.
    """
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        below = descendants(os.getpid())
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reap(0)
        if not below:
            return True
        time.sleep(0.01)
    return False


def descendants(root: int) -> list[int]:
    """Return all processes below a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  pathlib would double the size of this process
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, grey = [], [root]
    while grey:
        below = children.get(grey.pop(), [])
        found += below
        grey += below
    return found


if __name__ == "__main__":
    sys.exit(main())
