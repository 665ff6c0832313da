"""The folder of plans: what of a file is believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.fakes.site import config

from asbx.config.limits import PLAN_MAX_BYTES
from asbx.daemon.guard import make_folders
from asbx.daemon.plan_folder import PlanFolder, leave, new_name, why_closed
from asbx.model.plan_file import PlanFile

ME = os.geteuid()


@pytest.fixture
def folder(tmp_path: Path) -> PlanFolder:
    """Return a folder where this user is the administrator."""
    return PlanFolder(tmp_path, frozenset({ME}))


def read(folder: PlanFolder, name: str = "7") -> PlanFile:
    """Return a file that is there."""
    found = folder.read(name)
    assert found is not None
    return found


def test_an_administrators_file_is_read(folder: PlanFolder, tmp_path: Path) -> None:
    """Text, owner and rank."""
    (tmp_path / "7.json").write_text("{}")
    (tmp_path / "7.json").chmod(0o644)
    found = read(folder)
    assert (found.text, found.privileged, found.trouble) == ("{}", True, "")


def test_a_file_others_may_write_is_nobodys_word(folder: PlanFolder, tmp_path: Path) -> None:
    """Owned by an administrator, but open to a group: it is not privileged."""
    (tmp_path / "7.json").write_text("{}")
    (tmp_path / "7.json").chmod(0o664)
    assert not read(folder).privileged


def test_a_users_file_is_not_privileged(tmp_path: Path) -> None:
    """Whoever is not among the owners has a user's rank."""
    (tmp_path / "7.json").write_text("{}")
    assert not read(PlanFolder(tmp_path, frozenset())).privileged


def test_links_pipes_giants_and_bytes_are_not_read(folder: PlanFolder, tmp_path: Path) -> None:
    """Each is told with what it is, and none is opened to its content."""
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "link.json").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret", tmp_path / "twice.json")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "dir.json").mkdir()
    (tmp_path / "giant.json").write_bytes(b" " * (PLAN_MAX_BYTES + 1))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name, said in {
        "link": "symbolic link",
        "twice": "linked from 2 places",
        "pipe": "not a regular file",
        "dir": "not a regular file",
        "giant": "are allowed",
        "bytes": "not UTF-8",
    }.items():
        found = read(folder, name)
        assert said in found.trouble
        assert found.text == ""


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a/b", "a.json", "é", "x" * 65, "a\0b"])
def test_no_name_leads_out_of_the_folder(folder: PlanFolder, name: str) -> None:
    """Names are letters, digits, - and _ only."""
    assert folder.read(name) is None


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    """No folder, no plans."""
    assert PlanFolder(tmp_path / "none", frozenset()).read("7") is None


def test_users_may_add_plans_and_see_none(tmp_path: Path) -> None:
    """The folder is made so that each user can leave a file, and none can list or replace another's."""
    site = config(tmp_path)
    make_folders(site)
    assert site.paths.plans.stat().st_mode & 0o7777 == 0o1733
    closed = site.model_copy(update={"policy": site.policy.model_copy(update={"users_plans": False})})
    site.paths.plans.rmdir()
    make_folders(closed)
    assert not site.paths.plans.exists()


def test_what_is_left_is_read_whole(folder: PlanFolder, tmp_path: Path) -> None:
    """Whatever the umask it can be read by the daemon; a file of one's own is replaced, and no draft stays."""
    before = os.umask(0o077)
    try:
        leave(tmp_path, "7", "{}")
        leave(tmp_path, "7", '{"a": 1}')
    finally:
        os.umask(before)
    found = read(folder)
    assert (found.text, found.trouble) == ('{"a": 1}', "")
    assert [one.name for one in tmp_path.iterdir()] == ["7.json"]
    assert (tmp_path / "7.json").stat().st_mode & 0o777 == 0o644


def test_nothing_is_left_where_nothing_can_be(folder: PlanFolder, tmp_path: Path) -> None:
    """A folder that is not there is said to be so; where a directory is in the way, no draft stays."""
    assert "is not there" in why_closed(tmp_path / "none")
    assert why_closed(tmp_path) == ""
    (tmp_path / "7.json").mkdir()
    with pytest.raises(OSError, match=r"7\.json"):
        leave(tmp_path, "7", "{}")
    assert [one.name for one in tmp_path.iterdir()] == ["7.json"]
    assert folder.read(new_name()) is None
