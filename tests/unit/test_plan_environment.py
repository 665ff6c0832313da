"""The environment form of a plan."""

from __future__ import annotations

from decimal import Decimal

import pytest

from asbx.errors import PlanError
from asbx.model.market import Market
from asbx.model.plan import parse_plan
from asbx.model.plan_environment import text_of

FULL = """\
# as a site's wrapper writes it
export ASBA_SHOULD_BURST=true
ASBA_INSTANCE_TYPES="hpc7a.12xlarge, c6i.2xlarge"
ASBA_PURCHASING_OPTION=spot
ASBA_MAX_SPOT_PRICE=0.85
ASBA_REQUIRES_EFA=true
ASBA_PLACEMENT_GROUP=cluster
ASBA_MPI_PROCESSES=128
ASBA_GANG_SCHEDULING=true
ASBA_COLOUR=red
"""


def test_all_variables_are_read() -> None:
    """Each goes where its JSON key would; what nobody knows is listed."""
    plan = parse_plan(FULL)
    assert plan.dialect == "environment"
    assert plan.instance_types == ("hpc7a.12xlarge", "c6i.2xlarge")
    assert (plan.markets, plan.max_spot_price) == ((Market.SPOT,), Decimal("0.85"))
    assert (plan.needs_efa, plan.placement, plan.process_count, plan.is_gang) == (True, "cluster", 128, True)
    assert plan.unknown == ("ASBA_COLOUR",)


def test_an_environment_becomes_a_plans_text() -> None:
    """What a submit host finds around it can be handed on as a file; without the one required variable it is none."""
    around = {"ASBA_SHOULD_BURST": "false", "HOME": "/root", "ASBA_MPI_PROCESSES": "4"}
    text = text_of(around)
    assert text is not None
    assert "HOME" not in text
    assert not parse_plan(text).should_burst
    assert text_of({"ASBA_MPI_PROCESSES": "4"}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ASBA_SHOULD_BURST=maybe", "must be true or false"),
        ("ASBA_SHOULD_BURST=true\nASBA_SHOULD_BURST=false", "stated twice"),
        ("ASBA_SHOULD_BURST=true\nASBA_MAX_SPOT_PRICE=-1", "must be between 0"),
        ("ASBA_SHOULD_BURST=true\nASBA_MAX_SPOT_PRICE=1e9999", "must be a number"),
        ("ASBA_SHOULD_BURST=true\nASBA_MPI_PROCESSES=2.5", "must be a whole number"),
        ("ASBA_SHOULD_BURST=true\nrm -rf /", "is not NAME=value"),
        ("ASBA_INSTANCE_TYPES=m5.large", "should_burst is required"),
        ("ASBA_SHOULD_BURST=true\nASBA_INSTANCE_TYPES=m5.large;rm", "not what belongs there"),
    ],
)
def test_wrong_values_are_refused(text: str, said: str) -> None:
    """The variable or its key is named."""
    with pytest.raises(PlanError) as caught:
        parse_plan(text)
    assert said in caught.value.why
