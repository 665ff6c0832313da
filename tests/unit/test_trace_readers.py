"""Traces are read by stated rules, and what is bad is counted with its line."""

from __future__ import annotations

import gzip
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from asbx.config.limits import TRACE_LONGEST_LINE
from asbx.errors import ConfigError, UsageError
from asbx.sim.trace.job import Reading, TraceJob
from asbx.sim.trace.part import Part, taken
from asbx.sim.trace.reading import Kind, read_trace
from asbx.slurm.sacct import FIELDS

HEADER = "JobID|User|Account|Partition|Submit|Start|End|Elapsed|Timelimit|AllocTRES|NNodes|NCPUS|State"


def swf(**fields: float) -> str:
    """Return a line of SWF: a job of 4 processors for an hour, with other values where stated."""
    row: dict[str, float] = {
        "number": 1, "submit": 10, "wait": 5, "run": 3600, "procs": 4, "cpu": -1, "mem": -1, "asked": 4, "limit": 7200,
        "asked_mem": -1, "status": 1, "user": 7, "group": 2, "app": -1, "queue": 3, "part": -1,
        "before": -1, "think": -1,
    }  # fmt: skip
    return " ".join(f"{value:g}" for value in (row | fields).values())


def read(tmp_path: Path, text: str | bytes, kind: Kind = "auto") -> Reading:
    """Return what is read of a file."""
    file = tmp_path / "trace"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_trace(file, kind)


def one(tmp_path: Path, text: str) -> TraceJob:
    """Return the one job of a file."""
    (job,) = read(tmp_path, text).jobs
    return job


def sacct(**fields: str) -> str:
    """Return header and one row of sacct."""
    row = {
        "JobID": "12", "User": "ann", "Account": "phys", "Partition": "cpu", "Submit": "2026-01-05T08:00:00",
        "Start": "2026-01-05T08:10:00", "End": "2026-01-05T09:10:00", "Elapsed": "01:00:00", "Timelimit": "1-00:00:00",
        "AllocTRES": "billing=8,cpu=8,mem=16G,node=2", "NNodes": "2", "NCPUS": "8", "State": "COMPLETED",
    } | fields  # fmt: skip
    return "|".join(row.values())


# -- SWF


def test_a_line_of_swf_is_a_job(tmp_path: Path) -> None:
    """All that the simulator needs is taken from its fields."""
    job = one(tmp_path, "; UnixStartTime: 1000\n" + swf() + "\n")
    assert job == TraceJob(2, "1", 10, 3600, 7200, 4, 0, 0, "user-7", "group-2", "queue-3", 5)


@pytest.mark.parametrize(
    ("fields", "procs", "limit"),
    [
        ({"asked": -1}, 4, 7200),  # requested processors unknown: allocated
        ({"procs": -1, "asked": 6}, 6, 7200),
        ({"limit": -1}, 4, 3600),  # requested time unknown: run time
        ({"limit": 60}, 4, 3600),  # ran longer than requested
    ],
)
def test_missing_fields_are_read_by_rule(tmp_path: Path, fields: dict[str, float], procs: int, limit: float) -> None:
    """What is -1 is taken from its neighbour."""
    job = one(tmp_path, swf(**fields))
    assert (job.procs, job.limit_s) == (procs, limit)


def test_what_never_ran_is_left_out_and_counted(tmp_path: Path) -> None:
    """No run time, no processors, cancelled before it ran, parts of jobs: each with its reason."""
    rows = [{"run": -1}, {"procs": -1, "asked": 0}, {"run": 0, "status": 5}, {"status": 2}, {"status": 4}, {}]
    said = read(tmp_path, "\n".join(swf(**row) for row in rows))
    assert len(said.jobs) == 1
    assert dict(said.left_out) == {
        "no run time": 1,
        "no number of processors": 1,
        "cancelled before it ran": 1,
        "a part of a job that has a line of its own": 2,
    }


def test_less_than_half_a_second_is_a_second(tmp_path: Path) -> None:
    """SWF rounds short run times to 0; a job that was cancelled while it ran keeps its time."""
    assert one(tmp_path, swf(run=0)).run_s == 1
    assert one(tmp_path, swf(run=30, status=5)).run_s == 30


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1 2 3", "3 fields for 18"),
        (swf() + " 9", "19 fields for 18"),
        (swf().replace("3600", "long"), "'long' is not a number"),
        (swf().replace("3600", "nan"), "not finite"),
        (swf(run=1e12), "a run time of 1e+12 s"),
        (swf(asked=1e9), "1000000000 processors"),
        (swf(asked=1.5), "1.5 processors"),
        (swf(submit=-5), "a submit time of -5 s"),
        (swf(submit=1e14), "a submit time of 1e+14 s"),
        ("x" * (TRACE_LONGEST_LINE + 5), "fields for 18"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: str, why: str) -> None:
    """The others are taken all the same."""
    said = read(tmp_path, f"{swf()}\n{line}\n{swf(number=2)}\n")
    assert [job.label for job in said.jobs] == ["1", "2"]
    assert said.bad_lines == 1
    assert said.faults[0][0] == 2
    assert why in said.faults[0][1]


def test_gzip_crlf_a_mark_and_blank_lines(tmp_path: Path) -> None:
    """How a file came over does not matter."""
    text = f"\ufeff; a comment\r\n\r\n{swf()}\r\n".encode()
    assert read(tmp_path, gzip.compress(text, mtime=0)).jobs == read(tmp_path, text).jobs != []


def test_jobs_are_in_the_order_of_submission(tmp_path: Path) -> None:
    """Whatever the order of the lines."""
    said = read(tmp_path, "\n".join(swf(number=n, submit=at) for n, at in ((1, 50), (2, 10), (3, 50))))
    assert [job.label for job in said.jobs] == ["2", "1", "3"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"hello\n", "trace-unknown"),
        (b"", "trace-unknown"),
        (b"; nothing but a comment\n", "trace-empty"),
        ("; x".encode("utf-16"), "trace-file"),
        (gzip.compress(b"; x\n" * 999, mtime=0)[:-12], "trace-file"),
        (b"\x1f\x8b\x00broken", "trace-file"),
        (b"JobID|State\n1|COMPLETED\n", "trace-columns"),
    ],
)
def test_what_is_no_trace_is_said(tmp_path: Path, content: bytes, code: str) -> None:
    """No traceback for any file."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content)
    assert caught.value.code == code


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """As is a folder."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError) as caught:
            read_trace(path)
        assert caught.value.code == "trace-file"


# -- sacct


def test_a_row_of_sacct_is_a_job(tmp_path: Path) -> None:
    """What it held, what it waited, and its limit."""
    job = one(tmp_path, f"{HEADER}\n{sacct()}\n")
    assert (job.label, job.user, job.account, job.partition) == ("12", "ann", "phys", "cpu")
    assert (job.procs, job.nodes, job.run_s, job.limit_s, job.waited_s) == (8, 2, 3600, 86_400, 600)


def test_csv_and_the_trailing_bar(tmp_path: Path) -> None:
    """Commas in quotes, and `sacct -p`, which ends each line with a bar."""
    bars = f"{HEADER}\n{sacct()}\n"
    csv = ",".join(HEADER.split("|")) + "\n" + ",".join(f'"{one}"' for one in sacct().split("|")) + "\n"
    assert one(tmp_path, csv) == one(tmp_path, bars) == one(tmp_path, bars.replace("\n", "|\n"))


@pytest.mark.parametrize(
    ("fields", "limit"),
    [({"Timelimit": "UNLIMITED"}, 3600), ({"Timelimit": "Partition_Limit"}, 3600), ({"Timelimit": "02:00:00"}, 7200)],
)
def test_limits_that_are_words_are_the_run_time(tmp_path: Path, fields: dict[str, str], limit: float) -> None:
    """As the reader says."""
    assert one(tmp_path, f"{HEADER}\n{sacct(**fields)}\n").limit_s == limit


def test_steps_and_jobs_without_a_run_are_left_out(tmp_path: Path) -> None:
    """Each with its reason; tasks and components are jobs."""
    rows = [
        sacct(),
        sacct(JobID="12.batch"),
        sacct(JobID="12_3.0"),
        sacct(JobID="12_3"),
        sacct(JobID="13+1"),
        sacct(JobID="14_[5-9%2]", State="PENDING", Start="Unknown", End="Unknown", Elapsed="00:00:00"),
        sacct(JobID="15", State="RUNNING", End="Unknown"),
        sacct(JobID="16", State="CANCELLED by 1000", Start="None", Elapsed="00:00:00"),
        sacct(JobID="17", Submit="Unknown"),
        sacct(JobID="18", AllocTRES="", NCPUS="0"),
    ]
    said = read(tmp_path, "\n".join([HEADER, *rows]))
    assert [job.label for job in said.jobs] == ["12", "12_3", "13+1"]
    assert dict(said.left_out) == {
        "a step of a job": 2,
        "not over yet": 2,
        "never ran": 1,
        "no submit time": 1,
        "no number of processors": 1,
    }


def test_a_requeued_job_came_with_its_first_row_and_ran_as_the_last_says(tmp_path: Path) -> None:
    """`sacct --duplicates` has a row for each try."""
    first = sacct(State="NODE_FAIL", Elapsed="00:05:00")
    last = sacct(Submit="2026-01-05T08:30:00", Start="2026-01-05T08:40:00", Elapsed="02:00:00")
    said = read(tmp_path, f"{HEADER}\n{first}\n{last}")
    assert [job.run_s for job in said.jobs] == [7200]
    assert said.jobs[0].submit_s == one(tmp_path, f"{HEADER}\n{sacct()}").submit_s


def test_an_id_that_is_used_again_is_another_job(tmp_path: Path) -> None:
    """Slurm begins again at MaxJobId."""
    assert len(read(tmp_path, "\n".join([HEADER, sacct(), sacct(Submit="2027-01-05T08:00:00")])).jobs) == 2


def test_gpus_and_cpus_are_what_it_held(tmp_path: Path) -> None:
    """AllocTRES goes before NCPUS."""
    job = one(tmp_path, f"{HEADER}\n{sacct(AllocTRES='cpu=48,gres/gpu=4,gres/gpu:a100=4', NCPUS='3')}")
    assert (job.procs, job.gpus) == (48, 4)


def test_a_name_with_the_delimiter_in_it_is_refused(tmp_path: Path) -> None:
    """Nobody could say which field is which."""
    said = read(tmp_path, f"{HEADER}\n{sacct(User='a|b')}\n{sacct()}\n")
    assert (len(said.jobs), said.faults[0][0]) == (1, 2)


def test_local_times_are_those_of_the_zone(tmp_path: Path) -> None:
    """08:00 in Berlin is 07:00 UTC in winter."""
    file = tmp_path / "t"
    file.write_text(f"{HEADER}\n{sacct()}\n")
    utc, berlin = read_trace(file), read_trace(file, zone=ZoneInfo("Europe/Berlin"))
    assert utc.jobs[0].submit_s - berlin.jobs[0].submit_s == 3600


# -- a part


def many(tmp_path: Path) -> Reading:
    """Return a hundred jobs, one an hour."""
    return read(tmp_path, "; UnixStartTime: 1767225600\n" + "\n".join(swf(submit=n * 3600) for n in range(100)))


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (Part(), 100),
        (Part(begin="1d"), 76),
        (Part(begin="1d", end="2d"), 24),
        (Part(begin="2026-01-02", end="2026-01-03T00:00:00"), 24),
        (Part(most=7), 7),
    ],
)
def test_a_part_is_taken(tmp_path: Path, part: Part, count: int) -> None:
    """By length, by date, by number; the first job of it comes at 0."""
    jobs = taken(many(tmp_path), part, 1)
    assert (len(jobs), jobs[0].submit_s) == (count, 0)


def test_a_share_is_drawn_by_the_seed(tmp_path: Path) -> None:
    """The same for the same seed."""
    said = many(tmp_path)
    draws = [[job.line for job in taken(said, Part(share=0.3), seed)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert 15 < len(draws[0]) < 45


@pytest.mark.parametrize("part", [Part(begin="soon"), Part(begin="90d"), Part(share=0.0)])
def test_a_part_that_is_not_there_is_refused(tmp_path: Path, part: Part) -> None:
    """With what to change."""
    with pytest.raises(UsageError):
        taken(many(tmp_path), part, 1)


def test_a_date_needs_a_trace_that_knows_its_own(tmp_path: Path) -> None:
    """SWF without UnixStartTime has no dates."""
    with pytest.raises(UsageError, match="does not tell when it began"):
        taken(read(tmp_path, swf()), Part(begin="2026-01-01"), 1)


def test_what_a_real_sacct_printed_is_read(tmp_path: Path) -> None:
    """Rows of Slurm with accounting, as tests/recorded keeps them: jobs, an array, a time-out, one that never ran."""
    folder = Path(__file__).parents[1] / "recorded" / "sacct"
    rows = "".join((folder / f"{name}.txt").read_text() for name in ("array", "cancelled", "mpi", "timeout"))
    said = read(tmp_path, "|".join(FIELDS) + "\n" + rows.replace("@|@", "|"))
    assert {job.label: (job.procs, job.run_s, job.limit_s, job.user) for job in said.jobs} == {
        "2_1": (1, 2, 2, "ada"),
        "2_2": (1, 2, 2, "ada"),
        "1": (2, 7, 7, "ada"),
        "4": (1, 60, 60, "ada"),
    }
    assert said.left_out["never ran"] == 1
    assert said.bad_lines == 0
    assert [job.waited_s for job in said.jobs] == [28] * 4
