"""When a job is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from asbx.config.schema import Backoff
from asbx.decide.backoff import again, hold, is_hopeless, pause
from asbx.model.market import Verdict

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
USUAL = Backoff()


def test_pauses_double_up_to_the_longest() -> None:
    """The pause grows with each failure in a row and ends growing at the longest."""
    seconds = [pause(USUAL, 12, count).total_seconds() for count in range(1, 12)]
    for count, value in enumerate(seconds):
        middle = min(120 * 2**count, 1800)
        assert 0.8 * middle - 1 <= value <= 1.2 * middle + 1


@given(st.integers(5, 3600), st.integers(5, 86_400), st.integers(0, 2**31), st.integers(-3, 10**9))
def test_pauses_are_bounded_and_never_hot(first: int, longest: int, job: int, count: int) -> None:
    """Whatever is configured and however often a job has failed: at least 5 s, at most a fifth above the longest."""
    found = pause(Backoff(first_seconds=first, longest_seconds=longest), job, count)
    assert timedelta(seconds=5) <= found <= timedelta(seconds=1.2 * max(first, longest) + 1)
    assert found == pause(Backoff(first_seconds=first, longest_seconds=longest), job, count)


def test_jobs_that_fail_together_do_not_come_back_together() -> None:
    """Neighbours get different pauses, spread over the whole fifth up and down."""
    found = {pause(USUAL, job, 1) for job in range(1000, 1200)}
    assert len(found) > 30
    assert min(found) < timedelta(seconds=100)
    assert max(found) > timedelta(seconds=140)


def test_the_owner_reads_when_and_how_often() -> None:
    """The text has the time of the next try and the count; a held job's names the command that releases it."""
    one = again(USUAL, 12, 2, NOON)
    assert one.delay is not None
    assert not one.held
    assert one.text == f"next try {NOON + one.delay:%H:%M:%S} UTC (failed 2 times in a row)"
    assert again(USUAL, 12, 11, NOON).text.endswith("(failed 11 times in a row)")
    held = hold(12)
    assert (held.delay, held.held) == (None, True)
    assert held.text == "held, waiting does not help: change what is wrong, then scontrol release 12"


def test_what_an_administrator_must_mend_waits_long_at_once() -> None:
    """A missing permission is not the job's fault: the longest pause, no hold."""
    one = again(USUAL, 12, 1, NOON, patient=True)
    assert one.delay is not None
    assert one.delay >= timedelta(seconds=1440)
    assert one.text.endswith("(failed once)")


def test_what_cannot_work_is_told_from_what_may() -> None:
    """Wrong requests and types nobody sells are hopeless; empty pools, limits and permissions are not."""
    assert is_hopeless("Unsupported", Verdict.NOT_OFFERED)
    assert is_hopeless("InvalidParameterValue", Verdict.INVALID)
    assert is_hopeless("plan-invalid")
    assert is_hopeless("quota-below-request", Verdict.QUOTA)
    assert not is_hopeless("UnauthorizedOperation", Verdict.PERMISSION)
    assert not is_hopeless("InvalidLaunchTemplateId.NotFound", Verdict.NOT_FOUND)
    assert not is_hopeless("VcpuLimitExceeded", Verdict.QUOTA)
    assert not is_hopeless("InsufficientInstanceCapacity", Verdict.CAPACITY)
    assert not is_hopeless("slurm-silent")
