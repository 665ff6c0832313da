"""The spool: one file for each call of a Slurm program, written and read here so that both sides agree.

A file is whole or not there: it is written under a hidden name, fsynced, renamed, and the folder is fsynced.
Names sort by arrival. Folder and files are private to SlurmUser (0700, 0600).
"""

from __future__ import annotations

import os
import time

try:  # `json` brings `re` with it, a third of the hook's whole start-up; writing needs one function of it
    from _json import encode_basestring_ascii as _quoted
except ImportError:  # another Python implementation
    from json.encoder import encode_basestring_ascii as _quoted

FORMAT = 1
SUFFIX = ".json"
# The resume file of a 10,000-node, 10,000-job call is about 2 MB; anything beyond this is not one.
RESUME_FILE_MAX = 32 * 1024 * 1024


class SpoolUnreadableError(Exception):
    """A spool file is not one of ours, or is damaged."""


def read_resume_file(path: str | None) -> tuple[str | None, str]:
    """Return (content, trouble) of the file slurmctld names in SLURM_RESUME_FILE.

    It lives in /proc of a slurmctld child and is only promised for about ten seconds (slurm.conf(5), ResumeProgram),
    so its bytes are copied at once and understood later. trouble is "" when all went well.
    """
    if not path:
        return None, ""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  pathlib would cost a third of the start-up
            raw = file.read(RESUME_FILE_MAX + 1)
    except OSError as error:
        return None, f"cannot read {path}: {error.strerror or error}"
    if len(raw) > RESUME_FILE_MAX:
        return None, f"{path} is larger than {RESUME_FILE_MAX} bytes"
    return raw.decode("utf-8", "replace"), ""


def request(kind: str, argv: list[str], environ: dict[str, str], plan: str | None = None) -> dict[str, object]:
    """Gather what Slurm said in this call: argv without the program's name, environment, resume file."""
    content, trouble = read_resume_file(environ.get("SLURM_RESUME_FILE") if kind == "resume" else None)
    return {
        "asbx_spool": FORMAT,
        "kind": kind,
        "nodes": argv[0] if argv else "",
        "argv": argv,
        "received_at": time.time(),
        "resume_file": content,
        "resume_file_error": trouble,
        "reboot_job": environ.get("SLURM_JOB_ID", ""),
        "plan": plan,
        "by_hand": "HOME" in environ,  # Slurm gives its programs no HOME
    }


def _as_json(value: object) -> str:
    """Return JSON of what a request holds: objects, lists, texts, numbers and null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(_quoted(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_as_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_as_json(item) for item in value) + "]"
    return repr(value)


def write(folder: str, body: dict[str, object]) -> str:
    """Keep a request durably and return its id (the file's name without suffix). Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    name = f"{time.time_ns():020d}-{os.getpid()}-{body['kind']}"
    hidden, final = f"{folder}/.{name}", f"{folder}/{name}{SUFFIX}"
    handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_as_json(body).encode())
            file.flush()
            owner = os.stat(folder)  # noqa: PTH116
            if os.geteuid() == 0 != owner.st_uid:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)  # or a daemon that is SlurmUser could not read it
            os.fsync(file.fileno())
        os.rename(hidden, final)  # noqa: PTH104
    except OSError:
        os.unlink(hidden)  # noqa: PTH108
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return name


def waiting(folder: str) -> list[str]:
    """Return the ids of the requests in the folder, oldest first; an absent folder holds none."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        return []
    return sorted(n[: -len(SUFFIX)] for n in names if n.endswith(SUFFIX) and not n.startswith("."))


def read(folder: str, request_id: str, most_bytes: int, owners: frozenset[int] | None = None) -> dict[str, object]:
    """Return a request as it was written.

    owners: whose files count; None: anybody's, whom the folder lets in.
    Raises SpoolUnreadableError for anything that is not one, OSError when it cannot be opened.
    """
    import json  # noqa: PLC0415  only the reading side has the time

    if not request_id.isascii() or not request_id.isprintable():
        raise SpoolUnreadableError("its name is none that a hook would give")
    with open(_open_own(f"{folder}/{request_id}{SUFFIX}", owners), "rb") as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise SpoolUnreadableError(f"larger than {most_bytes} bytes")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SpoolUnreadableError(f"not JSON: {error}") from None
    if not isinstance(body, dict) or body.get("asbx_spool") != FORMAT:
        raise SpoolUnreadableError("not a request of this format")
    if body.get("kind") not in ("resume", "suspend", "resume-fail") or not isinstance(body.get("nodes"), str):
        raise SpoolUnreadableError("kind or nodes are missing")
    return body


def _open_own(path: str, owners: frozenset[int] | None) -> int:
    """Open a file that lies here as itself: no link to elsewhere, no pipe to wait at, of nobody but those who may ask.

    A second hard link would be somebody's file that root was made to read.
    """
    import errno  # noqa: PLC0415
    import stat  # noqa: PLC0415

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise SpoolUnreadableError("a link or a socket, not a file") from None
        raise
    seen = os.fstat(handle)
    why = ""
    if not stat.S_ISREG(seen.st_mode):
        why = "not a file"
    elif seen.st_nlink != 1:
        why = f"linked from {seen.st_nlink} places"
    elif owners is not None and seen.st_uid not in owners:
        why = f"of user {seen.st_uid}, who is neither SlurmUser nor root nor in security.allowed_uids"
    if why:
        os.close(handle)
        raise SpoolUnreadableError(why)
    return handle


def remove(folder: str, request_id: str) -> None:
    """Forget a request that is safely elsewhere."""
    try:  # noqa: SIM105  contextlib would cost a tenth of the start-up
        os.unlink(f"{folder}/{request_id}{SUFFIX}")  # noqa: PTH108
    except FileNotFoundError:
        pass


def set_aside(folder: str, request_id: str, aside: str) -> str:
    """Move a file nobody can read out of the way and return its new path. Raises OSError."""
    os.makedirs(aside, mode=0o700, exist_ok=True)  # noqa: PTH103
    target = f"{aside}/{request_id}{SUFFIX}"
    os.rename(f"{folder}/{request_id}{SUFFIX}", target)  # noqa: PTH104
    return target
