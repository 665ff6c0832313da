"""The pretend EC2 takes every golden request of a gang, and its instances have the interfaces that were asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.emulator import IMAGE, Emulator, Ground, described, ids_of, prepare, start
from tests.unit.golden import GOLDEN

GROUP = "asbx-lab-job-12-0123456789"
FILES = sorted(path.stem for path in GOLDEN.glob("layout-*.json"))
# Where us-east-2 sells them; the others everywhere (DescribeInstanceTypeOfferings).
ZONES = {"hpc7a.96xlarge": "us-east-2b", "trn1.32xlarge": "us-east-2c"}


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


def here(name: str, ground: Ground, group: str) -> dict[str, Any]:
    """Return a golden file's requests with the ids of this account and a token of its own, nothing else changed."""
    zone = next((zone for kind, zone in ZONES.items() if kind in name), "us-east-2b")
    ids = {
        "sg-0123456789abcdef0": ground.group,
        "ami-0123456789abcdef0": IMAGE,
        "lt-0123456789abcdef0": ground.template,
        "3": "1",
        "subnet-b": ground.subnets[zone],
        "us-east-2b": zone,
        GROUP: group,
        f"{'0' * 32}-1": uuid.uuid4().hex,
    }
    text = (GOLDEN / f"{name}.json").read_text()
    for old, new in ids.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    # One name serves all layouts of a type in the files, and one account here.
    made: dict[str, Any] = json.loads(text.replace('"asbx-', f'"{name}-'))
    return made


@pytest.mark.parametrize("name", FILES)
def test_a_golden_request_is_taken(ec2: Any, ground: Ground, name: str) -> None:
    """The template is made, the fleet launches all four, in the group, with every interface of the template."""
    group = f"group-{name}"
    ec2.create_placement_group(GroupName=group, Strategy="cluster")
    made = here(name, ground, group)
    asked = [(0, 0, "interface")]
    if "CreateLaunchTemplate" in made:
        data = ec2.create_launch_template(**made["CreateLaunchTemplate"])
        assert data["LaunchTemplate"]["LatestVersionNumber"] == 1
        nics = made["CreateLaunchTemplate"]["LaunchTemplateData"]["NetworkInterfaces"]
        asked = [(one["NetworkCardIndex"], one["DeviceIndex"], one["InterfaceType"]) for one in nics]
    answer = ec2.create_fleet(**made["CreateFleet"])
    assert answer["Errors"] == []
    found = described(ec2, ids_of(answer))
    assert len(found) == 4
    for instance in found.values():
        attached = [(one["Attachment"], one["InterfaceType"]) for one in instance["NetworkInterfaces"]]
        shown = sorted((at["NetworkCardIndex"], at["DeviceIndex"], kind) for at, kind in attached)
        assert shown == sorted(asked)
        assert {one["GroupId"] for nic in instance["NetworkInterfaces"] for one in nic["Groups"]} == {ground.group}
        assert instance["Placement"]["GroupName"] == group


def test_every_golden_layout_is_among_them() -> None:
    """Five types with EFA and without, one that has none, and the other layouts of two of them."""
    assert {name.split("-")[1] for name in FILES} == {
        "c7i.large",
        "c6in.32xlarge",
        "hpc7a.96xlarge",
        "p4d.24xlarge",
        "p5.48xlarge",
        "trn1.32xlarge",
    }
    assert len(FILES) == 16
