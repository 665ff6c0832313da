"""What a gang asks of EC2, by instance type: its launch template and its fleet, with EFA and without, in golden files.

Sources: EC2 user guide, "Maximize network bandwidth on Amazon EC2 instances with multiple network cards". Its layout of
one address (P5, use case 1) is `efa-only`: card 0 device 0 EFA with ENA, every further card device 1 EFA-only. `efa` is
the older form of the same page; `separate` is its newer one: card 0 device 0 plain with an EFA-only beside it, further
cards device 0. EC2 API reference, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest: groups stand in the
interfaces, no public address beside several of them.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from tests.unit.golden import BASE, GOLDEN, gang_requests, golden

from asbx.aws.bundled import bundled
from asbx.aws.facts import template_facts
from asbx.decide.place import Layout, efa_layout, plain_layout
from asbx.model.catalogue import InterfaceSpec
from asbx.model.market import Market, Template

GROUPS = ("sg-0123456789abcdef0",)
NAME = "asbx-lab-job-12-0123456789"
# Type -> EFA devices, network cards (EC2 user guide, "Accelerated computing", "Compute optimized" and "HPC optimized").
DEVICES = {
    "c6in.32xlarge": (2, 2),
    "hpc7a.96xlarge": (2, 2),
    "p4d.24xlarge": (4, 4),
    "p5.48xlarge": (32, 32),
    "trn1.32xlarge": (8, 8),
}
ON: list[tuple[str, Layout]] = [
    *((kind, "efa-only") for kind in DEVICES),
    ("c6in.32xlarge", "efa"),
    ("c6in.32xlarge", "separate"),
    ("p5.48xlarge", "efa"),
    ("p5.48xlarge", "separate"),
]


def interfaces(name: str) -> list[dict[str, Any]]:
    """Return the interfaces of a golden file's launch template."""
    made = json.loads((GOLDEN / f"{name}.json").read_text())
    found: list[dict[str, Any]] = made["CreateLaunchTemplate"]["LaunchTemplateData"]["NetworkInterfaces"]
    return found


@pytest.mark.parametrize(("kind", "layout"), ON)
def test_a_gang_with_efa_is_what_the_golden_file_says(kind: str, layout: Layout) -> None:
    """A template with every EFA device of the type, and a fleet of four of it in a placement group."""
    golden(f"layout-{kind}-{layout}", gang_requests(kind, efa_layout(bundled()[kind], GROUPS, layout), NAME))


@pytest.mark.parametrize("kind", [*DEVICES, "c7i.large"])
def test_a_gang_without_efa_is_what_the_golden_file_says(kind: str) -> None:
    """The base template serves as it is: nothing is derived."""
    golden(f"layout-{kind}-off", gang_requests(kind, (), NAME))


def test_a_type_without_efa_gets_no_layout() -> None:
    """Wanting it changes nothing for a c7i.large: its golden file is the one without."""
    for layout in ("efa-only", "efa", "separate"):
        assert efa_layout(bundled()["c7i.large"], GROUPS, layout) == ()


def test_efa_is_taken_out_of_a_base_that_has_it() -> None:
    """A job without EFA on a template with EFA gets one plain interface, the groups of the base in it."""
    efa = {"InterfaceType": "efa", "DeviceIndex": 0, "NetworkCardIndex": 0, "Groups": list(GROUPS)}
    base = template_facts(Template("lt-1"), {"VersionNumber": 3, "LaunchTemplateData": {"NetworkInterfaces": [efa]}})
    assert plain_layout(base) == (InterfaceSpec(0, 0, "interface", GROUPS),)
    golden("layout-hpc7a.96xlarge-taken-out", gang_requests("hpc7a.96xlarge", plain_layout(base), NAME))


@pytest.mark.parametrize(("kind", "layout"), ON)
def test_the_rules_of_interfaces_hold_in_every_golden_file(kind: str, layout: Layout) -> None:
    """All EFA devices, one a card; one primary with an address; groups in each; no public address, no subnet."""
    found = interfaces(f"layout-{kind}-{layout}")
    devices, cards = DEVICES[kind]
    efa = [one for one in found if one["InterfaceType"] in ("efa", "efa-only")]
    assert len(efa) == devices
    assert Counter(one["NetworkCardIndex"] for one in efa) == dict.fromkeys(range(cards), 1)
    assert len({(one["NetworkCardIndex"], one["DeviceIndex"]) for one in found}) == len(found)
    (primary,) = [one for one in found if (one["NetworkCardIndex"], one["DeviceIndex"]) == (0, 0)]
    assert primary["InterfaceType"] == ("interface" if layout == "separate" else "efa")
    assert all(one["Groups"] == list(GROUPS) and one["DeleteOnTermination"] for one in found)
    assert not {"AssociatePublicIpAddress", "SubnetId", "PrivateIpAddress"} & {key for one in found for key in one}
    with_address = [one for one in found if one["InterfaceType"] != "efa-only"]
    assert len(with_address) == (cards if layout == "efa" else 1)


def test_a_p5_has_its_primary_on_card_0_and_efa_only_on_the_others() -> None:
    """Card 0 device 0 EFA; cards 1 to 31 device 1 EFA-only: 32 devices for one address of the subnet."""
    found = [
        (one["NetworkCardIndex"], one["DeviceIndex"], one["InterfaceType"])
        for one in interfaces("layout-p5.48xlarge-efa-only")
    ]
    assert found == [(0, 0, "efa"), *((card, 1, "efa-only") for card in range(1, 32))]


def test_separate_puts_the_efa_devices_beside_the_address() -> None:
    """Card 0 has a plain interface and an EFA-only one beside it, the other cards device 0."""
    found = [
        (one["NetworkCardIndex"], one["DeviceIndex"], one["InterfaceType"])
        for one in interfaces("layout-p5.48xlarge-separate")
    ]
    assert found == [(0, 0, "interface"), (0, 1, "efa-only"), *((card, 0, "efa-only") for card in range(1, 32))]


def test_hpc_types_are_sold_on_demand_only() -> None:
    """So a gang of them is never asked for as spot: the facts say so, and the ladder drops that rung."""
    hpc = [facts for name, facts in bundled().items() if name.startswith("hpc")]
    assert hpc
    assert {facts.markets for facts in hpc} == {(Market.ON_DEMAND,)}


def test_the_base_keeps_what_is_not_about_the_network() -> None:
    """Image, profile, user data and metadata options are the base's in every derived template."""
    for kind, layout in ON:
        data = json.loads((GOLDEN / f"layout-{kind}-{layout}.json").read_text())["CreateLaunchTemplate"]
        body = data["LaunchTemplateData"]
        assert {name: body[name] for name in ("ImageId", "UserData", "IamInstanceProfile")} == {
            name: BASE[name] for name in ("ImageId", "UserData", "IamInstanceProfile")
        }
        assert body["MetadataOptions"] == {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
        assert "SecurityGroupIds" not in body
