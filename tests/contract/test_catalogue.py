"""What every catalogue promises, the one in memory and the adapter on the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract import emulator
from tests.fakes.catalogue import FakeCatalogue

from asbx.aws.bundled import bundled, bundled_zones
from asbx.aws.catalogue import Ec2Catalogue
from asbx.config.schema import Aws
from asbx.daemon.clock import RealClock
from asbx.model.market import Market, Template
from asbx.ports import Catalogue

EFA_TYPES = ("c6in.32xlarge", "hpc7a.96xlarge", "p4d.24xlarge", "p5.48xlarge", "trn1.32xlarge")
ZONES = {"us-east-2a", "us-east-2b", "us-east-2c"}


@dataclass
class World:
    """A catalogue, and what there is behind it. closed: a security group without a rule for itself."""

    catalogue: Catalogue
    subnets: dict[str, str]
    template: Template
    gone: Template
    closed: str


def in_memory() -> Iterator[World]:
    """Make a world that is an object."""
    gone = Template(template_id="lt-00000000000000000", version="1")
    catalogue = FakeCatalogue(missing={gone}, closed=frozenset({"sg-closed"}))
    catalogue.type_facts["no.type"] = None
    catalogue.offers |= {"hpc7a.96xlarge": frozenset({"us-east-2b"}), "no.type": frozenset()}
    catalogue.subnet_facts["subnet-00000000000000000"] = None
    subnets = {zone: f"subnet-{zone[-1]}" for zone in ZONES}
    yield World(catalogue, subnets, Template(name="nodes"), gone, "sg-closed")


def emulated(folder: Path) -> Iterator[World]:
    """Make a world behind HTTP."""
    machine = emulator.start(folder)
    try:
        ground = emulator.prepare(machine.client())
        settings = Aws.model_validate(
            {
                "region": "us-east-2",
                "endpoint_url": machine.url,
                "authentication_method": "access_keys",
                "access_keys": {"access_key_id": "test", "secret_access_key": "test"},
            }
        )
        gone = Template(template_id="lt-00000000000000000", version="1")
        catalogue = Ec2Catalogue(settings, RealClock())
        yield World(catalogue, ground.subnets, Template(template_id=ground.template), gone, ground.group)
    finally:
        machine.stop()


@pytest.fixture(scope="module", params=["fake", "emulator"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make every world there is."""
    if request.param == "fake":
        yield from in_memory()
    else:
        yield from emulated(tmp_path_factory.mktemp("emulator"))


def test_types_are_as_bundled(world: World) -> None:
    """Live facts and those that ship with the program are the same; a type that is none is left out."""
    found = world.catalogue.types([*EFA_TYPES, "no.type"])
    assert found == {name: bundled()[name] for name in EFA_TYPES}


def test_many_types_are_no_trouble(world: World) -> None:
    """More than one call takes; all that the region has are described."""
    names = list(bundled_zones("us-east-2"))[:250]
    assert set(world.catalogue.types(names)) >= set(names)


def test_zones_are_told(world: World) -> None:
    """A type that no zone offers has none."""
    found = world.catalogue.zones(["c7i.large", "hpc7a.96xlarge", "no.type"])
    assert found == {
        "c7i.large": frozenset(ZONES),
        "hpc7a.96xlarge": frozenset({"us-east-2b"}),
        "no.type": frozenset(),
    }


def test_subnets_tell_zone_and_room(world: World) -> None:
    """One that is none is left out and hides no other."""
    found = world.catalogue.subnets([*world.subnets.values(), "subnet-00000000000000000"])
    assert {facts.zone: name for name, facts in found.items()} == world.subnets
    assert all(facts.free > 3000 and facts.vpc_id for facts in found.values())
    assert len({facts.zone_id for facts in found.values()}) == 3


def test_a_template_is_pinned(world: World) -> None:
    """$Default becomes a number, so that a launch repeated is the same launch."""
    facts = world.catalogue.template(world.template)
    assert facts is not None
    assert facts.fixed.version == "1"
    assert (facts.fixed.template_id, facts.fixed.name) == (world.template.template_id, world.template.name)
    assert facts.image_id.startswith("ami-")
    assert len(facts.groups) == 1
    assert facts.fingerprint
    assert not world.catalogue.missing_template(world.template)


def test_a_template_that_is_gone_is_missing(world: World) -> None:
    """EC2 says so."""
    assert world.catalogue.template(world.gone) is None
    assert world.catalogue.missing_template(world.gone)


def test_unknown_reservations_are_left_out(world: World) -> None:
    """It is no error to ask for one."""
    assert world.catalogue.reservations(["cr-00000000000000000"]) == {}
    assert world.catalogue.missing_reservation("cr-00000000000000000")


def test_a_group_without_a_rule_for_itself_is_named(world: World) -> None:
    """EFA would not work in it."""
    assert world.catalogue.without_self_rule([world.closed]) == (world.closed,)
    assert world.catalogue.without_self_rule([]) == ()


def test_scores_are_for_three_types_and_more(world: World) -> None:
    """By the zones of the subnets known, where they are permitted."""
    world.catalogue.subnets(world.subnets.values())
    assert world.catalogue.spot_scores(["c7i.large", "m7i.large"], 4) == {}
    world.catalogue.spot_scores(["c7i.large", "m7i.large", "r7i.large"], 4)
    world.catalogue.ask_spot_scores()
    found = world.catalogue.spot_scores(["c7i.large", "m7i.large", "r7i.large"], 4)
    assert set(found) <= ZONES
    assert all(1 <= score <= 10 for score in found.values())


def test_a_quota_is_a_number_or_unknown(world: World) -> None:
    """Blocks have none in vCPUs; forgetting changes nothing of that."""
    assert world.catalogue.quota(Market.CAPACITY_BLOCK, "p5.48xlarge") is None
    quota = world.catalogue.quota(Market.ON_DEMAND, "c7i.large")
    assert quota is None or quota >= 0
    world.catalogue.forget()
    assert world.catalogue.types(["c7i.large"])
