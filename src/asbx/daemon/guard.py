"""Look at the daemon's folders and its user before it serves; decide/custody.py judges what is seen."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from asbx.config.schema import Config
from asbx.daemon.user_names import user_name
from asbx.decide.custody import Finding, Kind, Person, Place, Seen, about_person, about_places, trusted
from asbx.errors import ConfigError

_SLURM_USER = re.compile(r"(?im)^\s*SlurmUser\s*=\s*\"?([A-Za-z0-9._-]{1,64})\"?\s*(?:#.*)?$")
_INCLUDE = re.compile(r"(?im)^\s*include\s")


def admit(config: Config) -> tuple[str, ...]:
    """Make missing folders, check all of them, and return warnings. Raises ConfigError (`unsafe-place`)."""
    make_folders(config)
    person = who(config)
    log = _place("the log folder", config.logging.file.parent, is_ours=False)
    findings = (*about_person(person), *about_places((*places(config), log), owners(config, person)))
    refuse([finding for finding in findings if finding.is_fatal])
    return tuple(f"{finding}; {finding.hint}" for finding in findings if not finding.is_fatal)


def examine(config: Config, file: Path) -> tuple[Finding, ...]:
    """Return what is unsafe about the folders that are there and the configuration file, for `validate`."""
    keys = config.aws.access_keys is not None or bool(config.ledger.url)
    mine = Place("the configuration", _look(file), tuple(_above(file)), private=keys, is_ours=False)
    return about_places((*places(config), mine), owners(config))


def refuse(findings: list[Finding]) -> None:
    """Raise ConfigError for findings, if there are any."""
    if findings:
        hints = dict.fromkeys(finding.hint for finding in findings)
        raise ConfigError(
            "unsafe-place",
            "others could tell the daemon what to launch, or change what it remembers",
            "\n".join(str(finding) for finding in findings),
            "; ".join(hints),
        )


def make_folders(config: Config) -> None:
    """Make the folders of spool, state and socket where they are missing and may be made.

    Where they may not, opening the ledger, writing a request or taking the lock says so with its own error.
    """
    plans = config.paths.plans
    # Users may leave plans of their own jobs: each may add, none may list or touch another's (whoever reads it looks
    # at the owner of each file).
    with suppress(OSError):
        if not plans.exists() and config.policy.users_plans:
            config.paths.spool.mkdir(mode=0o755, parents=True, exist_ok=True)
            plans.mkdir(mode=0o700)
            plans.chmod(0o1733)
    for folder, mode in ((config.paths.requests, 0o700), (config.paths.state, 0o700), (config.paths.runtime, 0o755)):
        with suppress(OSError):
            # Missing folders above get mkdir's own default, whatever the umask of the caller: never open to others.
            for part in reversed((folder, *folder.parents)):
                if not part.exists():
                    part.mkdir(mode=mode if part == folder else 0o755)


def owners(config: Config, person: Person | None = None) -> frozenset[int]:
    """Return the users whose requests are taken: SlurmUser, root, this process's own and those of the configuration."""
    return trusted(person or who(config), config.security.allowed_uids)


def who(config: Config) -> Person:
    """Return the user of this process, and SlurmUser of slurm.conf."""
    uid = os.geteuid()
    name = slurm_user(config.slurm.config_path)
    return Person(uid, user_name(uid), name, _uid(name))


def slurm_user(conf: Path) -> str:
    """Return SlurmUser of a slurm.conf: root where it has none (slurm.conf(5)), "" where that cannot be read.

    Files it includes are not read; the setting may stand in one of them.
    """
    try:
        text = conf.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = _SLURM_USER.search(text)
    if found is not None:
        return found[1]
    return "" if _INCLUDE.search(text) else "root"


def places(config: Config) -> tuple[Place, ...]:
    """Look at everything the daemon trusts."""
    paths = config.paths
    found = [
        _place("the spool", paths.requests, private=True),
        _place("the state folder", paths.state),
        _place("the runtime folder", paths.runtime),
    ]
    if not config.ledger.url and found[1].seen.mode & 0o011:  # in a closed folder nobody gets at the file
        found.append(Place("the ledger", _look(paths.state / "ledger.db")))
    return tuple(found)


def _place(what: str, path: Path, *, private: bool = False, is_ours: bool = True) -> Place:
    return Place(what, _look(path), tuple(_above(path)), private, is_ours)


def _above(path: Path) -> Iterator[Seen]:
    """Yield the real folders above a path, and the links on the way to them."""
    with suppress(OSError):
        parent = path.absolute().parent
        real = parent.resolve()
        yield from (_look(step) for step in (*reversed(real.parents), real))
        yield from (seen for step in (*parent.parents, parent) if (seen := _look(step)).kind is Kind.LINK)


def _look(path: Path) -> Seen:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Seen(str(path), Kind.ABSENT)
    except OSError:
        return Seen(str(path), Kind.UNSEEN)
    kinds = {stat.S_IFDIR: Kind.FOLDER, stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.LINK}
    kind = kinds.get(stat.S_IFMT(found.st_mode), Kind.OTHER)
    return Seen(str(path), kind, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


def _uid(name: str) -> int | None:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if name else None
    except KeyError:
        return None
