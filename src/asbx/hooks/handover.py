"""Hand a call of Slurm to whoever does the work, and leave.

slurmctld must not be kept waiting (slurm.conf(5): since 23.02 a slow program blocks its script runner), so by default
the call becomes one spool file and one knock at the daemon's socket. Only where no daemon answers does the work start
here: in a detached process when Slurm called, in the foreground when a person did.
"""

from __future__ import annotations

import os
import sys

from asbx.hooks import spool

# The defaults of paths.spool and paths.runtime in config/schema.py; a hook has no time to read YAML.
SPOOL = "/var/spool/asbx"
SOCKET = "/run/asbx/asbx.sock"
LEDGER_EXIT = 10


def run(kind: str) -> int:
    """Do one call of the named program and return its exit status."""
    keep_standard_descriptors()
    argv, environ = sys.argv[1:], dict(os.environ)
    # Slurm passes one node list and nothing else (slurm.conf(5)). Options ask for an answer on the screen or name files
    # to be checked, and anything else is a mistake to be told: work for the full program.
    if len(argv) != 1 or argv[0].startswith("-"):
        return full_program(kind, argv)
    folder = f"{environ.get('ASBX_SPOOL', SPOOL)}/requests"
    person = "HOME" in environ  # Slurm gives its programs SLURM_CONF and little else (slurm.conf(5)): no HOME
    awake = knock(environ.get("ASBX_SOCKET", SOCKET), b"")
    if person and not awake:
        return full_program(kind, argv)
    try:
        request_id = spool.write(folder, spool.request(kind, argv, environ))
    except OSError as error:
        return complain(kind, folder, error)
    if awake and knock(environ.get("ASBX_SOCKET", SOCKET), b"nudge\n"):
        if person:
            say(
                sys.stdout,
                f"handed to the daemon as request {request_id}; see `asbx events --request {request_id}`",
            )
        return 0
    detach([sys.executable, "-P", "-m", "asbx", "work"])
    return 0


def keep_standard_descriptors() -> None:
    """Open 0, 1 and 2 if Slurm closed them (22.05 does), so that no file of ours gets their numbers."""
    while True:
        handle = os.open("/dev/null", os.O_RDWR)
        if handle > 2:
            os.close(handle)
            return
        os.set_inheritable(handle, True)


def knock(path: str, words: bytes) -> bool:
    """Return whether a daemon listens at the socket; leave a few words there without waiting for an answer."""
    import _socket  # noqa: PLC0415  the pure-Python `socket` doubles the start-up (enum, selectors)

    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    line.settimeout(1.0)
    try:
        line.connect(path)
        if words:
            line.sendall(words)
    except BlockingIOError:
        return True  # its queue of callers is full: it is there, and reads the spool anyway
    except OSError:
        return False
    finally:
        line.close()
    return True


def detach(command: list[str]) -> None:
    """Start a process that outlives this one, in a session of its own before we return.

    Slurm kills what is left of our process group when we exit, and its children inherit a mask that blocks SIGTERM:
    both are undone here.
    """
    import signal  # noqa: PLC0415

    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.write(writing, b"x")
        os.close(reading)
        os.close(writing)
        try:
            os.execv(command[0], command)  # noqa: S606
        finally:
            os._exit(127)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)


def full_program(kind: str, argv: list[str]) -> int:
    """Become `asbx <kind>`, which checks everything, shows what it does and answers with an exit status.

    -P: `-m` would put the working directory first on the path, and with it whatever lies there as `asbx`.
    """
    os.execv(sys.executable, [sys.executable, "-P", "-m", "asbx", kind, *argv])  # noqa: S606


def complain(kind: str, folder: str, error: OSError) -> int:
    """Say that the request could not be kept: on stderr for a person, in the system log for everybody else."""
    text = (
        f"spool-write: the {kind} request could not be kept in {folder} ({error.strerror or error}); "
        "make the folder writable for SlurmUser or free space on its disk"
    )
    say(sys.stderr, text)
    import syslog  # noqa: PLC0415

    syslog.openlog("asbx", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR, text)
    return LEDGER_EXIT


def say(stream: object, text: str) -> None:
    """Write a line where somebody may read it; a closed or broken stream is no reason to fail."""
    try:  # noqa: SIM105  contextlib would cost a tenth of the start-up
        print(text, file=stream, flush=True)  # type: ignore[call-overload]
    except (OSError, ValueError):
        pass
