"""`asbx simulate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asbx.cli import site
from asbx.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from asbx.sim.scenario import Scenario
    from asbx.sim.world import World

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def simulate(  # noqa: PLR0913, PLR0917  one parameter an option
    scenario: Annotated[
        Path | None, typer.Argument(metavar="SCENARIO", help="A TOML file, see docs/how-to/simulate.md.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Where chance begins, instead of the scenario's.")] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Show how far it is; by default on a terminal.")
    ] = None,
    as_json: site.JsonOption = False,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="Play this work instead: Standard Workload Format or sacct -P, also gzipped."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="Changes of the configuration to try, a YAML file; `current` for none; up to 6."),
    ] = None,
    config: site.ConfigOption = None,
    market: Annotated[
        Path | None, typer.Option("--market", help="TOML with [ec2], [cluster], [incidents] of a scenario.")
    ] = None,
    prices: Annotated[
        Literal["model", "ledger"], typer.Option("--prices", help="Pretend prices, or those in the site's ledger.")
    ] = "model",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Play each policy so often, to see chance.")] = 1,
    charts: Annotated[Path | None, typer.Option("--charts", help="Draw charts into this folder.")] = None,
    chart_format: Annotated[Literal["png", "svg"], typer.Option("--chart-format", help="As what.")] = "png",
    begin: Annotated[str, typer.Option("--from", help="Jobs from then on: a date, or 3d after the first.")] = "",
    end: Annotated[str, typer.Option("--until", help="Jobs before then: a date, or 10d after the first.")] = "",
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="So many jobs at most.")] = None,
    scale: Annotated[float, typer.Option("--scale", min=0.0, max=1.0, help="This share of the jobs, by chance.")] = 1.0,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="PARTITION=GROUP: where jobs of the trace's partition run, `*` for the others."),
    ] = None,
    keep_nodes: Annotated[bool, typer.Option("--keep-nodes", help="No fewer nodes than in the trace.")] = False,
    trace_format: Annotated[
        Literal["auto", "swf", "sacct"], typer.Option("--trace-format", help="What it is.")
    ] = "auto",
    time_zone: Annotated[str, typer.Option("--time-zone", help="Of sacct's times, such as Europe/Berlin.")] = "",
) -> None:
    """Play a scenario, or real work under several policies, in virtual time with a pretend Slurm and EC2.

    Exit status 9 where a promise was broken or something was left over.

    Example: asbx simulate examples/scenarios/day.toml

    Example: asbx simulate --trace month.txt --policy current --policy spot.yaml
    """
    _needs_greenlet()
    shown = sys.stderr.isatty() if progress is None else progress
    if trace is None:
        _refuse_without_trace(policy=policy, market=market, charts=charts, maps=maps, jobs=jobs)
        _play(scenario, seed, shown=shown, as_json=as_json)
        return
    if scenario is not None:
        raise UsageError(
            "simulate-both", "a scenario and a trace cannot be played together", "",
            "what stands around the work of a trace is given by --market",
        )  # fmt: skip
    from asbx.cli.whatif import Options, what_if

    what_if(
        Options(
            trace=trace,
            kind=trace_format,
            policies=policy or (),
            config=config,
            market=market,
            prices=prices,
            maps=maps or (),
            keep_nodes=keep_nodes,
            time_zone=time_zone,
            begin=begin,
            end=end,
            jobs=jobs,
            scale=scale,
            seed=1 if seed is None else seed,
            seeds=seeds,
            charts=charts,
            chart_format=chart_format,
            shown=shown,
            as_json=as_json,
        )
    )


def _refuse_without_trace(**options: object) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        name = {"maps": "map"}.get(given[0], given[0])
        raise UsageError("simulate-no-trace", f"--{name} goes with --trace only", "", "see docs/how-to/what-if.md")


def _play(scenario: Path | None, seed: int | None, *, shown: bool, as_json: bool) -> None:
    from asbx.sim.report import lines
    from asbx.sim.run import simulate as run
    from asbx.sim.scenario import load_scenario

    if scenario is None:
        raise UsageError("simulate-what", "there is neither a scenario nor a trace", "", "see asbx simulate --help")
    plan = load_scenario(scenario)
    plan = plan if seed is None else plan.model_copy(update={"seed": seed})
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
