"""Asking Slurm about one job, over programs that answer as squeue and sacct of 22.05.8 did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asbx.config.limits import HISTORY_MOST_RUNS
from asbx.errors import SlurmError
from asbx.model.job import PastRun
from asbx.slurm.jobs import SlurmJobs
from asbx.slurm.process import SlurmCommands

_PROGRAM = """#!/bin/sh
cd "$(dirname "$0")"
name="$(basename "$0")"
printf '%s' "$name" >> said; for word in "$@"; do printf '\\t%s' "$word" >> said; done; printf '\\n' >> said
if [ -s "$name.refusal" ]; then cat "$name.refusal" >&2; exit 1; fi
format="${*##*--format=}"
mark="${format%%<*}"
sed "s/@/$mark/g" "$name.out"
"""
QUEUE = (
    "@<6@|1_1@|ada@|physics@|aws@|CONFIGURING@|None@|2026-03-01T12:00:28@|2026-03-01T12:00:00@|2@|aws-cpu-[000-001]@|"
    "4:00:00@|oc,ean\nx\n"
    "@<1@|1_2@|ada@|physics@|aws@|PENDING@|JobArrayTaskLimit@|N/A@|2026-03-01T12:00:00@|2@|@|4:00:00@|oc,ean\nx\n"
)
ENDED = (
    "6|1_1|ada|physics|aws|CANCELLED by 1000|125|240|2|aws-cpu-[000-001]|2026-03-01T12:00:00|2026-03-01T12:00:36|"
    "2026-03-01T12:02:41\n"
)


class World:
    """A folder with squeue and sacct in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("squeue", "sacct"):
            (folder / name).write_text(_PROGRAM)
            (folder / name).chmod(0o755)
            self.answers(name, "")
        (folder / "slurm.conf").write_text("")
        self.door = SlurmJobs(SlurmCommands(folder, folder / "slurm.conf"))

    def answers(self, name: str, text: str, refusal: str = "") -> None:
        """Set what a program says."""
        (self._folder / f"{name}.out").write_text(text)
        (self._folder / f"{name}.refusal").write_text(refusal)

    def said(self) -> list[list[str]]:
        """Return the command lines."""
        return [line.split("\t") for line in (self._folder / "said").read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a Slurm with tasks 1 and 2 of array 1 in its queue."""
    one = World(tmp_path)
    one.answers("squeue", QUEUE)
    return one


def test_a_task_of_the_queue(world: World) -> None:
    """Every field is where it belongs; times are UTC, and a name of two lines is one field."""
    (found,) = world.door.find("1_1")
    assert (found.job_id, found.label, found.state, found.reason) == (6, "1_1", "CONFIGURING", "")
    assert (found.user, found.account, found.partition, found.name) == ("ada", "physics", "aws", "oc,ean\nx")
    assert (found.nodes, found.node_count) == ("aws-cpu-[000-001]", 2)
    assert found.time_limit == timedelta(hours=4)
    assert found.starts_at == datetime(2026, 3, 1, 12, 0, 28, tzinfo=UTC)
    (waits,) = world.door.find("1_2")
    assert (waits.state, waits.reason, waits.starts_at) == ("PENDING", "JobArrayTaskLimit", None)


def test_an_array_is_all_its_tasks(world: World) -> None:
    """And a number is the job of that number too."""
    assert [one.label for one in world.door.find("1")] == ["1_1", "1_2"]
    assert [one.label for one in world.door.find("6")] == ["1_1"]


def test_another_job_than_was_asked_for_is_none(world: World) -> None:
    """Squeue answers for job 6 where it is asked for component 6+1."""
    assert world.door.find("6+1") == ()


def test_a_job_that_left_the_queue_is_in_accounting(world: World) -> None:
    """The state without who cancelled it, the limit in minutes."""
    world.answers("squeue", "", "slurm_load_jobs error: Invalid job id specified")
    world.answers("sacct", ENDED)
    (found,) = world.door.find("1_1")
    assert (found.job_id, found.state, found.is_past) == (6, "CANCELLED", True)
    assert (found.elapsed, found.time_limit) == (timedelta(seconds=125), timedelta(minutes=240))
    assert found.ended_at == datetime(2026, 3, 1, 12, 2, 41, tzinfo=UTC)
    world.answers("sacct", "", "Slurm accounting storage is disabled")
    assert world.door.find("1_1") == ()


def test_a_silent_controller_is_an_error(world: World) -> None:
    """That is not the same as a job nobody knows."""
    world.answers("squeue", "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(SlurmError, match="failed"):
        world.door.find("1_1")


def test_earlier_runs_of_a_name(world: World) -> None:
    """Those that are over, of this user; what is not a row is left out; only the last ones."""
    world.answers("sacct", "2|COMPLETED|3000|4\n3|RUNNING|7|4\n4|CANCELLED by 0|5|4\nforged|COMPLETED|1|1\n9|x\n")
    assert world.door.past_runs("ada", "ocean") == (
        PastRun(2, "COMPLETED", timedelta(seconds=3000), 4),
        PastRun(4, "CANCELLED", timedelta(seconds=5), 4),
    )
    words = world.said()[-1]
    assert {"--user=ada", "--name=ocean", "--allocations"} <= set(words)
    assert not any("JobName" in word for word in words)
    world.answers("sacct", "".join(f"{number}|COMPLETED|60|1\n" for number in range(1, 100)))
    runs = world.door.past_runs("ada", "ocean") or ()
    assert [run.job_id for run in runs] == list(range(100 - HISTORY_MOST_RUNS, 100))


def test_without_accounting_nothing_is_known(world: World) -> None:
    """None is not the same as no runs; a name with a comma is one that sacct cannot be asked for."""
    assert world.door.past_runs("ada", "ocean") == ()
    world.answers("sacct", "", "Slurm accounting storage is disabled")
    assert world.door.past_runs("ada", "ocean") is None
    assert world.door.past_runs("ada", "a,b") is None
    assert world.door.past_runs("", "ocean") is None
