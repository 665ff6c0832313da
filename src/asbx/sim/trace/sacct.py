"""What sacct prints with --parsable2 (or as CSV), with its header line: one row for each job, steps beside them.

    sacct -a -X -P -S 2026-01-01 -E 2026-02-01 -o JobID,User,Account,Partition,Submit,Start,End,ElapsedRaw,\
TimelimitRaw,AllocTRES,ReqTRES,NNodes,NCPUS,State

Fields are those of sacct(1); names count without regard to case, and more fields than these do no harm. Rules:
- steps (`12.batch`, `12.0`) are left out; tasks of arrays and components of heterogeneous jobs are jobs of their own.
- processors: AllocTRES, NCPUS, AllocCPUS: what the job held. Where it held none: ReqTRES, ReqCPUS.
- run time: ElapsedRaw, Elapsed, or End less Start. A job that has not ended, or never ran, is left out.
- time limit: TimelimitRaw (minutes) or Timelimit; `UNLIMITED`, `Partition_Limit` and none are read as the run time.
- a job that was requeued has several rows with --duplicates: it came with the first and ran as the last says.
- times without a zone are local ones of the zone that is named, else they are taken for UTC; numbers are seconds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, tzinfo

from asbx.errors import ConfigError
from asbx.sim.trace.job import BadLineError, Reading, TraceJob

COMMAND = (
    "sacct -a -X -P -o JobID,User,Account,Partition,Submit,Start,End,ElapsedRaw,TimelimitRaw,"
    "AllocTRES,ReqTRES,NNodes,NCPUS,State"
)
_SPAN = re.compile(r"(?:(\d{1,6})-)?(?:(\d{1,6}):)?(\d{1,6})(?::(\d{1,6}(?:\.\d{1,9})?))?")
_TIMES = ("elapsedraw", "elapsed", "start")
_CPUS = ("alloctres", "ncpus", "alloccpus", "reqtres", "reqcpus")
# sacct(1), JOB STATE CODES: a record after which the job went back to the queue, or changed its size.
_NOT_THE_END = ("REQUEUED", "NODE_FAIL", "PREEMPTED", "RESIZING", "BOOT_FAIL")
_STILL = ("PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "REQUEUE_HOLD", "REQUEUE_FED")

_Row = dict[str, str]


def is_header(text: str) -> bool:
    """Whether a line is one that sacct begins with."""
    words = [word.strip().strip('"').lower() for word in re.split(r"[|,\t]", text)]
    return bool({"jobid", "jobidraw"} & set(words)) and len(words) > 1


def read_sacct(lines: Iterator[tuple[int, str]], zone: tzinfo = UTC) -> Reading:
    """Read numbered lines, the first of them the header. Raises ConfigError (`trace-columns`) without what it needs."""
    said = Reading("sacct", zero_epoch=0.0)
    header, split = _header(lines)
    said.lines = 1
    seen: dict[str, tuple[int, bool]] = {}  # job -> where it is in said.jobs, and whether it went on after that
    for number, text in lines:
        said.lines += 1
        if not text.strip():
            continue
        try:
            _read_row(said, seen, number, _row(header, split(text)), zone)
        except BadLineError as fault:
            said.refuse(number, str(fault))
    return said


def _header(lines: Iterator[tuple[int, str]]) -> tuple[list[str], Callable[[str], list[str]]]:
    text = next((text for _, text in lines if text.strip()), "")
    mark = next((one for one in "|\t," if one in text), "|")

    def split(row: str) -> list[str]:
        try:
            return next(csv.reader([row])) if mark == "," else row.split(mark)
        except csv.Error as error:
            raise BadLineError(str(error)) from None

    names = [name.strip().lower() for name in split(text)]
    names = names[:-1] if names and not names[-1] else names  # `sacct -p` ends lines with a bar
    missing = [
        " or ".join(some)
        for some in (("jobid", "jobidraw"), ("submit",), ("state",), _TIMES, _CPUS)
        if not set(some) & set(names)
    ]
    if missing:
        raise ConfigError(
            "trace-columns",
            f"the trace has no column {', no '.join(missing)}",
            f"its header is {text[:200]!r}",
            COMMAND,
        )
    return names, split


def _row(header: list[str], fields: list[str]) -> _Row:
    if len(fields) == len(header) + 1 and not fields[-1]:
        fields = fields[:-1]
    if len(fields) != len(header):
        raise BadLineError(f"{len(fields)} fields for {len(header)}; a name with the delimiter in it? Leave names out")
    return dict(zip(header, (one.strip() for one in fields), strict=True))


def _read_row(said: Reading, seen: dict[str, tuple[int, bool]], number: int, row: _Row, zone: tzinfo) -> None:
    label = row.get("jobid") or row.get("jobidraw", "")
    if not label[:1].isdigit():
        raise BadLineError(f"{label[:40]!r} is no job id")
    if "." in label:
        said.left_out["a step of a job"] += 1
        return
    why = _left_out(row, zone)
    if why:
        said.left_out[why] += 1
        return
    job = _job(said, number, label, row, zone)
    goes_on = _state(row) in _NOT_THE_END
    before = seen.get(label)
    if before is not None and before[1]:
        first = said.jobs[before[0]]
        said.jobs[before[0]] = replace(job, submit_s=min(first.submit_s, job.submit_s))
        said.left_out["an earlier try of a job that was requeued"] += 1
        seen[label] = (before[0], goes_on)
        return
    said.take(job)
    seen[label] = (len(said.jobs) - 1, goes_on)


def _left_out(row: _Row, zone: tzinfo) -> str:
    state = _state(row)
    if state in _STILL:
        return "not over yet"
    run = _run(row, zone)
    if run is None:
        return "no run time"
    if run <= 0:
        return "never ran"
    if _moment(row["submit"], zone) is None:
        return "no submit time"
    return "" if _procs(row) else "no number of processors"


def _job(said: Reading, number: int, label: str, row: _Row, zone: tzinfo) -> TraceJob:
    run, submit, start = _run(row, zone) or 0.0, _moment(row["submit"], zone), _moment(row.get("start", ""), zone)
    limit = _limit(row)
    if limit is None:
        said.notes["no time limit: the run time"] += 1
    if "+" in label:
        said.notes["components of heterogeneous jobs: jobs of their own"] += 1
    held, asked = _tres(row.get("alloctres", "")), _tres(row.get("reqtres", ""))
    nodes = _count(row.get("nnodes", "")) or _count(row.get("allocnodes", "")) or _count(held.get("node", "")) or 0
    return TraceJob(
        number,
        label,
        submit or 0.0,
        run,
        max(limit or 0.0, run),
        _procs(row),
        nodes,
        _gpus(held) or _gpus(asked),
        row.get("user", "")[:64],
        row.get("account", "")[:64],
        row.get("partition", "").partition(",")[0][:64],
        None if start is None or submit is None else max(start - submit, 0.0),
    )


def _state(row: _Row) -> str:
    words = row["state"].upper().split()  # "CANCELLED by 1000", "CANCELLED+"
    return words[0].rstrip("+") if words else ""


def _procs(row: _Row) -> int:
    held, asked = _tres(row.get("alloctres", "")), _tres(row.get("reqtres", ""))
    texts = (held.get("cpu", ""), row.get("ncpus", ""), row.get("alloccpus", ""), asked.get("cpu", ""))
    for text in (*texts, row.get("reqcpus", "")):
        if count := _count(text):
            return count
    return 0


def _gpus(tres: dict[str, str]) -> int:
    return _count(tres.get("gres/gpu", "")) or 0


def _tres(text: str) -> dict[str, str]:
    """Read `cpu=2,mem=200M,gres/gpu=1`."""
    return {name: value for name, sign, value in (part.partition("=") for part in text.split(",")) if sign}


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) else None


def _run(row: _Row, zone: tzinfo) -> float | None:
    raw = _count(row.get("elapsedraw", ""))
    if raw is not None:
        return float(raw)
    elapsed = _span(row.get("elapsed", ""))
    if elapsed is not None:
        return elapsed
    start, end = _moment(row.get("start", ""), zone), _moment(row.get("end", ""), zone)
    return None if start is None or end is None else end - start


def _limit(row: _Row) -> float | None:
    raw = _count(row.get("timelimitraw", ""))
    return raw * 60.0 if raw else _span(row.get("timelimit", ""))


def _span(text: str) -> float | None:
    """Read `[days-]hours:minutes:seconds[.micros]` or `minutes:seconds`; words are None."""
    found = _SPAN.fullmatch(text)
    if found is None or found[4] is None:
        return None
    days, hours, minutes, rest = found.groups()
    return int(days or 0) * 86_400 + int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)


def _moment(text: str, zone: tzinfo) -> float | None:
    """Return seconds since 1970 of a time; `Unknown` and `None` are none."""
    if re.fullmatch(r"\d{9,12}", text, re.ASCII):  # SLURM_TIME_FORMAT=%s
        return float(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
