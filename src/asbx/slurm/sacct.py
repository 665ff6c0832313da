"""Slurm's accounting as values: what sacct prints, in a shape that no job's own text can forge.

The fields exist by these names from 21.08 to 25.11 (sacct(1) of those releases). Names and comments are free text with
bars and newlines in them, so fields are parted by a random mark, as in queue.py, and no row ends in a free one. Times
are in the zone of the environment, which the door sets to UTC.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from asbx.errors import SlurmError
from asbx.model.account import JobAccount, StepUse
from asbx.slurm.process import SlurmCommands

FIELDS = (
    *("JobIDRaw", "JobID", "State", "ExitCode", "User", "Account", "Partition", "JobName", "AdminComment"),
    *("NNodes", "AllocCPUS", "NTasks", "ReqMem", "AllocTRES", "Submit", "Start", "End", "TimelimitRaw"),
    *("TotalCPU", "MaxRSS", "TRESUsageInTot", "TRESUsageInMax", "TRESUsageInAve", "TRESUsageOutTot"),
    *("NodeList", "ElapsedRaw"),
)
# 3, 3_2, 4+1
JOB = re.compile(r"[0-9]{1,10}(?:[_+][0-9]{1,10})?")
_LONGEST_TEXT = 4096
_NUMBER = re.compile(r"[0-9]{1,10}")
# Slurm's times have 32 bits.
_LONGEST = 2**32
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGTPE]?)([cn]?)")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_SPAN = re.compile(r"(?:(?:([0-9]{1,6})-)?([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,6}(?:\.[0-9]{1,9})?)")
# Counters of AcctGatherInterconnectType, in bytes (slurm.conf(5), AccountingStorageTRES).
_FABRIC = ("ic/ofed", "ic/sysfs")
_DISABLED = "accounting storage is disabled"

_Row = dict[str, str]


class Sacct:
    """The port Accounting over sacct and sacctmgr."""

    def __init__(self, commands: SlurmCommands) -> None:
        self._commands = commands

    def account(self, job: str) -> JobAccount | None:
        """Return a job; None where accounting does not know it. Raises SlurmError."""
        mark = f"@{secrets.token_hex(8)}@"
        try:
            text = self._commands.run(
                "sacct", "--noheader", "--parsable2", "--noconvert", f"--delimiter={mark}", "-j", job, "-o", _wanted()
            )
        except SlurmError as error:
            if _DISABLED not in error.why:
                raise
            raise SlurmError(
                "slurm-no-accounting", "this cluster keeps no accounting", error.why, "set AccountingStorageType"
            ) from None
        return parse_account(text, mark, job)

    def comment(self, job: str, text: str) -> None:
        """Put a text in the place of a job's AdminComment; the database makes backticks of double quotes.

        scontrol refuses jobs that are over, sacctmgr wants an operator of the accounting (both seen on 22.05.8).
        """
        self._commands.run(
            "sacctmgr", "-i", "modify", "job", "where", f"jobid={job}", "set", f"admincomment={' '.join(text.split())}"
        )


def _wanted() -> str:
    return ",".join(FIELDS)


def parse_account(text: str, mark: str, job: str) -> JobAccount | None:
    """Read what sacct printed of a job; of an array's own number, the task that bears it, else the last."""
    rows = list(_rows(text, mark))
    jobs = [row for row in rows if "." not in row["JobIDRaw"]]
    mine = next((row for row in jobs if job in (row["JobIDRaw"], row["JobID"])), None)
    if mine is None or not _NUMBER.fullmatch(mine["JobIDRaw"]):
        return None
    steps = tuple(_step(row) for row in rows if row["JobIDRaw"].startswith(f"{mine['JobIDRaw']}."))
    siblings = tuple(row["JobID"] for row in jobs if row is not mine)
    return _account(mine, steps, siblings)


def _rows(text: str, mark: str) -> Iterator[_Row]:
    """Yield rows. The last field of one and the first of the next stand together, parted by the first newline."""
    pieces = text.removesuffix("\n").split(mark)
    width = len(FIELDS) - 1
    if len(pieces) % width != 1 or len(pieces) == 1:
        return
    first = pieces[0]
    for begin in range(1, len(pieces), width):
        *middle, last = pieces[begin : begin + width]
        last, _, following = last.partition("\n")
        yield dict(zip(FIELDS, (first, *middle, last), strict=True))
        first = following


def _account(row: _Row, steps: tuple[StepUse, ...], siblings: tuple[str, ...]) -> JobAccount:
    code, _, signal = row["ExitCode"].partition(":")
    nodes, cpus, tres = _count(row["NNodes"]) or 0, _count(row["AllocCPUS"]) or 0, _tres(row["AllocTRES"])
    was_measured = any(step.peak_memory or step.cpu_time for step in steps)
    return JobAccount(
        job_id=int(row["JobIDRaw"]),
        label=row["JobID"],
        state=row["State"].split(" ")[0],  # "CANCELLED by 1000"
        user=row["User"],
        account=row["Account"],
        partition=row["Partition"],
        name=row["JobName"][:_LONGEST_TEXT],
        exit_code=_count(code) or 0,
        signal=_count(signal) or 0,
        submitted_at=_moment(row["Submit"]),
        started_at=_moment(row["Start"]),
        ended_at=_moment(row["End"]),
        elapsed=_length(row["ElapsedRaw"], _SECOND) or timedelta(),
        limit=_length(row["TimelimitRaw"], _MINUTE),
        nodes=nodes,
        node_list="" if row["NodeList"] == "None assigned" else row["NodeList"],
        cpus=cpus,
        gpus=_count(tres.get("gres/gpu", "")) or 0,
        memory=_size(tres.get("mem", ""), nodes, cpus) or _size(row["ReqMem"], nodes, cpus),
        cpu_time=_span(row["TotalCPU"]) if was_measured else None,
        comment=row["AdminComment"][:_LONGEST_TEXT],
        steps=steps,
        siblings=siblings,
    )


def _step(row: _Row) -> StepUse:
    into, out = _tres(row["TRESUsageInTot"]), _tres(row["TRESUsageOutTot"])
    average = _span(_tres(row["TRESUsageInAve"]).get("cpu", ""))
    busiest = _span(_tres(row["TRESUsageInMax"]).get("cpu", ""))
    moved = [_count(side[name]) for side in (into, out) for name in _FABRIC if name in side]
    tasks = _count(row["NTasks"])
    peak = _size(into.get("mem", ""), 1, 1)
    if peak is None and tasks and row["MaxRSS"]:
        largest = _size(row["MaxRSS"], 1, 1)
        peak = largest if tasks == 1 else None
    return StepUse(
        name=row["JobIDRaw"].partition(".")[2],
        elapsed=_length(row["ElapsedRaw"], _SECOND) or timedelta(),
        tasks=tasks,
        cpu_time=_span(row["TotalCPU"]) or None,
        cpu_tasks=(average, busiest) if average and busiest else None,
        peak_memory=peak or None,
        fabric=sum(one or 0 for one in moved) if moved else None,
    )


def _tres(text: str) -> dict[str, str]:
    """Read `cpu=2,mem=200M,gres/gpu=1`."""
    return {name: value for name, sign, value in (part.partition("=") for part in text.split(",")) if sign}


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _length(text: str, unit: timedelta) -> timedelta | None:
    """Return so many units; more than Slurm's own times hold is none."""
    number = _count(text)
    return number * unit if number is not None and number < _LONGEST else None


def _size(text: str, nodes: int, cpus: int) -> int | None:
    """Return bytes; until 21.08 requested memory ended in n (for each node) or c (for each CPU). None: not stated."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    size = int(Decimal(found[1]) * 1024 ** _UNITS[found[2]])
    return size * {"n": nodes, "c": cpus, "": 1}[found[3]] or None


def _span(text: str) -> timedelta | None:
    """Read `[[days-]hours:]minutes:seconds[.micros]`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = found.groups()
    return timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes), seconds=float(seconds))


def _moment(text: str) -> datetime | None:
    """Read a time; `Unknown` and `None` are none."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
