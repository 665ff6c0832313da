"""Events become one log line and one ledger row, and no trouble of either stops the program."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger

from asbx.config.limits import AUDIT_PAUSE
from asbx.errors import LedgerError
from asbx.model.event import Event, EventKind
from asbx.telemetry.logfile import LogFile
from asbx.telemetry.recorder import LedgerAndLogRecorder

BOUND = Event(
    EventKind.NODE_BOUND,
    "aws-cpu-000 is i-1",
    request_id="r-1",
    gang_id="job-12",
    job_id=12,
    node="aws-cpu-000",
    instance_id="i-1",
    data={"usd": Decimal("0.10")},
)
BUSY = LedgerError("ledger-busy", "locked", "another program", "wait")


def lines(file: Path) -> list[dict[str, object]]:
    """Read a log of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_event_is_one_line_and_one_row(tmp_path: Path) -> None:
    """The line holds time, level, kind, sentence and every correlation id; the row holds the event."""
    file, ledger, clock = tmp_path / "a.log", FakeLedger(), FakeClock()
    LedgerAndLogRecorder(ledger, file, clock).record(BOUND)
    assert lines(file) == [
        {
            "at": "2026-03-01T12:00:00+00:00",
            "level": "info",
            "event": "node-bound",
            "text": "aws-cpu-000 is i-1",
            "request_id": "r-1",
            "gang_id": "job-12",
            "job_id": 12,
            "node": "aws-cpu-000",
            "instance_id": "i-1",
            "jobs": [12],
            "data": {"usd": "0.10"},
        }
    ]
    ((at, kept),) = ledger.events()
    assert (at, kept.kind, kept.job_id) == (clock.now(), EventKind.NODE_BOUND, 12)


def test_a_line_names_only_what_it_is_about(tmp_path: Path) -> None:
    """Empty ids are left out, and a line break in a text does not break the line."""
    file = tmp_path / "a.log"
    LedgerAndLogRecorder(FakeLedger(), file, FakeClock()).record(Event(EventKind.PASS_FAILED, "a\nb", level="error"))
    assert list(lines(file)[0]) == ["at", "level", "event", "text"]
    assert (lines(file)[0]["level"], lines(file)[0]["text"]) == ("error", "a\nb")


def test_text_lines_are_for_people(tmp_path: Path) -> None:
    """In format text a line is key=value, still one line."""
    file = tmp_path / "a.log"
    recorder = LedgerAndLogRecorder(FakeLedger(), file, FakeClock(), format="text")
    recorder.record(BOUND)
    recorder.record(Event(EventKind.PLAN_NOTE, "two\nlines"))
    first, second = file.read_text().splitlines()
    assert first.startswith(
        'at=2026-03-01T12:00:00+00:00 level=info event=node-bound text="aws-cpu-000 is i-1" request_id=r-1'
    )
    assert second.endswith("text=two\\nlines")


@pytest.mark.parametrize(("level", "shown"), [("debug", 3), ("info", 2), ("warn", 1), ("error", 0), ("fatal", 0)])
def test_the_level_cuts_the_log_not_the_ledger(tmp_path: Path, level: str, shown: int) -> None:
    """The log shows what was asked for; the ledger keeps everything but debug."""
    file, ledger = tmp_path / "a.log", FakeLedger()
    recorder = LedgerAndLogRecorder(ledger, file, FakeClock(), level=level)  # type: ignore[arg-type]
    for each in ("debug", "info", "warning"):
        recorder.record(Event(EventKind.PLAN_NOTE, each, level=each))
    assert (len(lines(file)) if file.exists() else 0) == shown
    assert [event.text for _, event in ledger.events()] == ["info", "warning"]


def test_a_rotated_log_is_followed(tmp_path: Path) -> None:
    """After logrotate moved the file, lines go to a new one of the same name."""
    file = tmp_path / "a.log"
    log = LogFile(file)
    log.write("one")
    file.rename(tmp_path / "a.log.1")
    log.write("two")
    file.unlink()
    log.write("three")
    assert (tmp_path / "a.log.1").read_text() == "one\n"
    assert file.read_text() == "three\n"
    log.close()


def test_a_log_is_appended_to_and_private(tmp_path: Path) -> None:
    """The folder is made, old lines stay, and others cannot read it."""
    file = tmp_path / "deep" / "er" / "a.log"
    for word in ("one", "two"):
        log = LogFile(file)
        log.write(word)
        log.close()
    assert file.read_text() == "one\ntwo\n"
    assert file.stat().st_mode & 0o137 == 0


def test_a_busy_ledger_costs_one_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One event meets the locked ledger, the next ones do not wait for it, later ones are kept again."""
    ledger, clock, file = FakeLedger(), FakeClock(), tmp_path / "a.log"
    ledger.fail_next("add_event", BUSY)
    recorder = LedgerAndLogRecorder(ledger, file, clock)
    recorder.record(BOUND)
    recorder.record(BOUND)
    assert recorder.lost_rows == 2
    assert ledger.events() == ()
    clock.sleep(AUDIT_PAUSE)
    recorder.record(BOUND)
    assert len(ledger.events()) == 1
    assert len(lines(file)) == 3
    assert capsys.readouterr().err.count("ledger-busy") == 1


def test_a_full_disk_does_not_raise(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that cannot be written are counted and said once; rows are kept all the same."""
    ledger = FakeLedger()
    recorder = LedgerAndLogRecorder(ledger, Path("/dev/full"), FakeClock())
    for _ in range(3):
        recorder.record(BOUND)
    assert recorder.lost_lines == 3
    assert len(ledger.events()) == 3
    assert capsys.readouterr().err.count(os.strerror(errno.ENOSPC)) == 1


def test_a_missing_folder_does_not_raise(tmp_path: Path) -> None:
    """A log whose folder cannot be made is a loss, not a failure."""
    (tmp_path / "file").touch()
    recorder = LedgerAndLogRecorder(FakeLedger(), tmp_path / "file" / "a.log", FakeClock())
    recorder.record(BOUND)
    assert recorder.lost_lines == 1


def test_odd_facts_do_not_raise(tmp_path: Path) -> None:
    """Facts that contain themselves cannot be written anywhere; nothing else happens."""
    loop: dict[str, object] = {}
    loop["me"] = loop
    recorder = LedgerAndLogRecorder(FakeLedger(), tmp_path / "a.log", FakeClock())
    recorder.record(Event(EventKind.PLAN_NOTE, "x", data=loop))
    assert (recorder.lost_lines, recorder.lost_rows) == (1, 1)


def test_closed_descriptors_do_no_harm(tmp_path: Path) -> None:
    """Started as Slurm 22.05 does, with 0, 1 and 2 closed, the log holds its lines and nothing else."""
    file = tmp_path / "a.log"
    program = f"""
import os
from pathlib import Path
from asbx.errors import LedgerError
from asbx.ledger.store import open_ledger
from asbx.model.event import Event, EventKind
from asbx.telemetry.recorder import LedgerAndLogRecorder
from tests.fakes.clock import FakeClock
ledger = open_ledger("sqlite:///{tmp_path}/ledger.db")
recorder = LedgerAndLogRecorder(ledger, Path({str(file)!r}), FakeClock())
recorder.record(Event(EventKind.PLAN_NOTE, "first"))
try:
    os.write(1, b"meant for stdout")
    os.write(2, b"meant for stderr")
except OSError:
    pass
recorder.record(Event(EventKind.PLAN_NOTE, "second"))
bad = LedgerAndLogRecorder(ledger, Path("/dev/full"), FakeClock())
bad.record(Event(EventKind.PLAN_NOTE, "third"))
assert bad.lost_lines == 1
assert [event.text for _, event in ledger.events()] == ["first", "second", "third"]
"""
    shell = [
        "/bin/sh",
        "-c",
        'exec "$0" -c "$1" <&- >&- 2>&-',
        sys.executable,
        program,
    ]
    root = str(Path(__file__).parents[2])
    assert subprocess.run(shell, check=False, cwd=root, env=os.environ | {"PYTHONPATH": root}).returncode == 0
    assert [line["text"] for line in lines(file)] == ["first", "second"]
