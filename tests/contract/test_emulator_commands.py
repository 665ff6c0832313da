"""The lab's commands for the pretend EC2, run against a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.contract.emulator import Emulator, Ground, codes, fleet, ids_of, placed, prepare, start, until
from typer.testing import CliRunner

from asbx.cli.lab_ask import default_state_dir
from asbx.cli.lab_world import world
from asbx.errors import UsageError


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module."""
    running = start(tmp_path_factory.mktemp("emulator"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ec2(emulator: Emulator) -> Any:
    """Return a plain EC2 client."""
    return emulator.client()


@pytest.fixture(scope="module")
def ground(ec2: Any) -> Ground:
    """Return what fleets need."""
    return prepare(ec2)


@pytest.fixture
def lab(emulator: Emulator) -> Any:
    """Return a way to run a command line; it must end with status 0."""

    def run(line: str) -> str:
        result = CliRunner().invoke(world, [*line.split(), "--state-dir", str(emulator.state_dir)])
        if result.exception:
            raise result.exception
        return str(result.stdout)

    return run


def node(ec2: Any, ground: Ground, name: str, **changes: Any) -> str:
    """Launch one instance that bears a node name."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "asbx:node", "Value": name}]}]
    (instance_id,) = ids_of(ec2.create_fleet(**fleet(ground, 1, TagSpecifications=tags, **changes)))
    return instance_id


def test_instances_are_json_for_machines_and_columns_for_people(lab: Any, ec2: Any, ground: Ground) -> None:
    """The contract's keys with --json, a header and a row each without."""
    one = node(ec2, ground, "aws-cpu-001")
    (row,) = [r for r in json.loads(lab("instances --json")) if r["id"] == one]
    assert row["node"] == "aws-cpu-001"
    lines = lab("instances").splitlines()
    assert lines[0].split()[:3] == ["id", "node", "type"]
    assert [line for line in lines if line.startswith(f"{one}  aws-cpu-001  c7i.large")]


def test_calls_are_shown_and_reset(lab: Any, ec2: Any) -> None:
    """A count for each action, shown once more by the command that resets it."""
    lab("calls --reset")
    ec2.describe_vpcs()
    assert json.loads(lab("calls --reset --json")) == {"DescribeVpcs": 1}
    assert json.loads(lab("calls --json")) == {}


def test_pools_are_set_listed_and_lifted(lab: Any, ec2: Any, ground: Ground) -> None:
    """A bound holds until it is lifted."""
    pool = "--type m6i.large --zone us-east-2a --market on-demand"
    lab(f"pool set {pool} --capacity 1")
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 2, "m6i.large a")))) == 1
    (row,) = [r for r in json.loads(lab("pool list --json")) if r["type"] == "m6i.large"]
    key = {"type": "m6i.large", "zone": "us-east-2a", "market": "on-demand"}
    assert row == {**key, "capacity": 1, "in_use": 1, "in_group": None}
    lab(f"pool set {pool} --capacity unlimited")
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 2, "m6i.large a")))) == 2


def test_what_a_group_holds_is_bounded_apart_from_the_pool(lab: Any, ec2: Any, ground: Ground) -> None:
    """--in-group alone leaves the pool's own bound as it was."""
    pool = "--type r6i.large --zone us-east-2a --market on-demand"
    lab(f"pool set {pool} --capacity 5")
    lab(f"pool set {pool} --in-group 2")
    ec2.create_placement_group(GroupName="lab-gang", Strategy="cluster")
    assert len(ids_of(ec2.create_fleet(**placed(fleet(ground, 4, "r6i.large a"), "lab-gang")))) == 2
    (row,) = [r for r in json.loads(lab("pool list --json")) if r["type"] == "r6i.large"]
    assert (row["capacity"], row["in_group"], row["in_use"]) == (5, 2, 2)
    assert "in_group" in lab("pool list")
    lab(f"pool set {pool} --in-group unlimited --capacity unlimited")


def test_reservations_and_blocks_are_made_and_listed(lab: Any, ec2: Any) -> None:
    """What the commands make, EC2 describes."""
    row = json.loads(lab("reservation add --type m6i.large --zone us-east-2c --count 3 --match targeted --json"))
    (found,) = ec2.describe_capacity_reservations(CapacityReservationIds=[row["id"]])["CapacityReservations"]
    assert (found["InstanceMatchCriteria"], found["AvailableInstanceCount"]) == ("targeted", 3)
    assert row["id"] in lab("reservation list")
    said = lab("block add --type p5.48xlarge --zone us-east-2c --count 2 --starts 60 --ends 7200")
    (block,) = json.loads(lab("block list --json"))
    assert said.startswith(block["id"])
    assert (block["state"], block["total"], block["available"]) == ("scheduled", 2, 0)
    assert "scheduled" in lab("block list")
    assert [r["id"] for r in json.loads(lab("reservation list --json"))] == [row["id"]]


def test_faults_inside_an_answer_can_be_ordered_for_one_type(lab: Any, ec2: Any, ground: Ground) -> None:
    """--inside for every override, --only for those of a type or zone."""
    lab("fault add --action CreateFleet --code RequestLimitExceeded --only c6i.large")
    lab("fault add --action CreateFleet --code VcpuLimitExceeded --only us-east-2b")
    answer = ec2.create_fleet(**fleet(ground, 2, "c6i.large a", "c7i.large b", "m7i.large c"))
    assert sorted(codes(answer)) == ["RequestLimitExceeded", "VcpuLimitExceeded"]
    assert [i["InstanceType"] for i in answer["Instances"]] == ["m7i.large"]
    lab("fault add --action CreateFleet --code InternalError --inside")
    assert codes(ec2.create_fleet(**fleet(ground, 1))) == ["InternalError"]


def test_prices_are_set_and_charged(lab: Any, ec2: Any, ground: Ground) -> None:
    """An instance launched after the change has the new price."""
    lab("price set --type m6i.large --zone us-east-2b --market on-demand --usd 0.5")
    assert "0.5" in lab("price list")
    (one,) = ids_of(ec2.create_fleet(**fleet(ground, 1, "m6i.large b")))
    (row,) = [r for r in json.loads(lab("instances --json")) if r["id"] == one]
    assert row["price"] == "0.5"


def test_faults_are_ordered_listed_and_cleared(lab: Any, ec2: Any) -> None:
    """Added, seen, gone."""
    lab("fault add --action DescribeVpcs --code RequestLimitExceeded --times -1 --status 503 --latency 0.01")
    assert "RequestLimitExceeded" in lab("fault list")
    with pytest.raises(ec2.exceptions.ClientError, match="RequestLimitExceeded"):
        ec2.describe_vpcs()
    lab("fault clear")
    assert ec2.describe_vpcs()["Vpcs"]
    assert lab("fault list") == "no faults\n"


def test_a_spot_node_is_reclaimed_after_its_notice(lab: Any, ec2: Any, ground: Ground) -> None:
    """Found by node name; ends after --notice seconds."""
    one = node(ec2, ground, "aws-cpu-002", market="spot")
    assert one in lab("spot interrupt --node aws-cpu-002 --notice 0.3")
    until(lambda: [r for r in json.loads(lab("instances --json")) if r["id"] == one and r["state"] == "terminated"])


def test_a_node_dies_or_hangs(lab: Any, emulator: Emulator, ec2: Any, ground: Ground) -> None:
    """Killed: terminated at once. Hung: told to the instance runner."""
    one, two = node(ec2, ground, "aws-cpu-003"), node(ec2, ground, "aws-cpu-004")
    lab("instance kill --node aws-cpu-003")
    lab(f"instance hang --node {two}")
    states = {r["id"]: (r["state"], r["hang"]) for r in json.loads(lab("instances --json"))}
    assert states[one][0] == "terminated"
    assert states[two][1] is True
    assert [m["hang"] for m in emulator.lab("GET", "machines")["wanted"] if m["id"] == two] == [True]


def test_knobs_are_shown_and_turned(lab: Any) -> None:
    """Numbers and 'none'."""
    assert json.loads(lab("knobs pending=0.3 vcpus_spot=16 --json"))["vcpus_spot"] == 16
    assert json.loads(lab("knobs vcpus_spot=none --json"))["vcpus_spot"] is None
    assert "pending" in lab("knobs")


@pytest.mark.parametrize(
    "line",
    [
        "pool set --type c7i.large --zone us-east-2a --market barter --capacity 1",
        "pool set --type c7i.large --zone us-east-2a --market spot --capacity many",
        "pool set --type c7i.large --zone us-east-2a --market spot --in-group some",
        "pool set --type c7i.large --zone us-east-2a --market spot",
        "reservation add --type c99.large --zone us-east-2a --count 1",
        "reservation add --type c7i.large --zone us-east-2a --count 1 --match some",
        "block add --type c7i.large --zone us-east-2a --count 1 --starts 60 --ends 30",
        "price set --type c7i.large --zone us-east-2a --market spot --usd cheap",
        "knobs pending",
        "knobs pending=soon",
        "knobs speed=3",
        "instance kill --node nobody",
        "spot interrupt --node nobody",
        "fault add --action CreateFleet",
    ],
)
def test_nonsense_is_refused_with_code_and_reason(lab: Any, line: str) -> None:
    """A usage error in four parts, exit status 2, no traceback."""
    with pytest.raises(UsageError) as caught:
        lab(line)
    assert caught.value.exit_code == 2
    assert caught.value.what
    assert caught.value.hint


def test_without_a_lab_the_command_says_where_it_looked(tmp_path: Path) -> None:
    """No emulator.json, or one of a dead emulator."""
    for content in (None, '{"url": "http://127.0.0.1:1", "pid": 1, "port": 1}', "torn"):
        if content is not None:
            (tmp_path / "emulator.json").write_text(content)
        result = CliRunner().invoke(world, ["instances", "--state-dir", str(tmp_path)])
        assert isinstance(result.exception, UsageError)
        assert result.exception.code == "no-lab"
        assert str(tmp_path) in result.exception.what


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ASBX_LAB_STATE": "/tmp/a", "XDG_CACHE_HOME": "/tmp/b"}, Path("/tmp/a")),
        ({"XDG_CACHE_HOME": "/tmp/b"}, Path("/tmp/b/asbx/lab")),
        ({}, Path.home() / ".cache/asbx/lab"),
    ],
)
def test_the_state_folder_is_found_where_it_is_promised(environment: dict[str, str], expected: Path) -> None:
    """ASBX_LAB_STATE, else the user's cache."""
    assert default_state_dir(environment) == expected


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["pool"],
        ["spot", "interrupt"],
        ["instance", "hang"],
        ["block", "add"],
        ["reservation", "add"],
        ["fault", "add"],
    ],
)
def test_every_command_explains_itself(words: Sequence[str]) -> None:
    """--help works everywhere; commands that do something show an example."""
    result = CliRunner().invoke(world, [*words, "--help"])
    assert result.exit_code == 0
    assert len(words) < 2 or "Example: asbx lab" in result.stdout
