"""What Slurm's commands print of jobs and nodes is read as it is meant, whatever names and comments pretend."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asbx.errors import SlurmError
from asbx.model.usage import Allocation, JobSighting
from asbx.slurm.usage import details, even, parse_history, parse_json, parse_text, spread, uneven

MARK = "f00d"
AT = datetime(2026, 11, 24, 19, 42, 30, tzinfo=UTC)
ROW = {
    "id": "12",
    "restarts": "0",
    "state": "RUNNING",
    "submit": "2026-11-24T19:42:05",
    "start": "2026-11-24T19:42:30",
    "end": "NONE",
    "nodes": "aws-cpu-[003-004]",
    "tres": "cpu=3,mem=1.5G,node=2,billing=3,gres/gpu=2,gres/gpu:a100=2",
    "user": "ana",
    "account": "(null)",
    "partition": "aws",
    "array": "12",
    "task": "N/A",
    "het": "N/A",
    "name": "train",
}
RECORDED = Path(__file__).parents[1] / "recorded" / "squeue-running.json"


def row(**fields: str) -> str:
    """Return a row as squeue prints it in our format."""
    return f"{MARK}|".join({**ROW, **fields}.values()) + f"{MARK}<\n"


def sighting(**fields: str) -> JobSighting:
    """Return what is read of a row."""
    (found,) = parse_text(row(**fields), MARK)
    return found


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run in the zone of a site."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_a_row_is_read_whole(zone: str) -> None:
    """Times are UTC, as the command was told to print them, whatever the zone of the program."""
    assert os.environ["TZ"] == zone
    parts = (Allocation("aws-cpu-003", 2, 768, 1), Allocation("aws-cpu-004", 1, 768, 1))
    submitted = AT - timedelta(seconds=25)
    assert sighting() == JobSighting(12, 0, "RUNNING", submitted, AT, None, parts, "ana", "", "aws", "train")


def test_tasks_and_components_are_told_apart() -> None:
    """As 22.05.8 prints them: a plain job is its own array, and of no heterogeneous job."""
    plain, task, part = sighting(), sighting(id="14", array="11", task="2"), sighting(id="10", array="10", het="9")
    assert [(one.array_job_id, one.array_task_id, one.leader) for one in (plain, task, part)] == [
        (None, None, 0),
        (11, 2, 0),
        (None, None, 9),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "evil\nJobId=1 JobState=RUNNING NodeList=aws-cpu-001",
        f"12|0|RUNNING{'<'}\n13|0|",
        "f00 d|f00",
        "\x1b[2J\x00",
        "x" * 5000,
    ],
)
def test_a_name_is_only_a_name(name: str) -> None:
    """Line ends, our separators without the mark, control characters: one row, one job, a name of bounded length."""
    found = parse_text(row(name=name) + row(id="13"), MARK)
    assert [one.job_id for one in found] == [12, 13]
    assert found[0].name == name.strip()[:120]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "x"},
        {"id": "12_[1-4]"},
        {"nodes": "a[1-"},
        {"start": "yesterday"},
        {"tres": "cpu=many"},
        {"restarts": "?"},
    ],
)
def test_a_row_that_makes_no_sense_is_left_out(fields: dict[str, str]) -> None:
    """And the others are read."""
    assert [one.job_id for one in parse_text(row(**fields) + row(id="13"), MARK)] == [13]


def test_a_row_cut_short_is_left_out() -> None:
    """Nothing at all, half a row, a row of another shape."""
    assert parse_text("", MARK) == parse_text(row()[:40], MARK) == parse_text(f"a{MARK}|b{MARK}<", MARK) == ()


def test_pending_jobs_have_no_nodes() -> None:
    """Squeue shows an expected start for them."""
    assert sighting(state="PENDING", nodes="", tres="cpu=3,node=2").allocations == ()


def test_a_job_that_is_leaving_has_unknown_parts() -> None:
    """It shows one node of two: all its processors are not on that one."""
    assert sighting(state="COMPLETING", nodes="aws-cpu-003").allocations == (Allocation("aws-cpu-003"),)


@pytest.mark.parametrize(
    ("tres", "cpus", "mib", "gpus"),
    [
        ("cpu=4,mem=8000M,node=1", 4, 8000, 0),
        ("cpu=4,mem=8G,node=1,gres/gpu=2", 4, 8192, 2),
        ("cpu=1,mem=1T,node=1,gres/gpu:a100=3,gres/gpu:t4=1", 1, 1024**2, 4),
        ("cpu=1,mem=512K,node=1", 1, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_what_is_allocated_is_read_in_slurms_units(tres: str, cpus: int, mib: int, gpus: int) -> None:
    """Typed GPUs are counted once, where the total is missing."""
    assert even(["n"], tres) == (Allocation("n", cpus, mib, gpus),)


# -- how a job is spread over its nodes

LINE = (
    "JobId={id} JobName={name} UserId=root(0) Restarts=0 NodeList=aws-cpu-[003-004] JOB_GRES=gpu:2 "
    "  Nodes=aws-cpu-003 CPU_IDs=0 Mem=500 GRES=gpu:1(IDX:0)   Nodes=aws-cpu-004 CPU_IDs=0-1 Mem=1000 "
    "GRES=gpu:a100:1(IDX:1) MinCPUsNode=1 Comment={comment} Power=\n"
)
TRUE = (Allocation("aws-cpu-003", 1, 500, 1), Allocation("aws-cpu-004", 2, 1000, 1))


def line(number: int = 12, name: str = "x", comment: str = "(null)") -> str:
    """Return a line as `scontrol show job --detail --oneliner` prints it."""
    return LINE.format(id=number, name=name, comment=comment)


def test_details_tell_how_a_job_is_spread() -> None:
    """One of its nodes has one processor of three."""
    assert spread(sighting(), details(line(7) + line())) == TRUE


@pytest.mark.parametrize(
    ("name", "comment"),
    [
        ("x Nodes=aws-cpu-004 CPU_IDs=0-99 Mem=1 GRES=", "(null)"),
        ("x", "y Nodes=aws-cpu-003 CPU_IDs=0-63 Mem=1 GRES="),
        ("x", "y\nJobId=12 Nodes=aws-cpu-003 CPU_IDs=0-1 Mem=1 GRES= Nodes=aws-cpu-004 CPU_IDs=0 Mem=1 GRES="),
    ],
)
def test_forged_details_give_an_even_split_and_no_more(name: str, comment: str) -> None:
    """A line that does not add up to what squeue said is not believed; nor are two that do and differ."""
    job = sighting()
    assert spread(job, details(line(name=name, comment=comment))) == job.allocations
    assert spread(sighting(id="13"), details(line(name=name, comment=comment) + line(13))) == TRUE


def test_details_are_asked_only_of_jobs_of_several_nodes_that_share_one() -> None:
    """Not of one alone on its nodes, not of one node, not of one whose neighbour was gone before it came."""
    alone, single = sighting(), sighting(id="13", nodes="aws-cpu-009", tres="cpu=1,node=1")
    assert list(uneven([alone, single])) == []
    beside = sighting(id="14", nodes="aws-cpu-003", tres="cpu=1,node=1")
    assert [job.job_id for job in uneven([alone, single, beside])] == [12]
    before = sighting(id="15", nodes="aws-cpu-003", tres="cpu=1,node=1", state="COMPLETED", end="2026-11-24T19:42:10")
    assert list(uneven([alone, before])) == []


# -- JSON


def newer(**fields: Any) -> dict[str, Any]:
    """Return a job of 26.05's own answer, with other fields."""
    (recorded, *_) = json.loads(RECORDED.read_text(encoding="utf-8"))["jobs"]
    return {**recorded, **fields}


def one_of(*rows: dict[str, Any]) -> JobSighting:
    """Return what is read of the first."""
    return parse_json(json.dumps({"jobs": list(rows)}))[0]


def test_the_recorded_answer_of_26_05_is_read() -> None:
    """Parts of each node, flags before base states."""
    found = one_of(newer())
    assert (found.job_id, found.state, found.account, found.array_job_id) == (2, "CONFIGURING", "proj1", None)
    assert found.allocations == tuple(Allocation(f"aws-cpu-00{number}", 1, 0, 0) for number in (3, 4, 5))
    assert (found.started_at, found.submitted_at) == (
        datetime.fromtimestamp(1795470714, UTC),
        datetime.fromtimestamp(1795470712, UTC),
    )


def test_an_uneven_job_of_24_05_and_later_is_read() -> None:
    """Processors and memory of each node, GPUs from gres_detail."""
    parts = [
        {"index": 0, "name": "n1", "cpus": {"count": 1, "used": 1}, "memory": {"used": 0, "allocated": 500}},
        {"index": 1, "name": "n2", "cpus": {"count": 3, "used": 3}, "memory": {"used": 0, "allocated": 900}},
    ]
    nodes = {"count": 2, "list": "n[1-2]", "whole": False, "allocation": parts}
    found = one_of(
        newer(
            job_state=["RUNNING"],
            nodes="n[1-2]",
            tres_alloc_str="cpu=4,mem=1400M,node=2,gres/gpu=3",
            gres_detail=["gpu:a100:1(IDX:0)", "gpu:a100:2(IDX:0-1)"],
            job_resources={"nodes": nodes, "cpus": 4},
        )
    )
    assert found.allocations == (Allocation("n1", 1, 500, 1), Allocation("n2", 3, 900, 2))


def test_an_uneven_job_of_23_x_is_read() -> None:
    """It lists the cores of each node; two threads of a core are two of the job's processors."""
    cores = [{"0": "allocated"}, {"0": "allocated", "1": "allocated_and_in_use", "2": "unallocated", "3": "allocated"}]
    told = [
        {"nodename": f"n{number + 1}", "memory_allocated": 100, "sockets": {"0": {"cores": one}}}
        for number, one in enumerate(cores)
    ]
    found = one_of(
        newer(
            nodes="n[1-2]",
            tres_alloc_str="cpu=8,mem=200M,node=2",
            job_resources={"nodes": "n[1-2]", "allocated_nodes": told},
        )
    )
    assert [(part.cpus, part.memory_mib) for part in found.allocations] == [(2, 100), (6, 100)]


def test_tasks_components_and_restarts_in_json() -> None:
    """Numbers may be objects that say whether they are set."""
    eleven, first, nine = ({"set": True, "infinite": False, "number": number} for number in (11, 0, 9))
    found = one_of(newer(array_job_id=eleven, array_task_id=first, het_job_id=nine, restart_cnt=3, job_resources=None))
    assert (found.array_job_id, found.array_task_id, found.leader, found.restarts) == (11, 0, 9, 3)
    assert [part.cpus for part in found.allocations] == [1, 1, 1]


@pytest.mark.parametrize("text", ["", "{}", '{"jobs": [{}]}', '{"jobs": 5}', '{"jobs": [{"job_id": "x"}]}'])
def test_an_answer_that_cannot_be_read_is_an_error(text: str) -> None:
    """Nothing is recorded then; no traceback reaches anybody."""
    with pytest.raises(SlurmError, match="squeue"):
        parse_json(text)


# -- the accounting


def test_each_run_of_a_requeued_job_is_read_and_numbered() -> None:
    """As sacct of 22.05.8 prints them with --duplicates; what never began, and its headline, are left out."""
    text = """\
7|COMPLETED|2026-11-24T19:50:00|2026-11-24T19:52:00|2026-11-24T19:53:00|aws-cpu-001|cpu=2,node=1|ana|lab|aws|7
7|NODE_FAIL|2026-11-24T19:42:05|2026-11-24T19:42:30|2026-11-24T19:50:00|aws-cpu-001|cpu=2,node=1|ana|lab|aws|7
8|CANCELLED by 0|2026-11-24T19:42:05|None|2026-11-24T19:50:00|None assigned||ana|lab|aws|8
9|RUNNING|2026-11-24T19:42:05|2026-11-24T19:42:30|Unknown|aws-cpu-002|cpu=2,node=1|ana|lab|aws|5_3
10|RUNNING|2026-11-24T19:42:05|2026-11-24T19:42:30|Unknown|aws-cpu-002|cpu=2,node=1|ana|lab|aws|4+1
JobID|nonsense
"""
    found = parse_history(text)
    assert [(one.job_id, one.restarts, one.state) for one in found] == [
        (7, 0, "NODE_FAIL"),
        (7, 1, "COMPLETED"),
        (9, 0, "RUNNING"),
        (10, 0, "RUNNING"),
    ]
    assert (found[2].ended_at, found[2].array_job_id, found[2].array_task_id, found[3].leader) == (None, 5, 3, 4)
