"""The programs slurmctld starts, run as it runs them: almost no environment, in a process group that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asbx.hooks import spool

BIN = Path(sys.executable).parent


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[list[bytes]]:
    """Stand in for the daemon: accept and note what is said."""
    heard: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen(8)

    def serve() -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            with caller:
                heard.append(caller.recv(64))

    thread = threading.Thread(target=serve)
    thread.start()
    yield heard
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def heard(listener: list[bytes], words: bytes = b"") -> bool:
    """Whether the stand-in has heard something (just these words), given a moment to write it down."""
    pause = threading.Event()
    for _ in range(200):
        if words in listener if words else listener:
            return True
        pause.wait(0.02)
    return False


def call(tmp_path: Path, program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a hook the way slurmctld does."""
    env = {"SLURM_CONF": "/nonexistent", "ASBX_SPOOL": str(tmp_path), "ASBX_SOCKET": str(tmp_path / "s")} | environ
    return subprocess.run([BIN / program, *arguments], env=env, capture_output=True, text=True, timeout=30, check=False)


def kept(tmp_path: Path) -> list[dict[str, object]]:
    """Return the spool's requests."""
    folder = str(tmp_path / "requests")
    return [spool.read(folder, one, 1_000_000) for one in spool.waiting(folder)]


@pytest.mark.parametrize("kind", ["resume", "suspend", "resume-fail"])
def test_a_call_becomes_one_private_file_and_one_knock(tmp_path: Path, listener: list[bytes], kind: str) -> None:
    """Silent, exit 0, one file of mode 0600 in a folder of mode 0700."""
    done = call(tmp_path, f"aws-slurm-burst-{kind}", "aws-cpu-[0-3]")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (request,) = kept(tmp_path)
    assert (request["kind"], request["nodes"]) == (kind, "aws-cpu-[0-3]")
    (file,) = (tmp_path / "requests").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert heard(listener, b"nudge\n")


def test_the_resume_file_is_copied_as_it_stands(tmp_path: Path, listener: list[bytes]) -> None:
    """Its bytes are kept even when they are not JSON, because it is gone seconds later."""
    file = tmp_path / "resume.json"
    file.write_bytes(b'{"jobs": [\xff\xfe')
    call(tmp_path, "aws-slurm-burst-resume", "aws-cpu-0", SLURM_RESUME_FILE=str(file))
    assert str(kept(tmp_path)[0]["resume_file"]).startswith('{"jobs": [')
    assert heard(listener)


def test_a_missing_resume_file_is_no_reason_to_lose_nodes(tmp_path: Path, listener: list[bytes]) -> None:
    """The request is kept with what went wrong."""
    assert call(tmp_path, "aws-slurm-burst-resume", "aws-cpu-0", SLURM_RESUME_FILE="/proc/1/fd/99").returncode == 0
    assert "cannot read" in str(kept(tmp_path)[0]["resume_file_error"])
    assert heard(listener)


def test_closed_descriptors_do_no_harm(tmp_path: Path, listener: list[bytes]) -> None:
    """Slurm 22.05 starts its programs with 0, 1 and 2 closed."""
    program = BIN / "aws-slurm-burst-resume"
    code = f"import os\nfor n in (0, 1, 2): os.close(n)\nos.execv({str(program)!r}, [{str(program)!r}, 'aws-cpu-0'])"
    env = {"SLURM_CONF": "x", "ASBX_SPOOL": str(tmp_path), "ASBX_SOCKET": str(tmp_path / "s")}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=30, check=False).returncode == 0
    assert len(kept(tmp_path)) == 1
    assert heard(listener)


def test_a_spool_that_cannot_be_written_is_said(tmp_path: Path, listener: list[bytes]) -> None:
    """Exit 10 and one sentence on stderr."""
    (tmp_path / "requests").write_text("a file where a folder should be")
    done = call(tmp_path, "aws-slurm-burst-resume", "aws-cpu-0")
    assert done.returncode == 10
    assert done.stderr.startswith("spool-write:")
    assert "Traceback" not in done.stderr
    assert heard(listener)


def test_without_a_daemon_the_work_outlives_the_process_group(tmp_path: Path) -> None:
    """Slurm kills the program's group at its exit; the worker is in a session of its own by then."""
    marker = tmp_path / "worker"
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nsleep 0.3\nps -o pid=,sid=,pgid= -p $$ > {marker}\n")
    fake.chmod(0o755)
    code = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        f"sys.executable = {str(fake)!r}\n"
        "sys.argv = ['aws-slurm-burst-resume', 'aws-cpu-0']\n"
        "from asbx.hooks.resume import main\n"
        "os._exit(main())\n"
    )
    env = {"SLURM_CONF": "x", "ASBX_SPOOL": str(tmp_path), "ASBX_SOCKET": str(tmp_path / "none"), "PATH": os.defpath}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True)
    assert process.wait(30) == 0
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)  # what is left of the group, as Slurm does
    deadline = threading.Event()
    for _ in range(100):
        if marker.exists() and marker.read_text().strip():
            break
        deadline.wait(0.05)
    pid, session, group = marker.read_text().split()
    assert pid == session == group
    assert int(session) != process.pid


def test_spool_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    """Half a file, another format, nonsense: SpoolUnreadableError, never a crash."""
    folder = tmp_path / "requests"
    folder.mkdir()
    for number, text in enumerate(["", "{", "[]", "{}", json.dumps({"asbx_spool": 1, "kind": "dance", "nodes": "a"})]):
        (folder / f"{number}.json").write_text(text)
    assert len(spool.waiting(str(folder))) == 5
    for one in spool.waiting(str(folder)):
        with pytest.raises(spool.SpoolUnreadableError):
            spool.read(str(folder), one, 1000)
