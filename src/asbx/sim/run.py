"""Run a scenario from beginning to end."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from asbx.sim.jobs import Job
from asbx.sim.report import Report, report
from asbx.sim.scenario import Scenario
from asbx.sim.world import World

# The spool's few small files live in memory where the system has a place for that.
_MEMORY = Path("/dev/shm")  # noqa: S108


def simulate(scenario: Scenario, progress: Callable[[World], None] = lambda _: None) -> Report:
    """Play a scenario in a folder of its own and audit it. Raises ConfigError for a site ASBX would not accept."""
    with world_of(scenario) as world:
        world.play(progress)
        return report(world)


@contextmanager
def world_of(scenario: Scenario, jobs: Sequence[Job] = ()) -> Iterator[World]:
    """Return a world that is about to begin. jobs: what is done in it, in the place of the scenario's own."""
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="asbx-sim-", dir=place) as folder:
        world = World(scenario, Path(folder), jobs)
        world.prepare()
        # A week is millions of objects that live on: full passes over them would cost a third of the time.
        gc.collect()
        gc.freeze()
        try:
            yield world
        finally:
            gc.unfreeze()
