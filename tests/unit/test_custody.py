"""The daemon trusts no folder, file or caller that others could have put there."""

from __future__ import annotations

import pytest

from asbx.decide.custody import Kind, Person, Place, Seen, about_person, about_places, trusted

SLURM = 64030
ROOT = Seen("/", Kind.FOLDER, 0, 0, 0o755)
TMP = Seen("/tmp", Kind.FOLDER, 0, 0, 0o1777)
OWNERS = frozenset({0, SLURM})


def spool(**changes: object) -> Place:
    """Return a spool as it should be, with changes to the folder itself."""
    seen = {
        "path": "/var/spool/asbx/requests",
        "kind": Kind.FOLDER,
        "uid": SLURM,
        "gid": SLURM,
        "mode": 0o700,
    } | changes
    return Place("the spool", Seen(**seen), (ROOT,), private=True)  # type: ignore[arg-type]


def test_a_private_folder_of_slurm_user_is_fine() -> None:
    """Mode 0700, SlurmUser's, under root's folders."""
    assert about_places((spool(),), OWNERS) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": 0o777}, "may be written by others (mode 0777)"),
        ({"mode": 0o720, "gid": 100}, "may be written by others (mode 0720)"),
        ({"mode": 0o750}, "is open to others (mode 0750)"),
        ({"mode": 0o711}, "is open to others (mode 0711)"),
        ({"uid": 1000}, "belongs to user 1000"),
        ({"kind": Kind.LINK}, "is a symbolic link"),
    ],
)
def test_a_spool_others_could_use_is_refused(changes: dict[str, object], words: str) -> None:
    """Each is one fatal finding that names the path and what is wrong."""
    (finding,) = about_places((spool(**changes),), OWNERS)
    assert finding.is_fatal
    assert words in str(finding)
    assert "/var/spool/asbx/requests" in str(finding)


@pytest.mark.parametrize(
    ("step", "words", "fatal"),
    [
        (Seen("/var/spool", Kind.FOLDER, 0, 0, 0o777), "lies in /var/spool, which others may write", True),
        (Seen("/srv", Kind.FOLDER, 0, 50, 0o775), "lies in /srv, which others may write", True),
        (Seen("/home/eve/x", Kind.LINK, 1000, 1000, 0o777), "symbolic link of user 1000", True),
        (Seen("/home/eve", Kind.FOLDER, 1000, 1000, 0o755), "of user 1000, who can exchange it", False),
    ],
)
def test_who_may_write_above_may_exchange_what_lies_below(step: Seen, words: str, fatal: bool) -> None:
    """Open folders and others' links on the way are refused; another owner is told."""
    found = about_places((Place("the spool", spool().seen, (ROOT, step), private=True),), OWNERS)
    assert [finding.is_fatal for finding in found] == [fatal]
    assert words in str(found[0])


def test_a_sticky_folder_and_a_private_group_are_no_danger() -> None:
    """/tmp keeps others from renaming; a group of the user's own number has nobody else in it."""
    mine = Seen("/home/me", Kind.FOLDER, SLURM, SLURM, 0o775)
    assert about_places((Place("the spool", spool().seen, (ROOT, TMP, mine), private=True),), OWNERS) == ()


def test_a_configuration_others_may_write_is_told_and_nothing_more() -> None:
    """An administrator may have his reasons; the start is not refused."""
    seen = Seen("/etc/slurm/aws-burst.yaml", Kind.FILE, 0, 0, 0o666)
    (finding,) = about_places((Place("the configuration", seen, (ROOT,), is_ours=False),), OWNERS)
    assert not finding.is_fatal


def test_allowed_users_may_own_what_slurm_user_may() -> None:
    """security.allowed_uids widens the circle, nothing else does."""
    person = Person(SLURM, "slurm", "slurm", SLURM)
    place = (spool(uid=1234),)
    assert about_places(place, trusted(person)) != ()
    assert about_places(place, trusted(person, [1234])) == ()


@pytest.mark.parametrize(
    ("person", "words"),
    [
        (Person(0, "root", "slurm", SLURM), "runs as root"),
        (Person(0, "root", "root", 0), "runs as root"),
        (Person(1000, "eve", "slurm", SLURM), "runs as eve, Slurm as slurm"),
        (Person(1000, "eve", "", None), "does not say who SlurmUser is"),
        (Person(1000, "eve", "slurm", None), "whom this machine does not know"),
    ],
)
def test_another_user_than_slurm_user_is_told(person: Person, words: str) -> None:
    """The daemon starts and says so."""
    (finding,) = about_person(person)
    assert words in str(finding)
    assert not finding.is_fatal


def test_slurm_user_himself_is_told_nothing() -> None:
    """As it should be."""
    assert about_person(Person(SLURM, "slurm", "slurm", SLURM)) == ()
