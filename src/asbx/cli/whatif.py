"""`asbx simulate --trace`: one trace under several policies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import typer

from asbx.cli import page, site
from asbx.config.limits import POLICIES_MOST, SEEDS_MOST
from asbx.errors import ExitCode, UsageError
from asbx.sim.trace.part import Part, taken
from asbx.sim.trace.reading import read_trace

if TYPE_CHECKING:
    from asbx.cli.whatif_table import Told
    from asbx.config.schema import Config
    from asbx.sim.whatif.market import Surroundings
    from asbx.sim.world import World

_MODEL = (
    "capacity, delays and interruptions are a model's, the scheduler is first fit and not Slurm's, and memory is not "
    "looked at: compare policies by this, do not budget by it"
)


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    trace: Path
    kind: Literal["auto", "swf", "sacct"] = "auto"
    policies: Sequence[str] = ()
    config: Path | None = None
    market: Path | None = None
    prices: Literal["model", "ledger"] = "model"
    maps: Sequence[str] = ()
    keep_nodes: bool = False
    time_zone: str = ""
    begin: str = ""
    end: str = ""
    jobs: int | None = None
    scale: float = 1.0
    seed: int = 1
    seeds: int = 1
    charts: Path | None = None
    chart_format: Literal["png", "svg"] = "png"
    shown: bool = False
    as_json: bool = False
    zone: tzinfo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", _zone(self.time_zone))


def what_if(options: Options) -> None:
    """Read, play, tell. Raises UsageError and ConfigError; exit status 9 where a promise was broken."""
    from asbx.cli.whatif_table import Told
    from asbx.cli.whatif_table import page as page_of
    from asbx.sim.whatif.compare import as_dict
    from asbx.sim.whatif.market import load_market
    from asbx.sim.whatif.place import Placing
    from asbx.sim.whatif.play import Question, play

    if options.charts is not None:
        from asbx.cli.whatif_charts import ready

        ready(options.charts)
    sites = _sites(options)
    around, prices, notes = _priced(options, load_market(options.market), sites)
    read = read_trace(options.trace, options.kind, options.zone)
    part = taken(read, Part(options.begin, options.end, options.jobs, options.scale, options.zone), options.seed)
    seeds = range(options.seed, options.seed + options.seeds)
    question = Question(part, sites, around, seeds, Placing(_maps(options.maps), options.keep_nodes))
    results = play(question, _Progress(len(sites) * len(seeds)) if options.shown else lambda *_: None)
    if options.shown:
        print(file=sys.stderr)
    notes += [*question.notes(), _MODEL]
    if options.seeds == 1 and len(sites) > 1:
        notes.append("one seed was played: --seeds 3 shows how much of a difference is chance")
    if options.charts is not None:
        from asbx.cli.whatif_charts import draw

        notes += [f"chart: {path}" for path in draw(results, options.charts, options.chart_format, prices)]
    told = Told(str(options.trace), read, part, results, notes)
    if options.as_json:
        site.show({"trace": _trace(told), **as_dict(results), "notes": notes})
    else:
        typer.echo("\n".join(page_of(told, page.width())))
    if any(one.faults for outcomes in results.values() for one in outcomes):
        raise typer.Exit(int(ExitCode.PARTLY))


def _trace(told: Told) -> dict[str, object]:
    read, part = told.read, told.part
    return {
        "file": told.path,
        "format": read.kind,
        "lines": read.lines,
        "jobs_read": len(read.jobs),
        "jobs_played": len(part),
        "core_hours": round(sum(job.core_hours for job in part), 3),
        "left_out": dict(read.left_out),
        "read_by_rule": dict(read.notes),
        "refused_lines": read.bad_lines,
        "refused_examples": [{"line": line, "why": why} for line, why in read.faults],
    }


def _sites(options: Options) -> dict[str, Config]:
    from asbx.sim.whatif.policy import CURRENT, applied, load_policy

    if len(options.policies) > POLICIES_MOST or not 1 <= options.seeds <= SEEDS_MOST:
        raise UsageError(
            "whatif-many",
            f"{len(options.policies)} policies and {options.seeds} seeds were asked for",
            f"1 to {POLICIES_MOST} policies and 1 to {SEEDS_MOST} seeds are played in one go",
        )
    base = site.load(options.config).config
    policies = [load_policy(text) for text in options.policies or [CURRENT]]
    names = [policy.name for policy in policies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError("policy-twice", f"two policies are called {twice[0]}", "", "give each a `name` of its own")
    return {policy.name: applied(base, policy) for policy in policies}


def _priced(options: Options, around: Surroundings, sites: dict[str, Config]) -> tuple[Surroundings, str, list[str]]:
    """Return the surroundings with the prices asked for, whose those are in a word, and what is to be said of them."""
    types = {
        kind.instance_type
        for one in sites.values()
        for _, group in one.groups()
        for kind in group.launch_template_overrides
    }
    if options.prices == "ledger":
        from asbx.cli.whatif_prices import from_ledger

        region = next(iter(sites.values())).aws.region
        around, notes = from_ledger(options.config, around, types, region)
        return around, "the ledger's", notes
    known = {price.type for price in around.ec2.prices}
    if types <= known:
        notes = ["prices are those of the market file; spot prices move from there by chance"]
        return around, "the market file's", notes
    rest = f" for {len(types - known)} of {len(types)} types" if known else ""
    text = f"prices are pretend figures of the right size{rest}, not AWS's: --prices ledger takes the site's own"
    return around, "pretend", [text]


def _maps(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    bad = [name for name, sign, group in pairs if not (name and sign and group)]
    if bad:
        raise UsageError("map-form", f"--map {bad[0]!r} is not PARTITION=GROUP", "", "write --map batch=aws-cpu")
    return {name: group for name, _, group in pairs}


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        raise UsageError(
            "time-zone", f"there is no time zone {name!r}", "", "write one such as Europe/Berlin"
        ) from None


class _Progress:
    """One line on the terminal that is written over and over."""

    def __init__(self, runs: int) -> None:
        self._runs, self._seen = runs, dict[tuple[str, int], None]()

    def __call__(self, policy: str, seed: int, world: World) -> None:
        self._seen.setdefault((policy, seed))
        done, every = len(world.controller.ended), len(world.jobs)
        text = (
            f"run {len(self._seen)} of {self._runs}  {policy[:20]}, seed {seed}  "
            f"day {world.hub.now_us / 86_400_000_000:.1f}  {done / max(every, 1):4.0%} of {every} jobs"
        )
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
