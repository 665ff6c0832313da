"""Whole days in virtual time: everything goes wrong, and nothing leaks, sticks or is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from asbx.cli.main import main
from asbx.model.market import Instance
from asbx.sim.report import report
from asbx.sim.run import simulate, world_of
from asbx.sim.scenario import Scenario, load_scenario
from asbx.sim.world import World

SCENARIOS = Path(__file__).parents[2] / "examples" / "scenarios"


def scenario(**fields: object) -> Scenario:
    """Return a small site with an hour of work."""
    base = {
        "name": "small",
        "lasts": "2h",
        "groups": [{"name": "cpu", "nodes": 40, "types": ["c7i.2xlarge", "m7i.2xlarge"]}],
        "streams": [{"group": "aws-cpu", "count": 30, "nodes": [1, 1, 4], "array": [1, 5], "runtime": "10m"}],
        "config": {"slurm": {"suspend_time": 120}},
    }
    return Scenario.model_validate(base | fields)


def test_a_day_in_which_everything_goes_wrong_ends_well() -> None:
    """Reclaims, a dark zone, EC2 away, slurmctld away, crashes, lost answers: every promise holds, to the cent."""
    said = simulate(load_scenario(SCENARIOS / "day.toml"))
    assert said.is_good, json.dumps({key: said.figures[key] for key in ("left", "promises", "failed_passes")}, indent=1)
    assert said.bills.cloud > 0
    assert said.figures["jobs"]["done"] + said.figures["jobs"]["ended_as_asked"] == 1650
    assert said.figures["instances"]["reclaimed"] > 0
    assert said.figures["daemon_starts"] == 4


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    """Two runs of one seed agree in every figure; a third of another seed does not."""
    bad = {"spot_reclaims_per_day": 5.0, "lost_answers": 0.05, "never_boots": 0.05}
    first, again, other = (simulate(scenario(seed=seed, incidents=bad)).figures for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_programs_may_die_at_any_call() -> None:
    """Twenty deaths by SIGKILL of daemon and hooks: no orphan, no double launch, no job lost, every end known."""
    kills = {"count": 20, "apart": ["20s", "4m"], "pause": ["1s", "30s"]}
    work = [{"group": "aws-cpu", "count": 90, "nodes": [1, 1, 4], "array": [1, 5], "runtime": "10m"}]
    said = simulate(scenario(lasts="10h", seed=2, streams=work, incidents={"kills": kills}))
    left = said.leftovers
    assert sum(said.figures["deaths"].values()) == 20
    assert (left.orphans, left.lost, left.unended, left.unfinished, left.open_requests) == ((), (), (), (), ())
    assert said.figures["left"]["double_launches"] == 0


def test_the_week_and_the_deaths_can_be_read() -> None:
    """The scenarios of the nightly run are valid."""
    assert load_scenario(SCENARIOS / "week.toml").incidents.spot_reclaims_per_day == 0.02
    assert load_scenario(SCENARIOS / "kill.toml").incidents.kills.count == 200


def test_the_command_prints_one_object_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` gives the figures; the exit status says that all is well."""
    file = tmp_path / "s.toml"
    file.write_text(
        'name = "x"\nlasts = "1h"\n[[groups]]\nname = "cpu"\nnodes = 2\ntypes = ["c7i.large"]\n'
        '[[jobs]]\ngroup = "aws-cpu"\nnodes = 2\nruntime = "5m"\n'
    )
    assert main(["simulate", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["jobs"]["done"] == 1
    assert said["good"] is True
    assert said["cost"]["cloud_usd"] == said["cost"]["ledger_usd"] != "0.00"


def test_a_scenario_of_another_seed_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--seed` replaces the scenario's own."""
    file = tmp_path / "s.toml"
    file.write_text('name = "x"\nlasts = "1m"\n[[groups]]\nname = "cpu"\nnodes = 2\ntypes = ["c7i.large"]\n')
    assert main(["simulate", str(file), "--seed", "9"]) == 0
    assert "seed 9" in capsys.readouterr().out


# -- the auditor finds what is wrong


def played(world: World, hours: float = 0.5) -> World:
    """Return a world in the middle of its work."""
    world.hub.run(round(hours * 3600 * 1_000_000))
    return world


def test_an_orphan_is_found() -> None:
    """An instance nobody wrote down, left alive, is an orphan, and EC2 bills what the ledger does not know."""
    with world_of(scenario()) as world:
        world.play()
        order, _ = next(iter(world.cloud._answers.values()))
        world.cloud._fulfil(order)
        said = report(world)
    assert len(said.leftovers.orphans) == order.count
    assert len(said.bills.wrong) == order.count
    assert said.bills.cloud > said.bills.ledger
    assert not said.is_good


def test_a_wrong_cent_is_found() -> None:
    """A row that costs a cent more than the machine breaks promise 7."""
    with world_of(scenario()) as world:
        world.play()
        row = max(world.ledger.instances(), key=lambda one: one.ended_at - one.launched_at if one.ended_at else 0)
        assert row.price is not None
        world.ledger.set_prices({row.instance_id: row.price * 2})
        said = report(world)
    assert not said.bills.agree
    assert said.figures["promises"]["7"]["broken"] == 1
    assert row.instance_id in said.bills.wrong[0]


def test_half_a_gang_is_found() -> None:
    """A gang that lost a binding before its request ended is not whole."""
    with world_of(scenario(jobs=[{"group": "aws-cpu", "nodes": 8}], streams=())) as world:
        honest = world.ledger.bind

        def half(rows: Sequence[tuple[str, Instance]], at: datetime, jobs: Any = None) -> None:
            honest(rows[:-1], at, jobs)

        world.ledger.bind = half  # type: ignore[method-assign]
        played(world)
        assert world.auditor.broken[2] == 1


def test_an_end_under_a_running_job_is_found() -> None:
    """Ending the machine of a node that serves breaks promise 5."""
    with world_of(scenario(jobs=[{"group": "aws-cpu", "nodes": 1, "runtime": "3h"}], streams=())) as world:
        played(world)
        world.cloud.busy = lambda _: None
        world.cloud.terminate([one.instance_id for one in world.cloud.alive.values()])
        assert world.auditor.broken[5] == 1


def test_ending_a_stranger_is_found() -> None:
    """Somebody else's instance must be left alone."""
    with world_of(scenario(incidents={"strangers": 1})) as world:
        world.cloud.busy = lambda _: None
        played(world, 0.1)
        world.cloud.busy = lambda _: None
        world.cloud.terminate(["i-stranger000"])
        assert world.auditor.broken[1] == 1


def test_a_job_whose_machine_died_does_not_end_as_if_it_had_run() -> None:
    """Not even in the minutes before slurmctld misses the node; it runs again, from its beginning."""
    with world_of(scenario(jobs=[{"group": "aws-cpu", "nodes": 2, "runtime": "10m"}], streams=())) as world:
        while world.jobs[0].state != "RUNNING":
            world.hub.run(world.hub.now_us + 1_000_000)
        began_us = world.hub.now_us
        world.hub.run(began_us + 580 * 1_000_000)
        world.cloud.end(next(iter(world.cloud.alive.values())), "Server.InternalError")
        world.play()
        job = world.jobs[0]
        assert (job.state, job.restarts) == ("COMPLETED", 1)
        assert job.end_us is not None
        assert job.end_us - began_us > (580 + 600) * 1_000_000
        assert [one.end_us - one.begin_us >= 600_000_000 for one in world.controller.spells][-1]
        assert report(world).is_good


def test_a_stuck_node_and_a_job_that_does_not_end_are_found() -> None:
    """A node that is DOWN at the end is stuck; a job still in the queue is not finished."""
    with world_of(scenario(settles="1h", jobs=[{"group": "aws-cpu", "nodes": 40, "at": "1h"}], streams=())) as world:
        node = next(iter(world.controller.table.nodes.values()))
        world.controller.down(node, "broken")
        world.play()
        said = report(world)
    assert said.leftovers.stuck == (node.name,)
    assert said.leftovers.unfinished == (1,)
    assert not said.is_good
