"""A job of a trace, and what became of reading it: who was taken, who was left out, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from asbx.config.limits import (
    TRACE_LONGEST_LOG,
    TRACE_LONGEST_RUN,
    TRACE_MOST_JOBS,
    TRACE_MOST_PROCS,
    TRACE_NAMED_FAULTS,
)
from asbx.errors import ConfigError

_LONGEST_RUN_S = TRACE_LONGEST_RUN.total_seconds()
_LONGEST_LOG_S = TRACE_LONGEST_LOG.total_seconds()


@dataclass(frozen=True)
class TraceJob:
    """One job that has run. Times in seconds; submit_s: by the trace's own clock.

    limit_s: its time limit; the run time where the trace states none. nodes: 0 where the trace does not tell.
    waited_s: what it waited in the trace, None where that is not told. line: where it stands in the file.
    """

    line: int
    label: str
    submit_s: float
    run_s: float
    limit_s: float
    procs: int
    nodes: int = 0
    gpus: int = 0
    user: str = ""
    account: str = ""
    partition: str = ""
    waited_s: float | None = None

    @property
    def core_hours(self) -> float:
        """Return processors times run time."""
        return self.procs * self.run_s / 3600


class BadLineError(ValueError):
    """A line that cannot be meant; the text says why."""


@dataclass
class Reading:
    """What was read. left_out: reason -> jobs. faults: the first bad lines, (number, why). notes: rules that applied.

    zero_epoch: seconds since 1970 of the trace's second 0, None where nobody knows.
    """

    kind: str
    jobs: list[TraceJob] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    bad_lines: int = 0
    lines: int = 0
    zero_epoch: float | None = None

    def take(self, job: TraceJob) -> None:
        """Keep a job. Raises BadLineError for what no job can be, ConfigError for more than fit in memory."""
        _plausible(job)
        if len(self.jobs) >= TRACE_MOST_JOBS:
            raise ConfigError(
                "trace-too-long",
                f"the trace has more than {TRACE_MOST_JOBS} jobs",
                "",
                "take a part of the file itself; sacct does so with -S and -E",
            )
        self.jobs.append(job)

    def refuse(self, line: int, why: str) -> None:
        """Count a bad line."""
        self.bad_lines += 1
        if len(self.faults) < TRACE_NAMED_FAULTS:
            self.faults.append((line, why))


def _plausible(job: TraceJob) -> None:
    if not 0 <= job.run_s <= _LONGEST_RUN_S:
        raise BadLineError(f"a run time of {job.run_s:g} s")
    if not 0 < job.procs <= TRACE_MOST_PROCS or job.nodes > TRACE_MOST_PROCS or job.gpus > TRACE_MOST_PROCS:
        raise BadLineError(f"{job.procs} processors, {job.nodes} nodes, {job.gpus} GPUs")
    if not abs(job.submit_s) <= _LONGEST_LOG_S:
        raise BadLineError(f"a submit time of {job.submit_s:g} s")
