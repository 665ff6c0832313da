"""Whatever jobs are called and whatever sacct prints: rows stay rows, and nothing else is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asbx.slurm.sacct import FIELDS, parse_account

MARK = "@0123456789abcdef@"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: MARK not in text)
# What might be taken for a field, and what is too large to be one.
FIELD = st.one_of(
    TEXT,
    st.sampled_from(["7", "7.0", "9" * 18, "9" * 400, "1-00:00:00", "999999-23:59:59.9", "1.2.3G", "16Gn", "\u00b2"]),
    st.sampled_from(["cpu=4,mem=1G,gres/gpu=2", "cpu=,=,mem", "2026-03-01T00:00:00", "Unknown", "0001-01-01T00:00:00"]),
)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_free_text_forges_nothing(told: list[tuple[str, str]]) -> None:
    """Names and comments come back as they are, in the rows they belong to."""
    rows = []
    for number, (name, comment) in enumerate(told, 1):
        fields = {"JobIDRaw": str(number), "JobID": str(number), "State": "COMPLETED", "ElapsedRaw": str(number)}
        rows.append(MARK.join((fields | {"JobName": name, "AdminComment": comment}).get(one, "") for one in FIELDS))
    text = "\n".join(rows) + "\n"
    for number, (name, comment) in enumerate(told, 1):
        job = parse_account(text, MARK, str(number))
        assert job is not None
        assert (job.name, job.comment, job.elapsed.total_seconds()) == (name, comment, number)
        assert len(job.siblings) == len(told) - 1


@given(st.lists(FIELD, min_size=len(FIELDS), max_size=len(FIELDS)), TEXT)
def test_odd_fields_are_no_crash(fields: list[str], rest: str) -> None:
    """A row of our fields with anything in them is a job or none; so is any other text."""
    for text in (MARK.join(["7", "7", *fields[2:]]), MARK.join(fields) + rest, rest):
        job = parse_account(text, MARK, "7")
        assert job is None or job.job_id == 7
