"""Make a log line and an audit row from every event, and never raise."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from asbx.config.limits import AUDIT_PAUSE
from asbx.errors import AsbxError, without_passwords
from asbx.telemetry.logfile import LogFile

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

    from asbx.model.event import Event
    from asbx.ports import Clock

Level = Literal["debug", "info", "warn", "warning", "error", "fatal"]
Format = Literal["json", "text"]

# Configuration and events name levels differently; unknown ones are shown rather than dropped.
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_ABOUT = ("request_id", "gang_id", "job_id", "node", "instance_id", "intent_id")
_FIRST = ("at", "level", "event", "text", *_ABOUT, "jobs")
# What writing an event can end in: the database, the disk, or facts that are no JSON.
_TROUBLE = (AsbxError, OSError, ValueError, TypeError, RecursionError)


class EventStore(Protocol):
    """The part of the ledger that keeps events."""

    def add_event(self, event: Event, at: datetime) -> None:
        """Keep an event. Raises LedgerError."""


class LedgerAndLogRecorder:
    """The door `Recorder`: a line in the log (from `level` on) and a row in the ledger (all but debug).

    Never raises. What cannot be written is counted in lost_lines and lost_rows and said once on stderr, if
    there is one: Slurm 22.05 starts programs without.
    """

    def __init__(
        self,
        ledger: EventStore,
        logfile: Path,
        clock: Clock,
        level: Level = "info",
        format: Format = "json",  # noqa: A002
    ) -> None:
        self.lost_lines = 0
        self.lost_rows = 0
        self._ledger = ledger
        self._clock = clock
        self._file = LogFile(logfile)
        self._log = _logger(self._file, _LEVELS[level], format)
        self._no_rows_before: datetime | None = None

    def record(self, event: Event) -> None:
        """Write the event down, as far as that is possible."""
        at = self._clock.now()
        event = replace(event, text=without_passwords(event.text))  # of errors that are not ours
        try:
            self._log.log(_LEVELS.get(event.level, logging.INFO), event.kind.value, **_fields(event, at))
        except _TROUBLE as error:
            self.lost_lines += 1
            _complain_once(self.lost_lines, "the log cannot be written", error)
        if event.level != "debug":
            self._keep(event, at)

    @property
    def losses(self) -> tuple[int, int]:
        """Return how many lines and rows could not be written, those a store behind this one lost included."""
        return self.lost_lines, self.lost_rows + int(getattr(self._ledger, "lost_rows", 0))

    def close(self) -> None:
        """Let the log file go."""
        self._file.close()

    def _keep(self, event: Event, at: datetime) -> None:
        if self._no_rows_before is not None and at < self._no_rows_before:
            self.lost_rows += 1
            return
        try:
            self._ledger.add_event(event, at)
            self._no_rows_before = None
        except _TROUBLE as error:
            self.lost_rows += 1
            self._no_rows_before = at + AUDIT_PAUSE
            _complain_once(self.lost_rows, "the ledger takes no events", error)


def _fields(event: Event, at: datetime) -> dict[str, Any]:
    about = {name: getattr(event, name) for name in _ABOUT if getattr(event, name) not in ("", None)}
    # Every job in one place, one or many: whoever looks for a job needs one pattern.
    jobs = {"jobs": list(event.all_jobs)} if event.all_jobs else {}
    data = {"data": event.data} if event.data else {}
    return {"at": at.isoformat(), "text": event.text, **about, **jobs, **data}


def _logger(file: LogFile, level: int, form: Format) -> FilteringBoundLogger:
    wrapped: FilteringBoundLogger = structlog.wrap_logger(
        file,
        processors=[structlog.processors.add_log_level, _as_json if form == "json" else _as_text],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return wrapped


def _as_json(_: WrappedLogger, __: str, fields: EventDict) -> str:
    return json.dumps({name: fields[name] for name in (*_FIRST, "data") if name in fields}, default=str)


def _as_text(logger: WrappedLogger, method: str, fields: EventDict) -> str:
    flat = dict(fields)
    if "data" in flat:
        flat["data"] = json.dumps(flat["data"], default=str)
    return structlog.processors.LogfmtRenderer(key_order=_FIRST, drop_missing=True)(logger, method, flat)


def _complain_once(times: int, what: str, error: Exception) -> None:
    if times != 1 or sys.stderr is None:
        return
    with suppress(OSError, ValueError):  # closed meanwhile, or full itself
        sys.stderr.write(f"asbx: {what}: {error}; what is lost is counted, and the work goes on\n")
        sys.stderr.flush()
