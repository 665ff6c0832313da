"""One trace under several policies: nothing is lost, the meter is the bill, and the same seed says the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from asbx.cli.main import main
from asbx.cli.whatif_table import Told, page
from asbx.config.load import load_config
from asbx.config.schema import Config
from asbx.errors import ConfigError
from asbx.ledger.store import open_ledger
from asbx.model.market import Market
from asbx.model.price import PriceChange, PriceSource
from asbx.sim.prices import Lifecycle, PoolKey
from asbx.sim.run import world_of
from asbx.sim.scenario import Scenario
from asbx.sim.trace.job import TraceJob
from asbx.sim.trace.part import Part, taken
from asbx.sim.trace.reading import read_trace
from asbx.sim.whatif.compare import differences
from asbx.sim.whatif.market import Surroundings, load_market
from asbx.sim.whatif.outcome import Outcome
from asbx.sim.whatif.place import NO_GPUS, TOO_LARGE, Placing, placed
from asbx.sim.whatif.play import Question, play
from asbx.sim.whatif.policy import Policy, applied, load_policy
from asbx.sim.whatif.site import Ground, grounds

EXAMPLES = Path(__file__).parents[2] / "examples"
TRACE = EXAMPLES / "traces" / "synthetic.swf"
# Figures of the first 40 jobs of the shipped trace that no seed and no run may move.
GOLDEN = {"jobs": 40, "core_hours": 171.1, "policies": ("current", "on-demand only")}


@pytest.fixture(scope="module")
def base() -> Config:
    """Return the example's configuration."""
    return load_config(EXAMPLES / "config.yaml", {}).config


def question(base: Config, *policies: Policy, seeds: tuple[int, ...] = (1,), most: int = 40) -> Question:
    """Return a question about the shipped trace."""
    part = taken(read_trace(TRACE), Part(most=most), 1)
    around = load_market(EXAMPLES / "market.toml")
    return Question(part, {one.name: applied(base, one) for one in policies}, around, seeds)


ON_DEMAND = Policy("on-demand only", {}, {"*": {"purchasing_option": "on-demand"}})
CURRENT = Policy("current")


@pytest.fixture(scope="module")
def results(base: Config) -> dict[str, list[Outcome]]:
    """Return two policies, played once."""
    return play(question(base, CURRENT, ON_DEMAND))


def test_two_policies_keep_what_no_policy_may_change(results: dict[str, list[Outcome]]) -> None:
    """All jobs are done, the work is the trace's, the meter is EC2's bill, kinds and markets add up."""
    assert tuple(results) == GOLDEN["policies"]
    for (one,) in results.values():
        said = one.figures
        assert one.faults == ()
        assert one.ends == {"done": GOLDEN["jobs"]}
        assert len(one.waits) == GOLDEN["jobs"]
        assert round(said["cost_usd"] / said["usd_per_core_hour"], 1) == GOLDEN["core_hours"]
        assert round(one.usd, 2) == round(one.cloud_usd, 2)
        assert sum(one.kinds.values(), Decimal(0)) == one.usd
        assert 0 < said["utilisation"] <= 1 <= said["slowdown_median"]
        assert said["wait_median_s"] <= said["wait_p90_s"] <= said["wait_p99_s"] <= said["wait_most_s"]
        hours = sum(count for _, count in one.nodes) * one.nodes[1][0]
        assert hours == pytest.approx(said["instance_hours"], rel=0.02)


def test_on_demand_costs_more_and_is_never_taken_back(results: dict[str, list[Outcome]]) -> None:
    """In this market spot is at most 44 % of on demand."""
    (spot,), (dear,) = results.values()
    assert dear.usd > spot.usd
    assert (dear.figures["interruptions"], dear.figures["spot_usd_share"]) == (0, 0)
    assert spot.figures["spot_hours_share"] > 0.5
    (text,) = differences(results)
    assert text.startswith("on-demand only against current: cost +")


def test_the_same_seed_says_the_same(base: Config, results: dict[str, list[Outcome]]) -> None:
    """Figure by figure, and beside another policy or alone."""
    alone = play(question(base, ON_DEMAND))["on-demand only"][0]
    assert alone == results["on-demand only"][0]


def test_seeds_that_disagree_are_chance(results: dict[str, list[Outcome]]) -> None:
    """A difference is more than chance only where all pairs of seeds say so."""
    (a,), (b,) = results.values()
    assert next(differences({"x": [a, a], "y": [b, b]})).count("so in all 2 seeds") >= 1
    assert "may be chance" in next(differences({"x": [a, b], "y": [b, a]}))
    assert "no difference" in next(differences({"x": [a], "y": [a]}))


def test_what_a_limit_refuses_is_told(base: Config) -> None:
    """A job over a ceiling is held, its user cancels it, and the reason is counted."""
    site = applied(base, Policy("small", {"limits": {"rules": [{"name": "two", "max_nodes": 2}]}}))
    trace = [TraceJob(n, str(n), n * 60.0, 600, 600, procs) for n, procs in ((1, 8), (2, 64), (3, 16))]
    (one,) = play(Question(trace, {"small": site}, Surroundings(), [1]))["small"]
    assert one.ends["done"] == 2
    assert sum(count for why, count in one.ends.items() if why.startswith("refused: ")) == 1
    assert one.faults == ()


def test_six_policies_fold_at_a_narrow_terminal_and_faults_are_named(results: dict[str, list[Outcome]]) -> None:
    """No line is wider than the terminal, no policy is left out, and what went wrong has a line of its own."""
    (one,) = results["current"]
    six = {f"policy number {n}": [one, replace(one, seed=2)] for n in range(6)}
    six["policy number 5"][1] = replace(one, seed=2, faults=("promise 7 was broken",))
    read = read_trace(TRACE)
    lines = list(page(Told("t.swf", read, read.jobs, six, ["a note"]), 80))
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert all(name in text for name in six)
    assert "! policy number 5, seed 2: promise 7 was broken" in text


# -- policies


def test_the_more_exact_group_wins(base: Config) -> None:
    """`*`, then the partition, then the group; types are short for the overrides."""
    site = applied(
        base,
        Policy(
            "p",
            {"slurm": {"suspend_time": 99}},
            {"aws-cpu": {"types": ["m6i.2xlarge"]}, "*": {"max_nodes": 3}, "aws": {"max_nodes": 5}},
        ),
    )
    groups = [group for _, group in site.groups()]
    assert [group.max_nodes for group in groups] == [5, 5]
    assert [one.instance_type for one in groups[0].launch_template_overrides] == ["m6i.2xlarge"]
    assert site.slurm.suspend_time == 99
    assert groups[1].launch_template_overrides == [g for _, g in base.groups()][1].launch_template_overrides


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: {aws-gpu: {max_nodes: 1}}", "groups.aws-gpu: there is no such group"),
        ("groups: {aws-cpu: {max_node: 1}}", "max_node"),
        ("slurm: {suspend_tim: 3}", "suspend_tim"),
        ("slurm: 3", "slurm"),
        ("slurm: {partitions: [{}]}", "partition_name"),
        ("groups: {aws: 3}", "must be groups"),
        ("groups: [1]", "must be groups with their keys"),
        ("groups: {'*': {types: []}}", "launch_template_overrides"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(base: Config, tmp_path: Path, text: str, said: str) -> None:
    """By the configuration's own rules."""
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        applied(base, load_policy(str(file)))
    assert said in f"{caught.value.what} {caught.value.why}"


@pytest.mark.parametrize("name", ["spot", "on-demand", "release-early"])
def test_the_shipped_policies_fit_the_shipped_configuration(base: Config, name: str) -> None:
    """They change it, too."""
    assert applied(base, load_policy(str(EXAMPLES / "policies" / f"{name}.yaml"))) != base


def test_the_shipped_trace_is_what_its_script_writes() -> None:
    """It says of itself that it is synthetic."""
    spec = importlib.util.spec_from_file_location("synthetic", EXAMPLES.parent / "scripts" / "synthetic_trace.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert TRACE.read_text().splitlines() == list(script.lines(400, 4, 1, 8))
    assert "synthetic" in TRACE.read_text()[:200]


# -- places


GROUND = (Ground("aws-cpu", "aws", 4, 8, 0), Ground("gpu-a", "gpu", 2, 48, 4))


@pytest.mark.parametrize(
    ("job", "group", "nodes", "cpus"),
    [
        ({"procs": 3}, "aws-cpu", 1, 3),
        ({"procs": 8}, "aws-cpu", 1, 0),
        ({"procs": 17}, "aws-cpu", 3, 0),
        ({"procs": 4, "gpus": 2}, "gpu-a", 1, 24),
        ({"procs": 4, "gpus": 8}, "gpu-a", 2, 0),
        ({"procs": 4, "partition": "gpu"}, "gpu-a", 1, 4),
        ({"procs": 4, "partition": "old"}, "gpu-a", 1, 4),
        ({"procs": 1, "nodes": 3}, "aws-cpu", 3, 0),
    ],
)
def test_jobs_find_their_nodes(job: dict[str, Any], group: str, nodes: int, cpus: int) -> None:
    """By processors, GPUs, partition, and what is mapped."""
    trace = TraceJob(1, "1", 0, 60, 60, **job)
    (found,) = placed([trace], GROUND, Placing({"old": "gpu-a"}, keep_nodes=True)).jobs
    assert (found.group, found.nodes, found.cpus) == (group, nodes, cpus)


def test_what_fits_nowhere_is_counted() -> None:
    """With the reason; the ids of the others stay those of the trace."""
    jobs = [TraceJob(n, str(n), 0, 60, 60, procs, gpus=gpus) for n, procs, gpus in ((1, 999, 0), (2, 8, 0), (3, 1, 1))]
    found = placed(jobs, GROUND[:1], Placing())
    assert [job.job_id for job in found.jobs] == [2]
    assert dict(found.refused) == {TOO_LARGE: 1, NO_GPUS: 1}


def test_nodes_have_what_slurm_conf_says(base: Config) -> None:
    """CPUs, or sockets times cores times threads."""
    assert [(place.name, place.cpus) for place in grounds(base)] == [("aws-cpu", 8), ("aws-hpc", 128)]


# -- the command


def ask(*words: str) -> list[str]:
    """Return the command line of a small what-if."""
    return ["simulate", "--trace", str(TRACE), "--config", str(EXAMPLES / "config.yaml"), "--jobs", "12", *words]


def test_the_command_tells_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names what was read, both policies, and that it is a model; the charts are there."""
    policy = str(EXAMPLES / "policies" / "on-demand.yaml")
    assert main(ask("--policy", "current", "--policy", policy, "--charts", str(tmp_path / "c"))) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in ("384 jobs read, 12 of them played", "12: cancelled before it ran", "current on-demand only"):
        assert words in text
    for words in ("pretend figures", "do not budget by it", "one seed was played"):
        assert words in text
    assert sorted(one.name for one in (tmp_path / "c").iterdir()) == ["cost.png", "nodes.png", "waits.png"]
    assert all(one.read_bytes()[:4] == b"\x89PNG" for one in (tmp_path / "c").iterdir())


def test_charts_without_matplotlib_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to install, before anything is played."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(ask("--charts", str(tmp_path))) == 2
    assert "pip install 'aws-slurm-burst[charts]'" in capsys.readouterr().err


def test_the_command_has_json_and_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """Each run, and the spread over seeds."""
    assert main(ask("--seeds", "2", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    (policy,) = said["policies"]
    assert [run["seed"] for run in policy["runs"]] == [1, 2]
    assert policy["over_seeds"]["cost_usd"]["least"] <= policy["over_seeds"]["cost_usd"]["most"]
    assert said["trace"]["left_out"] == {"cancelled before it ran": 12, "no run time": 4}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["simulate"], "simulate-what"),
        (["simulate", "--policy", "current"], "simulate-no-trace"),
        (["simulate", str(EXAMPLES / "scenarios" / "day.toml"), "--trace", str(TRACE)], "simulate-both"),
        (ask("--policy", "current", "--policy", "current"), "policy-twice"),
        (ask(*["--policy", "current"] * 7), "whatif-many"),
        (ask("--policy", "/none.yaml"), "policy-file"),
        (ask("--map", "x"), "map-form"),
        (ask("--map", "x=aws-none"), "map-unknown"),
        (ask("--market", "/none.toml"), "market-file"),
        (ask("--time-zone", "Mars/Olympus"), "time-zone"),
        (ask("--scale", "0"), "trace-part-empty"),
    ],
)
def test_what_cannot_be_asked_is_said(words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is played, by code."""
    assert main(words) in (2, 3)
    assert code in capsys.readouterr().err


# -- prices


def test_prices_of_the_ledger_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--prices ledger`: a hundred times the pretend price is a hundred times the cost."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("ASBX__LEDGER__URL", url)
    words = ask("--policy", str(EXAMPLES / "policies" / "on-demand.yaml"), "--json", "--prices")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with closing(open_ledger(url)) as ledger:
        assert main([*words, "ledger"]) == 2
        assert "no-prices" in capsys.readouterr().err
        for kind, units in (("c6i.2xlarge", "0.34"), ("c6a.2xlarge", "0.306"), ("m6i.2xlarge", "0.384")):
            usd = Decimal(units) * 100
            told = PriceChange(kind, "", Market.ON_DEMAND, at, usd, PriceSource.PRICING, at)
            ledger.add_price_changes([told])
    costs = {}
    for kind in ("model", "ledger"):
        assert main([*words, kind]) == 0
        said = json.loads(capsys.readouterr().out)
        costs[kind] = Decimal(said["policies"][0]["runs"][0]["cost_usd"])
        assert any(note.startswith("prices are those of the ledger") for note in said["notes"]) == (kind == "ledger")
    assert costs["ledger"] == 100 * costs["model"] > 0


def test_a_pool_costs_the_same_whatever_is_bought() -> None:
    """Spot prices take the same way under each policy, and begin where the scenario says."""
    histories = []
    for buys in ("spot", "on-demand"):
        group = {"name": "cpu", "nodes": 20, "types": ["c7i.large"], "buys": buys}
        plan = {
            "name": "x",
            "lasts": "6h",
            "groups": [group],
            "streams": [{"group": "aws-cpu", "count": 20, "runtime": "10m"}],
            "ec2": {"prices": [{"type": "c7i.large", "market": "spot", "usd": "0.5"}]},
        }
        with world_of(Scenario.model_validate(plan)) as world:
            world.play()
            key = PoolKey("c7i.large", "us-east-2a", Lifecycle.SPOT)
            histories.append(world.cloud.pools.prices.history(key, 0, 6 * 3600))
    assert histories[0] == histories[1]
    assert len(histories[0]) == 7
    assert histories[0][0].usd == Decimal("0.5")
