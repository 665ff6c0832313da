"""Reading Slurm's queue."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asbx.errors import SlurmError
from asbx.model.job import JobFacts, Tenant
from asbx.slurm.queue import QueuedJob, Requeue, job_format, parse_jobs, parse_jobs_json, parse_requeue, parse_tenants

RECORDED = Path(__file__).parent.parent / "recorded"
MARK = "0f" * 16


def squeue(*rows: tuple[str, ...]) -> str:
    """Print rows of fields as squeue prints job_format(MARK)."""
    return "".join(f"{MARK}<" + f"{MARK}|".join(row) + "\n" for row in rows)


def row(
    job: str = "12", label: str = "12", comment: str = "(null)", name: str = "wrf", limit: str = "UNLIMITED"
) -> tuple[str, ...]:
    """Return the fields of one job."""
    return (job, label, "ada", "(null)", "CONFIGURING", "4294901759", limit, "efa&a", comment, name)


def test_the_format_parts_fields_by_the_mark() -> None:
    """The mark stands before each row and between all fields."""
    assert job_format("m") == "m<%Am|%im|%um|%am|%Tm|%Qm|%lm|%fm|%km|%j"


def test_a_job_of_the_queue() -> None:
    """Every field is where it belongs, and a null is empty."""
    facts = JobFacts(12, "ada", "", "wrf", "CONFIGURING", 4294901759, "efa&a")
    assert parse_jobs(squeue(row()), MARK) == (QueuedJob(facts, "12"),)
    assert parse_jobs("", MARK) == ()
    assert parse_jobs("slurm_load_jobs error\n", MARK) == ()


@given(st.text(), st.text())
def test_free_text_stays_what_it_is(name: str, comment: str) -> None:
    """Newlines, bars and whole rows inside a name or comment are part of it."""
    forged = "\n99|99|root|x|RUNNING|1|efa|c|" + squeue(row("99")).replace(MARK, "0e" * 16)
    (found,) = parse_jobs(squeue(row(name=name + forged, comment="c" + comment + forged)), MARK)
    assert found.facts.job_id == 12
    assert found.facts.name == (name + forged)[:4096]
    assert found.facts.comment == ("c" + comment + forged)[:4096]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("10:00", timedelta(minutes=10)),
        ("0:30", timedelta(seconds=30)),
        ("4:00:00", timedelta(hours=4)),
        ("2-12:00:00", timedelta(days=2, hours=12)),
        *((text, None) for text in ("UNLIMITED", "NOT_SET", "INVALID", "(null)", "")),
    ],
)
def test_the_time_limit_of_a_job(text: str, span: timedelta | None) -> None:
    """As squeue writes it; a job without one, or of which none is known, has none."""
    (found,) = parse_jobs(squeue(row(limit=text)), MARK)
    assert found.facts.time_limit == span


def test_tasks_and_components_have_names_of_their_own() -> None:
    """The last task of an array and the leader of a heterogeneous job share their number with the whole."""
    rows = (row("9", "3_1"), row("3", "3_2"), row("4", "4+0"), row("5", "4+1"))
    found = parse_jobs(squeue(*rows), MARK)
    assert [one.label for one in found] == ["3_1", "3_2", "4+0", "4+1"]
    assert [one.facts.leader for one in found] == [0, 0, 4, 4]


def test_json_says_the_same_and_more() -> None:
    """The queue as 26.05 wrote it: with the extra of the job, configuring, no array and no heterogeneous job."""
    (found,) = parse_jobs_json((RECORDED / "squeue-running.json").read_text())
    assert found.label == "2"
    assert found.facts == JobFacts(
        2,
        "root",
        "proj1",
        "job.sh",
        "CONFIGURING",
        1,
        comment="hello",
        extra="asbx:market=spot",
        time_limit=timedelta(minutes=10),
    )


def test_json_of_tasks_and_components() -> None:
    """Unset numbers are none, set ones are read, plain ones too."""
    text = """{"jobs": [
        {"job_id": 5, "het_job_id": {"set": true, "number": 4}, "het_job_offset": {"set": true, "number": 1},
         "job_state": ["PENDING"], "priority": {"set": true, "infinite": false, "number": 7}, "comment": null},
        {"job_id": 9, "array_job_id": 3, "array_task_id": {"set": true, "number": 0}, "job_state": "RUNNING"}]}"""
    component, task = parse_jobs_json(text)
    assert (component.label, component.facts.leader, component.facts.priority) == ("4+1", 4, 7)
    assert (task.label, task.facts.leader, task.facts.state) == ("3_0", 0, "RUNNING")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"jobs": 3}', '{"jobs": [{}]}', '{"jobs": [{"job_id": "x"}]}'])
def test_a_broken_queue_is_an_error_of_ours(text: str) -> None:
    """No traceback, whatever squeue prints."""
    with pytest.raises(SlurmError):
        parse_jobs_json(text)


def test_requeue_flags() -> None:
    """Numbers only; anything else on a line leaves it out."""
    text = (
        "           2    1    1   0    1:30\n  9    0    1 3 INVALID\n"
        " 10 0 0 0 1-00:00:01\nerror 1 1 0 0:01\n 3 2 1 0 0:01\n4 1\n"
    )
    assert list(parse_requeue(text)) == [
        Requeue(2, True, True, used=timedelta(seconds=90)),
        Requeue(9, False, True, 3),
        Requeue(10, False, False, used=timedelta(days=1, seconds=1)),
    ]


def test_tenants_with_the_names_of_tasks_and_components() -> None:
    """As 22.05.8 prints them; a line in another shape, or with a node list nobody understands, is left out."""
    text = (
        "7|4_1|CONFIGURING|aws-cpu-[000-001]\n4|4_2|RUNNING|aws-cpu-000\n5|5+0|COMPLETING|aws-hpc-001\n"
        "9|9|PENDING|\nx|x|RUNNING|a\n8|8|RUNNING|a-[1\n8|8\n"
    )
    rows = list(parse_tenants(text))
    assert [(row.job_id, row.label, row.state, row.nodes) for row in rows] == [
        (7, "4_1", "CONFIGURING", ("aws-cpu-000", "aws-cpu-001")),
        (4, "4_2", "RUNNING", ("aws-cpu-000",)),
        (5, "5+0", "COMPLETING", ("aws-hpc-001",)),
        (9, "9", "PENDING", ()),
    ]
    assert rows[0].tenant(Requeue(7, True, True, 2)) == Tenant(7, "CONFIGURING", rows[0].nodes, True, 2)
    assert not rows[0].tenant(Requeue(7, True, False)).can_requeue
    assert not rows[0].tenant(None).can_requeue, "what nobody knows is not moved"
