"""What we say to EC2, held by golden files (rewrite them with ASBX_GOLDEN=write after looking at the difference)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes.samples import POOLS
from tests.unit.golden import golden, valid

from asbx.aws.requests import create_fleet
from asbx.model.market import FleetOrder, Market, Pool, Template

TAGS = (("ManagedBy", "aws-slurm-burst"), ("asbx:cluster", "lab"), ("asbx:intent", "0" * 32))
EFA = Template(name="asbx-efa", version="1")
EFA_POOLS = (
    Pool("hpc7a.96xlarge", "subnet-b", "us-east-2b", template=EFA),
    Pool("hpc6a.48xlarge", "subnet-b", "us-east-2b", template=EFA),
    Pool("c6i.32xlarge", "subnet-b", "us-east-2b"),
)
GANG: dict[str, Any] = {"count": 4, "minimum": 4, "tags": TAGS, "single_zone": True}
BASE = Template("lt-1", version="3")


def _order(number: int, market: Market, pools: tuple[Pool, ...], template: Template, **fields: Any) -> FleetOrder:
    return FleetOrder("0" * 32 + f"-{number}", market, pools=pools, template=template, **fields)


ORDERS = {
    "fleet-gang-on-demand": _order(1, Market.ON_DEMAND, POOLS, BASE, **GANG, single_type=True),
    "fleet-loose-spot": _order(2, Market.SPOT, POOLS, Template(name="asbx"), count=7, minimum=0, tags=TAGS),
    "fleet-gang-efa": _order(
        3,
        Market.ON_DEMAND,
        EFA_POOLS,
        BASE,
        **GANG,
        single_type=True,
        placement_group="asbx-lab-12",
        open_reservations=True,
    ),
    "fleet-gang-spot": _order(4, Market.SPOT, POOLS, BASE, **GANG, strategy="capacity-optimized-prioritized"),
    "fleet-reserved": _order(
        5,
        Market.ON_DEMAND,
        POOLS[:1],
        Template(name="asbx-reserved", version="1"),
        **GANG,
        strategy="lowest-price",
        reservation="cr-1",
        open_reservations=True,
    ),
    "fleet-block": _order(
        6, Market.CAPACITY_BLOCK, POOLS[:1], Template(name="asbx-block", version="1"), **GANG, reservation="cr-2"
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_create_fleet_is_what_the_golden_file_says(name: str) -> None:
    """The same order always makes the same request, and the SDK's own model finds no fault with it."""
    made = create_fleet(ORDERS[name])
    golden(name, made)
    valid("CreateFleet", made)


def test_a_token_fits_ec2() -> None:
    """64 ASCII characters at most (EC2 API reference)."""
    assert all(len(order.token) <= 64 and order.token.isascii() for order in ORDERS.values())


def test_priorities_run_over_all_templates() -> None:
    """Pools keep their rank when neighbours with another template stand in a group of their own."""
    made = create_fleet(ORDERS["fleet-gang-efa"])
    configs = made["LaunchTemplateConfigs"]
    assert [len(config["Overrides"]) for config in configs] == [2, 1]
    assert [item["Priority"] for config in configs for item in config["Overrides"]] == [0, 1, 2]


def test_a_block_gets_no_options() -> None:
    """EC2 refuses reservation options beside a Capacity Block, and documents no others for one."""
    made = create_fleet(ORDERS["fleet-block"])
    assert not {"OnDemandOptions", "SpotOptions"} & made.keys()
    assert made["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == "capacity-block"
