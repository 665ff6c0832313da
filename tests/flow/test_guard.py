"""At start, and with each request, the daemon looks whom it may believe. Real folders, files and sockets."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from tests.fakes.site import Site, config

from asbx.config.schema import Config
from asbx.daemon.engine import Engine
from asbx.daemon.guard import admit, owners, slurm_user
from asbx.daemon.socket import ControlSocket, Guests, ask
from asbx.errors import ConfigError, ExitCode
from asbx.hooks import spool
from asbx.model.event import EventKind

ME = os.geteuid()


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """Return a site under a temporary folder, with a slurm.conf that names this user."""
    (tmp_path / "slurm.conf").write_text(f"SlurmUser={ME}\n", encoding="utf-8")
    plain = config(tmp_path)
    return plain.model_copy(update={"slurm": plain.slurm.model_copy(update={"config_path": tmp_path / "slurm.conf"})})


def test_missing_folders_are_made_closed_whatever_the_umask(settings: Config) -> None:
    """A caller's umask of 0 opens nothing."""
    mask = os.umask(0)
    try:
        admit(settings)
    finally:
        os.umask(mask)
    assert settings.paths.requests.stat().st_mode & 0o777 == 0o700
    assert settings.paths.state.stat().st_mode & 0o777 == 0o700
    assert settings.paths.spool.stat().st_mode & 0o022 == 0
    assert settings.paths.runtime.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("which", ["requests", "state", "runtime", "spool"])
def test_an_open_folder_is_refused_with_status_3_and_the_command_that_mends_it(settings: Config, which: str) -> None:
    """Every one of the daemon's folders, and the one above the spool."""
    admit(settings)
    folder: Path = getattr(settings.paths, which)
    folder.chmod(0o777)
    with pytest.raises(ConfigError) as caught:
        admit(settings)
    error = caught.value
    assert error.code == "unsafe-place"
    assert error.exit_code is ExitCode.CONFIG
    assert str(folder) in error.why
    assert "chmod" in error.hint


def test_a_folder_that_is_a_link_is_refused(settings: Config, tmp_path: Path) -> None:
    """Whoever owns the link decides what the daemon reads."""
    admit(settings)
    settings.paths.requests.rename(tmp_path / "elsewhere")
    settings.paths.requests.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="unsafe-place"):
        admit(settings)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ClusterName=x\nSlurmUser=slurm\n", "slurm"),
        ("slurmuser = slurm # who else\n", "slurm"),
        ("#SlurmUser=eve\n", "root"),
        ("ClusterName=x\n", "root"),
        ("include more.conf\n", ""),
    ],
)
def test_slurm_user_is_read_from_slurm_conf(tmp_path: Path, text: str, name: str) -> None:
    """Root is slurm.conf's default; with includes it cannot be known."""
    (tmp_path / "slurm.conf").write_text(text, encoding="utf-8")
    assert slurm_user(tmp_path / "slurm.conf") == name
    assert slurm_user(tmp_path / "absent.conf") == ""


# -- the spool


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with one honest request in its spool."""
    made = Site(config(tmp_path))
    spool.write(str(made.config.paths.requests), spool.request("resume", ["aws-cpu-000"], {}))
    return made


def work(site: Site) -> list[str]:
    """Work the spool off and return why files were set aside."""
    Engine(site.doors).drain(timedelta(minutes=5))
    return [event.text for event in site.recorder.events if event.kind is EventKind.REQUEST_SET_ASIDE]


def honest(site: Site) -> Path:
    """Return the file of the honest request."""
    (name,) = spool.waiting(str(site.config.paths.requests))
    return site.config.paths.requests / f"{name}{spool.SUFFIX}"


def test_a_link_in_the_spool_is_not_followed(site: Site, tmp_path: Path) -> None:
    """Its target stays what it is, and nothing is launched for it."""
    file = honest(site)
    file.rename(tmp_path / "target.json")
    file.symlink_to(tmp_path / "target.json")
    (why,) = work(site)
    assert "a link or a socket" in why
    assert site.bound() == {}
    assert (tmp_path / "target.json").exists()


def test_a_file_with_a_second_name_is_not_read(site: Site, tmp_path: Path) -> None:
    """A hard link could be anybody's file that root is made to read."""
    os.link(honest(site), tmp_path / "second")
    (why,) = work(site)
    assert "linked from 2 places" in why
    assert site.bound() == {}


def test_a_pipe_in_the_spool_does_not_hold_up_the_others(site: Site) -> None:
    """It is put aside without waiting for a writer; the honest request is served."""
    os.mkfifo(site.config.paths.requests / f"0-pipe{spool.SUFFIX}")
    (why,) = work(site)
    assert "not a file" in why
    assert list(site.bound()) == ["aws-cpu-000"]


def test_a_file_of_somebody_else_is_not_believed(site: Site) -> None:
    """Only SlurmUser, root, the daemon's own user and the allowed ones may ask."""
    folder, file = str(site.config.paths.requests), honest(site)
    with pytest.raises(spool.SpoolUnreadableError, match=f"of user {ME}"):
        spool.read(folder, file.stem, 10_000, frozenset({ME + 1}))
    assert spool.read(folder, file.stem, 10_000, owners(site.config))["nodes"] == "aws-cpu-000"


def test_a_file_with_an_impossible_name_is_put_aside(site: Site) -> None:
    """Bytes that are no text, and line ends, do not get into log or ledger."""
    bad = os.fsencode(site.config.paths.requests) + b"/0\xff\n1.json"
    Path(os.fsdecode(bad)).write_text(json.dumps(spool.request("resume", ["aws-cpu-001"], {})), encoding="utf-8")
    (why,) = work(site)
    assert "name" in why
    assert why.isprintable()
    assert list(site.bound()) == ["aws-cpu-000"]


# -- the socket


@pytest.fixture
def nudges() -> list[int]:
    """Count what woke the daemon."""
    return []


@contextmanager
def served(path: Path, nudges: list[int], guests: Guests) -> Iterator[None]:
    """Serve a socket for a while."""
    control = ControlSocket(path, lambda: nudges.append(1), lambda: {"pid": 1}, guests)
    try:
        yield
    finally:
        control.close()


@pytest.mark.parametrize(("is_open", "mode"), [(False, 0o600), (True, 0o666)])
def test_the_socket_is_slurm_users_alone(tmp_path: Path, nudges: list[int], is_open: bool, mode: int) -> None:
    """Mode 0600; with allowed users the door is open and the kernel says who comes."""
    with served(tmp_path / "s", nudges, Guests(frozenset({ME}), is_open=is_open)):
        assert (tmp_path / "s").stat().st_mode & 0o777 == mode
        assert ask(tmp_path / "s", "status") == {"pid": 1}


def test_a_stranger_gets_no_answer_and_wakes_nobody(tmp_path: Path, nudges: list[int]) -> None:
    """The kernel names the caller's user; the words are not even read."""
    with served(tmp_path / "s", nudges, Guests(frozenset({ME + 1}), is_open=True)):
        assert ask(tmp_path / "s", "status") in (None, {})
        ask(tmp_path / "s", "nudge")
    assert nudges == []


@pytest.mark.skipif(ME != 0, reason="only root can call as somebody else")
def test_another_user_of_the_machine_is_a_stranger_until_allowed(nudges: list[int]) -> None:
    """SO_PEERCRED tells the truth about a process of another user."""
    call = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]);"
        "s.sendall(b'status'); s.shutdown(1); print(s.recv(100).decode())"
    )
    for uids, answer in ((frozenset({0}), ""), (frozenset({0, 65534}), '{"pid": 1}')):
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            path = Path(folder) / "s"
            with served(path, nudges, Guests(uids, is_open=True)):
                command = ["/usr/bin/python3", "-c", call, str(path)]
                done = subprocess.run(command, user=65534, capture_output=True, text=True, check=False, timeout=20)
        assert done.stdout.strip() == answer


def test_validate_reports_what_the_daemon_would_refuse(settings: Config, tmp_path: Path) -> None:
    """The same words, and exit status 3, before anything is started."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(json.loads(settings.model_dump_json(exclude_unset=True))), encoding="utf-8")
    command = [sys.executable, "-m", "asbx", "validate", "config", str(file), "--json"]
    admit(settings)
    fine = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert fine.returncode == 0, fine.stdout + fine.stderr
    settings.paths.requests.chmod(0o777)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == int(ExitCode.CONFIG)
    said = json.loads(done.stdout)
    assert said["error"]["code"] == "unsafe-place"
    assert str(settings.paths.requests) in said["error"]["why"]


@pytest.mark.parametrize("answer", [b"[1]", b"{", b"[" * 5000, b"x" * 3000])
def test_whoever_listens_in_the_daemons_place_can_only_be_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """An answer that is too long, or no object, says nothing; it is no traceback."""
    monkeypatch.setattr("asbx.daemon.socket.STATUS_MAX_BYTES", 2000)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)

        def reply() -> None:
            caller, _ = listener.accept()
            with caller, contextlib.suppress(OSError):
                caller.recv(64)
                caller.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        assert ask(tmp_path / "s", "status") == {}
        thread.join()
