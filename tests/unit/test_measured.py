"""Doors that are watched do as before."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.fakes.scheduler import FakeScheduler

from asbx.errors import SlurmError
from asbx.telemetry.measured import beating, watched

Call = tuple[str, bool, object]


def test_a_watched_door_answers_and_refuses_as_before() -> None:
    """Arguments, answers and errors pass unchanged; each call is told once, with how it ended."""
    calls: list[Call] = []
    slurm = FakeScheduler(("aws-cpu-0",))
    door = watched(slurm, lambda name, _, error, answer: calls.append((name, error is None, answer)))
    assert door.nodes() == slurm.nodes()
    slurm.fail_next("park", SlurmError("slurm-silent", "no"))
    with pytest.raises(SlurmError, match="no"):
        door.park(nodes=["aws-cpu-0"])
    assert [(name, good) for name, good, _ in calls] == [("nodes", True), ("park", False)]
    assert calls[0][2] == slurm.nodes()


def test_what_is_no_method_passes() -> None:
    """An attribute of the adapter that is read, such as a count of processes, is the adapter's."""
    slurm = FakeScheduler(("aws-cpu-0",))
    assert watched(slurm, lambda *_: None).names is slurm.names
    assert getattr(watched(slurm, lambda *_: None), "nothing", 7) == 7


def test_a_beating_door_beats_before_and_after() -> None:
    """Also where the call fails."""
    beats: list[int] = []
    slurm = FakeScheduler(("aws-cpu-0",))
    slurm.fail_next("ping", SlurmError("slurm-silent", "no"))
    with pytest.raises(SlurmError):
        beating(slurm, lambda: beats.append(1)).ping()
    assert len(beats) == 2


class Nothing:
    """A door that does nothing."""

    def ask(self, what: object) -> object:
        """Return it."""
        return what


def test_watching_costs_microseconds() -> None:
    """Both wrappers around a call, in CPU of this thread: a hundredth of what the fastest real call takes."""
    plain: Any = Nothing()
    door: Any = watched(beating(Nothing(), lambda: None), lambda *_: None)

    def spent(one: Any) -> float:
        began = time.thread_time()
        for _ in range(20_000):
            one.ask(1)
        return (time.thread_time() - began) / 20_000

    extra = min(spent(door) for _ in range(3)) - min(spent(plain) for _ in range(3))
    assert extra < 20e-6, f"{extra * 1e6:.1f} µs a call"
