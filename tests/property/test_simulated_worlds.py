"""Random sites, work and trouble in the simulator: every promise holds while it runs, and afterwards nothing is left.

The flows run as the daemon runs them, beside each other in every order chance finds, with deaths at any call.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asbx.sim.run import simulate
from asbx.sim.scenario import Scenario

TYPES = ("c7i.large", "m7i.large", "c6in.32xlarge", "hpc7a.96xlarge")
WINDOWS = st.fixed_dictionaries({"at": st.integers(0, 10_000), "lasts": st.sampled_from([5, 60, 600])})


@st.composite
def groups(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a node group."""
    options = {
        "strategy": draw(st.sampled_from(["gang", "gang", "greedy", "best-effort"])),
        "placement": draw(st.sampled_from(["auto", "none", "cluster", "spread"])),
        "placement_fallback": draw(st.booleans()),
        "mixed_types": draw(st.booleans()),
        "efa": draw(st.sampled_from([None, "preferred", "disabled"])),
    }
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True))
    buys = draw(st.sampled_from(["spot", "on-demand", "mixed"]))
    return {"name": "cpu", "nodes": draw(st.sampled_from([6, 30])), "types": types, "buys": buys, "options": options}


INCIDENTS = st.fixed_dictionaries(
    {
        "spot_reclaims_per_day": st.sampled_from([0.0, 4.0, 40.0]),
        "never_boots": st.sampled_from([0.0, 0.05, 0.3]),
        "dies_early": st.sampled_from([0.0, 0.05]),
        "lost_answers": st.sampled_from([0.0, 0.02, 0.2]),
        "strangers": st.integers(0, 2),
        "zone_outages": st.lists(WINDOWS.map(lambda one: one | {"zone": "us-east-2a"}), max_size=1),
        "api_outages": st.lists(WINDOWS, max_size=1),
        "controller_restarts": st.lists(WINDOWS, max_size=1),
        "crashes": st.lists(st.fixed_dictionaries({"at": st.integers(0, 10_000), "kill": st.booleans()}), max_size=2),
    }
)
STOCKS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from([*TYPES, "*"]), "capacity": st.sampled_from([0, 1, 4, 20]), "in_group": st.just(4)}
    ),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=max(25, settings().max_examples // 20))
@given(group=groups(), incidents=INCIDENTS, stock=STOCKS, seed=st.integers(0, 1 << 20))
def test_promises_hold_in_any_world(
    group: dict[str, Any], incidents: dict[str, Any], stock: list[dict[str, Any]], seed: int
) -> None:
    """Whatever the site and whatever goes wrong: no promise is broken, and only what has no capacity stays."""
    world = {
        "name": "any",
        "seed": seed,
        "lasts": "4h",
        "settles": "2h",
        "groups": [group],
        "ec2": {"stock": stock, "spot_price_every": 0},
        "streams": [{"group": "aws-cpu", "count": 12, "nodes": [1, 1, 2, 4], "array": [1, 3], "runtime": "10m"}],
        "incidents": incidents,
        "config": {"slurm": {"suspend_time": 120, "resume_timeout": 300}},
    }
    said = simulate(Scenario.model_validate(world))
    broken = {name: row for name, row in said.figures["promises"].items() if row["broken"]}
    assert not broken, json.dumps(broken, indent=1)
    assert not said.figures["failed_passes"]
    left = said.leftovers
    if not left.unfinished:  # with pools of no room, jobs are tried for ever, and a try may be under way
        assert (left.orphans, left.unended, left.open_requests, left.lost) == ((), (), (), ())
