"""Play one trace under several policies and seeds, one after the other, in one pretend market."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from asbx.config.limits import WHATIF_PATIENCE
from asbx.config.schema import Config
from asbx.errors import UsageError
from asbx.sim.run import world_of
from asbx.sim.trace.job import TraceJob
from asbx.sim.whatif.market import Surroundings
from asbx.sim.whatif.outcome import Outcome, outcome
from asbx.sim.whatif.place import Placed, Placing, placed
from asbx.sim.whatif.site import grounds, not_simulated, scenario_of
from asbx.sim.world import World

_PATIENCE_S = WHATIF_PATIENCE.total_seconds()
_SETTLES_S = 21_600.0

Progress = Callable[[str, int, World], None]


@dataclass(frozen=True)
class Question:
    """What is to be played. sites: name of the policy -> the configuration under it, in order."""

    trace: Sequence[TraceJob]
    sites: Mapping[str, Config]
    around: Surroundings
    seeds: Sequence[int]
    placing: Placing = field(default_factory=Placing)

    def check(self) -> None:
        """Raise UsageError for groups that are not there, or policies under which no job can run."""
        for name, site in self.sites.items():
            known = [place.name for place in grounds(site)]
            for partition, group in self.placing.groups.items():
                if group not in known:
                    raise UsageError(
                        "map-unknown", f"--map {partition}={group}: there is no node group {group}", "",
                        f"there are {', '.join(known)}",
                    )  # fmt: skip
            work = placed(self.trace, grounds(site), self.placing)
            if not work.jobs:
                why = "; ".join(f"{count}: {reason}" for reason, count in work.refused.items())
                raise UsageError("trace-no-place", f"under {name} no job of the trace can run", why, "see --map")

    def notes(self) -> list[str]:
        """Return what of the sites is not simulated."""
        return list(dict.fromkeys(text for site in self.sites.values() for text in not_simulated(site)))


def play(question: Question, progress: Progress = lambda *_: None) -> dict[str, list[Outcome]]:
    """Return the outcomes of each policy, by seed."""
    question.check()
    return {
        name: [_play(question, name, site, seed, progress) for seed in question.seeds]
        for name, site in question.sites.items()
    }


def _play(question: Question, name: str, site: Config, seed: int, progress: Progress) -> Outcome:
    work = placed(question.trace, grounds(site), question.placing)
    lasts = max(job.submit_s + job.run_s for job in question.trace)
    scenario = scenario_of(site, question.around, name, lasts, _SETTLES_S).model_copy(update={"seed": seed})
    with world_of(scenario, work.jobs) as world:
        world.play_out(lasts + max(lasts, _PATIENCE_S), lambda one: progress(name, seed, one))
        return outcome(world, name, work)


__all__ = ["Outcome", "Placed", "Placing", "Question", "play"]
