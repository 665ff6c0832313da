"""Virtual time: who goes on when, and what death does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from asbx.daemon.clock import StoppingError
from asbx.sim.crew import KilledError, Program
from asbx.sim.hub import SECOND, Hub

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def hub() -> Hub:
    """Return a clockwork."""
    return Hub(START)


@pytest.fixture
def program(hub: Hub) -> Program:
    """Return a program in it."""
    return Program(hub)


def sleeper(program: Program, seconds: float, seen: list[str], name: str) -> Callable[[], None]:
    """Return work that pauses and then writes its name."""

    def work() -> None:
        program.sleep(timedelta(seconds=seconds))
        seen.append(f"{name} {(program.now() - START).total_seconds():g}")

    return work


def test_who_sleeps_less_goes_on_first(hub: Hub, program: Program) -> None:
    """Flows wake in the order of their moments, and the time is that of the moment."""
    seen: list[str] = []
    program.spawn(sleeper(program, 5, seen, "slow"))
    program.spawn(sleeper(program, 2, seen, "quick"))
    hub.run(60 * SECOND)
    assert seen == ["quick 2", "slow 5"]
    assert hub.now() == START + timedelta(seconds=60)


def test_a_pool_does_so_much_at_once(hub: Hub, program: Program) -> None:
    """Three pieces of work of a second each take a pool of two two seconds."""
    seen: list[str] = []

    def work() -> None:
        with program.pool(2, "x") as pool:
            for number in range(3):
                pool.submit(sleeper(program, 1, seen, str(number)))
        seen.append(f"end {(program.now() - START).total_seconds():g}")

    program.spawn(work)
    hub.run(60 * SECOND)
    assert seen == ["0 1", "1 1", "2 2", "end 2"]


def test_a_result_is_waited_for_and_an_error_is_raised_there(hub: Hub, program: Program) -> None:
    """Results keep the order of the work; what a task raised is raised to whoever asks."""
    seen: list[object] = []

    def double(number: int) -> int:
        program.sleep(timedelta(seconds=10 - number))
        if number == 3:
            raise ValueError(number)
        return 2 * number

    def work() -> None:
        with program.pool(4, "x") as pool:
            seen.extend(pool.map(double, [1, 2]))
            failing = pool.submit(double, 3)
            try:
                failing.result()
            except ValueError as error:
                seen.append(str(error))

    program.spawn(work)
    hub.run(60 * SECOND)
    assert seen == [2, 4, "3"]


def test_a_line_hands_over(hub: Hub, program: Program) -> None:
    """Who takes from an empty line waits until somebody adds to it."""
    seen: list[object] = []
    line = program.line()
    program.spawn(lambda: seen.append(line.get()))
    hub.after(3, lambda: line.put("late"))
    hub.run(SECOND)
    assert seen == []
    hub.run(10 * SECOND)
    assert seen == ["late"]


def test_the_dead_do_nothing_any_more(hub: Hub, program: Program) -> None:
    """A program that is killed goes on nowhere, and what it cleans up on the way out reaches no door."""
    seen: list[str] = []

    def work() -> None:
        try:
            program.sleep(timedelta(seconds=10))
            seen.append("woke")
        finally:
            with pytest.raises(KilledError):
                program.busy(1)

    program.spawn(work)
    hub.after(5, program.kill)
    hub.run(60 * SECOND)
    assert seen == []
    assert program.is_idle


def test_a_stop_ends_pauses_but_not_calls(hub: Hub, program: Program) -> None:
    """SIGTERM wakes who sleeps with StoppingError; a call that takes its time is finished."""
    seen: list[str] = []

    def work() -> None:
        program.busy(20)
        seen.append(f"call over {(program.now() - START).total_seconds():g}")
        try:
            program.sleep(timedelta(hours=1))
        except StoppingError:
            seen.append("stopped")

    program.spawn(work)
    hub.after(10, program.stop)
    hub.run(60 * SECOND)
    assert seen == ["call over 20", "stopped"]


def test_an_error_nobody_caught_is_raised(hub: Hub, program: Program) -> None:
    """A flow does not end in silence."""

    def work() -> None:
        raise ValueError("lost")

    program.spawn(work)
    with pytest.raises(ValueError, match="lost"):
        hub.run(SECOND)
