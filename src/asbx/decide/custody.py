"""Whether the daemon may trust its folders, its configuration file and the user it runs as. Pure: judges what was seen.

The daemon launches what the files in its spool say, with the rights of its AWS role. So nobody but those who may ask it
anyway may be able to put a file there, to exchange the folder, or to change what it remembers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from stat import S_ISVTX, S_IWGRP, S_IWOTH

_OTHERS = 0o077


class Kind(StrEnum):
    """What lies at a path, links not followed."""

    FOLDER = "a folder"
    FILE = "a file"
    LINK = "a symbolic link"
    OTHER = "neither a file nor a folder"
    ABSENT = "absent"
    UNSEEN = "not to be seen by this user"


@dataclass(frozen=True)
class Seen:
    """What lstat said of a path. mode: permission bits only."""

    path: str
    kind: Kind
    uid: int = 0
    gid: int = 0
    mode: int = 0

    @property
    def is_open(self) -> bool:
        """Whether users besides the owner may write. A group of the owner's own number is his alone (Debian's way)."""
        private = self.gid == self.uid
        return bool(self.mode & S_IWOTH or (self.mode & S_IWGRP and not private))


@dataclass(frozen=True)
class Place:
    """A folder or file of ours. above: everything on the way to it, from the root down, real folders and links.

    what: in words. private: nobody else may even look inside. is_ours: a danger refuses the start;
    otherwise it is told.
    """

    what: str
    seen: Seen
    above: tuple[Seen, ...] = ()
    private: bool = False
    is_ours: bool = True


@dataclass(frozen=True)
class Person:
    """Who runs the daemon, and who Slurm runs as: "" and None where that cannot be known."""

    uid: int
    name: str
    slurm_name: str = ""
    slurm_uid: int | None = None


@dataclass(frozen=True)
class Finding:
    """Something to refuse or to warn of."""

    where: str
    why: str
    hint: str
    is_fatal: bool = True

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"{self.where} {self.why}"


def trusted(person: Person, allowed: Sequence[int] = ()) -> frozenset[int]:
    """Return the users whose requests are taken."""
    mine = {0, person.uid} | ({person.slurm_uid} if person.slurm_uid is not None else set())
    return frozenset(mine | set(allowed))


def about_person(person: Person) -> tuple[Finding, ...]:
    """Say what is odd about the user the daemon runs as. Never fatal: a site may have its reasons."""
    if not person.slurm_name:
        why = "does not say who SlurmUser is, so only requests of root and of this user are taken"
        return (Finding("slurm.conf", why, "set slurm.config_path, or security.allowed_uids", is_fatal=False),)
    if person.slurm_uid is None:
        why = f"is {person.slurm_name}, whom this machine does not know"
        return (Finding("SlurmUser", why, "the daemon belongs on the machine of slurmctld", is_fatal=False),)
    hint = f"run it as {person.slurm_name}, from systemd with User={person.slurm_name}"
    if person.uid == 0:
        why = "runs as root; SlurmUser's rights are enough for it"
        hint = hint if person.slurm_uid else "let Slurm itself run as another user (slurm.conf(5), SlurmUser)"
        return (Finding("the daemon", why, hint, is_fatal=False),)
    if person.uid != person.slurm_uid:
        why = f"runs as {person.name}, Slurm as {person.slurm_name}: their files may be closed to each other"
        return (Finding("the daemon", why, hint, is_fatal=False),)
    return ()


def about_places(places: Sequence[Place], owners: frozenset[int]) -> tuple[Finding, ...]:
    """Return what is unsafe about these places. What is absent or cannot be seen is left out: its use will say more."""
    return tuple(finding for place in places for finding in _about(place, owners))


def _about(place: Place, owners: frozenset[int]) -> Iterator[Finding]:
    seen, where = place.seen, f"{place.what} {place.seen.path}"
    if seen.kind in (Kind.ABSENT, Kind.UNSEEN):
        return
    if seen.kind is Kind.LINK and place.is_ours:
        yield Finding(where, "is a symbolic link", "name the real place in the configuration")
        return
    if seen.uid not in owners:
        why = f"belongs to user {seen.uid}, who is neither SlurmUser nor root"
        hint = f"chown it to SlurmUser, or put {seen.uid} into security.allowed_uids"
        yield Finding(where, why, hint, is_fatal=place.is_ours)
    if seen.is_open:
        hint = f"chmod {'go=' if place.private else 'go-w'} {seen.path}"
        yield Finding(where, f"may be written by others (mode {seen.mode:04o})", hint, is_fatal=place.is_ours)
    elif place.private and seen.mode & _OTHERS:
        hint = f"chmod go= {seen.path}"
        yield Finding(where, f"is open to others (mode {seen.mode:04o})", hint, is_fatal=place.is_ours)
    for step in place.above:
        yield from _on_the_way(step, where, owners, is_fatal=place.is_ours)


def _on_the_way(step: Seen, where: str, owners: frozenset[int], *, is_fatal: bool) -> Iterator[Finding]:
    """Judge a folder above: who may write in it may exchange what lies in it, unless it is sticky as /tmp is."""
    if step.kind is Kind.LINK and step.uid not in owners:
        why = f"is reached by a symbolic link of user {step.uid}, {step.path}"
        yield Finding(where, why, "name the real place in the configuration", is_fatal)
    if step.kind is not Kind.FOLDER:
        return
    if step.is_open and not step.mode & S_ISVTX:
        why = f"lies in {step.path}, which others may write (mode {step.mode:04o})"
        yield Finding(where, why, f"chmod go-w {step.path}", is_fatal)
    elif step.uid not in owners:
        why = f"lies in {step.path} of user {step.uid}, who can exchange it"
        yield Finding(where, why, f"chown {step.path} to root", is_fatal=False)
