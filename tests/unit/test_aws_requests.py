"""What we say to EC2, held by golden files (rewrite them with ASBX_GOLDEN=write after looking at the difference)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import botocore.session
import pytest
from botocore.validate import ParamValidator
from tests.fakes.samples import POOLS

from asbx.aws.requests import create_fleet
from asbx.model.market import FleetOrder, Market, Template

GOLDEN = Path(__file__).parent.parent / "golden"
TAGS = (("ManagedBy", "aws-slurm-burst"), ("asbx:cluster", "lab"), ("asbx:intent", "0" * 32))
ORDERS = {
    "fleet-gang-on-demand": FleetOrder("0" * 32 + "-1", Market.ON_DEMAND, 4, 4, POOLS, Template("lt-1", version="3"),
                                       TAGS, single_zone=True),
    "fleet-loose-spot": FleetOrder("0" * 32 + "-2", Market.SPOT, 7, 0, POOLS, Template(name="asbx"), TAGS),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_create_fleet_is_what_the_golden_file_says(name: str) -> None:
    """The same order always makes the same request."""
    made = create_fleet(ORDERS[name])
    path = GOLDEN / f"{name}.json"
    if os.environ.get("ASBX_GOLDEN") == "write":
        path.write_text(json.dumps(made, indent=2) + "\n")
    assert json.loads(path.read_text()) == made


@pytest.mark.parametrize("name", ORDERS)
def test_the_sdk_accepts_it(name: str) -> None:
    """The SDK's own model finds no fault with names and types."""
    model = botocore.session.get_session().get_service_model("ec2").operation_model("CreateFleet")
    report = ParamValidator().validate(create_fleet(ORDERS[name]), model.input_shape)
    assert not report.has_errors(), report.generate_report()


def test_a_token_fits_ec2() -> None:
    """64 ASCII characters at most (EC2 API reference)."""
    assert all(len(order.token) <= 64 and order.token.isascii() for order in ORDERS.values())
