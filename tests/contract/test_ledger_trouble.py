"""A ledger's file in trouble: each kind is told by its code, nothing is half done, and nothing there is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.samples import NOON

from asbx.cli.main import main
from asbx.errors import ExitCode, LedgerError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.ledger.upkeep import copy, examine, set_aside


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a ledger with a few hundred rows and return its file."""
    path = tmp_path / "ledger.db"
    with closing(open_ledger(f"sqlite:///{path}")) as ledger:
        ledger.add_intent(samples.intent())
        for number in range(300):
            ledger.add_request(samples.request(f"r-{number:03d}"))
    return path


def code(file: Path) -> str:
    """Open, examine and write; return what is wrong, "" for nothing."""
    try:
        examine(f"sqlite:///{file}")
    except LedgerError as error:
        return error.code if error.hint and error.exit_code == ExitCode.LEDGER else "not for people"
    return ""


def test_a_sound_file_is_told(file: Path) -> None:
    """With its size and the rows of each table."""
    found = examine(f"sqlite:///{file}")
    assert found.rows["requests"] == 300
    assert found.size == file.stat().st_size


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: b"", "ledger-missing"),
        (lambda content: content[: len(content) // 3], "ledger-corrupt"),
        (lambda content: content[:8192] + os.urandom(len(content) - 8192), "ledger-corrupt"),
        (lambda content: content[:-4096] + b"\0" * 4096, "ledger-corrupt"),
        (lambda _: b"#!/bin/sh\n" * 1000, "ledger-corrupt"),
    ],
    ids=["empty", "truncated", "flipped", "last page zero", "no database"],
)
def test_damage_is_found(file: Path, damage: object, said: str) -> None:
    """Whatever was done to the file; looking at it changes nothing."""
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    before = file.read_bytes()
    assert code(file) == said
    assert file.read_bytes() == before


def test_a_missing_log_costs_no_more_than_its_rows(file: Path) -> None:
    """The write-ahead log of a crash was removed: what was in the file itself is still a sound ledger."""
    with closing(sqlite3.connect(file)) as other:  # keeps the log from being folded into the file at the end
        ledger = open_ledger(f"sqlite:///{file}")
        ledger.add_request(samples.request("r-late"))
        shutil.copy(file, file.with_name("copy.db"))
        ledger.close()
        del other
    with closing(open_ledger(f"sqlite:///{file.with_name('copy.db')}")) as ledger:
        ids = {request.request_id for request in ledger.open_requests()}
    assert len(ids) == 300
    assert code(file.with_name("copy.db")) == ""


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_vanishes_is_noticed(file: Path, replaced: bool) -> None:
    """Removed or replaced under a running program: it says so at once instead of writing to a file nobody will read."""
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        content = file.read_bytes()
        file.unlink()
        if replaced:
            file.write_bytes(content)
        for use in (ledger.open_requests, ledger.check, lambda: ledger.add_intent(samples.intent("int-9"))):
            with pytest.raises(LedgerError) as caught:
                use()
            assert caught.value.code == "ledger-gone"


_FILL = """
import json, resource, signal, sys
from tests.fakes import samples
from asbx.errors import LedgerError
from asbx.ledger.store import open_ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails with EFBIG instead, as SQLite expects of a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
ledger = open_ledger(sys.argv[1])
kept = 0
try:
    while True:
        ledger.add_attempt(samples.attempt(f"int-{kept}"), samples.intent(f"int-{kept}"))
        kept += 1
except LedgerError as error:
    print(json.dumps([error.code, kept]))
"""


def test_a_disk_that_fills_up_undoes_what_was_begun(file: Path) -> None:
    """The file may not grow any more: the error says so, an intent and its call are there together or not at all."""
    most = file.stat().st_size * 4
    done = subprocess.run(
        [sys.executable, "-c", _FILL, f"sqlite:///{file}", str(most)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    said, kept = json.loads(done.stdout)
    assert said in ("ledger-full", "ledger-io")
    assert kept > 0
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        for number in range(kept):
            assert len(ledger.attempts(f"int-{number}")) == 1
        assert ledger.known_intents([f"int-{kept}"]) == frozenset()
        ledger.check()
    assert code(file) == ""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of two MiB where that is allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("a small disk cannot be mounted here; the limit on the file's size stands for it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_lets_go_on_once_there_is_room(tmp_path: Path) -> None:
    """On a real file system: refused while it is full, and the same call goes through afterwards."""
    with small_disk(tmp_path / "disk") as disk:
        with closing(open_ledger(f"sqlite:///{disk}/ledger.db")) as ledger:
            ballast = disk / "ballast"
            with ballast.open("wb") as out:
                try:
                    while out.write(b"\0" * 65536):
                        out.flush()
                except OSError:
                    pass
            assert _fill(ledger) == "ledger-full"
            ballast.unlink()
            ledger.check()
            ledger.add_intent(samples.intent("int-after"))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(LedgerError) as caught:
            open_ledger(f"sqlite:///{disk}/ledger.db")
        assert caught.value.code in ("ledger-read-only", "ledger-cannot-open")
        assert "read-only" in caught.value.hint


def _fill(ledger: SqlLedger) -> str:
    for number in range(2000):
        try:
            ledger.add_intent(samples.intent(f"int-{number}"))
        except LedgerError as error:
            return error.code
    return ""


# -- what is done about it


def test_a_backup_is_whole_while_others_write(file: Path, tmp_path: Path) -> None:
    """What is committed is in it, the log's part too; it replaces nothing, and is private."""
    target = tmp_path / "backup.db"
    with closing(open_ledger(f"sqlite:///{file}")) as ledger:
        ledger.add_request(samples.request("r-late"))
        copy(f"sqlite:///{file}", target)
    assert examine(f"sqlite:///{target}").rows["requests"] == 301
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LedgerError) as caught:
        copy(f"sqlite:///{file}", target)
    assert caught.value.code == "ledger-target"


def test_a_damaged_file_is_set_aside_with_its_log(file: Path) -> None:
    """Never deleted: somebody may still want what is in it."""
    file.with_name("ledger.db-wal").write_bytes(b"log")
    moved = set_aside(file, NOON)
    assert [path.name for path in moved] == [
        "ledger.db.damaged-20260301T120000Z",
        "ledger.db.damaged-20260301T120000Z-wal",
    ]
    assert all(path.exists() for path in moved)
    assert not file.exists()


def test_the_command_says_what_is_wrong(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`asbx ledger check`: 0 and the figures, or 10 and which command helps; `backup` is what it checks next."""
    config = tmp_path / "aws-burst.yaml"
    config.write_text(_CONFIG.format(folder=tmp_path))
    assert main(["ledger", "check", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["requests"] == 300
    assert main(["ledger", "backup", str(tmp_path / "b.db"), "--config", str(config)]) == 0
    capsys.readouterr()
    file.write_bytes(b"nonsense" * 1000)
    assert main(["ledger", "check", "--json", "--config", str(config)]) == ExitCode.LEDGER
    said = json.loads(capsys.readouterr().err)["error"]
    assert said["code"] == "ledger-corrupt"
    assert "asbx ledger rebuild" in said["hint"]
    shutil.copy(tmp_path / "b.db", file)
    assert main(["ledger", "check", "--config", str(config)]) == 0


_CONFIG = """
aws: {{region: us-east-2}}
paths: {{state: {folder}}}
slurm:
  partitions:
    - partition_name: aws
      node_groups:
        - node_group_name: cpu
          max_nodes: 10
          region: us-east-2
          launch_template_specification: {{launch_template_name: nodes}}
          launch_template_overrides: [{{instance_type: c7i.large}}]
          subnet_ids: [subnet-a]
"""


def test_a_folder_that_is_closed_to_this_user(file: Path) -> None:
    """Whoever may not look is told so, as an error of the ledger; an ordinary user's look at the bill is no crash."""
    file.parent.chmod(0o700)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child runs nothing that other threads could hold
        child = os.fork()
    if child == 0:
        code = ""
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            else:
                file.parent.chmod(0)
            open_ledger(f"sqlite:///{file}", migrate=False)
        except LedgerError as error:
            code = error.code
        finally:
            os._exit(0 if code == "ledger-closed" else 1)
    _, status = os.waitpid(child, 0)
    file.parent.chmod(0o700)
    assert status == 0
