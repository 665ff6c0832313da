"""Reading execution plans: both dialects, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asbx.errors import ExitCode, PlanError
from asbx.model.market import Market
from asbx.model.plan import ExecutionPlan, parse_plan

REPOSITORY = Path(__file__).parents[2]
SPOT, ON_DEMAND = Market.SPOT, Market.ON_DEMAND

# What the advisor really writes: nulls and zeros where it has nothing to say.
REAL: dict[str, Any] = {
    "job_metadata": {"job_name": "wrf", "user": "NSF-1", "account": "NSF-1", "workload_type": "distributed"},
    "asba_version": "v0.3.0-dev",
    "generated_at": "2026-11-23T21:34:42.884377034Z",
    "should_burst": True,
    "instance_specification": {
        "instance_types": ["m5.xlarge"],
        "instance_count": 16,
        "purchasing_option": "on-demand",
        "max_spot_price": 0,
        "subnet_ids": None,
        "launch_template_name": "",
        "spot_instance_config": {"enable_spot": False, "max_spot_price": 0, "fallback_to_on_demand": True},
        "placement_group": "cluster",
        "availability_zones": None,
    },
    "mpi_configuration": {
        "is_mpi_job": True,
        "process_count": 512,
        "processes_per_node": 32,
        "mpi_library": "OpenMPI",
        "mpi_tuning_params": {"btl": "vader,tcp"},
        "requires_gang_scheduling": False,
        "requires_efa": True,
        "efa_generation": 0,
    },
    "network_configuration": {"placement_group_type": "", "enable_efa": True},
    "cost_constraints": {"max_total_cost": 36.35712, "max_duration_hours": 6, "budget_account": "NSF-2"},
    "performance_target": {"expected_runtime": 21600000000000, "performance_model": "linear"},
    "recommendation_reasoning": ["Heavy queue load"],
    "confidence_level": 0.7,
    "optimization_applied": None,
}


def plan(**changes: Any) -> ExecutionPlan:
    """Parse the smallest plan with sections added; `__` stands for the dot in names."""
    data: dict[str, Any] = {"should_burst": True}
    for dotted, value in changes.items():
        *way, last = dotted.split("__")
        place = data
        for part in way:
            place = place.setdefault(part, {})
        place[last] = value
    return parse_plan(json.dumps(data))


def test_the_documented_dialect_is_understood() -> None:
    """The shipped plan says what its file says, with money exact and nothing left over."""
    read = parse_plan((REPOSITORY / "plan.json").read_text())
    assert read.dialect == "documented"
    assert read.instance_types == ("c6in.32xlarge", "c6i.32xlarge")
    assert read.markets == (SPOT, ON_DEMAND)
    assert read.max_spot_price == Decimal("3.25")
    assert read.subnet_ids == ()
    assert (read.is_mpi, read.is_gang, read.needs_efa, read.single_zone) == (True, True, True, True)
    assert read.placement == "cluster"
    assert read.max_total_cost == Decimal("480.0")
    assert read.max_duration == timedelta(hours=4)
    assert read.tags == (("Application", "ocean-model"),)
    assert read.unknown == ()


def test_both_shipped_plans_are_the_same() -> None:
    """The example beside the others is the one the quick start uses."""
    assert (REPOSITORY / "plan.json").read_text() == (REPOSITORY / "examples/plan.json").read_text()


def test_the_real_dialect_is_understood() -> None:
    """Nulls and zeros mean not stated; sixteen nodes are a gang whatever the flag says."""
    read = parse_plan(json.dumps(REAL))
    assert read.dialect == "real"
    assert read.markets == (ON_DEMAND,)
    assert (read.max_spot_price, read.subnet_ids, read.template, read.efa_generation) == (None, (), None, None)
    assert (read.node_count, read.is_gang, read.placement) == (16, True, "cluster")
    assert read.mpi_implementation == "OpenMPI"
    assert (read.user, read.account) == ("NSF-1", "NSF-2")
    assert read.max_total_cost == Decimal("36.35712")
    assert read.expected_runtime == timedelta(hours=6)
    assert read.job_id is None
    assert read.unknown == ()


def test_not_bursting_is_a_plan_too() -> None:
    """should_burst=false with everything empty is valid."""
    read = plan(should_burst=False, instance_specification__instance_types=None, cost_constraints__max_total_cost=0)
    assert not read.should_burst
    assert read.instance_types == ()
    assert read.markets == ()


@pytest.mark.parametrize(
    ("option", "prefer", "mixed", "fallback", "markets"),
    [
        ("spot", False, False, False, (SPOT,)),
        ("spot", False, False, True, (SPOT, ON_DEMAND)),
        ("spot", False, True, False, (SPOT, ON_DEMAND)),
        ("mixed", False, False, False, (SPOT, ON_DEMAND)),
        ("on-demand", False, False, False, (ON_DEMAND,)),
        ("on-demand", False, False, True, (ON_DEMAND,)),
        ("on-demand", False, True, False, (ON_DEMAND, SPOT)),
        ("on-demand", True, True, False, (SPOT, ON_DEMAND)),
        ("", True, False, False, (SPOT,)),
        ("", False, False, False, ()),
    ],
)
def test_markets_come_in_order_of_preference(
    option: str, prefer: bool, mixed: bool, fallback: bool, markets: tuple[Market, ...]
) -> None:
    """Three spellings of mixed pricing and two of spot lead to one ordered list."""
    read = plan(
        instance_specification__purchasing_option=option,
        instance_specification__spot_instance_config__fallback_to_on_demand=fallback,
        cost_constraints__prefer_spot=prefer,
        cost_constraints__allow_mixed_pricing=mixed,
    )
    assert read.markets == markets


def test_a_single_node_gets_no_placement_group() -> None:
    """One node gains nothing from a group and may find less capacity."""
    read = plan(instance_specification__instance_count=1, network_configuration__placement_group_type="cluster")
    assert (read.placement, read.is_gang) == ("", False)


def test_the_networks_placement_comes_before_the_instances() -> None:
    """Real plans state both, and they may differ."""
    stated = {"instance_specification__placement_group": "cluster"}
    assert plan(**stated).placement == "cluster"
    assert plan(**stated, network_configuration__placement_group_type="spread").placement == "spread"


@pytest.mark.parametrize(
    ("value", "runtime"),
    [
        (7_200_000_000_000, timedelta(hours=2)),
        ("2h30m0s", timedelta(hours=2, minutes=30)),
        ("1.5h", timedelta(minutes=90)),
        ("2ms", timedelta(milliseconds=2)),
        (0, None),
        ("", None),
    ],
)
def test_durations_have_two_forms(value: object, runtime: timedelta | None) -> None:
    """Whole numbers are nanoseconds, texts are Go durations."""
    assert plan(performance_target__expected_runtime=value).expected_runtime == runtime


def test_what_nobody_reads_is_listed() -> None:
    """Unknown keys are no error but are not lost in silence; free sections are the user's own."""
    read = plan(extra=1, mpi_configuration__colour="red", mpi_configuration__mpi_tuning_params={"x": "y"}, gone=None)
    assert read.unknown == ("extra", "mpi_configuration.colour")


@pytest.mark.parametrize("letter", ["\\ud800", "\\u0000", "\\u001b[2J", "\\nusable", "\\u202e"])
def test_a_key_nobody_knows_commands_no_terminal(letter: str) -> None:
    """It is told in logs, in the ledger and on the screen, so it is made harmless first."""
    (key,) = parse_plan(f'{{"should_burst": true, "a{letter}b": 1}}').unknown
    assert key.isprintable()
    assert key.startswith("a?")


def test_what_only_a_site_may_decide_is_pointed_out() -> None:
    """User data, profile and security groups of a plan are privileged."""
    read = plan(
        instance_specification__user_data="#!/bin/sh",
        instance_specification__security_group_ids=["sg-1"],
        instance_specification__iam_instance_profile="",
    )
    assert read.privileged == ("user_data", "security_group_ids")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"should_burst": None}, "should_burst is required"),
        ({"should_burst": "yes"}, "should_burst must be true or false, not text"),
        ({"instance_specification": "m5.xlarge"}, "instance_specification must be an object {..}, not text"),
        ({"instance_specification__instance_types": "m5.xlarge"}, "must be a list of texts, not text"),
        ({"instance_specification__instance_types": [5]}, "must be text, not a number"),
        ({"instance_specification__instance_types": ["m5.xlarge; rm"]}, "which is not what belongs there"),
        ({"instance_specification__instance_types": [f"m{n}.large" for n in range(201)]}, "200 are allowed"),
        ({"instance_specification__subnet_ids": ["vpc-1"]}, "holds 'vpc-1'"),
        ({"instance_specification__purchasing_option": "cheap"}, "must be one of spot, on-demand, mixed"),
        ({"instance_specification__max_spot_price": "0.85"}, "must be a number, not text"),
        ({"instance_specification__max_spot_price": -1}, "must be between 0 and"),
        ({"instance_specification__max_spot_price": True}, "must be a number, not true"),
        ({"instance_specification__instance_count": 1.5}, "must be a whole number, not 1.5"),
        ({"instance_specification__launch_template_name": "a\nb"}, "may not hold line ends"),
        ({"instance_specification__launch_template_name": "a" * 2000}, "1024 are allowed"),
        ({"mpi_configuration__requires_efa": 1}, "must be true or false, not a number"),
        ({"network_configuration__placement_group_type": "near"}, "must be one of cluster, partition, spread"),
        ({"cost_constraints__max_duration_hours": 1e9}, "must be hours"),
        ({"performance_target__expected_runtime": 1.5}, "nanoseconds"),
        ({"performance_target__expected_runtime": "soon"}, "must be a duration such as 2h30m0s"),
        ({"performance_target__expected_runtime": "-2h"}, "must be a duration such as 2h30m0s"),
        ({"execution_metadata__job_id": "12; rm"}, "must be a job id"),
        ({"execution_metadata__tags": {"asbx:job": "1"}}, "not a plan's to set"),
        ({"execution_metadata__tags": {"a": "x" * 300}}, "its value 256"),
        ({"execution_metadata__tags": {f"k{n}": "" for n in range(16)}}, "15 are allowed"),
        ({"execution_metadata__tags": ["a"]}, "must be an object of texts"),
    ],
)
def test_wrong_values_are_refused_with_field(changes: dict[str, Any], said: str) -> None:
    """A refusal names the field and what belongs there, with exit status 4."""
    with pytest.raises(PlanError) as caught:
        plan(**changes)
    assert said in caught.value.why
    assert caught.value.exit_code is ExitCode.PLAN


def test_a_refusal_names_the_line() -> None:
    """In a file of many lines the wrong one is named."""
    text = '{\n  "should_burst": true,\n  "cost_constraints": {\n    "max_total_cost": "much"\n  }\n}'
    with pytest.raises(PlanError, match=r"line 4: cost_constraints\.max_total_cost"):
        parse_plan(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("{", "line 1, column 2"),
        ("[]", "this is a list"),
        ("{}", "should_burst is required"),
        ('{"should_burst": true, "should_burst": false}', "stated twice"),
        ('{"should_burst": true, "x": NaN}', "NaN is not a number"),
        ('{"should_burst": true, "x": ' + "9" * 5000 + "}", "not usable"),
        ('{"x":' * 100_000, "nested too deep"),
        ("[" * 100_000, "nested too deep"),
        (" " * (1024 * 1024 + 1), "too large"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, said: str) -> None:
    """Whatever the text is, the answer is a PlanError."""
    with pytest.raises(PlanError) as caught:
        parse_plan(text)
    assert said in f"{caught.value.what} {caught.value.why}"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_spoiled = st.fixed_dictionaries(
    {"should_burst": st.booleans() | _json},
    optional={
        section: _json | st.dictionaries(st.sampled_from(list(keys)), _json, max_size=4)
        for section, keys in REAL.items()
        if isinstance(keys, dict)
    },
)


@given(_spoiled)
def test_any_json_is_read_or_refused(data: dict[str, Any]) -> None:
    """No JSON, however odd, makes the reader fail in another way than with a PlanError."""
    with suppress(PlanError):
        parse_plan(json.dumps(data))
