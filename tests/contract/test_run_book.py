"""What every record of the use of nodes promises, in memory or in a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tests.fakes import samples
from tests.fakes.ledger import FakeLedger
from tests.fakes.postgres import server
from tests.fakes.samples import NOON

from asbx.errors import LedgerError
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.usage import JobRun, Volume, Watch

MINUTE = timedelta(minutes=1)
Book = FakeLedger | SqlLedger
RUN = JobRun(7, 0, "aws-cpu-001", NOON, None, "ana", "lab", "aws", "a\nname", 5, 2, 0, 4, 2048, 1, "RUNNING")


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    """Open every ledger there is."""
    if request.param == "fake":
        yield FakeLedger()
        return
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else server().database())
    yield opened
    opened.close()


def test_a_run_comes_back_whole(book: Book) -> None:
    """Every field, and the largest number a job of a federation can have."""
    late = replace(
        RUN, job_id=2**32 - 2, leader=2**32 - 2, array_job_id=None, array_task_id=None, ended_at=NOON + MINUTE
    )
    book.record_runs([late, RUN])
    assert book.runs() == (RUN, late)
    assert book.open_runs() == (RUN,)


def test_the_same_run_seen_again_gets_its_end_and_keeps_it(book: Book) -> None:
    """A look that comes late and shows it running, without what it has of the node, takes nothing away."""
    ended = replace(RUN, ended_at=NOON + MINUTE, state="COMPLETED")
    for seen in (RUN, ended, replace(RUN, cpus=0, memory_mib=0, gpus=0, name="")):
        book.record_runs([seen])
    assert book.runs() == (ended,)


def test_a_requeued_job_keeps_its_earlier_runs(book: Book) -> None:
    """Also on the same node, and several told in one go."""
    first = replace(RUN, ended_at=NOON + MINUTE, state="REQUEUED")
    second = replace(RUN, restarts=1, started_at=NOON + 3 * MINUTE)
    other = replace(second, node="aws-cpu-002")
    book.record_runs([first, second])
    book.record_runs([second, other])
    assert book.runs() == (first, second, other)


def test_a_number_used_again_is_another_run(book: Book) -> None:
    """A cluster that lost its state counts from 1 again: the same number, node and restart, months later."""
    first = replace(RUN, ended_at=NOON + MINUTE)
    again = replace(RUN, started_at=NOON + timedelta(days=90), user="bob")
    book.record_runs([first])
    book.record_runs([again])
    assert book.runs() == (first, again)


def test_the_accounting_and_the_queue_tell_of_one_run(book: Book) -> None:
    """Who sees only later runs counts restarts from 0: the run is the one that was there at that time."""
    book.record_runs([replace(RUN, restarts=2)])
    book.record_runs([replace(RUN, restarts=0, ended_at=NOON + MINUTE, state="COMPLETED", name="")])
    assert book.runs() == (replace(RUN, restarts=2, ended_at=NOON + MINUTE, state="COMPLETED"),)


def test_a_start_that_was_earlier_stands(book: Book) -> None:
    """A node that served waits for the others of a job; Slurm moves the start when they have come."""
    book.record_runs([replace(RUN, state="CONFIGURING")])
    book.record_runs([replace(RUN, started_at=NOON + MINUTE)])
    assert book.runs() == (RUN,)


def test_runs_are_found_by_time_and_node(book: Book) -> None:
    """Those with a moment in common with it, open ones included."""
    runs = [
        replace(RUN, job_id=number, node=f"n-{number}", started_at=NOON + number * MINUTE, ended_at=end)
        for number, end in ((1, NOON + 2 * MINUTE), (2, NOON + 4 * MINUTE), (3, None))
    ]
    book.record_runs(runs)
    assert book.runs(NOON + 3 * MINUTE) == tuple(runs[1:])
    assert book.runs(until=NOON + 2 * MINUTE) == tuple(runs[:2])
    assert book.runs(NOON + 9 * MINUTE, NOON + 10 * MINUTE) == (runs[2],)
    assert book.runs(nodes=["n-1", "n-3"]) == (runs[0], runs[2])
    assert book.runs(nodes=[]) == ()


def test_times_of_looking_are_joined_where_they_touch(book: Book) -> None:
    """A gap stays a gap until something is told that fills it."""
    one, two = Watch(NOON, NOON + MINUTE), Watch(NOON + 3 * MINUTE, NOON + 4 * MINUTE)
    for watch in (one, two, replace(one, end=NOON + 2 * MINUTE)):
        book.record_runs([], watch)
    assert book.watches() == (Watch(NOON, NOON + 2 * MINUTE), two)
    book.record_runs([RUN], Watch(NOON + 2 * MINUTE, NOON + 3 * MINUTE))
    assert book.watches() == (Watch(NOON, NOON + 4 * MINUTE),)


def test_a_zone_is_kept_as_the_moment_it_means(book: Book) -> None:
    """A time of another zone is the same moment; one without a zone is refused, and with it all that was told."""
    east = timezone(timedelta(hours=2))
    book.record_runs([replace(RUN, started_at=NOON.astimezone(east))])
    assert book.runs() == (RUN,)
    with pytest.raises(LedgerError):
        book.record_runs([replace(RUN, job_id=8, started_at=datetime(2026, 3, 1))])  # noqa: DTZ001
    assert book.runs() == (RUN,)


def test_volumes_and_reclaims_are_kept_once(book: Book) -> None:
    """Told again, a volume is what it is now."""
    root, data = Volume("i-1", "vol-1", "gp3", 20, 3000, 125), Volume("i-2", "vol-2", "io2", 100, 64_000)
    for _ in range(2):
        book.add_volumes([data, replace(root, gib=10)])
        book.add_volumes([root])
        book.add_reclaimed(["i-1", "i-9"])
    assert (book.volumes(), book.volumes(["i-2", "i-3"])) == ((root, data), (data,))
    assert book.reclaimed() == {"i-1", "i-9"}
    book.add_volumes([])
    book.add_reclaimed([])


def test_the_instances_a_job_ran_on_are_found(book: Book) -> None:
    """Not those that were behind the node before or after, nor those of other nodes."""
    behind = [(f"i-{number}", "aws-cpu-001", NOON + start * MINUTE) for number, start in enumerate((-20, 0, 20))]
    rows = [
        replace(samples.instance_row(name, launched_at=at), node=node, bound_at=at)
        for name, node, at in (*behind, ("i-3", "aws-cpu-002", NOON))
    ]
    book.add_request(samples.request())
    book.add_attempt(samples.attempt(), samples.intent())
    book.answer_attempt(samples.attempt(), rows)
    for number, end in enumerate((-10, 10)):
        book.end_instances([rows[number].instance_id], "over", NOON + end * MINUTE)
    book.record_runs([replace(RUN, started_at=NOON + MINUTE, ended_at=NOON + 2 * MINUTE)])
    assert [row.instance_id for row in book.hosts(7)] == ["i-1"]
    assert book.hosts(8) == ()
