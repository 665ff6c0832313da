"""From a spool file to a request: both dialects, strange keys, damage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asbx.model.hostlist import expand
from asbx.model.job import Request, RequestKind
from asbx.slurm import inbox

RECORDED = (Path(__file__).parent.parent / "recorded" / "resume-files.jsonl").read_text().splitlines()
OLD = '{"jobs":[{"job_id":1,"nodes":"aws-cpu-[000-002]"}],"all_nodes":"aws-cpu-[000-002]"}'


NOW = datetime(2027, 1, 1, tzinfo=UTC)


def read_request(request_id: str, content: dict[str, Any]) -> Request:
    """Read a spool file at a fixed time."""
    return inbox.read_request(request_id, content, NOW)


def body(resume_file: str | None, nodes: str = "aws-cpu-[000-002]", **more: Any) -> dict[str, Any]:
    """Return a spool file's content."""
    return {"kind": "resume", "nodes": nodes, "received_at": 1795000000.0, "resume_file": resume_file} | more


def test_the_shape_of_22_05() -> None:
    """`all_nodes` and `nodes`, with no notes."""
    request = read_request("r", body(OLD))
    assert request.notes == ()
    assert request.jobs[0].nodes_resume == expand("aws-cpu-[000-002]")
    assert request.kind is RequestKind.RESUME


def test_old_shape_launches_only_what_was_asked() -> None:
    """With 22.05 a job lists all its nodes; those not in the argument are up already."""
    request = read_request("r", body(OLD, nodes="aws-cpu-[001-002]"))
    assert request.jobs[0].nodes_alloc == expand("aws-cpu-[000-002]")
    assert request.jobs[0].nodes_resume == expand("aws-cpu-[001-002]")


@pytest.mark.parametrize("line", RECORDED)
def test_recorded_files_of_26_05(line: str) -> None:
    """What a real 26.05 wrote is read without a note."""
    nodes = json.loads(line)["all_nodes_resume"]
    request = read_request("r", body(line, nodes=nodes))
    assert request.notes == ()
    assert {job.extra for job in request.jobs} <= {"asbx:market=spot", None}
    assert all(job.nodes_resume for job in request.jobs)


def test_unknown_keys_are_ignored() -> None:
    """A newer Slurm may say more than we know."""
    text = json.dumps({"all_nodes_resume": "aws-cpu-000", "new": {"a": 1}, "jobs": [
        {"job_id": 4, "nodes_alloc": "aws-cpu-000", "nodes_resume": "aws-cpu-000", "colour": "blue"}]})  # fmt: skip
    request = read_request("r", body(text, nodes="aws-cpu-000"))
    assert [job.job_id for job in request.jobs] == [4]
    assert request.notes == ()


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "3", '{"jobs": 3}', '{"jobs": [3]}', '{"jobs": [{"job_id": "x"}]}', "[" * 5000,
     '{"jobs": [{"job_id": 1, "nodes": "aws-["}]}', '{"jobs": [{"job_id": -1, "nodes": "aws-cpu-0"}]}'],
)  # fmt: skip
def test_damage_costs_the_grouping_never_the_nodes(text: str) -> None:
    """The nodes of the argument are still asked for, without jobs."""
    request = read_request("r", body(text))
    assert request.nodes == expand("aws-cpu-[000-002]")
    assert request.jobs == ()
    assert any("job" in note for note in request.notes), "nobody is left wondering why the nodes came up one by one"


def test_a_missing_file_is_said() -> None:
    """The reason stands in the notes."""
    request = read_request("r", body(None, resume_file_error="cannot read /proc/1/fd/9: gone"))
    assert any("gone" in note for note in request.notes)


def test_a_manual_power_up_has_no_jobs() -> None:
    """`scontrol update state=power_up` writes an empty list."""
    request = read_request("r", body('{"jobs":[],"all_nodes_resume":"aws-cpu-000"}', nodes="aws-cpu-000"))
    assert (request.nodes, request.jobs, request.notes) == (("aws-cpu-000",), (), ())


def test_an_unreadable_argument_falls_back_to_the_file() -> None:
    """Then the file's own list of nodes counts."""
    request = read_request("r", body(OLD, nodes="aws-cpu-[00"))
    assert request.nodes == expand("aws-cpu-[000-002]")
    assert len(request.jobs) == 1


@pytest.mark.parametrize("when", [None, "x", -1, float("inf"), 1e300])
def test_an_absurd_time_is_a_note(when: object) -> None:
    """A damaged time never stops a request."""
    request = read_request("r", body(OLD, received_at=when))
    assert any("time" in note for note in request.notes)
