"""`asbx simulate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asbx.cli import site
from asbx.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from asbx.sim.scenario import Scenario
    from asbx.sim.world import World

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def simulate(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A TOML file, see docs/how-to/simulate.md.")],
    seed: Annotated[int | None, typer.Option("--seed", help="Where chance begins, instead of the scenario's.")] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Show how far it is; by default on a terminal.")
    ] = None,
    as_json: site.JsonOption = False,
) -> None:
    """Play a scenario in virtual time with a pretend Slurm and a pretend EC2, and audit what came of it.

    Exit status 9 where a promise was broken or something was left over.

    Example: asbx simulate examples/scenarios/day.toml
    """
    from asbx.sim.scenario import load_scenario

    _needs_greenlet()
    from asbx.sim.report import lines
    from asbx.sim.run import simulate as run

    plan = load_scenario(scenario)
    plan = plan if seed is None else plan.model_copy(update={"seed": seed})
    shown = sys.stderr.isatty() if progress is None else progress
    said = run(plan, _Progress(plan) if shown else lambda _: None)
    if as_json:
        site.show(said.figures | {"good": said.is_good})
    else:
        for line in lines(said):
            typer.echo(line)
    if not said.is_good:
        raise typer.Exit(int(ExitCode.PARTLY))


def _needs_greenlet() -> None:
    try:
        import greenlet  # noqa: F401
    except ImportError:
        raise UsageError(
            "simulator-missing",
            "the simulator is not installed",
            "it needs greenlet, which a head node does not",
            "pip install 'aws-slurm-burst[sim]'",
        ) from None


class _Progress:
    """One line on the terminal that is written over and over."""

    def __init__(self, plan: Scenario) -> None:
        self._lasts = plan.lasts

    def __call__(self, world: World) -> None:
        at = world.hub.now_us / 1_000_000
        share = "settling" if at > self._lasts else f"{at / self._lasts:4.0%}"
        text = (
            f"{share}  day {at / 86_400:.1f}  {len(world.controller.ended)} jobs done, "
            f"{len(world.controller.queued)} in the queue, {len(world.cloud.alive)} instances"
        )
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
        if at > self._lasts and not world.controller.queued and not world.cloud.alive:
            print(file=sys.stderr)
