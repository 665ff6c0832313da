"""The queue as values: what squeue prints, in a shape that no job's own text can forge.

Names and comments are free text. On 22.05.8 newlines, bars and control characters in them come out of `squeue --format`
as they are (seen), so rows and fields are parted by a random mark that is chosen when Slurm is asked: nobody can have
put it into a job before. From 23.02 on there is JSON, which also has `--extra`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from asbx.errors import AsbxError, SlurmError
from asbx.model.hostlist import expand
from asbx.model.job import JobFacts, Tenant

# squeue(1): %A is unique for each task of an array, %i says what it is part of (`3_2`, `4+1`), %Q the priority,
# %l the time limit.
_FIELDS = ("%A", "%i", "%u", "%a", "%T", "%Q", "%l", "%f", "%k", "%j")
# What Slurm says of jobs that have left the queue (seen on 22.05.8); of a list it serves the others all the same.
GONE = ("Invalid job id", "Job has already finished")
# Nobody reads more of a name, comment or constraint.
_LONGEST_TEXT = 4096
_NUMBER = re.compile(r"[0-9]{1,10}")
_SPAN = re.compile(r"(?:([0-9]{1,6})-)?(?:([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,2})")


@dataclass(frozen=True)
class QueuedJob:
    """Facts about a job, and the name scontrol takes for just this one.

    An array's last task has the array's own number: `scontrol update jobid=3` would change all its tasks (seen on
    22.05.8), `3_2` changes one. The same holds for the leader of a heterogeneous job and `4+0`.
    """

    facts: JobFacts
    label: str


def job_format(mark: str) -> str:
    """Return the argument of --format. mark: a random word of letters and digits, new for each call."""
    return format_of(_FIELDS, mark)


def format_of(fields: Sequence[str], mark: str) -> str:
    """Return what prints these fields so that `rows_of` tells them apart."""
    return f"{mark}<" + f"{mark}|".join(fields)


def rows_of(text: str, mark: str, count: int) -> Iterator[list[str]]:
    """Read what squeue printed in format_of(..., mark); rows of another shape are left out."""
    for row in text.split(f"{mark}<")[1:]:
        fields = [_plain(field) for field in row.removesuffix("\n").split(f"{mark}|")]
        if len(fields) == count and _is_number(fields[0]):
            yield fields


def parse_jobs(text: str, mark: str) -> tuple[QueuedJob, ...]:
    """Read what squeue printed in job_format(mark); rows of another shape are left out."""
    found = []
    for number, label, user, account, state, priority, limit, features, comment, name in rows_of(
        text, mark, len(_FIELDS)
    ):
        facts = JobFacts(
            int(number),
            user,
            account,
            name[:_LONGEST_TEXT],
            state,
            int(priority) if _is_number(priority) else None,
            features[:_LONGEST_TEXT],
            comment[:_LONGEST_TEXT],
            leader=_number(label.partition("+")[0]) if "+" in label else 0,
            time_limit=span_of(limit),
        )
        found.append(_labelled(facts, label))
    return tuple(found)


def span_of(text: str) -> timedelta | None:
    """Read a time as squeue prints it, `[days-][hours:]minutes:seconds`; None for UNLIMITED, NOT_SET and the like."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _plain(field: str) -> str:
    return "" if field == "(null)" else field


def _is_number(text: str) -> bool:
    """Whether a text is a number of Slurm's, which have 32 bits; Python's own test takes digits of all scripts."""
    return _NUMBER.fullmatch(text) is not None


def _number(text: str) -> int:
    return int(text) if _is_number(text) else 0


def parse_jobs_json(text: str) -> tuple[QueuedJob, ...]:
    """Read `squeue --json` (23.02 and later)."""
    try:
        return tuple(_queued(row) for row in json.loads(text)["jobs"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SlurmError(
            "slurm-json", "squeue's answer cannot be read", f"{type(error).__name__}: {error}", "report this"
        ) from None


def _queued(row: dict[str, Any]) -> QueuedJob:
    number = int(row["job_id"])
    states = row.get("job_state") or []
    words = [str(word).upper() for word in (states if isinstance(states, list) else [states])]
    # A flag beside the base state says more here, as `squeue --format %T` shows it.
    state = next((word for word in words if word in ("CONFIGURING", "COMPLETING")), words[0] if words else "")
    leader, array = number_of(row.get("het_job_id")) or 0, number_of(row.get("array_job_id")) or 0
    minutes = number_of(row.get("time_limit"))
    facts = JobFacts(
        number,
        str(row.get("user_name") or ""),
        str(row.get("account") or ""),
        _text(row, "name"),
        state,
        number_of(row.get("priority")),
        _text(row, "features"),
        _text(row, "comment"),
        _text(row, "extra"),
        leader,
        None if minutes is None else timedelta(minutes=minutes),
    )
    task = number_of(row.get("array_task_id"))
    if leader:
        return _labelled(facts, f"{leader}+{number_of(row.get('het_job_offset')) or 0}")
    return _labelled(facts, f"{array}_{task}" if array and task is not None else str(number))


def _labelled(facts: JobFacts, label: str) -> QueuedJob:
    """Return a job under its label; that of a range of tasks (`12_[3-9]`) that have no number yet is no job's own."""
    named = bool(set(label) & {"_", "+"})
    own = label if named and "[" not in label else ""
    return QueuedJob(replace(facts, label=own), label if named else str(facts.job_id))


def _text(row: dict[str, Any], key: str) -> str:
    return str(row.get(key) or "")[:_LONGEST_TEXT]


def number_of(number: Any) -> int | None:
    """Return a number of Slurm's JSON: plain, or an object that says whether it is set."""
    if isinstance(number, dict):
        return int(number["number"]) if number.get("set") and not number.get("infinite") else None
    return None if number is None else int(number)


@dataclass(frozen=True)
class Requeue:
    """Whether Slurm may requeue a job, and whether it is a batch job: no other can be (slurm.conf(5), JobRequeue)."""

    job_id: int
    is_allowed: bool
    is_batch: bool
    restarts: int = 0
    used: timedelta | None = None


# Wider than anything we write; without a width it would be cut.
COMMENT_FORMAT = "--Format=AdminComment:2000"
# Numbers only, so nothing in it can be forged. (`squeue --format` has no letter for these.)
REQUEUE_FORMAT = "--Format=JobID:.12,Requeue:.8,BatchFlag:.8,RestartCnt:.8,TimeUsed:.16"


def parse_requeue(text: str) -> Iterator[Requeue]:
    """Read what squeue printed in REQUEUE_FORMAT."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 5 and _is_number(words[0]) and set(words[1:3]) <= {"0", "1"}:
            yield Requeue(int(words[0]), words[1] == "1", words[2] == "1", _number(words[3]), span_of(words[4]))


@dataclass(frozen=True)
class TenantRow:
    """A job that has nodes. label: see QueuedJob."""

    job_id: int
    label: str
    state: str
    nodes: tuple[str, ...]

    def tenant(self, requeue: Requeue | None) -> Tenant:
        """Return it with what is known of its requeues; where nothing is, it is left where it runs."""
        can = requeue is not None and requeue.is_allowed and requeue.is_batch
        restarts, used = (requeue.restarts, requeue.used) if requeue else (0, None)
        return Tenant(self.job_id, self.state, self.nodes, can, restarts, used)


# Nothing in it that a user writes. (`--Format` would pad or cut the node list.)
TENANT_FORMAT = "--format=%A|%i|%T|%N"


def parse_tenants(text: str) -> Iterator[TenantRow]:
    """Read what squeue printed in TENANT_FORMAT."""
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 4 or not _is_number(fields[0]):
            continue
        number, label, state, nodes = fields
        try:
            yield TenantRow(
                int(number), label if set(label) & {"_", "+"} else number, state, expand(nodes) if nodes else ()
            )
        except AsbxError:  # a node list in words we do not know
            continue
