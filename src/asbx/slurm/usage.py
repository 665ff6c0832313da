"""Who uses which node: Slurm's jobs with what each has of its nodes, from squeue and from the accounting.

Rows and fields of squeue are parted by a random mark, so that no name can forge a row (see queue.py); a field without
a bound (`:0`) is neither padded nor cut, though squeue(1) does not say so (seen on 22.05.8). `--states=all` shows jobs
that are over for MinJobAge. That tells everything but how a job of several nodes is spread over them. From 23.02 on
JSON tells it; before, `scontrol show job --detail` does, in a text that names and comments can forge. It is asked only
where such a job shares a node, and believed only as far as its parts add up to what squeue said.

Times are printed in the zone of the command, which is UTC for ours (process.py), so no zone and no change of clocks
can be misread.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from asbx.config.limits import JOB_NAME_KEPT, USAGE_CATCH_UP, USAGE_SPREADS_MOST
from asbx.decide.meter.charges import parted
from asbx.decide.usage import ENDED
from asbx.errors import AsbxError, SlurmError
from asbx.model.hostlist import expand
from asbx.model.usage import Allocation, JobSighting
from asbx.slurm.process import SlurmCommands
from asbx.slurm.queue import number_of

_JSON = (23, 2)
_FIELDS = (
    *("JobID", "RestartCnt", "State", "SubmitTime", "StartTime", "EndTime", "NodeList", "tres-alloc"),
    *("UserName", "Account", "Partition", "ArrayJobID", "ArrayTaskID", "HetJobID", "Name"),
)
# Nothing in it that a user writes.
_SACCT_FIELDS = (
    *("JobIDRaw", "State", "Submit", "Start", "End", "NodeList", "AllocTRES"),
    *("User", "Account", "Partition", "JobID"),
)
# What sacct takes as a time, in the zone of the command.
_TIME = "%Y-%m-%dT%H:%M:%S"
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_DETAIL = re.compile(r" Nodes=(\S+) CPU_IDs=([0-9,-]+) Mem=(\d+) GRES=(\S*)")
_GPU = re.compile(r"(?:^|,)(?:gres/)?gpu(?::[A-Za-z][^:(,]*)?:(\d+)")
_NONE = frozenset({"", "(null)", "NONE", "None", "N/A", "Unknown", "UNKNOWN"})


class SlurmJobs:
    """The door `JobTable`. version: of the installed commands."""

    def __init__(self, commands: SlurmCommands, version: tuple[int, int] | None = None) -> None:
        self._commands = commands
        self._version = version
        # (job, restarts) -> how it is spread over its nodes, where that had to be asked for.
        self._spread: dict[tuple[int, int], tuple[Allocation, ...]] = {}

    def keeps(self) -> timedelta:
        """Return MinJobAge; a site that never forgets (0) keeps for as long as anybody asks back."""
        match = re.search(r"(?m)^MinJobAge\s*=\s*(\d+)", self._commands.run("scontrol", "show", "config"))
        seconds = timedelta(seconds=int(match[1])) if match else timedelta()
        return USAGE_CATCH_UP if match is not None and not seconds else seconds

    def sightings(self) -> tuple[JobSighting, ...]:
        """Return every job slurmctld knows: one process, and on old versions now and then a second."""
        if self._of_version() >= _JSON:
            return parse_json(self._commands.run("squeue", "--all", "--states=all", "--json"))
        mark = secrets.token_hex(16)
        form = ",".join(f"{field}:0{mark}{'<' if field == _FIELDS[-1] else '|'}" for field in _FIELDS)
        text = self._commands.run("squeue", "--noheader", "--all", "--states=all", f"--Format={form}")
        return self._with_spread(parse_text(text, mark))

    def _of_version(self) -> tuple[int, int]:
        if self._version is None:
            match = re.search(r"(\d+)\.(\d+)", self._commands.run("scontrol", "--version"))
            self._version = (int(match[1]), int(match[2])) if match else (0, 0)
        return self._version

    def _with_spread(self, seen: tuple[JobSighting, ...]) -> tuple[JobSighting, ...]:
        asked = [job for job in uneven(seen) if (job.job_id, job.restarts) not in self._spread]
        if asked:
            if len(self._spread) > USAGE_SPREADS_MOST:
                self._spread.clear()
            told = details(self._commands.run("scontrol", "show", "job", "--detail", "--oneliner"))
            self._spread |= {(job.job_id, job.restarts): spread(job, told) for job in asked}
        if not self._spread:
            return seen
        return tuple(
            replace(job, allocations=known) if (known := self._spread.get((job.job_id, job.restarts))) else job
            for job in seen
        )

    def history(self, begin: datetime, end: datetime) -> tuple[JobSighting, ...] | None:
        """Ask the accounting; None where there is none, or it does not answer: what it would tell stays unknown."""
        span = (f"--starttime={_said(begin)}", f"--endtime={_said(end)}")
        form = f"--format={','.join(_SACCT_FIELDS)}"
        try:
            text = self._commands.run(
                "sacct", "--allusers", "--allocations", "--duplicates", "--noheader", "--parsable2", *span, form
            )
        except SlurmError as error:
            if error.code in ("slurm-refused", "slurm-missing"):
                return None
            raise
        return parse_history(text)


def _said(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_TIME)


# -- squeue's text


def parse_text(text: str, mark: str) -> tuple[JobSighting, ...]:
    """Read what squeue printed with these marks; rows of another shape are left out."""
    rows = (row.split(f"{mark}|") for row in text.split(f"{mark}<"))
    return tuple(job for row in rows if (job := _from_row([field.strip() for field in row])) is not None)


def _from_row(row: Sequence[str]) -> JobSighting | None:
    if len(row) != len(_FIELDS):
        return None
    number, restarts, state, submitted, started, ended, nodes, tres, *people, array, task, leader, name = row
    user, account, partition = map(_plain, people)
    try:
        return JobSighting(
            int(number),
            int(restarts or 0),
            state,
            *(_time(submitted), _time(started), _time(ended)),
            even(_hosts(nodes), tres),
            *(user, account, partition, name[:JOB_NAME_KEPT]),
            int(array) if task.isdecimal() else None,
            int(task) if task.isdecimal() else None,
            int(leader) if leader.isdecimal() else 0,
        )
    except (ValueError, AsbxError):  # no job on nodes of ours has numbers or a node list like that
        return None


def _plain(text: str) -> str:
    return "" if text in _NONE else text


def _time(text: str) -> datetime | None:
    return None if text in _NONE else datetime.fromisoformat(text).replace(tzinfo=UTC)


@lru_cache(maxsize=4096)  # many jobs are on the same nodes, and each is looked at again and again
def _hosts(text: str) -> tuple[str, ...]:
    return () if text in _NONE or text == "None assigned" else expand(text)


def even(hosts: Sequence[str], tres: str) -> tuple[Allocation, ...]:
    """Spread what a job has in all (`cpu=4,mem=8G,node=2,gres/gpu=2`) evenly over its nodes.

    A job that is leaving shows only nodes it has still: then what it has of each is not known.
    """
    if not hosts:
        return ()
    cpus, memory, gpus, nodes = _totals(tres)
    if nodes and nodes != len(hosts):
        return tuple(Allocation(host) for host in hosts)
    ones = [(0, 1) for _ in hosts]
    parts = zip(hosts, parted(cpus, ones), parted(memory, ones), parted(gpus, ones), strict=True)
    return tuple(Allocation(*part) for part in parts)


@lru_cache(maxsize=4096)
def _totals(tres: str) -> tuple[int, int, int, int]:
    """Return processors, MiB, GPUs and nodes."""
    found = dict(item.split("=", 1) for item in tres.split(",") if "=" in item)
    kinds = sum(int(count) for name, count in found.items() if name.startswith("gres/gpu:") and count.isdecimal())
    cpus, nodes, gpus = (int(found.get(name, "0")) for name in ("cpu", "node", "gres/gpu"))
    return cpus, _mebibytes(found.get("mem", "0")), gpus or kinds, nodes


def _mebibytes(text: str) -> int:
    unit = text[-1:].upper()
    return round(float(text[:-1]) * _UNITS[unit]) if unit in _UNITS else round(float(text))


# -- how jobs are spread, on versions without JSON


def uneven(seen: Sequence[JobSighting]) -> Iterator[JobSighting]:
    """Yield jobs of several nodes that are there now and share one with another job: their parts count."""
    on: dict[str, list[JobSighting]] = defaultdict(list)
    for job in seen:
        if job.started_at is not None:
            for part in job.allocations:
                on[part.node].append(job)
    for job in seen:
        if (
            len(job.allocations) > 1
            and job.state == "RUNNING"
            and any(_share(job, on[p.node]) for p in job.allocations)
        ):
            yield job


def _share(job: JobSighting, others: Iterable[JobSighting]) -> bool:
    return any(
        other is not job
        and (
            other.state not in ENDED
            or other.ended_at is None
            or job.started_at is None
            or other.ended_at > job.started_at
        )
        for other in others
    )


def details(text: str) -> dict[int, list[tuple[Allocation, ...]]]:
    """Read `scontrol show job --detail --oneliner`: job -> what each line that claims to be its own says."""
    found: dict[int, list[tuple[Allocation, ...]]] = defaultdict(list)
    for line in re.split(r"(?m)^(?=JobId=)", text):
        number = re.match(r"JobId=(\d{1,10}) ", line)
        if number is not None:
            found[int(number[1])].append(tuple(_detailed(line)))
    return found


def _detailed(line: str) -> Iterator[Allocation]:
    for hosts, cpus, memory, gres in _DETAIL.findall(line):
        try:
            for host in expand(hosts):
                yield Allocation(host, _count(cpus), int(memory), sum(map(int, _GPU.findall(gres))))
        except (ValueError, AsbxError):
            continue


def _count(ids: str) -> int:
    """Count CPU ids such as 0-3,8."""
    spans = (part.partition("-") for part in ids.split(",") if part)
    return sum(int(last or first) - int(first) + 1 for first, _, last in spans)


def spread(job: JobSighting, told: Mapping[int, Sequence[tuple[Allocation, ...]]]) -> tuple[Allocation, ...]:
    """Return how a job is spread: as one line says that fits what squeue said, else evenly."""
    nodes, cpus = {part.node for part in job.allocations}, sum(part.cpus for part in job.allocations)
    fitting = {
        parts
        for parts in told.get(job.job_id, ())
        if len(parts) == len(nodes) and {p.node for p in parts} == nodes and sum(p.cpus for p in parts) == cpus
    }
    return fitting.pop() if len(fitting) == 1 else job.allocations


# -- squeue's JSON


def parse_json(text: str) -> tuple[JobSighting, ...]:
    """Read `squeue --json` (23.02 and later). Raises SlurmError (`slurm-json`)."""
    try:
        return tuple(_from_json(row) for row in json.loads(text)["jobs"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, AsbxError) as error:
        raise SlurmError(
            "slurm-json", "squeue's answer cannot be read", f"{type(error).__name__}: {error}", "report this"
        ) from None


def _from_json(row: dict[str, Any]) -> JobSighting:
    states = row.get("job_state") or []
    words = [str(word).upper() for word in (states if isinstance(states, list) else [states])]
    state = next((word for word in words if word in ("CONFIGURING", "COMPLETING")), words[0] if words else "")
    array, task = number_of(row.get("array_job_id")), number_of(row.get("array_task_id"))
    submitted, started, ended = (_moment(row.get(name)) for name in ("submit_time", "start_time", "end_time"))
    user, account, partition = (str(row.get(name) or "") for name in ("user_name", "account", "partition"))
    return JobSighting(
        int(row["job_id"]),
        number_of(row.get("restart_cnt")) or 0,
        state,
        *(submitted, started, ended),
        _parts(row),
        *(user, account, partition, str(row.get("name") or "")[:JOB_NAME_KEPT]),
        array if array and task is not None else None,
        task if array else None,
        number_of(row.get("het_job_id")) or 0,
    )


def _moment(value: Any) -> datetime | None:
    seconds = number_of(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _parts(row: dict[str, Any]) -> tuple[Allocation, ...]:
    """Return what a job has of each node: newer versions count CPUs for each, 23.x list cores.

    Shapes: 26.05's own answer is recorded; 23.x after the REST API's reference (v0.0.39, job_resources).
    """
    whole = even(_hosts(str(row.get("nodes") or "")), str(row.get("tres_alloc_str") or ""))
    told = row.get("job_resources") or {}
    nodes = told.get("nodes") if isinstance(told, dict) else None
    if isinstance(nodes, dict):
        items = [
            (i["name"], number_of(i["cpus"]["count"]), i["memory"]["allocated"]) for i in nodes.get("allocation") or []
        ]
    elif isinstance(told, dict):
        items = [(i["nodename"], _cores(i), i.get("memory_allocated")) for i in told.get("allocated_nodes") or []]
    else:
        items = []
    if {name for name, _, _ in items} != {part.node for part in whole} or not all(count for _, count, _ in items):
        return whole
    cpus = parted(sum(part.cpus for part in whole), [(0, count or 0) for _, count, _ in items])
    gres = [sum(map(int, _GPU.findall(str(text)))) for text in row.get("gres_detail") or []]
    gpus = gres if len(gres) == len(items) else [part.gpus for part in whole]
    rows = zip(items, cpus, gpus, strict=True)
    return tuple(Allocation(name, cpu, number_of(memory) or 0, gpu) for (name, _, memory), cpu, gpu in rows)


def _cores(item: dict[str, Any]) -> int:
    """Count the cores a job has of a node, as 23.x tells them."""
    sockets = item.get("sockets") or {}
    listed = sockets.values() if isinstance(sockets, dict) else sockets
    states = [state for socket in listed for state in (socket.get("cores") or {}).values()]
    return sum(1 for state in states if "UNALLOCATED" not in str(state).upper())


# -- sacct


def parse_history(text: str) -> tuple[JobSighting, ...]:
    """Read what sacct printed of allocations, duplicates included: each is a run, numbered by its start."""
    rows = [row for line in text.splitlines() if (row := _from_history(line.split("|"))) is not None]
    rows.sort(key=lambda job: (job.job_id, job.started_at))
    runs: Counter[int] = Counter()
    found = []
    for job in rows:
        found.append(replace(job, restarts=runs[job.job_id]))
        runs[job.job_id] += 1
    return tuple(found)


def _from_history(row: Sequence[str]) -> JobSighting | None:
    if len(row) != len(_SACCT_FIELDS) or not row[0].isdecimal():
        return None
    number, state, submitted, started, ended, nodes, tres, user, account, partition, label = row
    array, _, task = label.partition("_")
    leader, plus, _ = label.partition("+")
    try:
        job = JobSighting(
            int(number),
            0,
            state.partition(" ")[0],
            *(_time(submitted), _time(started), _time(ended)),
            even(_hosts(nodes), tres),
            *(user, account, partition, ""),
            int(array) if task.isdecimal() else None,
            int(task) if task.isdecimal() else None,
            int(leader) if plus else 0,
        )
    except (ValueError, AsbxError):
        return None
    return job if job.started_at is not None else None
