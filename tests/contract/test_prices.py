"""Prices as the pretend AWS tells them, through the real door into a real ledger, and what people see of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.contract.emulator import Emulator, start, until
from tests.fakes import samples
from tests.fakes.catalogue import FakeCatalogue
from tests.fakes.site import Site, config, group

from asbx.aws.price_list import Ec2PriceList
from asbx.aws.prices import Ec2Prices
from asbx.cli.main import main
from asbx.config.schema import Aws, Config
from asbx.daemon.clock import RealClock
from asbx.flow.doors import Doors, PriceSources
from asbx.flow.price_refresh import PriceRefresh
from asbx.ledger.store import SqlLedger, open_ledger
from asbx.model.market import Market
from asbx.model.price import PriceSource, VolumeUnit, volume_offering
from asbx.ports import CloudError

TYPES = (
    ("c7i.large", "c7i.xlarge", "c6i.large", "c6i.xlarge", "c5.large", "c5.xlarge"),
    ("m7i.large", "m7i.xlarge", "m6i.large", "m6i.xlarge", "m5.large", "m5.xlarge"),
    ("r7i.large", "r7i.xlarge", "r6i.large", "g5.xlarge", "p5.48xlarge", "hpc7a.96xlarge"),
)
ZONES = ("us-east-2a", "us-east-2b", "us-east-2c")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module."""
    running = start(tmp_path_factory.mktemp("emulator"))
    yield running
    running.stop()


@pytest.fixture
def aws(emulator: Emulator) -> Aws:
    """Return the way to it, with its counters and faults cleared."""
    emulator.lab("DELETE", "calls")
    emulator.lab("DELETE", "faults")
    return Aws.model_validate(
        {
            "region": "us-east-2",
            "endpoint_url": emulator.url,
            "authentication_method": "access_keys",
            "access_keys": {"access_key_id": "test", "secret_access_key": "test"},
            "retry_max_attempts": 1,
        }
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Open a ledger in a file."""
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as opened:
        yield opened


def site_of(aws: Aws, groups: list[dict[str, Any]]) -> Config:
    """Return a configuration with these groups."""
    made = config()
    told = made.model_dump(mode="json", exclude_defaults=True)
    told["slurm"]["partitions"][0]["node_groups"] = groups
    return Config.model_validate(told).model_copy(update={"aws": aws})


def doors_of(settings: Config, ledger: SqlLedger) -> Doors:
    """Return doors: AWS's prices and the ledger are real, the rest is not needed."""
    clock = RealClock()
    told = Ec2PriceList(settings.aws, clock)
    return replace(
        Site(config=settings).doors,
        clock=clock,
        ledger=ledger,
        prices=Ec2Prices(told, clock),
        catalogue=FakeCatalogue(),
        price_sources=PriceSources(ledger, told),
    )


def three_groups() -> list[dict[str, Any]]:
    """Return three groups of six types in three zones."""
    return [
        group(
            f"g{number}",
            10,
            launch_template_overrides=[{"instance_type": name} for name in names],
            subnet_ids=["subnet-a", "subnet-b", "subnet-c"],
            purchasing_option="mixed",
        )
        for number, names in enumerate(TYPES)
    ]


def test_a_refresh_of_eighteen_types_in_three_zones_is_three_calls(
    emulator: Emulator, aws: Aws, ledger: SqlLedger
) -> None:
    """One for spot, one for on-demand, one for EBS; a restart asks for spot: one type is not sold there."""
    doors = doors_of(site_of(aws, three_groups()), ledger)
    PriceRefresh(doors).run()
    assert emulator.lab("GET", "calls") == {"DescribeSpotPriceHistory": 1, "GetProducts": 2}
    now = datetime.now(UTC)
    found = ledger.price_changes(now, now)
    listed = {one.instance_type: one.usd for one in found if one.market is Market.ON_DEMAND}
    assert set().union(*TYPES) <= set(listed)
    assert (listed["c7i.large"], listed["p5.48xlarge"]) == (Decimal("0.08925"), Decimal("98.32"))
    spots = {(one.instance_type, one.zone) for one in found if one.market is Market.SPOT}
    assert ("c7i.large", "us-east-2c") in spots
    assert not any(kind.startswith("hpc") for kind, _ in spots)
    assert {zone for _, zone in spots} == set(ZONES)
    assert listed[volume_offering("gp3", VolumeUnit.THROUGHPUT)] == Decimal("0.04")
    assert listed[volume_offering("io2", VolumeUnit.IOPS_TIER2)] == Decimal("0.0455")
    PriceRefresh(doors).run()
    assert emulator.lab("GET", "calls") == {"DescribeSpotPriceHistory": 2, "GetProducts": 2}


def test_a_spot_price_that_changes_during_a_life_is_two_prices(emulator: Emulator, aws: Aws, ledger: SqlLedger) -> None:
    """Set twice with the lab's own command; both moments are in the ledger, exactly."""
    key = {"type": "c5.large", "zone": "us-east-2b", "market": "spot"}
    emulator.lab("POST", "prices", {**key, "usd": "0.0201"})
    began = datetime.now(UTC)
    ledger.add_intent(samples.intent())
    row = samples.instance_row("i-1", launched_at=began)
    row = replace(row, instance_type="c5.large", zone="us-east-2b", market=Market.SPOT)
    ledger.answer_attempt(samples.attempt(), [row])
    groups = [group("cpu", 10, purchasing_option="spot")]
    refresh = PriceRefresh(doors_of(site_of(aws, groups), ledger))
    refresh.run()
    until(lambda: datetime.now(UTC) > began + timedelta(seconds=1.1))  # EC2 tells whole seconds
    emulator.lab("POST", "prices", {**key, "usd": "0.0355"})
    refresh.run(whatever_the_age=True)
    found = ledger.price_changes(began, datetime.now(UTC), instance_types=["c5.large"], markets=[Market.SPOT])
    assert [(one.zone, one.usd) for one in found if one.zone == "us-east-2b"] == [
        ("us-east-2b", Decimal("0.020100")),
        ("us-east-2b", Decimal("0.035500")),
    ]
    assert all(one.source is PriceSource.SPOT_HISTORY for one in found)


def test_history_comes_in_pages(emulator: Emulator, aws: Aws) -> None:
    """More changes than a page holds are all there; the one in force at the beginning is among them."""
    ec2 = emulator.client()
    key = {"type": "m5.large", "zone": "us-east-2a", "market": "spot"}
    for number in range(5):
        emulator.lab("POST", "prices", {**key, "usd": f"0.01{number}"})
    told = Ec2PriceList(aws, RealClock()).spot(["m5.large"], ["us-east-2a"], datetime.now(UTC) - timedelta(days=1))
    assert len(told) == 6
    asked = {"InstanceTypes": ["m5.large"], "AvailabilityZone": "us-east-2a", "ProductDescriptions": ["Linux/UNIX"]}
    pages = list(ec2.get_paginator("describe_spot_price_history").paginate(**asked, MaxResults=2))
    assert [len(page["SpotPriceHistory"]) for page in pages] == [2, 2, 2]
    times = [row["Timestamp"] for page in pages for row in page["SpotPriceHistory"]]
    assert times == sorted(times, reverse=True)
    now = Ec2PriceList(aws, RealClock()).spot(["m5.large"], ["us-east-2a"], datetime.now(UTC))
    assert [one.usd for one in now] == [Decimal("0.014")]


@pytest.mark.parametrize(
    "asked",
    [
        {"InstanceTypes": ["c99.large"]},
        {"AvailabilityZone": "us-east-2z"},
        {"Filters": [{"Name": "zone", "Values": ["us-east-2a"]}]},
        {"MaxResults": 5000},
    ],
)
def test_the_pretend_ec2_refuses_wrong_questions_about_spot(emulator: Emulator, asked: dict[str, Any]) -> None:
    """What names nothing is an error, not an empty answer."""
    with pytest.raises(ClientError) as caught:
        emulator.client().describe_spot_price_history(**asked)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"


@pytest.mark.parametrize(
    "changes",
    [
        {"ServiceCode": "AmazonS3"},
        {"Filters": [{"Type": "TERM_MATCH", "Field": "instancetype", "Value": "c5.large"}]},
        {"Filters": [{"Type": "ANY_OF", "Field": "instanceType", "Value": "c5.large," * 200}]},
        {"NextToken": "x"},
    ],
)
def test_the_pretend_pricing_service_is_strict(emulator: Emulator, changes: dict[str, Any]) -> None:
    """Unknown fields, long values and foreign tokens are refused."""
    with pytest.raises(ClientError) as caught:
        emulator.client("pricing").get_products(**({"ServiceCode": "AmazonEC2"} | changes))
    assert caught.value.response["Error"]["Code"] in ("InvalidParameterException", "InvalidNextTokenException")


def test_products_come_in_pages_and_by_their_fields(emulator: Emulator, aws: Aws) -> None:
    """Every type of the region in pages of a hundred; metal is dedicated; a foreign region has nothing here."""
    pricing = emulator.client("pricing")
    shared = [{"Type": "TERM_MATCH", "Field": "tenancy", "Value": "Shared"}]
    pages = list(pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=shared))
    assert {len(page["PriceList"]) for page in pages[:-1]} == {100}
    elsewhere = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-west-2"}]
    assert pricing.get_products(ServiceCode="AmazonEC2", Filters=elsewhere)["PriceList"] == []
    told = Ec2PriceList(aws, RealClock()).on_demand(["c5.metal", "c5.large"])
    assert {one.instance_type for one in told} == {"c5.metal", "c5.large"}


def test_long_lists_of_types_are_cut_to_what_a_filter_takes(emulator: Emulator, aws: Aws) -> None:
    """Two hundred types need a few calls, not two hundred; those nobody sells cost one more each."""
    offered = sorted(
        json.loads(text)["product"]["attributes"]["instanceType"]
        for page in emulator.client("pricing")
        .get_paginator("get_products")
        .paginate(
            ServiceCode="AmazonEC2",
            Filters=[{"Type": "TERM_MATCH", "Field": "tenancy", "Value": "Shared"}],
            PaginationConfig={"MaxItems": 200},
        )
        for text in page["PriceList"]
    )
    emulator.lab("DELETE", "calls")
    told = Ec2PriceList(aws, RealClock()).on_demand([*offered, "c99.large"])
    assert {one.instance_type for one in told} == set(offered)
    assert emulator.lab("GET", "calls") == {"GetProducts": 3 + 1}


def test_a_refusal_leaves_the_door_as_one_error(emulator: Emulator, aws: Aws) -> None:
    """No permission for the Pricing API does not keep spot prices away."""
    emulator.lab("POST", "faults", {"action": "GetProducts", "code": "AccessDeniedException", "times": 1})
    told = Ec2PriceList(aws, RealClock())
    with pytest.raises(CloudError) as caught:
        told.on_demand(["c5.large"])
    assert caught.value.code == "AccessDeniedException"
    assert told.spot(["c5.large"], [], datetime.now(UTC))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command line; return its status, answer and complaint."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def file(tmp_path: Path, emulator: Emulator, aws: Aws) -> str:
    """Write a configuration of two groups for the pretend AWS."""
    groups = [
        group("cpu", 10, purchasing_option="mixed"),
        group("hpc", 10, launch_template_overrides=[{"instance_type": "hpc7a.96xlarge"}]),
    ]
    paths = {name: str(tmp_path / name) for name in ("spool", "runtime")} | {"state": str(tmp_path)}
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    reached = {"region": "us-east-2", "endpoint_url": emulator.url, "authentication_method": "access_keys"}
    told = {
        "aws": {**reached, "access_keys": keys, "retry_max_attempts": aws.retry_max_attempts},
        "paths": paths,
        "logging": {"file": str(tmp_path / "log")},
        "slurm": {"partitions": [{"partition_name": "aws", "node_groups": groups}]},
    }
    made = tmp_path / "aws-burst.yaml"
    made.write_text(json.dumps(told))
    return str(made)


def test_prices_are_shown(emulator: Emulator, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, JSON for machines, and a file for a site that may not ask."""
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")):
        pass
    status, out, err = run(capsys, "prices", "-c", file)
    assert err == ""
    assert (status, "No price is known yet" in out) == (0, True)
    status, out, err = run(capsys, "prices", "-c", file, "--refresh", "--save", str(tmp_path / "table.json"))
    assert (status, err) == (0, "")
    rows = out.splitlines()
    assert rows[0].split() == ["TYPE", "ZONE", "ON-DEMAND", "SPOT", "SAVES", "AGE", "SOURCE"]
    assert [row.split()[:2] for row in rows[1:4]] == [
        ["c7i.large", "us-east-2a"],
        ["c7i.large", "us-east-2b"],
        ["c7i.large", "us-east-2c"],
    ]
    assert "hpc7a.96xlarge" in out
    assert "USD an hour in us-east-2" in out
    status, out, _ = run(capsys, "prices", "-c", file, "--group", "aws-hpc", "--json")
    (one,) = json.loads(out)["prices"]
    assert (one["instance_type"], one["spot"], one["on_demand"]["price"]) == ("hpc7a.96xlarge", None, "7.20")
    assert (one["on_demand"]["source"], one["saves_percent"]) == ("pricing", None)
    status, _, err = run(capsys, "prices", "-c", file, "--group", "aws-gpu")
    assert (status, "aws-cpu, aws-hpc" in err) == (2, True)
    status, _, err = run(capsys, "prices", "-c", file, "--save", str(tmp_path / "table.json"))
    assert (status, "File exists" in err) == (2, True)
    saved = json.loads((tmp_path / "table.json").read_text())
    assert saved["region"] == "us-east-2"
    emulator.lab("POST", "faults", {"action": "GetProducts", "code": "AccessDeniedException", "times": 9})
    other = tmp_path / "other"
    other.mkdir()
    denied = json.loads(Path(file).read_text())
    denied["paths"]["state"] = str(other)
    denied["prices"] = {"file": str(tmp_path / "table.json")}
    denied["slurm"]["partitions"][0]["node_groups"] = denied["slurm"]["partitions"][0]["node_groups"][1:]
    Path(other / "burst.yaml").write_text(json.dumps(denied))
    status, out, err = run(capsys, "validate", "config", str(other / "burst.yaml"))
    assert (status, "price(s)" in out) == (0, True), err
    status, out, err = run(capsys, "prices", "-c", str(other / "burst.yaml"), "--refresh")
    assert (status, "AccessDeniedException" in err) == (0, True)
    assert ("bundled" in out, "dated" in out, "7.2000" in out) == (True, True, True)
    (tmp_path / "table.json").write_text("{}")
    status, _, err = run(capsys, "validate", "config", str(other / "burst.yaml"))
    assert (status, "price-file" in err) == (3, True)
