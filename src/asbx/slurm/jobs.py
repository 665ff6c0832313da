"""Ask Slurm about one job, in whichever way a person names it, and about earlier runs of its name: squeue, then sacct.

Only what no user writes is read from sacct, which cannot mark where its fields end. Where a site keeps no accounting,
sacct says so (22.05.8: "Slurm accounting storage is disabled") and there is nothing to be had.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from asbx.config.limits import HISTORY_MOST_RUNS, HISTORY_SPAN
from asbx.errors import SlurmError
from asbx.model.job import JobView, PastRun
from asbx.slurm.process import SlurmCommands, suppress_refusal
from asbx.slurm.queue import GONE, format_of, rows_of, span_of

# squeue(1): %r the reason, %S the start, real or expected, %V the submission, %D and %N how many nodes and which.
_FIELDS = ("%A", "%i", "%u", "%a", "%P", "%T", "%r", "%S", "%V", "%D", "%N", "%l", "%j")
_LONGEST_NAME = 4096
_PAST = "JobIDRaw,JobID,User,Account,Partition,State,ElapsedRaw,TimelimitRaw,NNodes,NodeList,Submit,Start,End"
_RUNS = "JobIDRaw,State,ElapsedRaw,NNodes"


class SlurmJobs:
    """The door `JobArchive` over squeue and sacct."""

    def __init__(self, commands: SlurmCommands) -> None:
        self._commands = commands

    def find(self, label: str) -> tuple[JobView, ...]:
        """Return the jobs somebody means by `12`, `12_3` or `12+1`; of an array or a heterogeneous job all there are.

        Raises SlurmError when slurmctld does not answer.
        """
        mark = secrets.token_hex(16)
        text = ""
        wanted = (f"--jobs={label}", f"--format={format_of(_FIELDS, mark)}")
        with suppress_refusal(*GONE):
            text = self._commands.run("squeue", "--array", "--noheader", "--states=all", *wanted)
        found = [_queued(row) for row in rows_of(text, mark, len(_FIELDS))]
        # Asked for a component there is not, squeue shows another one (seen on 22.05.8: `6+1` for job 6).
        mine = tuple(one for one in found if _is(one, label))
        return mine or tuple(one for one in self._past(label) if _is(one, label))

    def past_runs(self, user: str, name: str) -> tuple[PastRun, ...] | None:
        """Return the last runs of this user's jobs of a name that are over, oldest first; None without accounting."""
        # sacct parts names at commas, and would take `a,b` for two.
        if not user or not name or "," in name:
            return None
        since = f"--starttime=now-{HISTORY_SPAN.days}days"
        try:
            text = self._sacct(f"--user={user}", f"--name={name}", since, f"--format={_RUNS}")
        except SlurmError:
            return None
        rows = [line.split("|") for line in text.splitlines()]
        runs = [_run(row) for row in rows if len(row) == 4 and all(row[at].isdecimal() for at in (0, 2, 3))]
        return tuple(one for one in runs if one.state not in _OPEN)[-HISTORY_MOST_RUNS:]

    def _past(self, label: str) -> Iterator[JobView]:
        """Return what accounting knows; nothing where there is none."""
        try:
            text = self._sacct(f"--jobs={label}", f"--format={_PAST}")
        except SlurmError:
            return
        for line in text.splitlines():
            row = line.split("|")
            if len(row) == _PAST.count(",") + 1 and row[0].isdecimal():
                yield _accounted(row)

    def _sacct(self, *arguments: str) -> str:
        return self._commands.run("sacct", "--allocations", "--noheader", "--parsable2", *arguments)


_OPEN = frozenset({"RUNNING", "PENDING", "SUSPENDED", "REQUEUED", "RESIZING"})


def _is(view: JobView, label: str) -> bool:
    return view.label == label or label in (str(view.job_id), *view.label.replace("+", "_").split("_")[:1])


def _queued(row: list[str]) -> JobView:
    number, label, user, account, partition, state, reason, start, submitted, count, nodes, limit, name = row
    starts = _moment(start)
    return JobView(
        int(number) if number.isdecimal() else 0,
        label,
        user,
        account,
        partition,
        name[:_LONGEST_NAME],
        state,
        "" if reason == "None" else reason,
        nodes,
        int(count) if count.isdecimal() else 0,
        span_of(limit),
        _moment(submitted),
        starts,
    )


def _accounted(row: list[str]) -> JobView:
    number, label, user, account, partition, state, elapsed, limit, count, nodes, submitted, start, end = row
    return JobView(
        int(number),
        label,
        user,
        account,
        partition,
        state=state.partition(" ")[0],
        nodes="" if nodes == "None assigned" else nodes,
        node_count=int(count) if count.isdecimal() else 0,
        time_limit=timedelta(minutes=int(limit)) if limit.isdecimal() else None,
        submitted_at=_moment(submitted),
        starts_at=_moment(start),
        ended_at=_moment(end),
        elapsed=timedelta(seconds=int(elapsed)) if elapsed.isdecimal() else None,
        is_past=True,
    )


def _run(row: list[str]) -> PastRun:
    number, state, elapsed, nodes = row
    return PastRun(int(number), state.partition(" ")[0], timedelta(seconds=int(elapsed)), int(nodes))


def _moment(text: str) -> datetime | None:
    """Read a time of squeue or sacct, which write UTC here: they are run with TZ=UTC."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
